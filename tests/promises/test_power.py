"""R3: the power goes at every step of every commit, and at any moment; what says it is whole is whole."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import disks
import kit
import pytest
from kit import faults
from outages import WORDS, Outages
from power import BUILD, KILLED, House, house, publish, start_writing, sync

from envbuilder import protocol, store, syncing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Figures, Scale
    from disks import Disk

MIB = 1 << 20


@pytest.fixture(params=disks.KINDS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """Lend a disk of each kind."""
    with disks.disk(tmp_path / "disk", request.param) as made:
        yield made


@pytest.fixture
def ordered(tmp_path: Path) -> Iterator[Disk]:
    """Lend a disk as most machines have it, with room for a neighbour."""
    with disks.disk(tmp_path / "disk", next(iter(disks.KINDS)), size=3072 * MIB) as made:
        yield made


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Disk]:
    """Lend a disk that uses again what was freed at once, and so small that it must."""
    with disks.disk(tmp_path / "disk", "ext4, data=writeback", size=80 * MIB) as made:
        yield made


def test_what_is_whole_stays_whole(
    tmp_path: Path, disk: Disk, workshop: kit.Workshop, scale: Scale, figure: Figures
) -> None:
    at = house(tmp_path, disk, workshop)
    at.want("ash", "birch")
    changes = len(at.must(*BUILD).changes)
    at.want("ash", "birch")
    started = time.monotonic()
    at.must(*BUILD)
    seconds = time.monotonic() - started
    outages = Outages(at, thorough=scale.is_long, seed=disk.kind)
    wanted = scale(34, 334)

    steps = [(commit, step) for commit in WORDS for step in protocol.STEPS.get(commit, ())]
    for commit, step in steps:
        outages.at_step(WORDS.get(f"{commit}: {step}") or WORDS[commit], f"{commit}: {step}")
    for turn in itertools.count():
        if outages.cuts >= wanted:
            break
        outages.somewhere(changes) if turn % 3 else outages.sometime(seconds)

    again = at.call(*BUILD)
    outages.wrong += [again.stderr] if again.code else at.bad_files()
    figure(
        "R3",
        "power cuts in the middle of a call: at every step, then anywhere",
        count=outages.cuts,
        wanted=wanted,
        violations=outages.wrong,
        note=disk.kind,
    )


def test_without_the_sync_files_are_lost(
    tmp_path: Path, ordered: Disk, workshop: kit.Workshop, figure: Figures
) -> None:
    """This test's own test: what it looks for is there where a product does not care."""
    at = house(tmp_path, ordered, workshop)
    at.want("ash", "birch")
    fault = kit.Fault("cut-logged", event=f"{faults.STEP} overlay: sealed", gate=str(ordered.mount))

    ended = at.call(*BUILD, fault=fault, unsynced=True)
    ordered.again()

    assert ended.code == KILLED, ended.stderr
    bad = at.bad_files()
    figure(
        "R3",
        "bad files that are found after a build that does not sync",
        count=len(bad),
        wanted=10,
        note="the test's own test",
    )


