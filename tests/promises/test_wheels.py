"""Wheels that mean harm (S2, S3, S4): none enters the store, none runs, and it is said what is wrong with each."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import kit
import pytest
import stands
from hostile import CROWDS, HOSTILE, ORDINARY, SHADOWING, STARTING
from installers import INSTALLERS
from wheels import NAME, VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from conftest import Figures, Scale
    from wheels import Hostile

RAN = "/tmp/ran-by-hostile-wheel"
ESCAPED = "/tmp/outside-by-hostile-wheel.py"
NOT_SHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
LIAR = "a bomb that lies"
"""What only the unpacking shows: it must end there."""
MOST_SECONDS = 60.0
MOST_MEMORY = 256 << 20
MOST_LEFT = 200 << 20
"""A download may stay with the installer. Counted where a build can write: what others write to the disk is theirs."""
WEIGH = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], capture_output=True); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)
"""What a process takes at most, in KiB; a fork of this one would count its pages as its own."""


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

    def knock(self, config: str, *, is_served: bool = False) -> kit.Ended:
        """Build what a config asks for, from an index if it is served."""
        self.vpm_env.config(config)
        env = {name: value for name, value in self.vpm_env.env.items() if value is not None}
        return self.workshop("build", *(() if is_served else ("--offline",)), env=env, cwd=self.vpm_env.folder)

    def memory(self, config: str) -> int:
        """Build what a config asks for, and return how many bytes that takes at most."""
        self.vpm_env.config(config)
        env = {name: value for name, value in self.vpm_env.env.items() if value is not None}
        command = [sys.executable, "-c", WEIGH, *self.vpm_env.command, "build", "--offline"]
        done = subprocess.run(command, env=env, cwd=self.vpm_env.folder, capture_output=True, text=True, timeout=300)
        return int(done.stdout) << 10

    def wrong(self, name: str, hostile: Hostile, config: str, *, is_served: bool = False) -> list[str]:
        """Try to bring a wheel in, and say what went wrong with that."""
        before, size = self.inside(), kit.allocated(self.folder)
        started = time.monotonic()
        done = self.knock(config, is_served=is_served)
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
        if kit.allocated(self.folder) - size > MOST_LEFT:
            found.append(f"{name}: it left more than {MOST_LEFT >> 20} MiB")
        return found


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, workshop: kit.Workshop) -> Door:
    """Make a home with one good set in it."""
    folder = tmp_path_factory.mktemp("door")
    vpm_env = stands.small(folder)
    (folder / "tmp").mkdir()
    vpm_env.env["TMPDIR"] = str(folder / "tmp")
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
            violations += door.wrong(name, hostile, config, is_served=True)
            path.unlink()
    served = "in pieces" if pieces else "as a whole"
    title = f"hostile wheels that entered from an index that serves files {served}"
    figure("S2", title, count=len(cases), wanted=15, violations=violations)


@pytest.mark.parametrize("way", ["release", "url"])
def test_no_hostile_wheel_enters_by_another_way(door: Door, figure: Figures, scale: Scale, way: str) -> None:
    """A release may have two wheels that fit, of which the installer takes one; a URL names a file without an index."""
    cases = dict(list(HOSTILE.items())[scale(5, 0) :: scale(14, 1)]) | {LIAR: HOSTILE[LIAR]}
    violations = []
    with kit.index(door.folder / f"served-{way}", metadata=False, pieces=True) as index:
        url = index.url.replace("/simple", f"/files/{NAME}-{VERSION}-py3-none-any.whl")
        asking = kit.wheel(door.folder / "asking" / index.url[-20:-7], "asks", requires=[f"demo @ {url}"])
        from_index = f"index: {index.url}\nplugins:\n  - {{name: demo, source: pypi}}\n"
        from_url = f"index: {index.url}\nplugins:\n  - {{name: asks, source: local, path: {asking}}}\n"
        door.knock(from_url, is_served=True)  # there is no such file yet: what asks for it is in the store now
        for name, hostile in cases.items():
            tags = ("-1", "-2") if way == "release" else ("",)
            files = [f"{NAME}-{VERSION}{tag}-py3-none-any.whl" for tag in tags]
            paths = [replace(hostile, file=file).write(index.folder) for file in files]
            violations += door.wrong(name, hostile, from_index if way == "release" else from_url, is_served=True)
            for path in paths:
                path.unlink()
    title = {"release": "as two wheels of one release", "url": "by a URL that a plugin requires"}[way]
    figure("S2", f"hostile wheels that entered {title}", count=len(cases), wanted=scale(5, 60), violations=violations)


def test_crowds_of_members_are_refused_before_they_are_read(door: Door, figure: Figures) -> None:
    violations = []
    for name, hostile, path in write(door, "crowd", CROWDS):
        violations += door.wrong(name, hostile, from_file(path))
        violations += door.wrong(name, hostile, from_folder(path.parent))
        taken = door.memory(from_file(path))
        if taken > MOST_MEMORY:
            violations.append(f"{name}: {taken >> 20} MiB")
    figure("S2", "wheels of a million members", count=len(CROWDS), wanted=2, violations=violations)


def test_what_other_installers_make_of_the_same_wheels(door: Door, figure: Figures, scale: Scale) -> None:
    every = {**HOSTILE, **STARTING, **SHADOWING}
    cases = {name: case for name, case in list(every.items())[:: scale(12, 1)] if not re.search("bomb|huge", name)}
    taken: Counter[str] = Counter()
    for number, hostile in enumerate(cases.values()):
        path = hostile.write(door.folder / "others" / str(number))
        taken.update(name for name, take in INSTALLERS.items() if take(path, path.parent / name))
        shutil.rmtree(path.parent)
        for left in filter(os.path.lexists, (RAN, ESCAPED)):
            os.unlink(left)
    said = ", ".join(f"{name} {taken[name]}" for name in INSTALLERS)
    figure("S2", "hostile wheels, given to pip and uv", count=len(cases), note=f"installed without a word: {said}")
    assert all(taken[name] for name in INSTALLERS)  # else they were not asked as users ask them


def test_no_start_up_code_enters_unasked(door: Door, figure: Figures) -> None:
    violations = []
    for name, hostile, path in write(door, "starting", STARTING):
        violations += door.wrong(name, hostile, from_folder(path.parent))
    figure("S3", "start-up code that entered unasked", count=len(STARTING), wanted=9, violations=violations)


def test_no_name_of_base_or_standard_library_enters(door: Door, figure: Figures) -> None:
    violations = []
    for name, hostile, path in write(door, "shadowing", SHADOWING):
        violations += door.wrong(name, hostile, from_folder(path.parent))
    title = "names of base, standard library or machine that entered"
    figure("S4", title, count=len(SHADOWING), wanted=13, violations=violations)


def test_what_the_store_has_is_judged_by_each_base(door: Door, figure: Figures) -> None:
    """A store serves several bases: what one refuses is not there for it, and stays good for another."""
    base = kit.describe(door.folder / "base" / "bin" / "python")
    site = base.purelib
    ours = kit.wheel(door.folder / "links" / "ours", "ours", files={"clash/__init__.py": ""})
    theirs = kit.wheel(door.folder / "own", "theirs", files={"clash/__init__.py": "", "late/__init__.py": ""})
    late = kit.wheel(door.folder / "links" / "late", "latecomer", files={"late/__init__.py": ""})
    violations = []

    def expect(done: kit.Ended, code: int, what: str) -> None:
        if done.code != code or ("name-in-base" in done.stderr) != bool(code):
            violations.append(f"{what}: exit {done.code}\n{done.stderr}")

    expect(door.knock(from_folder(ours.parent, "ours")), 0, "a name that is free")
    kit.install(base, theirs)
    expect(door.knock(from_folder(ours.parent, "ours")), 1, "a package of the store, with a name that the base has now")
    before = sorted(os.listdir(door.vpm_env.home / "store"))
    expect(door.knock(from_folder(late.parent, "latecomer")), 1, "a name of the base")
    if sorted(os.listdir(door.vpm_env.home / "store")) != before:
        violations.append("what was refused is in the store")
    for name in ("clash", "late", "theirs-1.0.dist-info"):
        shutil.rmtree(site / name)
    expect(door.knock(from_folder(late.parent, "latecomer")), 0, "a name that the base has no more")
    figure("S4", "packages of one store, judged for two bases", count=4, wanted=4, violations=violations)


def test_what_only_looks_hostile_enters(door: Door, figure: Figures) -> None:
    """Who refuses what everybody uses teaches them to go around the door."""
    violations = []
    for name, _, path in write(door, "ordinary", ORDINARY):
        done = door.knock(from_folder(path.parent))
        if done.code:
            violations.append(f"{name}: exit {done.code}\n{done.stdout}{done.stderr}")
        elif name != "folders" and not list(door.vpm_env.home.glob(f"profiles/default/*/current/bin/{name}")):
            violations.append(f"{name}: the set has no such command")
    os.remove(RAN)  # made by the plugins of these, rightly
    figure("S2", "ordinary wheels that were refused", count=len(ORDINARY), wanted=4, violations=violations)
