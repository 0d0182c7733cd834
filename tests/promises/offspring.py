"""What a process has started, and what that has started: none of it outlives the report, and no mount of its does."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from contextlib import suppress

_SET_SUBREAPER, _SET_DEATH_SIGNAL = 36, 1
_NEW_MOUNTS, _RECURSIVE, _PRIVATE = 0x20000, 0x4000, 1 << 18
"""Linux's names for these: PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, CLONE_NEWNS, MS_REC, MS_PRIVATE."""


def adopt() -> None:
    """Become the parent of whatever loses its own among this process's offspring, whatever session it is in."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_SUBREAPER, 1, 0, 0, 0)


def keep_mounts() -> None:
    """Let what this process and its offspring mount end with them, where this user may have that."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        if libc.unshare(_NEW_MOUNTS) == 0:
            libc.mount(b"none", b"/", None, _RECURSIVE | _PRIVATE, None)


def end_with_parent() -> None:
    """Let this process be killed when its parent ends."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def await_end(pid: int) -> None:
    """Wait until a child has ended, which stays to be asked for its code; bury whoever else ends meanwhile."""
    while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)) and ended.si_pid != pid:
        os.waitpid(ended.si_pid, 0)


def end(limit: float = 20.0) -> None:
    """Kill all offspring, and what that starts meanwhile, for at most so many seconds."""
    until = time.monotonic() + limit
    while (found := _offspring()) and time.monotonic() < until:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _reap()
        time.sleep(0.01)


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _offspring() -> list[int]:
    """List children, their children, and so on: the oldest first."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{name}/stat", "rb") as stream:
            parent = int(stream.read().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(name))
    found = list(children.get(os.getpid(), ()))
    for pid in found:
        found += children.get(pid, ())
    return found