def test_what_gc_deleted_does_not_come_back_as_something_else(
    tmp_path: Path, hasty: Disk, workshop: kit.Workshop, figure: Figures
) -> None:
    """A file system may give away the blocks of a deleted file before the deletion is on the disk."""
    at = house(tmp_path, hasty, workshop)
    for _ in range(8):
        at.want("ash", "birch")
        at.must(*BUILD)
    shutil.rmtree(at.vpm_env.env["UV_CACHE_DIR"])
    spare = 5 * MIB // 2  # with less, the file system writes its journal to find what it may use
    _write(hasty.mount / "others", hasty.free() - spare)
    os.sync()
    before = len(store.keys(at.layout))

    at.must("gc", "--keep", "1", "--grace", "0s")
    deleted = before - len(store.keys(at.layout))
    for number in range((hasty.free() - spare) // 5120):
        neighbour = Path(at.layout.store) / f"neighbour-{number}"
        neighbour.write_bytes(os.urandom(5000))
        start_writing(neighbour)
    hasty.cut("cut")
    hasty.again()

    wrong = at.bad_files() + [text for text in [at.imports(), at.starts()] if text]
    figure("R3", "packages that gc deleted just before a cut", count=deleted, wanted=8, violations=wrong)


def test_bytecode_for_another_python(
    tmp_path: Path, ordered: Disk, workshop: kit.Workshop, scale: Scale, figure: Figures
) -> None:
    """A package that is there already is compiled again, in place, for the next base that has another Python."""
    other = next((path for name, path in kit.pythons().items() if path != kit.pythons()[_own_version()]), None)
    if other is None:
        pytest.skip("one Python only")
    second = kit.base(tmp_path / "second", python=other)
    kit.fake_vllm(second, "0.33.0")
    at = house(tmp_path, ordered, workshop)
    marker = f"{faults.WRITE} {at.layout.store}"
    wrong, cuts, wanted = [], 0, scale(3, 30)
    for number in range(wanted):
        at.vpm_env.env["VPM_ENV_BASE"] = str(at.disk.mount / "site" / "base" / "bin" / "python")
        at.want("ash", *(["birch"] if number == 0 else []))
        at.must(*BUILD)
        at.vpm_env.env["VPM_ENV_BASE"] = str(second.python)
        # Not synced would be: the first write in the store is the word that the bytecode is there.
        fault = kit.Fault("cut-logged", event=(marker, "vpm_env.sync", "os.mkdir")[number % 3], gate=str(ordered.mount))
        ended = at.call(*BUILD, fault=fault)
        ordered.again()
        cuts += ended.code == KILLED
        wrong += at.bad_files() + _torn(second, Path(at.layout.store))
        again = at.call(*BUILD)
        wrong += [again.stderr] if again.code else _torn(second, Path(at.layout.store))

    figure("R3", "power cuts while compiling for another Python", count=cuts, wanted=wanted, violations=wrong)


def test_what_others_leave_of_the_same_cut(
    tmp_path: Path, ordered: Disk, workshop: kit.Workshop, figure: Figures
) -> None:
    at = house(tmp_path, ordered, workshop)
    at.want("ash", "birch")
    python = ("--python", str(at.disk.mount / "site" / "base" / "bin" / "python"))
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-compile"]
    uv = [shutil.which("uv", path=Path(sys.executable).parent) or "uv", "pip", "install", "--no-deps", *python]

    told = [f"pip {_left_by(at, pip)}", f"uv {_left_by(at, uv)}"]
    ended = at.must(*BUILD)
    sync(Path(at.layout.home))
    ordered.cut()
    ordered.again()

    wrong = at.bad_files()
    files = sum(len(names) for _, _, names in os.walk(at.layout.store))
    note = f"bad files of all: vpm-env {len(wrong)} of {files}, {', '.join(told)}"
    figure(
        "R3",
        "files of a store after a cut that pip and uv had, too",
        count=files,
        wanted=100,
        violations=wrong,
        note=note,
    )
    assert ended.code == 0


def test_a_neighbour_does_not_hold_up_a_build(
    tmp_path: Path, ordered: Disk, workshop: kit.Workshop, scale: Scale, figure: Figures
) -> None:
    """What a neighbour wrote stays in memory, and what is ours is on the disk."""
    at = house(tmp_path, ordered, workshop)
    at.want("ash", "birch")
    at.must(*BUILD)
    seconds = {}
    for name, size in (("quiet", 1), ("busy", scale(600, 2048))):
        at.want("ash", "birch")
        ordered.off()
        ordered.on()
        _write(ordered.mount / name, size * MIB)
        started = time.monotonic()
        at.must(*BUILD)
        seconds[name] = time.monotonic() - started
    ordered.cut()
    ordered.again()

    wrong = at.bad_files()
    neighbours = ordered.mount / "busy"
    if neighbours.exists() and neighbours.stat().st_size == scale(600, 2048) * MIB:
        wrong.append("the build has waited for all that the neighbour wrote")
    if seconds["busy"] > 3 * seconds["quiet"] + 1:
        wrong.append(f"{seconds['busy']:.2f} s, not {seconds['quiet']:.2f}")
    wrong += [at.imports()] if at.imports() else []
    note = f"{seconds['quiet']:.2f} s with nobody, {seconds['busy']:.2f} s beside {scale(600, 2048)} MiB that wait"
    figure("R3", "builds beside a neighbour that writes", count=1, violations=wrong, note=note)


@pytest.mark.parametrize(("waiting", "one_by_one"), [(0, False), (200, False), (400, True), (1 << 30, True)])
def test_which_way_a_tree_gets_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waiting: int, one_by_one: bool
) -> None:
    (tmp_path / "memory").write_text(f"MemTotal: 1 kB\nDirty: {waiting << 10} kB\nWriteback: 0 kB\n")
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    (tmp_path / "tree" / "inner" / "file").write_text("content")
    (tmp_path / "tree" / "link").symlink_to("nowhere")
    monkeypatch.setattr(syncing, "_MEMORY", str(tmp_path / "memory"))
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)

    syncing.bring_to_disk(str(tmp_path / "tree"))

    assert len(synced) == (4 if one_by_one else 0)


def test_a_disk_that_refuses_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`syncfs` says so too, and a package that the disk did not take is not published."""
    import ctypes

    monkeypatch.setattr(syncing, "_libc", lambda name: lambda *_: ctypes.set_errno(5) or -1)

    with pytest.raises(OSError, match="Input/output error"):
        syncing.bring_to_disk(str(tmp_path))


def _own_version() -> str:
    return ".".join(map(str, sys.version_info[:2]))


def _torn(base: kit.Base, store: Path) -> list[str]:
    """Ask a base's python which of its bytecode does not load, in packages that say it is there."""
    code = """
import marshal, pathlib, sys, sysconfig
for root in map(pathlib.Path, sys.argv[1:]):
    if list(root.glob(".compiled-" + sysconfig.get_config_var("SOABI"))):
        for path in root.rglob("*." + sys.implementation.cache_tag + ".pyc"):
            try:
                marshal.loads(path.read_bytes()[16:])
            except Exception as error:
                print(path.name, "of", root.name[:8], "does not load:", error)
"""
    return base.run("-I", "-c", code, *[path for path in store.iterdir() if not path.is_symlink()]).stdout.splitlines()


def _left_by(at: House, install: list[str]) -> str:
    """Install the plugins with another tool, sync the folder above, cut, and count the bad files: `3 of 10`."""
    target = at.disk.mount / f"by-{Path(install[-1]).name}-{len(install)}"
    wheels = [publish(at.links, name, f"1.{number}") for name, number in at.versions.items()]
    environment = {**at.vpm_env.env, "UV_CACHE_DIR": str(at.disk.mount / "others")}
    done = subprocess.run(
        [*install, "--no-index", "--target", str(target), *map(str, wheels)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return "is not here"
    sync(target.parent)
    at.disk.cut()
    at.disk.again()
    bad = files = 0
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if not name.endswith("/RECORD"):
                    files += 1
                    found = target / name
                    bad += not found.exists() or found.read_bytes() != archive.read(name)
    return f"{bad} of {files}"


def _write(path: Path, size: int) -> None:
    block = os.urandom(MIB)
    with open(path, "wb") as stream:
        stream.writelines(block for _ in range(size // MIB))
