"""What a set is made of: the manifest of its overlay, from the lock, the packages and the base."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder import overlay
from envbuilder.engines import SCRIPT_GROUPS
from envbuilder.errors import ConfigError, Problem
from envbuilder.manifest import Manifest, Member
from envbuilder.names import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envbuilder.base import Base
    from envbuilder.config import Config, Plugin
    from envbuilder.lock import Lock
    from envbuilder.overlay import Part
    from envbuilder.package import Package


def parts_of(lock: Lock, packages: dict[str, Package], config: Config) -> tuple[Part, ...]:
    """Put packages and config together, in the order of names: each package with the entry points that it brings.

    Raise `ConfigError` with every entry point that the config names and no package has.
    """
    locked = sorted(lock.packages, key=lambda locked: locked.name)
    by_plugin = {each.plugin: packages[each.name] for each in locked if each.plugin}
    selections: dict[str, tuple[str, ...] | None] = {}
    problems: list[Problem] = []
    for plugin in config.enabled:
        if plugin.entry_points is None or plugin.name in lock.left_out:
            continue
        package = by_plugin.get(plugin.name)
        problems += _unselectable(plugin, package)
        if package:
            selections[package.name] = _selected(plugin.entry_points, package)
    if problems:
        raise ConfigError(tuple(problems), hint="`entry_points:` names those to load; without it all are loaded")
    return tuple(
        overlay.part(packages[each.name], override=each.override, selection=selections.get(each.name))
        for each in locked
    )


def _selected(wanted: tuple[str, ...], package: Package) -> tuple[str, ...] | None:
    """Return the selected entry points as `group:name`; None where those are all that there are."""
    points = _points(package)
    selected = tuple(point for point in points if _is_wanted(point, wanted))
    return None if selected == points else selected


def _points(package: Package) -> tuple[str, ...]:
    """Name every entry point that may be left out: scripts may not."""
    named = package.entry_points.items()
    return tuple(sorted(f"{group}:{name}" for group, names in named if group not in SCRIPT_GROUPS for name in names))


def _is_wanted(point: str, wanted: tuple[str, ...]) -> bool:
    return point in wanted or point.partition(":")[2] in wanted


def _unselectable(plugin: Plugin, package: Package | None) -> Iterator[Problem]:
    """Say what is wrong with the entry points that a plugin selects."""
    key = f"{plugin.name}.entry_points"
    if package is None:
        yield Problem(plugin.place, key, "the base provides this plugin, and its entry points are not ours to choose")
        return
    points = _points(package)
    known = dict.fromkeys(name for point in points for name in (point.partition(":")[2], point))
    for wanted in plugin.entry_points or ():
        if wanted not in known:
            near = nearest(wanted, known)
            meant = f"; did you mean `{near}`?" if near else ""
            has = ", ".join(f"`{point}`" for point in points) or "none"
            text = f"`{package.name} {package.version}` has no entry point `{wanted}`{meant}; it has {has}"
            yield Problem(plugin.place, key, text)


def describe(lock: Lock, parts: tuple[Part, ...], base: Base) -> Manifest:
    """Say what an overlay of `parts` is made of and relies on; its digest follows from that."""
    plugins = {locked.name: locked.plugin for locked in lock.packages}
    manifest = composed(parts, plugins, base)
    return manifest._replace(facts=lock.facts, ignored=lock.ignored, provided=lock.provided, left_out=lock.left_out)


def composed(parts: tuple[Part, ...], plugins: Mapping[str, str], base: Base) -> Manifest:
    """Say what follows from the packages alone; `plugins` is package → the plugin that it is, "" for a dependency."""
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
        facts={},
        selection={part.package.name: list(part.selection) for part in parts if part.selection is not None},
        entry_points=points,
        allow_lists=_allow_lists(points, base),
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
    every = names | theirs | set(engine.built_in)
    return {engine.allow_list: ",".join(sorted(name for name in every if "," not in name))}
