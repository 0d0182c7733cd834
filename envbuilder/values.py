"""What the completion scripts ask for: the names of what there is, each with a few words on it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from envbuilder import fs
from envbuilder import profile as profiles
from envbuilder.scope import profile_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from envbuilder.scope import Scope


def values(kind: str, found: Scope) -> Iterator[tuple[str, str]]:
    """Yield the values of a kind, one of `KINDS`, and what each is; raise a `VpmError` where that cannot be known."""
    return _LISTS[kind](found)


def _checks(_: Scope) -> Iterator[tuple[str, str]]:
    from envbuilder.doctor import CHECKS  # only for checks

    return ((check.name, check.looks_at) for check in CHECKS)


def _profiles(found: Scope) -> Iterator[tuple[str, str]]:
    return ((name, "profile") for name in fs.names_in(found.layout.profiles))


def _packages(found: Scope) -> Iterator[tuple[str, str]]:
    newest = profiles.newest(profile_of(found))
    return ((name, version) for name, version, *_ in (newest.packages if newest else ()))


def _plugins(found: Scope) -> Iterator[tuple[str, str]]:
    if found.config_file is None:
        return
    from envbuilder.config import read  # only for plugins

    for plugin in read(found.config_file, env=found.env).plugins:
        kind = type(plugin.source).__name__.lower()
        yield plugin.name, kind if plugin.enabled else f"{kind}, disabled"


def _generations(found: Scope, *, with_digests: bool = False, only_kept: bool = False) -> Iterator[tuple[str, str]]:
    profile = profile_of(found)
    known = [entry for entry in profiles.generations(profile) if entry.keep or not only_kept]
    now = profiles.current(profile)
    for entry in reversed(known):
        current = ", current" if entry.number == now else ""
        yield str(entry.number), f"{entry.digest[:12]}, {entry.state}{current}"
    if with_digests:
        yield from {entry.digest[:12]: f"generation {entry.number}" for entry in known}.items()


_LISTS: dict[str, Callable[[Scope], Iterator[tuple[str, str]]]] = {
    "check": _checks,
    "generation": _generations,
    "digest-or-generation": partial(_generations, with_digests=True),
    "kept": partial(_generations, only_kept=True),
    "package": _packages,
    "plugin": _plugins,
    "profile": _profiles,
}
KINDS = tuple(_LISTS)
