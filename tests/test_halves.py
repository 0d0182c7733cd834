"""Half-written files: which of them nobody writes any more, and who removes those."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from envbuilder import flocks, fs, halves, profile
from envbuilder.belongings import belongings, leftovers
from envbuilder.paths import Layout

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def gone() -> int:
    """Return the id of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def half(folder: Path, name: str, pid: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{name}.{pid}-0123abcd.new"
    path.write_text("half")
    return path


def test_whose_process_is_gone_and_who_holds_no_lock(tmp_path: Path, gone: int) -> None:
    left, held = half(tmp_path, "order.json", gone), half(tmp_path, "format", gone)
    own, link = half(tmp_path, "own", os.getpid()), tmp_path / f".current.{gone}-0123abcd.new"
    (tmp_path / "overlay").mkdir()
    link.symlink_to("overlay")
    (tmp_path / ".mine.new").write_text("")

    with held.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        found = {path for path in tmp_path.iterdir() if halves.is_left(str(path))}
        assert found == {left, link}
    assert halves.is_left(str(held))
    assert not halves.is_left(str(own))


def test_the_same_process_id_in_another_container(tmp_path: Path) -> None:
    path = half(tmp_path, "format", os.getpid())
    os.utime(path, (0, 0))

    assert halves.is_left(str(path))


def test_who_writes_holds_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(os, "replace", lambda source, _: seen.append(flocks.is_held(source)))

    fs.write_atomic(tmp_path / "file", b"x", synced=False)

    assert seen == [True]


def test_all_of_a_home_are_leftovers_and_go_with_it(tmp_path: Path, gone: int) -> None:
    layout = Layout(str(tmp_path / "registry"))
    made = profile.Profile(layout, "default", "0123456789ab")
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / "format").write_text("1\n")
    folders = (layout.home, layout.store, layout.sources, layout.cache, f"{layout.cache}/bases", made.path)
    folders += (f"{made.path}/generations", layout.overlay("0123456789ab", "0" * 64))
    found = {str(half(type(tmp_path)(folder), "x.json", gone)) for folder in folders}

    assert set(leftovers(layout)) == found
    assert belongings(layout)[1] == []


def test_only_those_of_the_file_that_was_written_are_cleared(tmp_path: Path, gone: int) -> None:
    mine, others = half(tmp_path, "plugins.yaml", gone), half(tmp_path, "plugins.yaml.bak", gone)
    (tmp_path / "plugins.yaml").write_text("")

    halves.clear(str(tmp_path / "plugins.yaml"))

    assert not mine.exists()
    assert others.exists()
