"""What packages require of one another and of the base, evaluated for the base's interpreter."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from envbuilder.names import normalized
from envbuilder.subject import ERROR, WARNING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from packaging.requirements import Requirement

    from envbuilder.base import Base
    from envbuilder.errors import Finding
    from envbuilder.subject import Subject

    Needs = Mapping[str, Sequence[Requirement]]

_ONLY_WITH_EXTRA = re.compile(r";(?!.*\bor\b).*\bextra\s*==")
"""A line that no extra asks for; most lines of a large package are such, and to parse one takes 50 µs."""


class Bound(NamedTuple):
    """One requirement in a set: who has it, and what it says."""

    requirer: str
    requirement: Requirement

    @property
    def name(self) -> str:
        """Return the normalized name of what is required."""
        return normalized(self.requirement.name)

    @property
    def text(self) -> str:
        """Spell it without extras and markers: `vllm>=0.15,<0.17`."""
        if self.requirement.url:
            from envbuilder.indexes import without_credentials  # few requirements have one

            return f"{self.name} @ {without_credentials(self.requirement.url)}"
        return self.name + ",".join(sorted(map(str, self.requirement.specifier), key=_lower_bounds_first))

    def allows(self, version: str) -> bool:
        """Tell whether a version satisfies it; none satisfies a URL."""
        return not self.requirement.url and self.requirement.specifier.contains(version, prereleases=True)


def parsed(line: str) -> Requirement | None:
    """Parse a `Requires-Dist` line; None for one that cannot be."""
    from packaging.requirements import InvalidRequirement, Requirement  # many packages require nothing

    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def applies(requirement: Requirement, markers: dict[str, str], extras: Iterable[str] = ()) -> bool:
    """Tell whether a requirement counts where `markers` hold, with any of `extras` or without."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({**markers, "extra": extra}) for extra in ("", *extras))


def needs_of(subjects: Sequence[Subject], base: Base) -> Needs:
    """Return package → what it requires on the base's interpreter, without extras."""
    markers = {"extra": "", **base.markers}
    return {subject.name: list(_required(subject, markers)) for subject in subjects}


def bringers(subjects: Sequence[Subject], needs: Needs) -> dict[str, str]:
    """Return package → the plugin that brings it in: its own, or the first one whose requirements lead to it."""
    found = {subject.name: subject.plugin for subject in subjects if subject.plugin}
    pending = list(found)
    for name in pending:
        for requirement in needs.get(name, ()):
            required = normalized(requirement.name)
            if required in needs and required not in found:
                found[required] = found[name]
                pending.append(required)
    return found


def unmet(
    subjects: Sequence[Subject], needs: Needs, base: Base, ignored: Mapping[str, Sequence[str]]
) -> Iterator[Finding]:
    """Find requirements that neither the packages nor the base meet; `ignored` is plugin → names it need not fit."""
    versions = {name: dist.version for name, dist in base.distributions.items()}
    versions |= {subject.name: subject.package.version for subject in subjects}
    members = {subject.name for subject in subjects}
    for subject in subjects:
        waived = {normalized(name) for name in ignored.get(subject.plugin, ())} if subject.plugin else set()
        for requirement in needs[subject.name]:
            name = normalized(requirement.name)
            if not _is_met(requirement, versions.get(name)):
                has = f"the {'set' if name in members else 'base'} has {versions[name]}" if name in versions else ""
                yield _finding(subject, requirement, has, waived=name in waived)


def _required(subject: Subject, markers: dict[str, str]) -> Iterator[Requirement]:
    lines = [line for line in subject.package.requires if not _ONLY_WITH_EXTRA.search(line)]
    if not lines:
        return
    from packaging.requirements import InvalidRequirement, Requirement  # many packages require nothing

    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue  # the resolver has read it, in whatever way it reads such lines
        if requirement.marker is None or requirement.marker.evaluate(markers):
            yield requirement


def _is_met(requirement: Requirement, version: str | None) -> bool:
    from packaging.version import InvalidVersion, Version

    if version is None:
        return False
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True  # a version that cannot be compared proves nothing


def _finding(subject: Subject, requirement: Requirement, has: str, *, waived: bool) -> Finding:
    wanted = f"{requirement.name}{requirement.specifier}"
    what = f"`{subject.label}` requires `{wanted}`, and {has or 'neither the set nor the base has it'}"
    if waived:
        return subject.finding(
            "bound-ignored",
            WARNING,
            what=what,
            why=f"`{subject.plugin}` says `ignore: [{requirement.name}]`, so this does not stop it",
            way_forward=f"take `{requirement.name}` out of `ignore:` once a release of `{subject.name}` fits",
        )
    return subject.finding(
        "requirement-unmet",
        ERROR,
        what=what,
        why="code that relies on it fails when it is imported, or later",
        way_forward=f"use a release of `{subject.name}` that fits, or `ignore: [{requirement.name}]` at your own risk",
    )


def _lower_bounds_first(specifier: str) -> tuple[bool, bool, str]:
    return specifier[0] == "!", specifier[0] == "<", specifier
