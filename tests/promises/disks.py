"""Small disks: file systems in files, mounted by loop devices, from which the power may go; and what is read-only."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from kit import faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = {
    "ext4, data=ordered": ("mkfs.ext4", "-q", "-F", "-O", "^resize_inode"),
    "ext4, data=writeback": ("mkfs.ext4", "-q", "-F", "-O", "^resize_inode"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
}
"""File systems by name, with what makes one."""

_OPTIONS = {"ext4, data=ordered": "loop,data=ordered", "ext4, data=writeback": "loop,data=writeback", "xfs": "loop"}
_SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
_MIB = 1 << 20


@dataclass(frozen=True)
class Disk:
    """A file system in the file `image`, mounted at `mount`."""

    kind: str
    image: Path
    mount: Path

    def cut(self, kind: str = "cut") -> None:
        """Take the power away: what is not on the disk is lost."""
        faults.cut(str(self.mount), kind)

    def again(self) -> None:
        """Come back after a cut: the journal is replayed.

        A mount namespace that somebody made meanwhile has a copy of the mount, and keeps what was cut until it ends.
        """
        for _ in range(600):
            self.off()
            self.on()
            if self._takes_files():
                return
            time.sleep(0.05)
        raise AssertionError(f"{self.mount} does not come back")

    def _takes_files(self) -> bool:
        try:
            (self.mount / "probe").touch()
            (self.mount / "probe").unlink()
        except OSError:
            return False
        return True

    def free(self) -> int:
        """Count the bytes that root may still write."""
        found = os.statvfs(self.mount)
        return found.f_bfree * found.f_frsize

    def on(self) -> None:
        """Mount it."""
        _run("mount", "-o", _OPTIONS[self.kind], self.image, self.mount)

    def off(self) -> None:
        """Unmount it, as soon as those that were killed are gone."""
        for _ in range(200):
            done = subprocess.run(["umount", str(self.mount)], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return
            time.sleep(0.01)
        raise AssertionError(done.stderr)


@contextmanager
def disk(folder: Path, kind: str, *, size: int = 320 * _MIB) -> Iterator[Disk]:
    """Lend a disk of `size` bytes; skip where this machine or this user cannot have one."""
    made = Disk(kind, folder / "image", folder / "mount")
    made.mount.mkdir(parents=True)
    with open(made.image, "wb") as stream:
        stream.truncate(size)
    program, *options = KINDS[kind]
    if shutil.which(program, path=_SEARCH) is None:
        pytest.skip(f"no {program}")
    _need_root()
    _run(program, *options, made.image)
    try:
        made.on()
    except AssertionError as error:
        pytest.skip(f"no loop mounts: {cause(str(error))}")
    try:
        yield made
    finally:
        made.off()
        made.image.unlink()


@contextmanager
def read_only(*folders: Path) -> Iterator[None]:
    """Let nothing be written below some folders, not even by root; skip where that cannot be had."""
    _need_root()
    mounted: list[Path] = []
    try:
        for folder in folders:
            try:
                _run("mount", "--bind", folder, folder)
                mounted.append(folder)
                _run("mount", "-o", "remount,bind,ro", folder)
            except AssertionError as error:
                pytest.skip(f"no bind mounts: {cause(str(error))}")
        yield
    finally:
        for folder in reversed(mounted):
            _run("umount", "--lazy", folder)


def cause(said: str) -> str:
    """Return why a mount was refused, without its path: what the first line ends with."""
    return (said.strip().splitlines() or ["-"])[0].rpartition(": ")[2].rstrip(".")


def _need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount")


def _run(program: str, *arguments: str | Path) -> None:
    path = shutil.which(program, path=_SEARCH) or pytest.skip(f"no {program}")
    done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
