"""What the completion scripts ask for: the names of what there is, each with a few words on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder import fs
from envbuilder import profile as profiles
from envbuilder.scope import profile_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.scope import Scope

KINDS = ("check", "generation", "digest-or-generation", "kept", "package", "plugin", "profile")


def values(kind: str, found: Scope) -> Iterator[tuple[str, str]]:
    """Yield the values of a kind and what each is; raise a `VpmError` where that cannot be known."""
    if kind == "plugin":
        yield from _plugins(found)
    elif kind == "check":
        from envbuilder.doctor import CHECKS  # only for checks

        yield from ((check.name, check.looks_at) for check in CHECKS)
    elif kind == "profile":
        yield from ((name, "profile") for name in fs.names_in(found.layout.profiles))
    elif kind == "package":
        newest = profiles.newest(profile_of(found))
        yield from ((name, version) for name, version, *_ in (newest.packages if newest else ()))
    else:
        yield from _generations(found, with_digests=kind == "digest-or-generation", only_kept=kind == "kept")


def _plugins(found: Scope) -> Iterator[tuple[str, str]]:
    if found.config_file is None:
        return
    from envbuilder.config import read  # only for plugins

    for plugin in read(found.config_file, env=found.env).plugins:
        kind = type(plugin.source).__name__.lower()
        yield plugin.name, kind if plugin.enabled else f"{kind}, disabled"


def _generations(found: Scope, *, with_digests: bool, only_kept: bool) -> Iterator[tuple[str, str]]:
    profile = profile_of(found)
    known = [entry for entry in profiles.generations(profile) if entry.keep or not only_kept]
    now = profiles.current(profile)
    for entry in reversed(known):
        current = ", current" if entry.number == now else ""
        yield str(entry.number), f"{entry.digest[:12]}, {entry.state}{current}"
    if with_digests:
        yield from {entry.digest[:12]: f"generation {entry.number}" for entry in known}.items()
