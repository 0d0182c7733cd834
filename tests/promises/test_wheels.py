"""Wheels that mean harm (S2, S3, S4): none enters the store, none runs, and it is said what is wrong with each."""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import kit
import pytest
import stands
from hostile import HOSTILE, SHADOWING, STARTING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from conftest import Figures, Scale
    from wheels import Hostile

RAN = "/tmp/ran-by-hostile-wheel"
ESCAPED = "/tmp/outside-by-hostile-wheel.py"
NOT_SHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
MOST_SECONDS = 60.0


@dataclass
class Door:
    """A home with one good set, and what is tried to bring into it."""

    vpm_env: kit.VpmEnv
    workshop: kit.Workshop
    folder: Path

    def inside(self) -> tuple[object, ...]:
        """Return everything of the home that a refused wheel must leave as it was."""
        home = self.vpm_env.home
        (profile,) = home.glob("profiles/default/*")
        links = sorted(
            (path.name, os.readlink(path)) for path in [profile / "current", *profile.glob("generations/*[0-9]")]
        )
        found = [
            sorted(os.listdir(home / name)) for name in ("store", "sources", "tmp", "trash") if (home / name).exists()
        ]
        return kit.tree_hash(home / "store"), kit.tree_hash(home / "overlays"), links, found

    def knock(self, config: str) -> kit.Ended:
        """Build what a config asks for."""
        self.vpm_env.config(config)
        env = {name: value for name, value in self.vpm_env.env.items() if value is not None}
        is_served = "find_links" not in config and "local" not in config
        return self.workshop("build", *(() if is_served else ("--offline",)), env=env, cwd=self.vpm_env.folder)

    def wrong(self, name: str, hostile: Hostile, config: str) -> list[str]:
        """Try to bring a wheel in, and say what went wrong with that."""
        before, free = self.inside(), shutil.disk_usage(self.folder).free
        started = time.monotonic()
        done = self.knock(config)
        seconds = time.monotonic() - started
        found = []
        if done.code != 1:
            found.append(f"{name}: exit {done.code}\n{done.stdout}{done.stderr}")
        if "Traceback" in done.stderr:
            found.append(f"{name}: {done.stderr}")
        if not re.search(hostile.told, " ".join(done.stderr.split())):
            found.append(f"{name}: `{hostile.told}` is not said of it:\n{done.stderr}")
        if NOT_SHOWN.search(done.stderr + done.stdout):
            found.append(f"{name}: a terminal would obey {done.stderr!r}")
        if self.inside() != before:
            found.append(f"{name}: the home has changed")
        for path in (RAN, ESCAPED):
            if os.path.lexists(path):
                os.unlink(path)
                found.append(f"{name}: `{path}` is there")
        if seconds > MOST_SECONDS:
            found.append(f"{name}: {seconds:.1f} s")
        if free - shutil.disk_usage(self.folder).free > 200 << 20 and "bomb" in name:
            found.append(f"{name}: it left more than 200 MB")
        return found


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, workshop: kit.Workshop) -> Door:
    """Make a home with one good set in it."""
    folder = tmp_path_factory.mktemp("door")
    vpm_env = stands.small(folder)
    base = kit.describe(folder / "base" / "bin" / "python")
    kit.install(base, kit.wheel(folder / "own", "numpy", files={"numpy/__init__.py": ""}))
    kit.wheel(folder / "links" / "good", "good")
    made = Door(vpm_env, workshop, folder)
    vpm_env.config(from_folder(folder / "links" / "good", "good"))
    vpm_env("build", "--offline", check=True)
    return made


def from_folder(folder: Path, name: str = "demo", more: str = "") -> str:
    return f"find_links: {folder}\nindex: http://127.0.0.1:9/none\n{more}plugins:\n  - {{name: {name}, source: pypi}}\n"


def from_file(path: Path) -> str:
    return f"plugins:\n  - {{name: demo, source: local, path: {path}}}\n"


def write(door: Door, kind: str, cases: Mapping[str, Hostile]) -> Iterator[tuple[str, Hostile, Path]]:
    for number, (name, hostile) in enumerate(cases.items()):
        path = hostile.write(door.folder / "links" / f"{kind}-{number}")
        yield name, hostile, path
        path.unlink()


def test_no_hostile_wheel_of_a_folder_enters(door: Door, figure: Figures, scale: Scale) -> None:
    violations = []
    cases = dict(list(HOSTILE.items())[:: scale(2, 1)])
    for name, hostile, path in write(door, "folder", cases):
        violations += door.wrong(name, hostile, from_folder(path.parent))
    figure(
        "S2", "hostile wheels that entered from a folder", count=len(cases), wanted=scale(30, 60), violations=violations
    )


def test_no_hostile_wheel_enters_as_a_file(door: Door, figure: Figures, scale: Scale) -> None:
    cases = dict(list(HOSTILE.items())[1 :: scale(4, 1)])
    violations = []
    for name, hostile, path in write(door, "file", cases):
        violations += door.wrong(name, hostile, from_file(path))
    figure("S2", "hostile wheels that entered as files", count=len(cases), wanted=10, violations=violations)


@pytest.mark.parametrize("pieces", [True, False], ids=["pieces", "whole"])
def test_no_hostile_wheel_of_an_index_enters(door: Door, figure: Figures, scale: Scale, pieces: bool) -> None:
    """An index that serves pieces of files shows their directory alone; from another all of a file is taken."""
    cases = dict(list(HOSTILE.items())[:: scale(4, 1)])
    violations = []
    with kit.index(door.folder / "served", metadata=False, pieces=pieces) as index:
        config = f"index: {index.url}\nplugins:\n  - {{name: demo, source: pypi}}\n"
        for name, hostile in cases.items():
            path = hostile.write(index.folder)
            violations += door.wrong(name, hostile, config)
            path.unlink()
    served = "in pieces" if pieces else "as a whole"
    title = f"hostile wheels that entered from an index that serves files {served}"
    figure("S2", title, count=len(cases), wanted=15, violations=violations)


def test_no_start_up_code_enters_unasked(door: Door, figure: Figures) -> None:
    violations = []
    for name, hostile, path in write(door, "starting", STARTING):
        violations += door.wrong(name, hostile, from_folder(path.parent))
    figure("S3", "start-up code that entered unasked", count=len(STARTING), wanted=9, violations=violations)


def test_no_name_of_base_or_standard_library_enters_a_set(door: Door, figure: Figures) -> None:
    violations = []
    for name, hostile, path in write(door, "shadowing", SHADOWING):
        home = door.vpm_env.home
        before, had = kit.tree_hash(home / "overlays"), os.readlink(next(home.glob("profiles/default/*/current")))
        done = door.knock(from_folder(path.parent))
        if done.code != 1 or not re.search(hostile.told, done.stderr) or "Traceback" in done.stderr:
            violations.append(f"{name}: exit {done.code}\n{done.stderr}")
        now = kit.tree_hash(home / "overlays"), os.readlink(next(home.glob("profiles/default/*/current")))
        if now != (before, had) or os.path.exists(RAN):
            violations.append(f"{name}: it is in a set")
    figure("S4", "names of base or standard library in a set", count=len(SHADOWING), wanted=7, violations=violations)
