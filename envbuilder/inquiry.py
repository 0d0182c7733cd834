"""Questions after a refusal, and what the answers are read for: who requires what, through whom, with which bound."""

from __future__ import annotations

from collections import deque

from envbuilder.answer import Answer, Question, Unsolvable, ask, requirements_of, requirers
from envbuilder.bounds import Bound, applies, parsed
from envbuilder.classes import dataclass, replace
from envbuilder.stubs import without_bounds
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from envbuilder.base import Base
    from envbuilder.config import Plugin
    from envbuilder.uv import Uv


class World(NamedTuple):
    """An answer and how its packages hang together."""

    question: Question
    answer: Answer
    requirers: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inquiry:
    """A failed question, and what is needed to ask further; `requires` are the requirements of built plugins."""

    uv: Uv
    question: Question
    base: Base
    plugins: Mapping[str, Plugin]
    requires: Mapping[str, tuple[str, ...]]
    scratch: str

    def ask(self, question: Question) -> Answer | Unsolvable:
        """Ask without preferences: why there is no answer does not depend on them."""
        return ask(self.uv, replace(question, preferred={}, upgrade=None), self.scratch)

    def world(self, question: Question, answer: Answer) -> World:
        """Find out how the packages of an answer hang together."""
        return World(question, answer, requirers(self.uv, question, answer, self.scratch))

    def requirements(self, name: str, world: World) -> tuple[str, ...]:
        """Return the `Requires-Dist` lines of a package of `world`, bounds that its plugin ignores taken off.

        None where they cannot be had.
        """
        if name in self.requires:
            return self.requires[name]
        package = world.answer.package(name)
        if package is None:
            return ()
        try:
            lines = requirements_of(self.uv, package, python=self.base.python, scratch=self.scratch)
        except LookupError:
            return ()
        plugin = self.plugins.get(package.plugin)
        return without_bounds(lines, plugin.ignore) if plugin else lines


def chain_to(name: str, world: World) -> tuple[str, ...]:
    """Name what leads from a plugin's package to `name`: packages, the plugin's first, `name` last."""
    roots = {root.name for root in world.question.roots if root.plugin}
    paths: deque[tuple[str, ...]] = deque([(name,)])
    seen = {name}
    while paths:
        path = paths.popleft()
        if path[0] in roots:
            return path
        for requirer in world.requirers.get(path[0], ()):
            if requirer not in seen:
                seen.add(requirer)
                paths.append((requirer, *path))
    return (name,)


def bounds_of(inquiry: Inquiry, name: str, plugin: str, world: World) -> Iterator[Bound]:
    """Yield the requirements of a package that count here, with the extras that the plugin's entry names."""
    root = next((root for root in world.question.roots if root.name == name), None)
    extras = inquiry.plugins[plugin].extras if root and plugin in inquiry.plugins else ()
    for requirement in filter(None, map(parsed, inquiry.requirements(name, world))):
        if applies(requirement, inquiry.base.markers, extras):
            yield Bound(requirer=name, requirement=requirement)


def bounds_on(inquiry: Inquiry, name: str, plugin: str, world: World) -> Iterator[Bound]:
    """Yield the requirements on `name` in a world."""
    for requirer in world.requirers.get(name, ()):
        yield from (bound for bound in bounds_of(inquiry, requirer, plugin, world) if bound.name == name)


def spelled(chain: Iterable[str], world: World) -> tuple[str, ...]:
    """Add to each package of a chain its version in `world`."""
    return tuple(f"{name} {world.answer.versions.get(name, '')}".rstrip() for name in chain)
