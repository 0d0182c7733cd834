"""What one server has shown so far: since when it is healthy, whether for long enough, and what is wrong with it."""

from __future__ import annotations

import time

from envbuilder.heartbeat import Pace, Target
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from envbuilder.server import Server

_NOTHING = "there is no answer"
_OFTEN = 0.02
_BREAKS = 10
"""How many good stretches a set that is on trial has, from its first good answer on, to have one without a break."""
_AGAIN = 1.0
"""Seconds until what could not be settled is tried again."""


class Watch(NamedTuple):
    """What is watched, and for how long (seconds).

    `health_timeout` is the time to get healthy, `good_after` how long it must stay so to be good; `retries` is how
    often a server is started again, `first_delay` the wait before the first of these, doubled each time; `grace` is
    the time that one has to end which is not healthy. `rollback` says whether the profile is moved where a set turns
    out to be bad.
    """

    target: Target
    rollback: bool = False
    health_timeout: float = 1800.0
    good_after: float = 60.0
    retries: int = 3
    first_delay: float = 1.0
    grace: float = 30.0
    pace: Pace = Pace()


class Trial:
    """The time of one server, from its start on.

    `is_told` and `is_settled` are the caller's notes: that it is healthy was told, and what became of its set recorded.
    `must_prove` says that its set is not known to be good.
    """

    def __init__(self, server: Server, watch: Watch, *, must_prove: bool = False) -> None:
        self.is_told = False
        self.is_settled = False
        self._must_prove = must_prove
        self._server, self._watch = server, watch
        interval = min(watch.pace.interval, max(watch.good_after, _OFTEN))
        self._pulse = server.ask(watch.target, watch.pace._replace(interval=interval))
        self._since: float | None = None

    def look(self) -> str:
        """Take note of its health; return why it must be ended, or ""."""
        healthy, missed = self._pulse.healthy, self._pulse.missed + self._pulse.overdue
        if healthy is None and self._server.seconds >= self._watch.health_timeout:
            return f"it did not get healthy within {self._watch.health_timeout:g} s: {self._pulse.why}"
        if healthy is not None and missed >= self._watch.pace.misses:
            return f"it was healthy, and then {missed} times in a row was not: {self._pulse.why or _NOTHING}"
        if self._is_late:
            longest = f"{self._watch.good_after * _BREAKS:g} s"
            return f"it was healthy, but in {longest} never for {self._watch.good_after:g} s without a break"
        if not healthy:
            self._since = None
        elif self._since is None:
            self._since = self._pulse.good_at
        return ""

    @property
    def was_healthy(self) -> bool:
        return self._pulse.healthy is not None

    @property
    def _is_late(self) -> bool:
        """Tell whether a set that is on trial blinks: its time to have one good stretch is over."""
        if not self._must_prove or not self.was_healthy or self.is_proven:
            return False
        return time.monotonic() >= self._pulse.first_good_at + self._watch.good_after * _BREAKS

    @property
    def is_healthy(self) -> bool:
        return self._since is not None

    @property
    def seconds(self) -> float:
        """Return how long ago it was started."""
        return round(self._server.seconds, 3)

    @property
    def is_proven(self) -> bool:
        """Tell whether it has been healthy for long enough, without a break: by its answers, not by their lack."""
        return self._since is not None and self._pulse.good_at >= self._since + self._watch.good_after

    @property
    def left(self) -> float:
        """Return the seconds until time alone changes something; answers and signals wake up by themselves."""
        if self._pulse.healthy is None:
            return max(0.01, self._watch.health_timeout - self._server.seconds)
        if self.is_proven and not self.is_settled:
            return _AGAIN
        return self._watch.pace.interval + 2 * self._watch.pace.patience
