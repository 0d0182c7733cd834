"""Calls that may be silent for long, so made that Ctrl-C is heeded: Python acts on signals between its own steps only.

Whoever waits in its own lock is woken by a signal, and whoever is in somebody else's library is not. So that is sent
another thread, which does not count as one of Python's: nobody waits for its end.
"""

from __future__ import annotations

import _thread
import os
from queue import Empty, SimpleQueue
from threading import get_ident, main_thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Had = TypeVar("Had")

_LOOK_AFTER = 0.5
"""Seconds: a signal that came just before the wait, or that the system gave to another thread, wakes nobody."""


class _Errand:
    """A thread that makes one call after another."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], Any]] = SimpleQueue()
        self._ends: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        _thread.start_new_thread(self._serve, ())

    def made(self, call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
        """Wait for what a call returns or raises, or raise what a signal does; then this is of no use any more."""
        self._calls.put(call)
        while True:
            try:
                return self._ends.get(timeout=_LOOK_AFTER)
            except Empty:
                continue

    def _serve(self) -> None:
        while True:
            self._ends.put(_ended(self._calls.get()))


_IDLE: list[_Errand] = []
os.register_at_fork(after_in_child=_IDLE.clear)


def heeding_signals(call: Callable[[], Had]) -> Had:
    """Make a call; the main thread, which alone hears signals, waits for another to make it."""
    if get_ident() != main_thread().ident:
        return call()
    errand = _IDLE.pop() if _IDLE else _Errand()
    had, error = errand.made(call)
    _IDLE.append(errand)
    if error:
        raise error
    return had  # type: ignore[no-any-return]


def _ended(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return call(), None
    except BaseException as error:  # noqa: BLE001 (who waits is told)
        return None, error
