"""Clocks and counters: whole processes, in turns A B A B, so that a busy machine hits all alike."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from table import Row, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_PEAK = """
import os, sys
quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, used = os.wait4(child, 0)
print(used.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small process, for a child begins with the memory of whoever starts it, and its peak would be ours."""


class Unavailable(Exception):
    """What a row needs cannot be had on this machine; the text says what."""


def nothing() -> None:
    """Prepare nothing."""


def or_skipped(name: str, make: Callable[[], Row]) -> Row | Skipped:
    """Return the row, or why it cannot be had here; rows behind it can."""
    try:
        return make()
    except Unavailable as reason:
        return Skipped(name=name, reason=str(reason))


@dataclass(frozen=True, kw_only=True)
class Command:
    """A process to measure; `prepare` is called before each run and not counted."""

    words: Sequence[str | Path]
    env: Mapping[str, str]
    cwd: Path
    prepare: Callable[[], None] = nothing

    def run(self) -> None:
        """Run it once, whatever that takes."""
        self.seconds()

    def seconds(self) -> float:
        """Run it once and return how long that took."""
        self.prepare()
        os.sync()  # what those before it left for the disk is not this one's
        started = time.perf_counter()
        done = self._run(self.words)
        took = time.perf_counter() - started
        self._require(done)
        return took

    def says(self) -> float:
        """Run it once and return the number that it prints last."""
        self.prepare()
        done = self._run(self.words)
        self._require(done)
        return float(done.stdout.split()[-1])

    def peak(self) -> float:
        """Run it once and return the most memory (bytes) that it or one of its children had at a time."""
        helper = [sys.executable, "-I", "-S", "-c", _PEAK]
        return Command(words=[*helper, *self.words], env=self.env, cwd=self.cwd, prepare=self.prepare).says()

    def instructions(self) -> int:
        """Run it once and count its instructions, those of its children not; a fixed hash seed takes the noise out."""
        if shutil.which("valgrind") is None:
            raise Unavailable("valgrind is not installed (Debian: `valgrind`)")
        self.prepare()
        tool = ["valgrind", "--tool=callgrind", "--trace-children=no", "--callgrind-out-file=/dev/null"]
        done = self._run([*tool, *self.words], PYTHONHASHSEED="0")
        self._require(done)
        found = re.search(r"Collected : (\d+)", done.stderr)
        assert found, done.stderr
        return int(found[1])

    def _require(self, done: subprocess.CompletedProcess[str]) -> None:
        assert done.returncode == 0, f"{self.words}\n{done.stdout}{done.stderr}"

    def _run(self, words: Sequence[str | Path], **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, words)),
            env={**self.env, **more},
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


@dataclass(frozen=True, kw_only=True)
class Turns:
    """Some commands, measured in turns: the seconds of each, by its name."""

    seconds: Mapping[str, tuple[float, ...]]

    @classmethod
    def of(
        cls, commands: Mapping[str, Command], *, runs: int, ask: Callable[[Command], float] = Command.seconds
    ) -> Turns:
        """Measure `runs` turns, after one that is not counted; `ask` returns what one run took."""
        turns = [[ask(command) for command in commands.values()] for _ in range(runs + 1)][1:]
        return cls(seconds=dict(zip(commands, zip(*turns, strict=True), strict=True)))

    def ratios(self, one: str, other: str) -> list[float]:
        """Return one's seconds over the other's, turn by turn."""
        return [a / b for a, b in zip(self.seconds[one], self.seconds[other], strict=True)]

    def ratio(self, one: str, other: str) -> float:
        """Return the median of the ratios."""
        return statistics.median(self.ratios(one, other))

    def added(self, one: str, other: str) -> float:
        """Return how many ms one takes more than the other: the median of the differences, turn by turn."""
        pairs = zip(self.seconds[one], self.seconds[other], strict=True)
        return 1000 * statistics.median(a - b for a, b in pairs)

    def median(self, name: str) -> float:
        """Return the median of one's seconds."""
        return statistics.median(self.seconds[name])

    def row(self, name: str, what: str, *, ours: str, peer: str, floor: str, limit: float | None = None) -> Row:
        """Compare ours with a peer; `floor` is the command that does no more than has to be done."""
        return Row(
            name=name,
            what=what,
            value=self.ratio(ours, peer),
            unit="x",
            limit=limit,
            floor=floor,
            least=self.ratio(floor, peer),
            above=self.ratio(ours, floor),
            detail=self.detail(),
        )

    def detail(self) -> dict[str, Any]:
        """Return the numbers for a reader."""
        found = {f"{name}, ms": spread([1000 * second for second in of]) for name, of in self.seconds.items()}
        return {**found, "turns": len(next(iter(self.seconds.values())))}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, least and most, for a reader."""
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, 2) for name, value in found.items()}
