"""The worst files to read (S1): each is refused at once, with little memory, and with its place."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import stands
from files_to_read import CONFIGS, LOCKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import kit
    from conftest import Figures, Scale
    from files_to_read import Content

SECONDS, MEGABYTES, PATIENCE = 1.0, 100.0, 20.0
UNREADABLE = re.compile(r"error: \S+plugins\.yaml: ")
PLACED = re.compile(r"error: \S+plugins\.yaml:\d+:\d+: ")
NOT_SHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
WITHOUT_A_PLACE = (
    "MB",
    "20,000 keys",
    "a folder",
    "a FIFO",
    "end",
    "a terminal",
    "a link",
    "a sparse",
    "may not be",
    "nothing",
    "NULs",
)


@dataclass(frozen=True)
class Cost:
    """What a call said, and what it cost: its exit code, seconds of processor time and megabytes at the most."""

    code: int
    said: str
    seconds: float
    megabytes: float


LAUNCHER = """
import json, os, signal, sys
for line in sys.stdin:
    job = json.loads(line)
    out = (os.POSIX_SPAWN_OPEN, 1, job["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    os.chdir(job["cwd"])
    actions = [nothing, out, (os.POSIX_SPAWN_DUP2, 1, 2)]
    pid = os.posix_spawnp(job["command"][0], job["command"], job["env"], file_actions=actions, setsid=True)
    _, status, used = os.wait4(pid, 0)
    cost = [os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss / 1000]
    print(json.dumps(cost), flush=True)
"""
"""Starts calls from a small process: what is measured of a child has its parent's memory in it."""


@dataclass(frozen=True)
class Ground:
    """A base that is known already, for to ask it is no part of reading a file, and who starts calls."""

    vpm_env: kit.VpmEnv
    launcher: subprocess.Popen[str]

    @property
    def folder(self) -> Path:
        return self.vpm_env.folder

    def __call__(self, *arguments: str) -> Cost:
        """Call a verb as a whole process, and measure it."""
        said = self.folder / "said"
        command = ["timeout", "-s", "KILL", str(PATIENCE), *self.vpm_env.command, *arguments]
        job = {"command": command, "env": self.vpm_env.env, "cwd": str(self.folder), "said": str(said)}
        assert self.launcher.stdin is not None
        assert self.launcher.stdout is not None
        self.launcher.stdin.write(json.dumps(job) + "\n")
        self.launcher.stdin.flush()
        code, seconds, megabytes = json.loads(self.launcher.stdout.readline())
        return Cost(code, said.read_bytes().decode(errors="replace"), seconds, megabytes)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Set everything up."""
    vpm_env = stands.small(tmp_path_factory.mktemp("files"))
    vpm_env.config("plugins: []\n")
    vpm_env("build", "--offline", check=True)
    command = [sys.executable, "-I", "-S", "-c", LAUNCHER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as launcher:
        yield Ground(vpm_env, launcher)
        assert launcher.stdin is not None
        launcher.stdin.close()


def put(path: Path, content: Content) -> None:
    """Let `path` be what a case says."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if callable(content):
        content(path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def wrong(name: str, cost: Cost) -> list[str]:
    """Say what is wrong with an answer, whatever the file."""
    found = []
    if cost.code != 1 or not re.search("^error: ", cost.said, re.MULTILINE):
        found.append(f"{name}: exit {cost.code}\n{cost.said[-2000:]}")
    if "Traceback" in cost.said or NOT_SHOWN.search(cost.said):
        found.append(f"{name}: {cost.said[-2000:]!r}")
    if cost.seconds > SECONDS or cost.megabytes > MEGABYTES:
        found.append(f"{name}: {cost.seconds:.2f} s, {cost.megabytes:.0f} MB")
    if len(cost.said) > 2_000_000:
        found.append(f"{name}: it says {len(cost.said)} characters")
    return found


def worst(costs: Sequence[Cost]) -> str:
    return f"worst: {max(cost.seconds for cost in costs):.2f} s, {max(cost.megabytes for cost in costs):.0f} MB"


def test_the_worst_configs_are_refused_at_once(ground: Ground, figure: Figures, scale: Scale) -> None:
    path, violations, costs = ground.folder / "plugins.yaml", [], []
    named = ["--config", "plugins.yaml"]
    cases = dict(list(CONFIGS.items())[:: scale(2, 1)])
    for name, content in cases.items():
        put(path, content)
        for verb in (["build", "--dry-run", "--offline", *named], ["check", *named])[: scale(1, 2)]:
            cost = ground(*verb)
            costs.append(cost)
            violations += wrong(f"{name}, {verb[0]}", cost)
            is_placed = not any(words in name for words in WITHOUT_A_PLACE)
            if not (PLACED if is_placed else UNREADABLE).search(cost.said) and not PLACED.search(cost.said):
                violations.append(f"{name}: no place is told:\n{cost.said[:500]}")
    assert not os.path.exists("/tmp/ran-by-yaml")
    figure(
        "S1",
        "configs that were not refused at once",
        count=len(cases),
        wanted=30,
        violations=violations,
        note=worst(costs),
    )


def test_the_worst_locks_are_refused_at_once(ground: Ground, figure: Figures, scale: Scale) -> None:
    put(ground.folder / "plugins.yaml", "plugins: []\nengine: vllm\n")
    path, violations, costs = ground.folder / "pylock.plugins.toml", [], []
    cases = dict(list(LOCKS.items())[:: scale(2, 1)])
    for name, content in cases.items():
        put(path, content)
        cost = ground("build", "--dry-run", "--offline")
        costs.append(cost)
        violations += wrong(name, cost)
        if "pylock.plugins.toml" not in cost.said.replace("\n", ""):
            violations.append(f"{name}: the lock is not named:\n{cost.said[:500]}")
    put(path, "")
    path.unlink()
    figure(
        "S1",
        "locks that were not refused at once",
        count=len(cases),
        wanted=15,
        violations=violations,
        note=worst(costs),
    )
