"""File systems of a few MiB, filled to the last byte or inode, and what takes room on them."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import disks
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20


@dataclass(frozen=True)
class Small:
    """A small file system, mounted at `mount`."""

    mount: Path

    @property
    def used(self) -> int:
        """Count the bytes that are taken."""
        found = os.statvfs(self.mount)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    @property
    def inodes(self) -> int:
        """Count the inodes that are taken."""
        found = os.statvfs(self.mount)
        return found.f_files - found.f_ffree

    @property
    def free(self) -> int:
        """Count the bytes that root may still write."""
        found = os.statvfs(self.mount)
        return found.f_bfree * found.f_frsize

    def resize(self, size: int) -> None:
        """Make a tmpfs larger or smaller."""
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.mount)], check=True)

    def fill(self) -> None:
        """Take every byte that is left: a file for the most, and the bits between in others' last blocks."""
        folder = self.mount / "filling"
        folder.mkdir(exist_ok=True)
        os.chmod(folder, 0o777)
        for number, piece in enumerate((MIB, 1 << 16, 4096, 1024, 1)):
            with suppress(OSError), open(folder / str(number), "ab", buffering=0) as stream:
                while True:
                    stream.write(os.urandom(piece))

    def fill_inodes(self, *, spare: int = 0) -> None:
        """Take every inode but `spare`."""
        folder = self.mount / "names"
        folder.mkdir(exist_ok=True)
        made = []
        with suppress(OSError):
            for number in range(1 << 20):
                path = folder / str(number)
                path.touch()
                made.append(path)
        for path in made[:spare]:
            path.unlink()

    def clear(self) -> None:
        """Take away what fills it."""
        subprocess.run(["rm", "-rf", str(self.mount / "filling"), str(self.mount / "names")], check=True)


@contextmanager
def tmpfs(folder: Path, size: int, *, inodes: int = 0) -> Iterator[Small]:
    """Lend a file system in memory; skip where this user may mount none."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size}" + (f",nr_inodes={inodes}" if inodes else "")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted: {disks.cause(done.stderr)}")
    try:
        yield Small(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def on_disk(folder: Path, kind: str, size: int) -> Iterator[Small]:
    """Lend a file system of one of `disks.KINDS`, in a file."""
    with disks.disk(folder, kind, size=size) as made:
        yield Small(made.mount)
