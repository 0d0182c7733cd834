"""Find the few of many things that make a check fail: by halves, and those that fail only together too.

Delta debugging for checks of which some cannot be made: a check passes, fails, or cannot be judged. Where failing is
monotone (what fails with some things fails with more of them, too), each cause is the fewest things that fail; of `n`
things, a cause of `k` takes k * (ceil(log2(n)) + 1) checks.
"""

from __future__ import annotations

from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Things = frozenset[int]
    Check = Callable[[frozenset[int]], str]

PASSES, FAILS, UNJUDGED = "passes", "fails", "unjudged"


class Cause(NamedTuple):
    """Things that fail together, in their order; `is_exact` says that with one of them less they do not.

    `cure` are those of them to do without: one, if that could be judged; none if not even all of them.
    """

    things: tuple[int, ...]
    is_exact: bool
    cure: tuple[int, ...] = ()


class Found(NamedTuple):
    """Why things fail; `is_cured` says that without all cures, what is left was seen to pass."""

    causes: tuple[Cause, ...]
    is_cured: bool


def narrow(count: int, check: Check) -> Found:
    """Find why the things below `count` fail, cause by cause, until what is left passes.

    All of them fail, and none passes: both is known. No set is checked twice.
    """
    known: dict[Things, str] = {frozenset(): PASSES, frozenset(range(count)): FAILS}

    def remembered(things: Things) -> str:
        if things not in known:
            known[things] = check(things)
        return known[things]

    left, found, outcome = list(range(count)), list[Cause](), FAILS
    while outcome == FAILS:
        cause = _cause(left, remembered)
        cure, outcome = _cure(left, cause, remembered)
        found.append(cause._replace(cure=cure))
        left = [thing for thing in left if thing not in cure]
    return Found(tuple(found), outcome == PASSES)


def _cause(left: Sequence[int], check: Check) -> Cause:
    """Find the fewest of `left`, which fail, that fail too."""
    needed: list[int] = []
    unsure: list[int] = []
    while (alone := check(frozenset(needed))) != FAILS:
        begin, end = _boundary(needed, left, check)
        block, left = left[begin:end], left[:begin]
        needed += block
        if len(block) > 1 or (begin == 0 and alone == UNJUDGED):
            unsure += block
    exact = True
    for thing in unsure:
        outcome = check(frozenset(needed) - {thing})
        if outcome == FAILS:
            needed.remove(thing)
        exact = exact and outcome != UNJUDGED
    return Cause(tuple(sorted(needed)), exact or len(needed) == 1)


def _boundary(needed: Sequence[int], left: Sequence[int], check: Check) -> tuple[int, int]:
    """Find how few of `left`, from its begin, fail with what is needed; what lies between the numbers is to blame.

    Returned are how many are known not to fail, and how many are known to fail: one apart, unless what is between
    cannot be judged.
    """
    passing, failing = 0, len(left)
    unjudged: set[int] = set()
    while True:
        middle = (passing + failing) // 2
        between = [at for at in range(passing + 1, failing) if at not in unjudged]
        if not between:
            return passing, failing
        at = min(between, key=lambda number: abs(number - middle))
        outcome = check(frozenset((*needed, *left[:at])))
        if outcome == FAILS:
            failing = at
        elif outcome == PASSES:
            passing = at
        else:
            unjudged.add(at)


def _cure(left: Sequence[int], cause: Cause, check: Check) -> tuple[tuple[int, ...], str]:
    """Find out what becomes of the rest when one thing of a cause goes, or all of them, whatever can be judged."""
    for cure in (*((thing,) for thing in reversed(cause.things)), cause.things):
        outcome = check(frozenset(left).difference(cure))
        if outcome != UNJUDGED:
            return cure, outcome
    return (), UNJUDGED
