"""What an engine's allow-list lets load, and the value that the variable needs for exactly one set."""

from __future__ import annotations

from envbuilder._allow import expanded, words
from envbuilder.classes import dataclass
from envbuilder.engines import GUARD_ENTRY, is_plugin_group
from envbuilder.names import nearest
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from envbuilder.base import Base, Distribution
    from envbuilder.engines import Engine
    from envbuilder.manifest import Manifest
    from envbuilder.paths import Environment


class _Entry(NamedTuple):
    group: str
    name: str
    value: str
    package: str
    version: str
    in_base: bool
    plugin: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One entry point that the engine sees.

    `package` has it, at `version`; `in_base` says whose that is, `plugin` the config's entry that brings it in.
    `loads` says whether the allow-list lets it load, `why` the reason (never empty where it does not).
    """

    group: str
    name: str
    value: str
    package: str
    version: str
    in_base: bool
    plugin: str
    loads: bool
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """The plugins of a set and its base, as the engine sees them.

    `variable` is the engine's allow-list (None: it has none) and `present` its value in this environment (None: not
    set). `value` is what it should be for exactly this set; `needed` says that something of the set does not load
    without it, `unknown` are names in it that nothing provides, with the nearest name or "". `silent` are plugins
    without an entry point: they are only imported. `unlistable` are names of the set that `value` lacks, because they
    hold the comma that parts the list. `left_out` are names of the set that `present` keeps from loading, and the
    guard's if it does.
    """

    engine: Engine
    variable: str | None
    present: str | None
    value: str
    needed: bool
    points: tuple[Point, ...]
    unknown: tuple[tuple[str, str], ...]
    silent: tuple[str, ...]
    unlistable: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def settings(self) -> dict[str, str]:
        """Return the variable and its value for exactly this set; empty where that has nothing to list."""
        has_own = any(not point.in_base for point in self.points)
        return {self.variable: self.value} if self.variable and has_own else {}


def listed_in(env: Environment, manifest: Manifest, base: Base, *, guarded: bool) -> Listing:
    """List the entry points of a set and its base, as an engine that is started in this environment sees them."""
    variable = base.engine.allow_list
    return listing(manifest, base, env.variables.get(variable) if variable else None, guarded=guarded)


def listing(manifest: Manifest, base: Base, present: str | None, *, guarded: bool) -> Listing:
    """List the entry points of a set and its base; `guarded` says that the base's hook has a guard to be let load."""
    engine = base.engine
    entries = tuple(_entries(manifest, base))
    owners = {entry.package: [other.name for other in entries if other.package == entry.package] for entry in entries}
    listed = names_in(present, engine, owners)
    unsorted = (_point(entry, listed, engine) for entry in entries)
    points = tuple(sorted(unsorted, key=lambda point: (_rank(point.group, engine), point.name)))
    known = {point.name for point in points} | set(engine.built_in) | {GUARD_ENTRY}
    return Listing(
        engine=engine,
        variable=engine.allow_list,
        present=present,
        value=_value(points, listed, engine, owners, guarded=guarded),
        needed=any(not point.loads and not point.in_base for point in points),
        points=points,
        unknown=tuple(
            (name, _nearest(name, known, owners)) for name in listed or () if name.strip() and name not in known
        ),
        silent=tuple(
            member.plugin
            for member in manifest.members
            if member.plugin and not any(point.package == member.name for point in points)
        ),
        unlistable=tuple(
            dict.fromkeys(point.name for point in points if engine.allow_list and not _is_listable(point.name))
        ),
        left_out=() if listed is None else tuple(_left_out(points, listed, engine, guarded=guarded)),
    )


def _left_out(points: Iterable[Point], listed: tuple[str, ...], engine: Engine, *, guarded: bool) -> Iterator[str]:
    yield from dict.fromkeys(point.name for point in points if not point.loads and not point.in_base)
    # Where vpm-env itself writes the list that the engine reads, it puts the guard into any that has a name in it.
    if guarded and engine.guard_group and GUARD_ENTRY not in listed and (engine.loads_unlisted or not listed):
        yield GUARD_ENTRY


def names_in(
    present: str | None, engine: Engine, owners: Mapping[str, Iterable[str]] | None = None
) -> tuple[str, ...] | None:
    """Read the variable's value as the engine does, or as vpm-env does for it; None where it counts as not set.

    `owners` is distribution → names of its entry points.
    """
    if present is None or (engine.strips_list and not present):
        return None
    if engine.loads_unlisted:
        return words(present) if engine.strips_list else tuple(present.split(","))
    return expanded(words(present), owners or {})


def _entries(manifest: Manifest, base: Base) -> Iterator[_Entry]:
    """List what the set has, then what the base has beside it."""
    members = {member.name: member for member in manifest.members}
    for group, entries in manifest.entry_points.items():
        for name, (value, package) in entries.items() if is_plugin_group(group, base.engine) else ():
            member = members[package]
            yield _Entry(group, name, value, member.name, member.version, False, member.plugin)
    for dist in base.distributions.values():
        if dist.name not in members and not _is_second_name(dist.name, base):
            yield from _of_base(dist, base)


def _of_base(dist: Distribution, base: Base) -> Iterator[_Entry]:
    for group, name, value in dist.entry_points:
        if is_plugin_group(group, base.engine):
            yield _Entry(group, name, value, dist.name, dist.version, True, "")


def _point(entry: _Entry, listed: tuple[str, ...] | None, engine: Engine) -> Point:
    loads, why = _verdict(entry.group, entry.name, listed, engine)
    return Point(**entry._asdict(), loads=loads, why=why)


def _is_second_name(name: str, base: Base) -> bool:
    """Tell whether `name` is the engine's canonical one, under which a rebuild of another name stands too."""
    return name == base.engine.distribution != base.engine_name


def _verdict(group: str, name: str, listed: tuple[str, ...] | None, engine: Engine) -> tuple[bool, str]:
    variable = engine.allow_list
    if variable is None:
        return True, ""
    if group in engine.unlisted_groups:
        return True, f"whatever {variable} says"
    if listed is not None and name in listed:
        return True, f"{variable} names it"
    if group in engine.opt_in_groups:
        return False, f"only if {variable} names it"
    if listed is not None:
        blank = any(name == other.strip() for other in listed)
        return False, f"{variable} has blanks around it" if blank else f"{variable} does not name it"
    return True, "" if engine.loads_unlisted else f"vpm-env sets {variable}"


def _value(
    points: Iterable[Point],
    listed: tuple[str, ...] | None,
    engine: Engine,
    owners: Mapping[str, list[str]],
    *,
    guarded: bool,
) -> str:
    """Name what the set has, the engine's own, and of the base what the present value lets load: all, if not set."""
    if engine.allow_list is None:
        return ""
    restricted = [point for point in points if point.group not in engine.unlisted_groups]
    chosen = expanded(map(str.strip, listed or ()), owners)
    names = {point.name for point in restricted if not point.in_base or listed is None or point.name in chosen}
    names |= {GUARD_ENTRY} if guarded else set()
    return ",".join(sorted(filter(_is_listable, names | set(engine.built_in))))


def _is_listable(name: str) -> bool:
    """Tell whether a name can be in a list that commas part."""
    return "," not in name


def _nearest(name: str, known: set[str], owners: Mapping[str, list[str]]) -> str:
    if name.strip() in known:
        return name.strip()
    if name.strip() in owners:
        return ",".join(sorted(owners[name.strip()]))
    return nearest(name.strip(), sorted(known))


def _rank(group: str, engine: Engine) -> tuple[int, str]:
    return engine.groups.index(group) if group in engine.groups else len(engine.groups), group
