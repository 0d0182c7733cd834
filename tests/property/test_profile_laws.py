"""Laws of profiles, as a state machine against a small model: a stack, which sets are bad, and a hold."""

from __future__ import annotations

import shutil
import tempfile

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from envbuilder import profile as profiles
from envbuilder import recording, switching
from envbuilder.errors import ProfileError
from envbuilder.paths import Layout
from envbuilder.profile import Generation, Profile


class History(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.profile = Profile(layout=Layout(home=self.folder), name="default", base_key="b" * 12)
        self.stack: list[int] = []
        self.digests: list[str] = []
        self.bad: set[int] = set()
        self.held = False

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @property
    def count(self) -> int:
        return len(self.digests)

    @rule(switch=st.booleans(), digest=st.sampled_from("def"))
    def build(self, switch: bool, digest: str) -> None:
        made = recording.add(self.profile, self._generation(digest * 64), config=b"", lock="")
        self.digests.append(digest)
        assert made.number == self.count
        if switch:
            profiles.switch(self.profile, made.number, verb="build", hold=False)
            self._push(made.number, held=False)

    @precondition(lambda self: self.count)
    @rule(data=st.data())
    def switch(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, self.count))
        profiles.switch(self.profile, number, verb="switch", hold=True)
        self._push(number, held=True)

    @precondition(lambda self: self.stack)
    @rule()
    def rollback(self) -> None:
        below = self.stack[:-1]
        while below and (below[-1] in self.bad or self._digest(below[-1]) == self._digest(self.stack[-1])):
            below = below[:-1]
        if not below:
            with pytest.raises(ProfileError):
                switching.rollback_order(self.profile)
            return
        after = switching.rollback_order(self.profile)
        assert after == below
        profiles.switch(self.profile, after[-1], verb="rollback", hold=True, after=after)
        self.stack, self.held = below, True

    @precondition(lambda self: self.count)
    @rule(data=st.data())
    def mark_bad(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, self.count))
        switching.mark(self.profile, number, state="bad")
        self.bad |= {other for other in range(1, self.count + 1) if self._digest(other) == self._digest(number)}

    @invariant()
    def agrees(self) -> None:
        assert profiles.current(self.profile) == (self.stack[-1] if self.stack else None)
        assert profiles.order(self.profile).numbers == self.stack
        assert profiles.order(self.profile).held == self.held
        assert profiles.numbers(self.profile) == list(range(1, self.count + 1))

    def _push(self, number: int, *, held: bool) -> None:
        if self.stack[-1:] != [number]:
            self.stack = [*self.stack, number]
        self.held = held

    def _digest(self, number: int) -> str:
        return self.digests[number - 1]

    def _generation(self, digest: str) -> Generation:
        return Generation(
            number=0,
            digest=digest,
            base_key="b" * 12,
            created="2026-01-01T00:00:00+00:00",
            state="untried",
            keep=False,
            config="",
            base={},
            inputs={},
            packages=[],
            left_out={},
            reason="build",
        )


History.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestHistory = History.TestCase
