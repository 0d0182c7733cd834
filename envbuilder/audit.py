"""The static audit: what can be known of a set without running it. Pure reading.

Each check yields findings; `audit` puts them together. An error forbids a switch, a warning is shown and kept.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from envbuilder import bounds, declaration, ownership
from envbuilder.base_files import BaseFiles
from envbuilder.document import has_hidden
from envbuilder.engines import SCRIPT_GROUPS, is_plugin_group
from envbuilder.subject import ERROR, WARNING, Subject, import_name
from envbuilder.targets import Missing, Modules, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from envbuilder.base import Base
    from envbuilder.errors import Finding

    Entries = Mapping[str, frozenset[str]]

__all__ = ["Subject", "audit"]

_SITE_MODULES = frozenset({"sitecustomize", "usercustomize"})
_HARMLESS_START_UP = frozenset({"distutils-precedence.pth"})


class _Point(NamedTuple):
    """An entry point and who has it: a package's label, or the base's distribution; `subject` is None for the base."""

    group: str
    name: str
    holder: str
    subject: Subject | None


def audit(
    subjects: Sequence[Subject], base: Base, *, ignored: Mapping[str, Sequence[str]] | None = None
) -> tuple[Finding, ...]:
    """Return everything that reading finds wrong with `subjects` over `base`, in a fixed order.

    `ignored` is plugin → names of packages whose bounds it ignores. A finding about a dependency names the plugin that
    brings it in.
    """
    entries = {subject.name: subject.package.top_level for subject in subjects}
    needs = bounds.needs_of(subjects, base)
    found = chain(
        _names(subjects, entries, base),
        ownership.in_two_packages(subjects, entries),
        _start_up_code(subjects, entries),
        _point_names(subjects, base),
        _duplicates(subjects, base),
        _crowded_slots(subjects, base),
        _targets(subjects, entries, base),
        bounds.unmet(subjects, needs, base, ignored or {}),
        declaration.mistaken(subjects, base, ignored or {}),
    )
    plugins = bounds.bringers(subjects, needs)
    return tuple(finding._replace(plugin=plugins.get(finding.package, "")) for finding in found)


def _names(subjects: Sequence[Subject], entries: Entries, base: Base) -> Iterator[Finding]:
    files = BaseFiles(base)
    names = files.names()
    for subject in subjects:
        if subject.name in base.distributions and not subject.override:
            yield _dist_in_base(subject, base)  # that it has the same names goes without saying
        else:
            yield from ownership.in_base(subject, entries[subject.name], files, names)
        yield from ownership.in_stdlib(subject, entries[subject.name], base)


def _dist_in_base(subject: Subject, base: Base) -> Finding:
    held = base.distributions[subject.name]
    return subject.finding(
        "dist-in-base",
        ERROR,
        what=f"the base has `{subject.name}` too, in version {held.version or 'unknown'}; "
        f"the set has {subject.package.version}",
        why="one of the two hides the other, and their metadata need not speak of the code that runs",
        way_forward=f"add `{subject.name}` to `override:` if it may shadow the base's, or take it out of the set",
    )


def _start_up_code(subjects: Sequence[Subject], entries: Entries) -> Iterator[Finding]:
    for subject in subjects:
        for entry in sorted(entries[subject.name]):
            if import_name(entry) in _SITE_MODULES:
                yield _site_module(subject, import_name(entry))
            elif entry.endswith((".pth", ".start")) and not _is_harmless(subject, entry):
                yield subject.finding(
                    "startup-code",
                    WARNING,
                    what=f"`{subject.label}` has the start-up file `{entry}`",
                    why="an engine process does not run start-up files of plugins, so what it sets up is missing there",
                    way_forward=f"check that `{subject.name}` works without it",
                )


def _is_harmless(subject: Subject, entry: str) -> bool:
    return entry in _HARMLESS_START_UP or bool(subject.package.editable and entry.startswith("__editable__"))


def _site_module(subject: Subject, name: str) -> Finding:
    return subject.finding(
        "startup-code",
        ERROR,
        what=f"`{subject.label}` has a module `{name}`",
        why=f"Python runs the first `{name}` that it finds in every process, so this one and the machine's own exclude "
        "each other",
        way_forward=f"use a release of `{subject.name}` that does without `{name}`",
    )


def _points(subjects: Iterable[Subject], base: Base) -> Iterator[_Point]:
    """List every entry point of base and packages; what an override shadows is not there any more."""
    shadowed = {subject.name for subject in subjects if subject.override}
    seen: set[str] = set()
    for dist in base.distributions.values():
        # The engine stands there under its canonical name too.
        if dist.path not in seen and dist.name not in shadowed:
            yield from (_Point(group, name, f"base's {dist.name}", None) for group, name, _ in dist.entry_points)
        seen.add(dist.path)
    for subject in subjects:
        for group, values in subject.package.entry_points.items():
            yield from (_Point(group, name, subject.label, subject) for name in values)


def _point_names(subjects: Sequence[Subject], base: Base) -> Iterator[Finding]:
    """Find names that a terminal obeys, and names that no allow-list can hold."""
    for subject in subjects:
        for group, values in subject.package.entry_points.items():
            is_listed = bool(base.engine.allow_list) and is_plugin_group(group, base.engine)
            for name in values:
                if not (group + name).isprintable() and has_hidden(group + name):
                    yield _hidden_name(subject, group, name)
                elif is_listed and "," in name:
                    yield _name_with_comma(subject, group, name, str(base.engine.allow_list))


def _hidden_name(subject: Subject, group: str, name: str) -> Finding:
    return subject.finding(
        "entry-point-name",
        ERROR,
        what=f"the entry point {name!r} of {group!r} in `{subject.label}` has control characters in its name",
        why="what shows it obeys them instead: logs and terminals say what the package wants",
        way_forward=f"do not use this release of `{subject.name}`, and tell its author",
    )


def _name_with_comma(subject: Subject, group: str, name: str, variable: str) -> Finding:
    return subject.finding(
        "entry-point-name",
        WARNING,
        what=f"the entry point `{name}` of `{group}` in `{subject.label}` has a comma in its name",
        why=f"{variable} is a list that commas part, so it cannot name this one",
        way_forward=f"leave {variable} unset, or use a release of `{subject.name}` with another name",
    )


def _duplicates(subjects: Sequence[Subject], base: Base) -> Iterator[Finding]:
    first: dict[tuple[str, str], _Point] = {}
    for point in _points(subjects, base):
        other = first.setdefault((point.group, point.name), point)
        if other is point or point.subject is None:
            continue
        if point.group in SCRIPT_GROUPS:
            yield _duplicate_script(point.subject, point, other)
        elif is_plugin_group(point.group, base.engine):
            yield _duplicate_plugin(point.subject, point, other)


def _duplicate_plugin(subject: Subject, point: _Point, other: _Point) -> Finding:
    return subject.finding(
        "duplicate-entry-point",
        ERROR,
        what=f"`{point.holder}` and `{other.holder}` both have the entry point `{point.name}` of `{point.group}`",
        why="an engine keeps entry points by name, so one of the two is lost without a word",
        way_forward=f"take one of `{point.holder}` and `{other.holder}` out of the set",
    )


def _duplicate_script(subject: Subject, point: _Point, other: _Point) -> Finding:
    return subject.finding(
        "duplicate-entry-point",
        WARNING,
        what=f"`{point.holder}` and `{other.holder}` both have the command `{point.name}`",
        why="only one of the two commands can be found by that name",
        way_forward=f"call the other one with `python -m`, if you need `{point.name}`",
    )


def _crowded_slots(subjects: Sequence[Subject], base: Base) -> Iterator[Finding]:
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


def _targets(subjects: Sequence[Subject], entries: Entries, base: Base) -> Iterator[Finding]:
    modules = Modules(subjects, entries, base)
    for subject in subjects:
        for group, values in subject.package.entry_points.items():
            severity = ERROR if is_plugin_group(group, base.engine) else WARNING
            for name, value in values.items():
                target = parse(value)
                missing = modules.missing(target) if target else Missing("that is no `module:attribute`", "")
                if missing:
                    yield _bad_target(subject, f"`{name}` of `{group}`", value, missing, severity)
        yield from _imports(subject, modules, base)


def _imports(subject: Subject, modules: Modules, base: Base) -> Iterator[Finding]:
    """Look whether the modules with plugins can be imported."""
    values = (
        value
        for group, values in subject.package.entry_points.items()
        if is_plugin_group(group, base.engine)
        for value in values.values()
    )
    for module in sorted({target.module for target in map(parse, values) if target}):
        for name in modules.unresolved(module):
            yield subject.finding(
                "unresolved-import",
                WARNING,
                what=f"`{module}` of `{subject.label}` imports `{name}`, which neither the set nor the base has",
                why="a plugin that cannot be imported is left out by the engine, or stops it",
                way_forward=f"package `{name}` with `{subject.name}`, or let it require what has `{name}`",
            )


def _bad_target(subject: Subject, point: str, value: str, missing: Missing, severity: str) -> Finding:
    meant = f" (the nearest is `{missing.nearest}`)" if missing.nearest else ""
    correction = f" to `{missing.nearest}`" if missing.nearest else ""
    return subject.finding(
        "entry-point-target",
        severity,
        what=f"the entry point {point} in `{subject.label}` is `{value}`, and {missing.what}{meant}",
        why="loading it fails" if severity == ERROR else "whoever loads it fails",
        way_forward=f"correct the entry point {point}{correction}, or use another release of `{subject.name}`",
    )
