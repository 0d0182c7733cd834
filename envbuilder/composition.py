"""What a set is made of: the manifest of its overlay, from the lock, the packages and the base."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder.manifest import Manifest, Member

if TYPE_CHECKING:
    from envbuilder.base import Base
    from envbuilder.lock import Lock
    from envbuilder.overlay import Part


def describe(lock: Lock, parts: tuple[Part, ...], base: Base) -> Manifest:
    """Say what an overlay of `parts` is made of and relies on; its digest follows from that."""
    plugins = {locked.name: locked.plugin for locked in lock.packages}
    points: dict[str, dict[str, list[str]]] = {}
    for part in parts:
        for group, entries in part.package.entry_points.items():
            for name, value in entries.items():
                points.setdefault(group, {})[name] = [value, part.package.name]
    return Manifest(
        soabi=base.soabi,
        platform=base.platform,
        python_version=base.python_version,
        base={
            "key": base.key,
            "prefix": base.prefix,
            "python": base.python,
            "label": base.label,
            "engine": base.engine.name,
            "engine_version": base.engine_version,
        },
        members=tuple(_member(part, plugins[part.package.name]) for part in parts),
        facts=lock.facts,
        entry_points=points,
        allow_lists=_allow_lists(points, base),
        ignored=lock.ignored,
        provided=lock.provided,
        left_out=lock.left_out,
    )


def _member(part: Part, plugin: str) -> Member:
    return Member(
        name=part.package.name,
        version=part.package.version,
        key=part.package.key,
        plugin=plugin,
        editable=bool(part.package.editable),
        override=part.override,
        size=part.package.size,
    )


def _allow_lists(points: dict[str, dict[str, list[str]]], base: Base) -> dict[str, str]:
    """Return the value that the engine's allow-list variable needs for every plugin of the set to load."""
    engine = base.engine
    names = {name for group in engine.groups for name in points.get(group, {})}
    theirs = {
        name for dist in base.distributions.values() for group, name, _ in dist.entry_points if group in engine.groups
    }
    if engine.allow_list is None or not names:
        return {}
    return {engine.allow_list: ",".join(sorted(names | theirs | set(engine.built_in)))}
