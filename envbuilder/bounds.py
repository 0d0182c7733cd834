"""What packages require of one another and of the base, evaluated for the base's interpreter."""

from __future__ import annotations

import re

from envbuilder.engines import ENGINES, is_plugin_group
from envbuilder.members import has_hidden
from envbuilder.names import normalized
from envbuilder.subject import ERROR, WARNING
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from packaging.requirements import Requirement

    from envbuilder.base import Base
    from envbuilder.errors import Finding
    from envbuilder.subject import Subject

    Needs = Mapping[str, Sequence[Requirement]]

_ONLY_WITH_EXTRA = re.compile(r";(?!.*\bor\b).*\bextra\s*==\s*[\"'](?P<extra>[^\"']+)[\"']")
"""A line that an extra alone asks for; most lines of a large package are such, and to parse one takes 50 µs."""
_FOR_AUTHORS = re.compile(r"(dev|doc|test|lint|ci|typ|build|bench|example|notebook)")
"""Extras for whoever works on a package: what they pin is what it was tried with, no more."""


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


def is_one_line(text: str) -> bool:
    """Tell whether a text is one line of a header and all of it is to be seen; a tab is a blank."""
    return not has_hidden(text.replace("\t", " "))


def parsed(line: str) -> Requirement | None:
    """Parse a `Requires-Dist` line; None for one that cannot be, or is no line."""
    from packaging.requirements import InvalidRequirement, Requirement  # many packages require nothing

    if not is_one_line(line):
        return None
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def bare(requirement: Requirement) -> str:
    """Spell what is required without its URL, its bounds and its marker: `demo[audio,video]`."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}"


def marker_of(line: str, requirement: Requirement) -> str:
    """Return the marker of a line, `; …`, as it is written there; "" where it has none.

    Never spell a marker that was parsed: its escapes are characters by then, and a line feed among them begins a line.
    """
    if requirement.marker is None:
        return ""
    behind = line.partition("@")[2].partition(requirement.url)[2] if requirement.url else line
    return f"; {behind.partition(';')[2].strip()}"


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
    required = {name: [normalized(each.name) for each in of_one] for name, of_one in needs.items()}
    _follow(found, required)
    if len(found) < len(required):  # what is left was asked for by an extra
        _follow(found, {subject.name: _named_at_all(subject) for subject in subjects})
    return found


def _follow(found: dict[str, str], required: Mapping[str, Sequence[str]]) -> None:
    pending = list(found)
    for name in pending:
        new = [each for each in required.get(name, ()) if each in required and each not in found]
        found.update(dict.fromkeys(new, found[name]))
        pending += new


def _named_at_all(subject: Subject) -> list[str]:
    """Name all that a package requires, with whatever extra."""
    return [normalized(each.name) for each in filter(None, map(parsed, subject.package.requires))]


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
            if is_met(requirement, versions.get(name)):
                continue
            has = f"the {'set' if name in members else 'base'} has {versions[name]}" if name in versions else ""
            if release := _release(requirement, versions.get(name)):
                yield _before_release(subject, requirement, has, release)
            else:
                yield _finding(subject, requirement, has, waived=name in waived)


def hidden(subjects: Sequence[Subject], base: Base, ignored: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Find bounds on the engine, or on what an extra called after it requires, that no resolver looks at.

    A package may have an extra for each version of the engine: one that fits is enough. Asked are the config's plugins
    and what has entry points for the engine: a library such as Ray has such an extra for who wants the engine from it.
    """
    names = {name for engine in ENGINES for name in (engine.name, *engine.distributions)} & base.distributions.keys()
    for subject in filter(lambda each: _is_asked(each, base), subjects):
        told: dict[str, list[tuple[str, Requirement]]] = {}
        waived = set(ignored.get(subject.plugin, ())) if subject.plugin else set()
        for extra, requirement in _behind_extras(subject, names):
            told.setdefault(normalized(requirement.name), []).append((extra, requirement))
        for name in sorted(told.keys() & base.distributions.keys() - waived):
            version = base.distributions[name].version
            if not any(_is_nearly_met(requirement, version) for _, requirement in told[name]):
                yield _hidden_bound(subject, *told[name][0], version)


def _is_asked(subject: Subject, base: Base) -> bool:
    return bool(subject.plugin) or any(is_plugin_group(group, base.engine) for group in subject.package.entry_points)


def _behind_extras(subject: Subject, engines: set[str]) -> Iterator[tuple[str, Requirement]]:
    """List the requirements behind extras that speak of an engine, or that an extra called after one has."""
    for line in subject.package.requires:
        found = _ONLY_WITH_EXTRA.search(line)
        extra = normalized(found["extra"]) if found else ""
        if not extra or _FOR_AUTHORS.match(extra):
            continue
        is_engines = any(f"-{name}-" in f"-{extra}-" for name in engines)
        requirement = parsed(line) if is_engines or line.lower().startswith(tuple(engines)) else None
        if requirement and (is_engines or normalized(requirement.name) in engines):
            yield extra, requirement


def is_met(requirement: Requirement, version: str | None) -> bool:
    """Tell whether a version satisfies a requirement; one that cannot be compared proves nothing."""
    from packaging.version import InvalidVersion, Version

    if version is None:
        return False
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True


def release_of(version: str) -> str:
    """Return the release that a development version or a release candidate comes before; "" for any other."""
    from packaging.version import InvalidVersion, Version

    try:
        known = Version(version)
    except InvalidVersion:
        return ""
    return known.base_version if known.is_prerelease else ""


def _release(requirement: Requirement, version: str | None) -> str:
    """Return the release of a version that does not satisfy a requirement, if that would."""
    release = release_of(version or "")
    return release if release and is_met(requirement, release) else ""


def _is_nearly_met(requirement: Requirement, version: str) -> bool:
    return is_met(requirement, version) or bool(_release(requirement, version))


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


def _before_release(subject: Subject, requirement: Requirement, has: str, release: str) -> Finding:
    return subject.finding(
        "bound-of-release",
        WARNING,
        what=f"`{subject.label}` requires `{requirement.name}{requirement.specifier}`, and {has}, which comes before "
        f"{release}",
        why="what the release has may not be in it yet",
        way_forward=f"try what `{subject.name}` is for, or use a base with {requirement.name} {release}",
    )


def _hidden_bound(subject: Subject, extra: str, requirement: Requirement, version: str) -> Finding:
    return subject.finding(
        "bound-behind-extra",
        WARNING,
        what=f"`{subject.label}` requires `{requirement.name}{requirement.specifier}` with its extra `{extra}` alone, "
        f"and the base has {version}",
        why="nobody asks for that extra where the engine is there already, so no resolver sees the bound",
        way_forward=f"use a release of `{subject.name}` for {requirement.name} {version}",
    )


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
