"""Locks for file systems that have none: each who has a lock, or tries to, leaves a file whose name says who that is.

A ticket is put down first, and only then are the others looked at. Of two who do that at once at least one sees the
other, and whoever sees one that is in the way takes the own ticket back and tries again later. Nobody ever takes over
another's, so there is no race for what a dead process left. That holds as far as a file system shows new files to all
at once; between machines many such do so only after a moment.
"""

from __future__ import annotations

import os
import re
import time
from os.path import basename, dirname, join

from envbuilder.tuples import NamedTuple

_TICKET = re.compile(r"(?P<mode>[sx])-(?P<world>[0-9a-f]{12})-(?P<pid>\d+)-(?P<start>\d+)-[0-9a-f]{12}")
FOLDER = ".tickets"
"""Ends the name of the folder that a lock's tickets lie in."""
_LONGEST = 3600.0
"""Seconds that a ticket of another machine or container counts: nobody here can tell whether its process lives."""
_PAUSE = 0.05
"""Seconds, at most, that are waited before another try: those who got in each other's way must not do so in step."""


class _Ticket(NamedTuple):
    path: str
    is_shared: bool
    world: str
    pid: int
    start: int


def new(path: str, *, is_shared: bool) -> str:
    """Name a new ticket of this process for the lock `path`."""
    mode = "s" if is_shared else "x"
    return join(_folder(path), f"{mode}-{world()}-{os.getpid()}-{_start(os.getpid())}-{os.urandom(6).hex()}")


def others(own: str) -> tuple[bool, list[str]]:
    """Tell whether somebody has a lock that is in the way of this ticket, and which tickets dead processes left."""
    now, is_shared = _modified(own), basename(own).startswith("s")
    rest = [ticket for ticket in _tickets(dirname(own)) if ticket.path != own]
    living = [ticket for ticket in rest if _lives(ticket, now)]
    dead = [ticket.path for ticket in rest if ticket not in living]
    return any(not (is_shared and ticket.is_shared) for ticket in living), dead


def pause() -> float:
    """Return how many seconds to wait before another try, at random."""
    return _PAUSE * os.urandom(1)[0] / 255


def is_drawn(path: str) -> bool:
    """Tell whether somebody has a lock, or is about to."""
    return any(_lives(ticket, time.time()) for ticket in _tickets(_folder(path)))


def _folder(path: str) -> str:
    return f"{path}{FOLDER}"


def _tickets(folder: str) -> list[_Ticket]:
    try:
        found = [(name, _TICKET.fullmatch(name)) for name in os.listdir(folder)]
    except FileNotFoundError:
        return []
    return [
        _Ticket(join(folder, name), match["mode"] == "s", match["world"], int(match["pid"]), int(match["start"]))
        for name, match in found
        if match
    ]


def _lives(ticket: _Ticket, now: float) -> bool:
    """Tell whether a ticket's process lives; of one that cannot be seen from here it is its age that says so.

    `now` is by the clock of the file system.
    """
    if ticket.world == world():
        return _start(ticket.pid) == ticket.start
    return now - _modified(ticket.path) < _LONGEST


def _modified(path: str) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0  # taken back


def world() -> str:
    """Name where process ids mean what they mean here: this start of this machine, and this container."""
    from envbuilder.digest import sha256_bytes

    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as stream:
            boot = stream.read()
        return sha256_bytes(boot + os.readlink("/proc/self/ns/pid").encode())[:12]
    except OSError:
        return sha256_bytes(os.urandom(32))[:12]  # no process can be looked at


def _start(pid: int) -> int:
    """Return when a process started, in ticks since the machine did; 0 for one that is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            words = stream.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if words[0] in (b"Z", b"X") else int(words[19])
