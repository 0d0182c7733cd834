"""What some packages lead to: all that they require, by whose word, and what of that is not to be had.

As the resolver sees it: of the base's distributions only those requirements count that an extra asks for.
"""

from __future__ import annotations

from envbuilder.bounds import Bound, applies, parsed
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from packaging.requirements import Requirement


class Offer(NamedTuple):
    """A package that may be had; `waived` are names whose bounds it ignores."""

    version: str
    requires: tuple[str, ...]
    is_base: bool = False
    waived: frozenset[str] = frozenset()


class Unmet(NamedTuple):
    """A requirement that is not met: who has it, and what it says; `has` is the version that is there, "" for none."""

    requirer: str
    requirement: str
    has: str


class Closure(NamedTuple):
    """The names that roots lead to, themselves included, and the requirements among them that are not met."""

    names: frozenset[str]
    unmet: frozenset[Unmet]


class Requirements:
    """What packages require where `markers` hold; a line is parsed once, however many sets are looked at."""

    def __init__(self, markers: dict[str, str]) -> None:
        self._markers = markers
        self._lines: dict[str, Requirement | None] = {}

    def closure(self, roots: Mapping[str, frozenset[str]], offer: Callable[[str], Offer | None]) -> Closure:
        """Follow what `roots` (name → the extras that are wanted of it) require; `offer` returns what there is."""
        extras: dict[str, frozenset[str]] = {}
        waiting = list(roots.items())
        while waiting:
            name, wanted = waiting.pop()
            found = offer(name)
            if found is None or (name in extras and wanted <= extras[name]):
                continue
            extras[name] = extras.get(name, frozenset()) | wanted
            waiting += [(bound.name, frozenset(bound.requirement.extras)) for bound in self._of(name, found, extras)]
        offers = {name: one for name in extras if (one := offer(name))}
        unmet = {gap for name, one in offers.items() for gap in self._unmet(name, one, extras, offers)}
        return Closure(frozenset(extras), frozenset(unmet))

    def _of(self, name: str, found: Offer, extras: Mapping[str, frozenset[str]]) -> Iterator[Bound]:
        """Yield what a package requires, with the extras that are wanted of it."""
        for line in found.requires:
            requirement = None if found.is_base and "extra" not in line else self._parsed(line)
            if requirement is None or not applies(requirement, self._markers, extras[name]):
                continue
            if not found.is_base or not applies(requirement, self._markers):
                yield Bound(name, requirement)

    def _unmet(
        self, name: str, found: Offer, extras: Mapping[str, frozenset[str]], offers: Mapping[str, Offer]
    ) -> Iterator[Unmet]:
        if found.is_base:
            return  # what the base lacks, it lacked before
        for bound in self._of(name, found, extras):
            there = offers.get(bound.name)
            if bound.name not in found.waived and not (there and _is_met(bound, there.version)):
                yield Unmet(name, bound.text, there.version if there else "")

    def _parsed(self, line: str) -> Requirement | None:
        if line not in self._lines:
            self._lines[line] = parsed(line)
        return self._lines[line]


def _is_met(bound: Bound, version: str) -> bool:
    """Tell whether a version suits; one that cannot be compared proves nothing, and a URL has no bounds."""
    from packaging.version import InvalidVersion, Version

    try:
        return bool(bound.requirement.url) or bound.allows(str(Version(version)))
    except InvalidVersion:
        return True
