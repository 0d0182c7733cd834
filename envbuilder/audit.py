"""The static audit: what can be known of a set without running it. Pure reading.

Each check is a room of its own and yields findings; `audit` puts them together. An error forbids a switch, unless the
config accepts it; a warning is shown and kept.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from envbuilder import (
    bounds,
    compiled,
    data_files,
    declaration,
    ownership,
    points,
    processors,
    script_names,
    startup_code,
)
from envbuilder.base_files import BaseFiles
from envbuilder.subject import ERROR, Subject
from envbuilder.targets import Modules

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from envbuilder.base import Base
    from envbuilder.errors import Finding

    Entries = Mapping[str, frozenset[str]]

__all__ = ["Subject", "audit", "of_others"]

_NO_VARIABLES: dict[str, str] = {}


def audit(
    subjects: Sequence[Subject],
    base: Base,
    *,
    ignored: Mapping[str, Sequence[str]] | None = None,
    variables: Mapping[str, str] = _NO_VARIABLES,
    startup_allowed: Collection[str] = (),
) -> tuple[Finding, ...]:
    """Return everything that reading finds wrong with `subjects` over `base`, in a fixed order.

    `ignored` is plugin → names of packages whose bounds it ignores, `variables` the environment that the engine is
    taken to have, `startup_allowed` the packages that may have start-up files. A finding about a dependency names the
    plugin that brings it in.
    """
    entries = {subject.name: subject.package.top_level for subject in subjects}
    needs = bounds.needs_of(subjects, base)
    files, modules = BaseFiles(base), Modules(subjects, entries, base)
    found = chain(
        _names(subjects, entries, base, files),
        ownership.in_two_packages(subjects, entries),
        startup_code.unasked(subjects, startup_allowed),
        points.misnamed(subjects, base),
        points.duplicates(subjects, base),
        script_names.in_two_packages(subjects),
        points.crowded(subjects, base),
        points.mistargeted(subjects, modules, base),
        processors.outdated(subjects, modules, base, variables),
        bounds.unmet(subjects, needs, base, ignored or {}),
        bounds.hidden(subjects, base, ignored or {}),
        declaration.mistaken(subjects, base, ignored or {}),
        _compiled(subjects, base, files, variables),
        data_files.outside(subjects),
    )
    plugins = bounds.bringers(subjects, needs)
    return tuple(finding._replace(plugin=plugins.get(finding.package, "")) for finding in found)


def of_others(subjects: Sequence[Subject], base: Base) -> tuple[Finding, ...]:
    """Return what is wrong with names alone: those of the base, of the standard library, of the machine.

    The findings do not say which plugin brings the package in.
    """
    entries = {subject.name: subject.package.top_level for subject in subjects}
    return tuple(_names(subjects, entries, base, BaseFiles(base)))


def _names(subjects: Sequence[Subject], entries: Entries, base: Base, files: BaseFiles) -> Iterator[Finding]:
    names = files.names()
    for subject in subjects:
        if subject.name in base.distributions and not subject.override:
            yield _dist_in_base(subject, base)  # that it has the same names goes without saying
        else:
            yield from ownership.in_base(subject, entries[subject.name], files, names)
        yield from ownership.in_stdlib(subject, entries[subject.name], base)
    yield from script_names.taken(subjects, base, files)


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


def _compiled(
    subjects: Sequence[Subject], base: Base, files: BaseFiles, variables: Mapping[str, str]
) -> Iterator[Finding]:
    """Judge compiled code, where there is any."""
    found = {subject.name: compiled.of_subject(subject) for subject in subjects}
    having = [subject for subject in subjects if found[subject.name]]
    if not having:
        return
    from envbuilder import abi, libraries, torch_abi  # few plugins have any
    from envbuilder.places import Loader, Places

    loader = Loader(base, variables)
    yield from abi.unfit(having, found, base, loader)
    own = {name: abi.native(of_one, base) for name, of_one in found.items()}
    yield from libraries.missing(having, own, Places(having, own, base, files), loader)
    yield from torch_abi.other_torch(having, own, base)
