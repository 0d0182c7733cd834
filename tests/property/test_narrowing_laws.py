"""The search for what makes a check fail: it finds a smallest cause, in few checks, whatever cannot be judged."""

from __future__ import annotations

import math
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from envbuilder.narrowing import FAILS, PASSES, UNJUDGED, Found, narrow

Sets = frozenset[frozenset[int]]
COUNTS = st.integers(1, 12)


@st.composite
def monotone(draw: st.DrawFn) -> tuple[int, Sets]:
    """Draw a number of things, and some sets of them that each make whatever holds them fail."""
    count = draw(COUNTS)
    sets = draw(st.sets(st.frozensets(st.integers(0, count - 1), min_size=1, max_size=4), min_size=1, max_size=3))
    return count, frozenset(one for one in sets if not any(other < one for other in sets))


class Checked:
    """A check that counts, and refuses to be asked twice."""

    def __init__(self, failing: Sets, unjudged: Sets = frozenset()) -> None:
        self.failing, self.unjudged = failing, unjudged
        self.asked: list[frozenset[int]] = []

    def __call__(self, things: frozenset[int]) -> str:
        assert things not in self.asked
        self.asked.append(things)
        if things in self.unjudged:
            return UNJUDGED
        return FAILS if any(one <= things for one in self.failing) else PASSES


def cures(found: Found) -> set[int]:
    return {thing for cause in found.causes for thing in cause.cure}


@given(monotone())
def test_each_cause_is_a_smallest_one_and_the_cure_helps(drawn: tuple[int, Sets]) -> None:
    count, failing = drawn
    found = narrow(count, Checked(failing))

    assert {frozenset(cause.things) for cause in found.causes} <= failing
    assert all(cause.is_exact and len(cause.cure) == 1 for cause in found.causes)
    assert found.is_cured
    assert not any(one <= set(range(count)) - cures(found) for one in failing)


@given(COUNTS, st.data())
def test_it_takes_a_logarithm_of_checks_for_each_thing_of_a_cause(count: int, data: st.DataObject) -> None:
    cause = data.draw(st.frozensets(st.integers(0, count - 1), min_size=1, max_size=3))
    check = Checked(frozenset({cause}))

    found = narrow(count, check)

    assert [frozenset(one.things) for one in found.causes] == [cause]
    assert len(check.asked) <= len(cause) * (math.ceil(math.log2(count)) + 1) + 1


@given(monotone(), st.data())
def test_what_cannot_be_judged_makes_causes_larger_at_most(drawn: tuple[int, Sets], data: st.DataObject) -> None:
    count, failing = drawn
    inner = [frozenset(some) for size in range(1, count) for some in combinations(range(count), size)]
    unjudged = frozenset(data.draw(st.lists(st.sampled_from(inner), max_size=40))) if inner else frozenset()

    found = narrow(count, Checked(failing, unjudged))

    for cause in found.causes:
        things = frozenset(cause.things)
        assert any(one <= things for one in failing)
        if cause.is_exact:
            assert not any(one <= things - {thing} for thing in things for one in failing) or len(things) == 1
    if found.is_cured:
        assert not any(one <= set(range(count)) - cures(found) for one in failing)


@given(COUNTS, st.data())
def test_a_check_that_is_not_monotone_comes_to_an_end(count: int, data: st.DataObject) -> None:
    def check(things: frozenset[int]) -> str:
        return data.draw(st.sampled_from((PASSES, FAILS, UNJUDGED)))

    found = narrow(count, check)

    assert all(cause.things for cause in found.causes)


def test_without_any_judgement_all_are_to_blame() -> None:
    found = narrow(5, lambda things: UNJUDGED)

    assert [(cause.things, cause.is_exact, cause.cure) for cause in found.causes] == [
        ((0, 1, 2, 3, 4), False, (0, 1, 2, 3, 4))
    ]
    assert found.is_cured


def test_what_could_not_be_judged_alone_is_no_exact_cause() -> None:
    outcomes = {frozenset({0}): PASSES, frozenset({1}): UNJUDGED}

    found = narrow(2, outcomes.__getitem__)

    assert [(cause.things, cause.is_exact, cause.cure) for cause in found.causes] == [((0, 1), False, (1,))]
    assert found.is_cured
