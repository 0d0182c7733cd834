"""One server: a command in a session of its own, with what it says passed on, its health asked for, and its end.

When it has ended, nothing of it is left: no process that it started, whatever session that made for itself.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from envbuilder import process
from envbuilder.contexts import suppress
from envbuilder.errors import VpmError
from envbuilder.heartbeat import Pulse
from envbuilder.signals import OF_TERMINALS
from envbuilder.tee import Tee

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from envbuilder.heartbeat import Pace, Target
    from envbuilder.offspring import Offspring
    from envbuilder.signals import Signals

LEFTOVER_GRACE = 5.0
"""Seconds that processes have that it left behind: some only tidy up when all others are gone."""
STUCK = 60.0
"""Seconds after which a process that was killed and has not ended never will."""
_TICK = 0.05


class Server:
    """A server that runs, or has ended.

    `code` is None as long as its first process lives; negative, it is the signal that ended that.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str], offspring: Offspring, signals: Signals) -> None:
        self.code: int | None = None
        self.tee = Tee()
        self._offspring = offspring
        self._signals = signals
        stdout, stderr = self.tee.open()
        try:
            self.pid = process.start(command, env=env, stdout=stdout, stderr=stderr)
        except OSError:
            self.tee.leave()
            raise
        self.started = time.monotonic()
        self.tee.start()
        self.pulse: Pulse | None = None

    @property
    def seconds(self) -> float:
        """Return how long ago it was started."""
        return time.monotonic() - self.started

    def ask(self, target: Target, pace: Pace) -> Pulse:
        """Begin to ask for its health."""
        self.pulse = Pulse(target, pace, self._signals.wake)
        self.pulse.start()
        return self.pulse

    def pass_on(self, number: int) -> None:
        """Give it a signal that was meant for it."""
        if number == signal.SIGWINCH:
            self.tee.resize()
        if self.code is None:
            process.send(self.pid, number, to_group=number in OF_TERMINALS)

    def reap(self) -> bool:
        """Take note of children that ended, orphans among them; tell whether the server's first process has ended."""
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == self.pid:
                    self.code = os.waitstatus_to_exitcode(found[1])
        return self.code is not None

    def end(self, grace: float) -> int:
        """End it with all that it started; return its exit code when nothing of it is left.

        It has `grace` seconds; what it leaves behind by itself has less. Raise `VpmError` where something of it cannot
        be ended.
        """
        until = time.monotonic() + grace
        is_wished = not self.reap() or self._signals.explain(self.code or 0)
        if self.code is None:
            process.send(self.pid, signal.SIGTERM)
        self._wait_until(self.reap, grace)
        self._send(signal.SIGTERM)
        left = until - time.monotonic() if is_wished else 0.0  # a shell ends at once, and the server is its child
        self._wait_until(self._is_gone, max(left, min(grace, LEFTOVER_GRACE)))
        deadline = time.monotonic() + STUCK
        while not self._is_gone():
            if time.monotonic() > deadline:
                raise VpmError(f"process {self._left()[0]} of the server does not end, not even when it is killed")
            self._send(signal.SIGKILL)
            self._signals.wait(_TICK)
        if self.pulse:
            self.pulse.stop()
        self.tee.finish(1.0)
        return self.code or 0

    def _left(self) -> list[int]:
        return self._offspring.living() or ([] if self.code is not None else [self.pid])

    def _is_gone(self) -> bool:
        return self.reap() and not self._offspring.living()

    def _send(self, number: int) -> None:
        if self.code is None or not self._offspring.is_known:
            process.send(self.pid, number, to_group=True)
        for pid in self._offspring.living():
            process.send(pid, number)

    def _wait_until(self, reached: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not reached() and time.monotonic() < deadline:
            self._signals.wait(_TICK)
            for number in self._signals.take():
                self.pass_on(number)
