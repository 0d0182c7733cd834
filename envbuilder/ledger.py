"""Bytes on disk, with files that have several names counted once, and freed only when the last name goes."""

from __future__ import annotations

import os
import stat
from os.path import join
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
    known = {(status.st_dev, status.st_ino): status.st_blocks for path in paths for status in statuses(path)}
    return _BLOCK * sum(known.values())


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
