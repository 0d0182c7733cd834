"""Which processes descend from this one, as `/proc` tells: those of a server that it started, daemons included.

A process that was there before, or that is of a session that was, is nobody's server's: a script may have started
others before it became vpm-env.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENDED = "ZX"


class Offspring(NamedTuple):
    """What descends from process `parent`; `sessions` are those that were there before."""

    parent: int
    sessions: frozenset[int]

    @classmethod
    def from_now_on(cls) -> Offspring:
        """Leave out what there is by now."""
        found = {session for _, _, session in _processes()}
        return cls(os.getpid(), frozenset({os.getsid(0), *found}))

    @property
    def is_known(self) -> bool:
        """Tell whether there is a `/proc` that says."""
        return os.path.isdir("/proc/self")

    def living(self) -> list[int]:
        """List the descendants that have not ended; none where there is no `/proc`."""
        children: dict[int, list[tuple[int, int]]] = {}
        for pid, parent, session in _processes():
            children.setdefault(parent, []).append((pid, session))
        found: list[int] = []
        left = [self.parent]
        while left:
            for pid, session in children.get(left.pop(), ()):
                if session not in self.sessions:
                    found.append(pid)
                    left.append(pid)
        return found


def _processes() -> Iterator[tuple[int, int, int]]:
    """Yield id, parent and session of every process that has not ended."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in filter(str.isdigit, names):
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as stream:
                state, parent, _, session = stream.read().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue  # ended meanwhile
        if state not in _ENDED:
            yield int(name), int(parent), int(session)
