"""Why there is no answer: computed by asking smaller questions, not read out of the resolver's prose.

1. Each plugin alone: those that fail are to blame.
2. Such a plugin again with every bound on base packages ignored: what comes with it then, and which bounds of that
   the base breaks. Where even this fails, no base package is to blame and the resolver has the last word.
3. If each is fine alone, the plugins do not fit one another: which two, and over what.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from os.path import join
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from envbuilder.answer import Answer, Unsolvable
from envbuilder.bounds import Bound, applies, parsed
from envbuilder.classes import replace
from envbuilder.config import PyPI
from envbuilder.engines import ENGINE_DISTRIBUTIONS
from envbuilder.errors import Conflict
from envbuilder.inquiry import bounds_of, bounds_on, chain_to, spelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from envbuilder.answer import Root
    from envbuilder.base import Base
    from envbuilder.inquiry import Inquiry, World

_THREADS = 2
T = TypeVar("T")


def explain(inquiry: Inquiry, words: str) -> tuple[Conflict, ...]:
    """Say for every plugin that is to blame why it cannot be had; `words` are the resolver's on the whole question."""
    names = list(dict.fromkeys(root.plugin for root in inquiry.question.roots if root.plugin))
    answers = dict(zip(names, _each(lambda name: inquiry.ask(inquiry.question.of([name])), names), strict=True))
    failed = {name: answer for name, answer in answers.items() if isinstance(answer, Unsolvable)}
    if failed:
        found = _each(lambda name: _alone(inquiry, name, failed[name].words), failed)
        return tuple(conflict for conflicts in found for conflict in conflicts)
    worlds = {name: answer for name, answer in answers.items() if isinstance(answer, Answer)}
    return (_together(inquiry, worlds, words),)


def _alone(inquiry: Inquiry, plugin: str, words: str) -> list[Conflict]:
    """Compute why one plugin does not fit the base; the resolver's words where the base is not to blame."""
    question = inquiry.question.of([plugin])
    own = tuple(root for root in question.roots if root.plugin)
    loose = replace(question, roots=own, facts={}, forced={**question.facts, **question.forced})
    answer = inquiry.ask(loose)
    if isinstance(answer, Unsolvable):
        return [Conflict(plugin=plugin, chain=(), base_has="", cause=answer.words, ways_forward=())]
    world = inquiry.world(loose, answer)
    broken = list(_broken(inquiry, plugin, world))
    told = [(bound, inquiry.base.distributions[bound.name].version) for bound in broken]
    told += _unsuitable(inquiry, plugin, world)
    if not told:
        return [Conflict(plugin=plugin, chain=(), base_has="", cause=words, ways_forward=())]
    ways = tuple(_ways(inquiry, plugin, broken, world))
    return [
        Conflict(
            plugin=plugin,
            chain=(*spelled(chain_to(bound.requirer, world), world), bound.text),
            base_has=has,
            cause=words,
            ways_forward=ways,
        )
        for bound, has in told
    ]


def _unsuitable(inquiry: Inquiry, plugin: str, world: World) -> Iterator[tuple[Bound, str]]:
    """Find what may shadow the base but does not suit it: the bound that brings it in, and who in the base objects."""
    versions = world.answer.versions
    for needed in _of_base(inquiry):
        if needed.name in versions and not needed.allows(versions[needed.name]):
            version = inquiry.base.distributions[needed.requirer].version
            for bound in bounds_on(inquiry, needed.name, plugin, world):
                yield bound, f"{needed.requirer} {version}, which needs {needed.text}"


def _of_base(inquiry: Inquiry) -> Iterator[Bound]:
    """Yield what the base's own distributions require of packages that may shadow the base."""
    for root in inquiry.question.roots:
        requires = () if root.plugin else inquiry.base.distributions[root.name].requires
        for requirement in filter(None, map(parsed, requires)):
            needed = Bound(requirer=root.name, requirement=requirement)
            if needed.name not in inquiry.question.facts and applies(requirement, inquiry.base.markers):
                yield needed


def _broken(inquiry: Inquiry, plugin: str, world: World) -> Iterator[Bound]:
    """Find the bounds on base packages that the base breaks, the engine's first."""
    facts = inquiry.question.facts.keys() & world.answer.versions.keys()
    asking = {requirer for name in facts for requirer in world.requirers.get(name, ())} - facts
    bounds = [bound for name in sorted(asking) for bound in bounds_of(inquiry, name, plugin, world)]
    for bound in sorted(bounds, key=lambda bound: (bound.name not in ENGINE_DISTRIBUTIONS, bound.name)):
        if bound.name in facts and not bound.allows(inquiry.question.facts[bound.name].version):
            yield bound


