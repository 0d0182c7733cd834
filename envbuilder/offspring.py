"""Which processes descend from this one, as `/proc` tells: those of a server that it started, daemons included.

A process that was there before, or that is of the session of one that was, is nobody's server's: a script may have
started others before it became vpm-env.
"""

from __future__ import annotations

import os

from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENDED = "ZX"
_STARTED = 22 - 7
"""Where the start stands behind the session; `proc(5)` calls it field 22."""


class _Process(NamedTuple):
    """A process that has not ended; `started` is in ticks of the clock since the machine's start."""

    pid: int
    parent: int
    session: int
    started: int


class Offspring(NamedTuple):
    """What descends from process `parent`; `before` are those that were there before, each with its start.

    Ids come round again, of processes and of sessions; the session of a process that lives does not.
    """

    parent: int
    before: frozenset[tuple[int, int]]

    @classmethod
    def from_now_on(cls) -> Offspring:
        """Leave out what there is by now."""
        return cls(os.getpid(), frozenset((found.pid, found.started) for found in _processes()))

    @property
    def is_known(self) -> bool:
        """Tell whether there is a `/proc` that says."""
        return os.path.isdir("/proc/self")

    def living(self) -> list[int]:
        """List the descendants that have not ended; none where there is no `/proc`."""
        children: dict[int, list[_Process]] = {}
        sessions = set()
        for process in _processes():
            children.setdefault(process.parent, []).append(process)
            if (process.pid, process.started) in self.before:
                sessions.add(process.session)
        found: list[int] = []
        left = [self.parent]
        while left:
            for child in children.get(left.pop(), ()):
                if child.session not in sessions:
                    found.append(child.pid)
                    left.append(child.pid)
        return found


def _processes() -> Iterator[_Process]:
    """Yield every process that has not ended."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in filter(str.isdigit, names):
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as stream:
                state, parent, _, session, *others = stream.read().rpartition(")")[2].split()
            started = int(others[_STARTED])
        except (OSError, ValueError, IndexError):
            continue  # ended meanwhile
        if state not in _ENDED:
            yield _Process(int(name), int(parent), int(session), started)
