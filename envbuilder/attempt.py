"""Run a command once, in silence, to see how it ends; when it has ended, or had to, nothing of it is left."""

from __future__ import annotations

import os
import signal
import time

from envbuilder import fs, process
from envbuilder.confidential import secrets_of
from envbuilder.offspring import Offspring
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GRACE = 5.0
"""Seconds that processes have to end when they are asked to."""
STUCK = 10.0
"""Seconds after which a process that was killed and has not ended never will."""
SHOWN_LINES = 20
_SHOWN_BYTES = 1 << 16
_LONGEST_TICK = 0.05


class Ended(NamedTuple):
    """How a command ended; `code` is None where it still ran when its time was over, negative for a signal.

    `output` are the last lines of what it said, without credentials; `seconds` is how long it ran.
    """

    code: int | None
    seconds: float
    output: tuple[str, ...] = ()


def attempt(command: Sequence[str], *, env: Mapping[str, str], limit: float | None, scratch: str | None) -> Ended:
    """Run a command to its end, or for `limit` seconds; it reads nothing.

    What it says goes to an unnamed file in the folder `scratch`, or to standard error where that is None. Raise
    `OSError` for one that cannot be started.
    """
    if scratch is None:
        return _run(command, env, limit, 2)
    with fs.unnamed_file(scratch) as log:
        ended = _run(command, env, limit, log)
        return ended._replace(output=_last_lines(log, secrets_of(command, env)))


def _run(command: Sequence[str], env: Mapping[str, str], limit: float | None, output: int) -> Ended:
    process.adopt_orphans()
    offspring = Offspring.from_now_on()
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    started = time.monotonic()
    try:
        pid = process.start(command, env=env, stdin=nothing, stdout=output, stderr=output)
    finally:
        os.close(nothing)
    try:
        code = _wait(pid, None if limit is None else started + limit)
        return Ended(code, time.monotonic() - started)
    finally:
        _clear(pid, offspring)


def _wait(pid: int, until: float | None) -> int | None:
    tick = 0.001
    while until is None or time.monotonic() < until:
        codes, _ = _reap()
        if pid in codes:
            return codes[pid]
        time.sleep(tick)
        tick = min(_LONGEST_TICK, tick * 2)
    return None


def _reap() -> tuple[dict[int, int], bool]:
    """Let ended children go; return their codes, id → code, and whether there are others."""
    found: dict[int, int] = {}
    try:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            found[ended[0]] = os.waitstatus_to_exitcode(ended[1])
    except ChildProcessError:
        return found, False
    return found, True


def _clear(pid: int, offspring: Offspring) -> None:
    """End whatever the command started and left: asked first, killed then."""
    for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, STUCK)):
        for one in offspring.living():
            process.send(one, number)
        if not offspring.is_known:
            process.send(pid, number, to_group=True)
        until = time.monotonic() + patience
        while time.monotonic() < until:
            _, are_left = _reap()
            if not are_left and not offspring.living():
                return
            time.sleep(0.01)


def _last_lines(log: int, secrets: Sequence[str]) -> tuple[str, ...]:
    size = os.fstat(log).st_size
    text = os.pread(log, _SHOWN_BYTES, max(0, size - _SHOWN_BYTES)).decode("utf-8", "replace")
    return tuple(process.redact(line.rstrip(), secrets=secrets) for line in text.splitlines()[-SHOWN_LINES:])
