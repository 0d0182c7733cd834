"""Bytes on disk, with files that have several names counted once, and freed only when the last name goes."""

from __future__ import annotations

import os
import stat
from os.path import isdir, join, realpath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PARTS = ("store", "overlays", "profiles", "sources", "cache", "flocks", "tmp", "trash", "reserve")
"""Folders of a home, in the order in which they are charged for the files that they share."""

REST = "other"
"""What else a home takes: its own folder, and what lies beside the parts."""

_BLOCK = 512


class Ledger:
    """Add what is to go, thing by thing; each time it says what that frees of the disk."""

    def __init__(self) -> None:
        self.bytes = 0
        self._names: dict[tuple[int, int], int] = {}

    def add(self, *paths: str) -> int:
        """Return the bytes that are freed if these go too: a file with a name elsewhere frees nothing yet."""
        before = self.bytes
        for path in paths:
            for status in statuses(path):
                self._add(status)
        return self.bytes - before

    def _add(self, status: os.stat_result) -> None:
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            identity = (status.st_dev, status.st_ino)
            self._names[identity] = self._names.get(identity, 0) + 1
            if self._names[identity] != status.st_nlink:
                return
        self.bytes += status.st_blocks * _BLOCK


def occupied(paths: Iterable[str]) -> int:
    """Count the bytes on disk of everything below `paths`, each file once."""
    return sum(files(paths).values())


def files(paths: Iterable[str]) -> dict[tuple[int, int], int]:
    """List what is below `paths`, folders too: `(device, inode)` → bytes on disk."""
    found = (status for path in paths for status in statuses(path))
    return {(status.st_dev, status.st_ino): status.st_blocks * _BLOCK for status in found}


def shares(home: str) -> dict[str, int]:
    """Say what each part of a home takes, name → bytes on disk: together what `du` says of the home.

    A file with several names counts for the first part that has it: what is said of cache and trash is what goes with
    them. Nothing where there is no home.
    """
    root = realpath(home)
    if not isdir(root):
        return {}
    names = _entries(root)
    found: dict[str, int] = {}
    known: set[tuple[int, int]] = set()
    for part in PARTS:
        if part in names:
            found[part] = _charge(files([join(root, part)]), known)
    status = os.lstat(root)
    rest = files(join(root, name) for name in names if name not in PARTS)
    found[REST] = _charge({**rest, (status.st_dev, status.st_ino): status.st_blocks * _BLOCK}, known)
    return found


def _charge(found: dict[tuple[int, int], int], known: set[tuple[int, int]]) -> int:
    """Count the bytes of what is not known yet, and know it from now on."""
    total = sum(size for identity, size in found.items() if identity not in known)
    known.update(found)
    return total


def statuses(path: str) -> Iterator[os.stat_result]:
    """Look at `path` and everything below it, following no links; nothing where there is nothing."""
    try:
        status = os.lstat(path)
    except OSError:
        return
    yield status
    if stat.S_ISDIR(status.st_mode):
        for name in _entries(path):
            yield from statuses(join(path, name))


def _entries(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