def _ways(inquiry: Inquiry, plugin: str, broken: list[Bound], world: World) -> Iterator[str]:
    """Suggest another version of the plugin, an override, or to ignore the bounds."""
    root = next(root for root in world.question.roots if root.plugin == plugin)
    if other := _other_version(inquiry, plugin):
        yield f'`{root.name}` {other} fits this base: `version: "{other}"`'
    names = sorted({bound.name for bound in broken})
    if names and all(map(_may_be_overridden(inquiry.base), names)):
        yield f"let the plugins have their own, beside the base's: `override: [{', '.join(names)}]`"
    for requirer in sorted({bound.requirer for bound in broken}):
        ignored = ", ".join(sorted({bound.name for bound in broken if bound.requirer == requirer}))
        own = f"`{plugin}`" if requirer == root.name else f"an entry `{requirer}` of its own"
        yield f"if you know that it works all the same: `ignore: [{ignored}]` on {own}"


def _other_version(inquiry: Inquiry, plugin: str) -> str:
    """Return a version of the plugin's package that fits, whatever the config asks for; "" if there is none."""
    source = inquiry.plugins[plugin].source if plugin in inquiry.plugins else None
    if not isinstance(source, PyPI) or not source.specifier:
        return ""
    question = inquiry.question.of([plugin])
    free = tuple(_without_version(root, source) if root.plugin == plugin else root for root in question.roots)
    answer = inquiry.ask(replace(question, roots=free))
    return answer.versions.get(source.package, "") if isinstance(answer, Answer) else ""


def _without_version(root: Root, source: PyPI) -> Root:
    return replace(root, line=root.line.removesuffix(source.specifier))


def _may_be_overridden(base: Base) -> Callable[[str], bool]:
    """Allow pure packages that are no engine: two copies of a native library in one process end badly."""

    def judge(name: str) -> bool:
        try:
            text = Path(join(base.distributions[name].path, "WHEEL")).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        tags = [line for line in text.splitlines() if line.startswith("Tag:")]
        return name not in ENGINE_DISTRIBUTIONS and bool(tags) and all(line.rstrip().endswith("-any") for line in tags)

    return judge


def _together(inquiry: Inquiry, alone: Mapping[str, Answer], words: str) -> Conflict:
    """Name two plugins that cannot be had together, and over what; blame an optional one if there is one."""
    optional = {name for name, plugin in inquiry.plugins.items() if plugin.optional}
    order = sorted(alone, key=lambda name: name in optional)
    culprit = order[_first_failing(inquiry, order)]
    for other in order[: order.index(culprit)]:
        answer = inquiry.ask(inquiry.question.of([other, culprit]))
        if isinstance(answer, Unsolvable):
            cause = _clash(inquiry, {name: alone[name] for name in (other, culprit)}) or answer.words
            ways = (f"take other versions of `{other}` and `{culprit}`, or only one of them",)
            return Conflict(plugin=culprit, chain=(), base_has="", cause=cause, ways_forward=ways)
    return Conflict(plugin=culprit, chain=(), base_has="", cause=words, ways_forward=())


def _first_failing(inquiry: Inquiry, order: list[str]) -> int:
    """Find the first plugin that does not go with all before it, by bisection."""
    good, bad = 1, len(order)
    while bad - good > 1:
        middle = (good + bad) // 2
        fails = isinstance(inquiry.ask(inquiry.question.of(order[:middle])), Unsolvable)
        good, bad = (good, middle) if fails else (middle, bad)
    return bad - 1


def _clash(inquiry: Inquiry, alone: Mapping[str, Answer]) -> str:
    """Say over which package two plugins fall out: two bounds, one of each side, that do not meet."""
    worlds = {name: inquiry.world(inquiry.question.of([name]), answer) for name, answer in alone.items()}
    first, second = worlds.values()
    differing = [
        name for name, version in first.answer.versions.items() if second.answer.versions.get(name, version) != version
    ]
    for name in differing:
        left, right = (_strictest(inquiry, name, plugin, world) for plugin, world in worlds.items())
        if any(not text for text in (left, right)):
            continue
        return f"{left}, and {right}"
    return ""


def _strictest(inquiry: Inquiry, name: str, plugin: str, world: World) -> str:
    """Spell the chain from a plugin to its bound on `name`; "" if it has none."""
    root = next(root for root in world.question.roots if root.plugin == plugin)
    if root.name == name:
        return f"`{plugin}` is `{root.line}`"
    for bound in bounds_on(inquiry, name, plugin, world):
        if bound.requirement.specifier or bound.requirement.url:
            chain = spelled(chain_to(bound.requirer, world), world)
            return f"`{plugin}` needs `{bound.text}` ({' → '.join(chain)})"
    return ""


def _each(function: Callable[[str], T], names: Iterable[str]) -> list[T]:
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        return list(pool.map(function, names))
