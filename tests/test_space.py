"""Room on file systems: what is needed, what programs say when there is none, and what is set aside."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import kit
import pytest

from envbuilder import fs, reserve, space
from envbuilder.errors import NoRoom, SystemRefusal
from envbuilder.lock import LockedPackage
from envbuilder.paths import Layout

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def test_a_wheel_at_hand_says_what_it_unpacks_to(tmp_path: Path) -> None:
    wheel = kit.wheel(tmp_path, "demo", files={"demo/__init__.py": "", "demo/data": b"\0" * 5 * MIB})
    locked = LockedPackage(name="demo", version="1.0", plugin="demo", wheels=({"url": wheel.as_uri()},))

    need = space.need_of([locked])

    assert wheel.stat().st_size < MIB
    assert need.is_exact
    assert 5 * MIB < need.bytes < 6 * MIB


def test_of_a_wheel_elsewhere_its_own_size_is_the_least(tmp_path: Path) -> None:
    wheel = {"url": "https://index.example/demo.whl", "size": 7 * MIB}
    need = space.need_of([LockedPackage(name="demo", version="1.0", plugin="demo", wheels=(wheel,))])

    assert not need.is_exact
    assert need.bytes >= 7 * MIB
    with pytest.raises(NoRoom, match=r"needs at least .* are missing"):
        space.require(need._replace(bytes=1 << 60), str(tmp_path))


@pytest.mark.parametrize(
    ("said", "number", "path"),
    [
        (
            "cause: copy from\n   /c/a.bin to\n   /h/tmp/b.bin:\n   No space left\n   on device (os error 28)",
            errno.ENOSPC,
            "/h/tmp/b.bin",
        ),
        ("OSError: [Errno 122] Disk quota exceeded: '/h/x'", errno.EDQUOT, "/"),
        ("fatal: write error: Input/output error", errno.EIO, "/"),
        ("error: https://index.example/simple/demo: not found", None, ""),
    ],
)
def test_what_a_program_ended_of_is_found_in_its_words(said: str, number: int | None, path: str) -> None:
    found = space.told(said, "/")

    assert (found.errno if found else None) == number
    assert found is None or found.filename == path


def test_the_lack_names_the_file_system_and_the_difference(tmp_path: Path) -> None:
    free = fs.disk_of(tmp_path).free
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "not" / "there"))

    with pytest.raises(NoRoom) as caught, space.needing(space.Need(), str(tmp_path)):
        raise error
    with pytest.raises(NoRoom) as much, space.needing(space.Need(bytes=int(free / 0.95)), str(tmp_path)):
        raise error

    assert caught.value.message.endswith(f"`{tmp_path}/not/there`: no space left on device")
    assert caught.value.missing is None
    assert much.value.missing == pytest.approx(free / 0.95 - free, rel=0.2)


def test_other_refusals_stay_what_they_are(tmp_path: Path) -> None:
    found = space.refusal(OSError(errno.EIO, os.strerror(errno.EIO), "/x"))

    assert type(found) is SystemRefusal
    assert found.message == "`/x`: input/output error"
    assert "dmesg" in str(found.hint)


def test_the_reserve_is_given_up_a_file_at_a_time(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "place"))
    (tmp_path / "place").mkdir()
    reserve.fill(layout)
    target = tmp_path / "target"
    refusing = 2

    def full(path: str) -> None:
        nonlocal refusing
        if refusing:
            refusing -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        target.write_text("there")

    attempt = fs.drawing(full)
    with pytest.raises(OSError, match="No space"):
        attempt(str(target))
    refusing = 2
    with fs.drawing_on(layout.reserve):
        attempt(str(target))

    assert target.read_text() == "there"
    assert len(list((tmp_path / "place" / "reserve").iterdir())) == len(reserve.NAMES) - 2


def test_a_file_that_cannot_be_written_over_keeps_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plugins.yaml"
    path.write_bytes(b"old content")
    write, refusals = os.pwrite, iter([errno.ENOSPC])

    def full(descriptor: int, content: bytes, at: int) -> int:
        if number := next(refusals, 0):
            write(descriptor, content[:3], at)
            raise OSError(number, os.strerror(number))
        return write(descriptor, content, at)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space") as caught:
        fs._write_over(str(path), b"another content, longer")

    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old content"
