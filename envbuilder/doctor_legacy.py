"""The check for vllm-plugin-manager: what it is, what it put into the base, and how to take that out.

It installs plugins with pip into the base when the engine starts, and keeps a `registry.json` of what it did.
"""

from __future__ import annotations

import json
import os
from os.path import expanduser, join
from shlex import quote
from typing import Any

from envbuilder.health import Answer, NotApplicable, Trouble
from envbuilder.names import normalized
from envbuilder.notice import HEAD
from envbuilder.planning import counted
from envbuilder.registry import FOREIGN, MANAGER, is_manager
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envbuilder.base import Base, Distribution
    from envbuilder.health import Situation
    from envbuilder.paths import Environment


class Registry(NamedTuple):
    """Its `registry.json`: where, and what it says was installed, each entry as it stands there."""

    path: str
    entries: list[dict[str, Any]]


def check_legacy(situation: Situation) -> Answer:
    """Look for the manager in the base, and for what its registry says it installed there."""
    base = situation.need_base()
    managers = [dist for dist in base.distributions.values() if is_manager(dist)]
    registry = _registry(situation.env)
    put = _in_base(base, registry.entries) if registry else []
    if not managers and not put:
        raise NotApplicable(f"`{MANAGER}` is not in the base, and installed nothing there")
    facts = [f"in the base: {dist.name} {dist.version}, {_size(dist)}" for dist in (*managers, *put)]
    facts += [f"registry: {registry.path}, {counted(len(registry.entries), 'plugin')}"] if registry else []
    facts += [f"config: {situation.config_file}"] if situation.config_file else []
    return Answer(
        said=f"{counted(len(managers) + len(put), 'distribution')} of it in the base",
        troubles=tuple(_troubles(base, managers, put, registry)),
        facts=tuple(facts),
    )


def _troubles(
    base: Base, managers: Sequence[Distribution], put: Sequence[Distribution], registry: Registry | None
) -> Iterator[Trouble]:
    remover = f"`uv pip uninstall --python {quote(base.python)}"
    for dist in managers:
        yield Trouble(
            what=f"`{dist.name} {dist.version}` is installed in the base: `{dist.path}`",
            why="when the engine starts, it installs plugins with pip into the base, past every set and its checks",
            way_forward=f"{remover} {dist.name}`; vpm-env reads the same plugins.yaml",
        )
    if put:
        names = " ".join(dist.name for dist in put)
        listed = ", ".join(f"{dist.name} {dist.version}" for dist in put)
        where = f", says `{registry.path}`" if registry else ""
        yield Trouble(
            what=f"it installed into the base: {listed}{where}",
            why="they load in every engine of this base, whatever set is current, and no rollback takes them out",
            way_forward=f"{remover} {names}`, then `vpm-env build` brings them as a set",
        )


def _registry(env: Environment) -> Registry | None:
    """Read the registry from where the manager keeps it; None where there is none that can be read."""
    folder = env.get("VLLM_PLUGIN_REGISTRY_DIR")
    if not folder and not env.user_home:
        return None
    path = join(
        expanduser(folder) if folder else join(env.user_home or "", ".local/share/vllm-plugins"), "registry.json"
    )
    return _read(path) or _read(path + FOREIGN)


def _read(path: str) -> Registry | None:
    """Read one registry; None for one that vpm-env wrote, which tells of sets and not of the base."""
    try:
        with open(path, "rb") as stream:
            content = stream.read()
        if content.startswith(HEAD):
            return None
        entries = json.loads(content)["plugins"]
        return Registry(path=path, entries=[dict(entry, id=name) for name, entry in entries.items()])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _in_base(base: Base, entries: Sequence[dict[str, Any]]) -> list[Distribution]:
    """Find the base's distributions that the registry speaks of: by name, or by an entry point that it noted."""
    installed = [entry for entry in entries if entry.get("status") == "installed"]
    names = {normalized(str(entry.get(key) or "")) for entry in installed for key in ("id", "name", "package")}
    points = {str(point) for entry in installed for point in entry.get("entry_points") or ()}
    return [
        dist
        for _, dist in sorted(base.distributions.items())
        if not is_manager(dist)
        and (dist.name in names or any(f"{group}:{name}" in points for group, name, _ in dist.entry_points))
    ]


def _size(dist: Distribution) -> str:
    """Count the files that a distribution's RECORD lists."""
    if dist.editable:
        return "editable"
    try:
        with open(os.path.join(dist.path, "RECORD"), encoding="utf-8", errors="replace") as stream:
            return counted(sum(1 for line in stream if line.strip()), "file")
    except OSError:
        return "without a RECORD"
