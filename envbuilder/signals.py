"""The signals that a supervisor gets: noted, so that it can pass them on, and waited for."""

from __future__ import annotations

import math
import select
import signal
import socket
import time
from typing import TYPE_CHECKING

from envbuilder.contexts import contextmanager, suppress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any

    from typing_extensions import Self

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""After these, the end of a server is what was asked for."""
OF_TERMINALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGWINCH)
"""What terminals send to all processes of a command, and not to the first of them alone."""
FORWARDED = (*STOPPING, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)


_HUNG_UP = (-signal.SIGHUP, 128 + signal.SIGHUP)
"""How a server ends that does not take this signal for the wish to read its files again."""


class StoppedError(BaseException):
    """A signal that asks to end, while there is no server to pass it on to."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _TooSlowError(BaseException):
    """Nobody takes what is to be told."""


class Signals:
    """Note down what is to be passed on; one that is ignored goes on being ignored, here and in the server.

    `seen` are those that ever came.
    """

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self._noted: list[int] = []
        self._raises = False
        self._is_brief = False

    def __enter__(self) -> Self:
        self._near, self._far = socket.socketpair()
        for end in (self._near, self._far):
            end.setblocking(False)
        numbers = [number for number in FORWARDED if signal.getsignal(number) is not signal.SIG_IGN]
        self._before: dict[int, Any] = {number: signal.signal(number, self._note) for number in numbers}
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)  # it only has to wake us up
        self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._cut_short)
        self._wakeup = signal.set_wakeup_fd(self._far.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._near.close()
        self._far.close()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.seen.add(number)
        self._noted.append(number)
        self._stop_now()

    def _stop_now(self) -> None:
        if self._raises and (stops := self.seen.intersection(STOPPING)):
            raise StoppedError(min(stops))

    def _cut_short(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_brief:
            raise _TooSlowError

    def briefly(self, act: Callable[[], None], seconds: float = 1.0) -> bool:
        """Do what may block for ever, but only so long; tell whether it was done."""
        try:
            try:
                self._is_brief = True
                signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
                act()
            finally:
                self._is_brief = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        except _TooSlowError:
            return False
        return True

    def explain(self, code: int) -> bool:
        """Tell whether it was asked for that a server ends, which has ended with `code`."""
        return bool(self.seen.intersection(STOPPING)) or (signal.SIGHUP in self.seen and code in _HUNG_UP)

    def take(self) -> list[int]:
        """Return what came since the last call."""
        taken, self._noted = self._noted, []
        return taken

    def wake(self) -> None:
        """End a `wait` of another thread."""
        with suppress(OSError):  # it will wake up in any case, or nobody waits any more
            self._far.send(b"\0")

    def wait(self, seconds: float) -> None:
        """Wait for a signal, also of the end of a child, or for `wake`, but no longer than that."""
        poll = select.poll()  # `select` takes no number above 1023
        poll.register(self._near, select.POLLIN)
        if poll.poll(math.ceil(max(0.0, seconds) * 1000)):
            with suppress(BlockingIOError):
                while self._near.recv(4096):
                    pass

    @contextmanager
    def without_server(self) -> Iterator[None]:
        """Let a signal that asks to end do so at once: raise `StoppedError`."""
        self._raises = True
        try:
            self._stop_now()
            yield
        finally:
            self._raises = False

    def sleep(self, seconds: float) -> None:
        """Wait that long, whatever wakes us up meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.wait(left)
