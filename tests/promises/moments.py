"""Kills at random moments, of a call with all that it has started: uv, git, compilers and probes."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import kit
    from worlds import World

MARK = "KIT_OF_CALL"
"""Variable by which what a call has started is known, whosever child it becomes."""


def kill_after(world: World, words: tuple[str, ...], seconds: float, *, all_of_it: bool) -> kit.Ended:
    """Call a verb, and after some seconds kill it: with all that it has started, or alone."""
    value = f"{os.getpid()}-{time.monotonic_ns()}"
    pid = world.workshop.start(*words, env={**world.vpm_env.env, MARK: value}, cwd=world.vpm_env.folder)
    time.sleep(seconds)
    _kill(pid)
    while all_of_it and (found := started(value)):
        for one in found:
            _kill(one)
    return world.workshop.finish(pid)


def await_orphans(limit: float = 30.0) -> None:
    """Wait until nothing runs any more that a killed call has started."""
    ends = time.monotonic() + limit
    while (found := started(f"{os.getpid()}-")) and time.monotonic() < ends:
        time.sleep(0.02)
    for one in found:
        _kill(one)


def started(value: str) -> list[int]:
    """List the processes in whose environment a mark stands that begins so."""
    mark = f"{MARK}={value}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with suppress(OSError), open(f"/proc/{name}/environ", "rb") as stream:
                if mark in stream.read():
                    found.append(int(name))
    return found


def length_of(world: World, words: tuple[str, ...]) -> float:
    """Measure how long a call takes, in seconds."""
    began = time.monotonic()
    world.must(*words)
    return time.monotonic() - began


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
