"""The entry points of a set: names that are too many or too strange, and targets that are not there."""

from __future__ import annotations

from envbuilder.document import has_hidden
from envbuilder.engines import is_plugin_group
from envbuilder.subject import ERROR, WARNING
from envbuilder.targets import Missing, parse
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from envbuilder.base import Base
    from envbuilder.errors import Finding
    from envbuilder.subject import Subject
    from envbuilder.targets import Modules


class _Point(NamedTuple):
    """An entry point and who has it: a package's label, or the base's distribution; `subject` is None for the base."""

    group: str
    name: str
    holder: str
    subject: Subject | None


class Own(NamedTuple):
    """An entry point of a package, with its value."""

    subject: Subject
    group: str
    name: str
    value: str

    @property
    def spelled(self) -> str:
        """Name it for a reader."""
        return f"`{self.name}` of `{self.group}`"


def own(subjects: Iterable[Subject]) -> Iterator[Own]:
    """List the entry points of all packages."""
    for subject in subjects:
        for group, values in subject.package.entry_points.items():
            yield from (Own(subject, group, name, value) for name, value in values.items())


def misnamed(subjects: Sequence[Subject], base: Base) -> Iterator[Finding]:
    """Find names that a terminal obeys, and names that no allow-list can hold."""
    for point in own(subjects):
        name, is_plugin = point.group + point.name, is_plugin_group(point.group, base.engine)
        if not name.isprintable() and has_hidden(name):
            yield _hidden_name(point)
        elif "," in point.name and base.engine.allow_list and is_plugin:
            yield _name_with_comma(point, base.engine.allow_list)


def _hidden_name(point: Own) -> Finding:
    return point.subject.finding(
        "entry-point-name",
        ERROR,
        what=f"the entry point {point.name!r} of {point.group!r} in `{point.subject.label}` has control characters in "
        "its name",
        why="what shows it obeys them instead: logs and terminals say what the package wants",
        way_forward=f"do not use this release of `{point.subject.name}`, and tell its author",
    )


def _name_with_comma(point: Own, variable: str) -> Finding:
    return point.subject.finding(
        "unlistable-name",
        WARNING,
        what=f"the entry point {point.spelled} in `{point.subject.label}` has a comma in its name",
        why=f"{variable} is a list that commas part, so it cannot name this one",
        way_forward=f"leave {variable} unset, or use a release of `{point.subject.name}` with another name",
    )


def duplicates(subjects: Sequence[Subject], base: Base) -> Iterator[Finding]:
    """Find plugins of one name."""
    first: dict[tuple[str, str], _Point] = {}
    for point in _points(subjects, base):
        other = first.setdefault((point.group, point.name), point)
        if other is point or point.subject is None:
            continue
        if is_plugin_group(point.group, base.engine):
            yield _duplicate_plugin(point.subject, point, other)


def _points(subjects: Iterable[Subject], base: Base) -> Iterator[_Point]:
    """List every entry point of base and packages; what an override shadows is not there any more."""
    shadowed = {subject.name for subject in subjects if subject.override}
    seen: set[str] = set()
    for dist in base.distributions.values():
        # The engine stands there under its canonical name too.
        if dist.path not in seen and dist.name not in shadowed:
            yield from (_Point(group, name, f"base's {dist.name}", None) for group, name, _ in dist.entry_points)
        seen.add(dist.path)
    yield from (_Point(point.group, point.name, point.subject.label, point.subject) for point in own(subjects))


def _duplicate_plugin(subject: Subject, point: _Point, other: _Point) -> Finding:
    return subject.finding(
        "duplicate-entry-point",
        ERROR,
        what=f"`{point.holder}` and `{other.holder}` both have the entry point `{point.name}` of `{point.group}`",
        why="an engine keeps entry points by name, so one of the two is lost without a word",
        way_forward=f"take one of `{point.holder}` and `{other.holder}` out of the set, or say with "
        "`entry_points:` which ones to take from it",
    )


def crowded(subjects: Sequence[Subject], base: Base) -> Iterator[Finding]:
    """Find groups that have room for one entry point, and have more."""
    for group in sorted(base.engine.single_slot):
        points = [point for point in _points(subjects, base) if point.group == group]
        ours = [point.subject for point in points if point.subject]
        if len(points) > 1 and ours:
            yield _crowded_slot(ours[-1], group, points)


def _crowded_slot(subject: Subject, group: str, points: list[_Point]) -> Finding:
    listed = ", ".join(f"`{point.name}` of `{point.holder}`" for point in points)
    return subject.finding(
        "single-slot",
        ERROR,
        what=f"`{group}` has room for one entry point, and there are {len(points)}: {listed}",
        why="the engine refuses to start, or falls back to its built-in without a word",
        way_forward=f"leave one of them and take the others out of the set: {listed}",
    )


def mistargeted(subjects: Sequence[Subject], modules: Modules, base: Base) -> Iterator[Finding]:
    """Find entry points whose target is not there, and modules of plugins that import what is not."""
    for subject in subjects:
        points = [(point, parse(point.value)) for point in own([subject])]
        taken = {target for _, target in points if target}
        for point, target in points:
            missing = modules.missing(target, taken) if target else Missing("that is no `module:attribute`", "")
            is_own = point.group in base.engine.groups
            if missing and (is_own or target is None or not modules.is_dotted_attribute(target)):
                yield _bad_target(point, missing, ERROR if is_own else WARNING)
        yield from _imports(subject, modules, base)


def _imports(subject: Subject, modules: Modules, base: Base) -> Iterator[Finding]:
    """Look whether the modules with plugins can be imported."""
    targets = [parse(point.value) for point in own([subject]) if is_plugin_group(point.group, base.engine)]
    for module in sorted({target.module for target in targets if target}):
        for name in modules.unresolved(module):
            yield subject.finding(
                "unresolved-import",
                WARNING,
                what=f"`{module}` of `{subject.label}` imports `{name}`, which neither the set nor the base has",
                why="a plugin that cannot be imported is left out by the engine, or stops it",
                way_forward=f"package `{name}` with `{subject.name}`, or let it require what has `{name}`",
            )


def _bad_target(point: Own, missing: Missing, severity: str) -> Finding:
    meant = f" (did you mean `{missing.nearest}`?)" if missing.nearest else ""
    subject = point.subject
    return subject.finding(
        "entry-point-target",
        severity,
        what=f"the entry point {point.spelled} in `{subject.label}` is `{point.value}`, and {missing.what}{meant}",
        why="loading it fails" if severity == ERROR else "whoever loads it fails",
        way_forward=f"correct the entry point {point.spelled}, or use another release of `{subject.name}`",
    )
