"""R9: whatever lies where a record should be, no verb waits for it, fails with a traceback, or takes much memory."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import threading
from itertools import cycle, product
from typing import TYPE_CHECKING

import damages
import pytest
import stands
from kit import wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import kit
    from conftest import Figures, Scale

_SECONDS = 30.0
"""After which a verb hangs, on a machine that does much else."""
_MEMORY = 1 << 30
_VERBS = (
    ("rollback",),
    ("build", "--offline"),
    ("switch", "1"),
    ("status",),
    ("history",),
    ("verify",),
    ("gc", "--dry-run"),
    ("list",),
    ("diff", "1"),
    ("tree",),
    ("list", "--json"),
    ("doctor", "--offline"),
    ("info", "one"),
    ("outdated", "--offline"),
    ("run", "--", "true"),
    ("gc",),
    ("verify", "--repair", "--offline"),
)
_HARMS = ("FIFO", "nested", "huge", "a folder")
_TOGETHER = 1
"""Verbs that meet each harm of each record in a short run."""


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build three generations, and keep a copy of their home."""
    folder = tmp_path_factory.mktemp("records")
    vpm_env = stands.small(folder)
    for version in ("1.0", "2.0", "3.0"):
        wheel(folder / "wheels", "one", version, files={"one/__init__.py": ""}, scripts={"raw": "#!/bin/sh\n"})
        entry = f"{{name: one, source: pypi, package: one, version: '=={version}'}}"
        vpm_env.config(f"probe: none\nprofile: default\nfind_links: [{folder / 'wheels'}]\nplugins:\n  - {entry}\n")
        vpm_env("build", "--offline", check=True)
    shutil.copytree(vpm_env.home, _kept(vpm_env), symlinks=True)
    return vpm_env


def _kept(stand: kit.VpmEnv) -> Path:
    return stand.home.with_name("kept")


def _records(home: Path) -> Iterator[str]:
    """Name every file of a home that a verb reads, one of each sort, with the current and an earlier generation's."""
    patterns = (
        *("format", "registry.json", "profiles/*/*/order.json", "profiles/*/*/generations/[23].*"),
        *("overlays/*/*/overlay.json", "overlays/*/*/skeleton.json", "overlays/*/*/.lease"),
        *("store/*-*/package.json", "store/*-*/files.json", "store/*-*/.compiled-*", "store/*-*/bin/raw"),
        *("sources/*.json", "cache/*/*.json", "cache/skeletons/*/skeleton.json", "cache/starts/*", "flocks/*"),
    )
    for pattern in patterns:
        found = sorted(path for path in home.glob(pattern) if path.is_file() and not path.is_symlink())
        assert found or "starts" in pattern, pattern
        yield from (
            str(path.relative_to(home)) for path in (found if "[23]" in pattern or "flocks" in pattern else found[:1])
        )


class _Trial:
    """Calls verbs in a home with something else in a record's place."""

    def __init__(self, stand: kit.VpmEnv, workshop: kit.Workshop) -> None:
        self._stand = stand
        self._workshop = workshop

    def violations(self, record: str, harm: str, words: tuple[str, ...]) -> Iterator[str]:
        shutil.rmtree(self._stand.home)
        shutil.copytree(_kept(self._stand), self._stand.home, symlinks=True)
        _put(damages.WAYS[harm], self._stand.home / record)
        ended = self._call(words)
        told = f"{' '.join(words)} with {record}: {harm}"
        if ended.code not in (0, 1, 2):
            yield f"{told}: ended with {ended.code}"
        if "Traceback" in ended.stderr or "MemoryError" in ended.stderr:
            yield f"{told}: {ended.stderr[-600:]}"

    def _call(self, words: tuple[str, ...]) -> kit.Ended:
        pid = self._workshop.start(*words, env=self._stand.env, cwd=self._stand.folder)
        resource.prlimit(pid, resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        timer = threading.Timer(_SECONDS, os.killpg, (pid, signal.SIGKILL))
        timer.start()
        try:
            return self._workshop.finish(pid)
        finally:
            timer.cancel()


def _put(harm: Callable[[Path], None], path: Path) -> None:
    """Do harm to one name of a file: others keep what they have."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    harm(path)


def test_no_record_holds_a_verb_up(stand: kit.VpmEnv, workshop: kit.Workshop, figure: Figures, scale: Scale) -> None:
    trial = _Trial(stand, workshop)
    turns = cycle(_VERBS)
    violations: list[str] = []
    count = 0
    for record, harm in product(_records(_kept(stand)), _HARMS):
        for _ in range(scale(_TOGETHER, 6)):
            violations += trial.violations(record, harm, next(turns))
            count += 1
    figure(
        "R9", "verbs that met a FIFO, a folder, or a bomb for a record", count=count, wanted=100, violations=violations
    )


def test_a_lost_record_is_no_dead_end(stand: kit.VpmEnv, figure: Figures) -> None:
    """Lose the record of the current generation, or of the one before: going back, and building, work all the same."""
    violations: list[str] = []
    ways = {"deleted": lambda path: path.unlink(), "nested": damages.nest}
    for (name, harm), number in product(ways.items(), (2, 3)):
        for words, current in (
            (("rollback",), 1 if number == 2 else 2),
            (("build", "--offline"), 3),
            (("switch", "1"), 1),
        ):
            shutil.rmtree(stand.home)
            shutil.copytree(_kept(stand), stand.home, symlinks=True)
            (path,) = stand.home.glob(f"profiles/*/*/generations/{number}.json")
            harm(path)
            done = stand(*words)
            now = os.readlink(path.parent.parent / "current").rpartition("/")[2]
            told = f"{' '.join(words)} with {path.name} {name}"
            if done.exit or now != str(current):
                violations.append(f"{told}: {done.exit}, {now} is current: {done.stderr}")
            if words == ("rollback",) and number == 2 and "passed over generation 2" not in done.stderr:
                violations.append(f"{told}: {done.stderr}")
            left = stand("verify", "--repair", "--offline")
            if left.exit:
                violations.append(f"{told}, then repair: {left.stderr}")
    figure("R9", "verbs that went on without a record", count=12, wanted=12, violations=violations)
