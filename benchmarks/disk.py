"""What a folder takes on the disk that goes when it goes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Taken(NamedTuple):
    """Bytes in blocks, and inodes."""

    bytes: int
    inodes: int


def taken(folder: Path, *, without: str = "") -> Taken:
    """Count what is freed with `folder`: a file counts once, and only if nothing else holds it.

    `without` is the path in it of a folder whose files do not count.
    """
    held: dict[int, list[os.stat_result]] = {}
    for path, status in _entries(folder):
        if not (without and path.startswith(os.path.join(folder, without, ""))):
            held.setdefault(status.st_ino, []).append(status)
    own = [found[0] for found in held.values() if _is_folder(found[0]) or found[0].st_nlink == len(found)]
    return Taken(bytes=sum(status.st_blocks * 512 for status in own), inodes=len(own))


def _is_folder(status: os.stat_result) -> bool:
    return status.st_mode & 0o170000 == 0o040000


def _entries(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    yield str(folder), os.lstat(folder)
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(parent, name)
            yield path, os.lstat(path)
