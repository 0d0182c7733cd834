"""Who holds a lock, and since when: what the lock file notes, as far as `/proc` does not know better."""

from __future__ import annotations

import os
import time
from os.path import isdir, join

from envbuilder.contents import start_of

_NAMED = 3
"""How many holders are named; a busy home may have a dozen builds."""


def holders(path: str) -> str:
    """Say who holds the flock of a file: `process 4711 (for 12 s)`, `process 4711 (for 12 s) and process 4712 (…)`.

    Those that share it have a line each in the file. Who cannot be seen from here, as from within another container,
    is `another process`.
    """
    now = int(time.time())
    told = [
        f"process {pid} (for {max(0, now - since)} s)" for pid, since in _noted(path).items() if _has_open(pid, path)
    ]
    if len(told) > _NAMED:
        told[_NAMED:] = [f"{len(told) - _NAMED} more"]
    return " and ".join(filter(None, (", ".join(told[:-1]), *told[-1:]))) or "another process"


def having_open(path: str) -> list[int]:
    """Name the processes of this machine that have a file open, as far as this user may look at them."""
    own = os.getpid()
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != own]
    except OSError:
        return []
    return [pid for pid in pids if _opened(pid, path)]


def _opened(pid: int, path: str) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        return any(_is_same(join(folder, name), path) for name in os.listdir(folder))
    except OSError:
        return False


def _noted(path: str) -> dict[int, int]:
    """Return who took the lock, id → seconds since the epoch, in that order; some may have given it back."""
    try:
        said = start_of(path, 1 << 16, regular=True).decode("ascii", "replace")
    except OSError:
        return {}
    lines = [line.split() for line in said.splitlines()]
    return {int(words[0]): int(words[1]) for words in lines if len(words) == 2 and "".join(words).isdigit()}


def _has_open(pid: int, path: str) -> bool:
    """Tell whether a process has a file open, as a holder of its lock has; of another user's only whether it lives.

    This process has it open once because it waits.
    """
    if not isdir("/proc/self"):
        return True
    folder = f"/proc/{pid}/fd"
    try:
        opened = sum(_is_same(join(folder, name), path) for name in os.listdir(folder))
        return opened > (pid == os.getpid())
    except PermissionError:
        return True
    except OSError:
        return False


def _is_same(opened: str, path: str) -> bool:
    try:
        return os.path.samefile(opened, path)
    except OSError:
        return False
