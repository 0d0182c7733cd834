"""Clocks and counters: whole processes, in pairs A B A B, so that a busy machine hits both alike."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path


class Unavailable(Exception):
    """What a row needs cannot be had on this machine; the text says what."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: `value` against `limit` (None: none to keep), `detail` are the numbers behind it."""

    name: str
    what: str
    value: float
    unit: str
    limit: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def reached(self) -> bool | None:
        return None if self.limit is None else self.value <= self.limit


@dataclass(frozen=True, kw_only=True)
class Command:
    """A process to measure; `prepare` is called before each run and not counted."""

    words: Sequence[str | Path]
    env: Mapping[str, str]
    cwd: Path
    prepare: Callable[[], None] = lambda: None

    def seconds(self) -> float:
        """Run it once and return how long that took."""
        self.prepare()
        started = time.perf_counter()
        done = self._run(self.words)
        took = time.perf_counter() - started
        assert done.returncode == 0, f"{self.words}\n{done.stdout}{done.stderr}"
        return took

    def instructions(self) -> int:
        """Run it once and count its instructions, those of its children not; a fixed hash seed takes the noise out."""
        if shutil.which("valgrind") is None:
            raise Unavailable("valgrind is not installed")
        self.prepare()
        tool = ["valgrind", "--tool=callgrind", "--trace-children=no", "--callgrind-out-file=/dev/null"]
        done = self._run([*tool, *self.words], PYTHONHASHSEED="0")
        found = re.search(r"Collected : (\d+)", done.stderr)
        assert done.returncode == 0, done.stdout + done.stderr
        assert found, done.stderr
        return int(found[1])

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
class Pairs:
    """Two commands, measured in turns: seconds of each, and the ratio B / A of every pair."""

    a: tuple[float, ...]
    b: tuple[float, ...]

    @classmethod
    def of(cls, a: Command, b: Command, *, runs: int) -> Pairs:
        """Measure `runs` pairs, after one that is not counted."""
        a.seconds(), b.seconds()
        pairs = [(a.seconds(), b.seconds()) for _ in range(runs)]
        return cls(a=tuple(first for first, _ in pairs), b=tuple(second for _, second in pairs))

    @property
    def ratios(self) -> list[float]:
        return [b / a for a, b in zip(self.a, self.b, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the ratios, pair by pair."""
        return statistics.median(self.ratios)

    def detail(self, a: str, b: str) -> dict[str, Any]:
        """Return the numbers for a reader, in ms."""
        return {
            f"{a}, ms": _spread([1000 * second for second in self.a]),
            f"{b}, ms": _spread([1000 * second for second in self.b]),
            "ratio": _spread(self.ratios),
            "pairs": len(self.a),
        }


def _spread(values: Sequence[float]) -> dict[str, float]:
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, 2) for name, value in found.items()}


def own_blocks(folder: Path, *, without: Callable[[str], bool]) -> int:
    """Return the bytes on disk that are freed with `folder`: a file counts once, and only if nothing else holds it.

    `without` is asked for every file, by its path relative to `folder`.
    """
    held: dict[int, list[os.stat_result]] = {}
    total = folder.lstat().st_blocks * 512
    for path, status in _entries(folder):
        if os.path.isdir(path) and not os.path.islink(path):
            total += status.st_blocks * 512
        elif not without(os.path.relpath(path, folder)):
            held.setdefault(status.st_ino, []).append(status)
    return total + sum(found[0].st_blocks * 512 for found in held.values() if found[0].st_nlink == len(found))


def _entries(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(parent, name)
            yield path, os.lstat(path)
