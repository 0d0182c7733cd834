"""What lies in folders, path by path: what a harm touched, and what a repair left different."""

from __future__ import annotations

import hashlib
import os
import stat
from fnmatch import fnmatch
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

PASSING = ("trash/*", "tmp", "tmp/*", "flocks/*", "cache/uv*", "cache/starts*", "cache/choices*", "cache/bases*")
"""What is thrown away, who has a lock, and what is only remembered."""
_COMPILED = ("*.pyc", "*/.compiled-*")
"""What depends on what else was alive in the compiler: only that it is there can be asked."""


def stats(root: Path) -> dict[str, tuple[int, ...]]:
    """Say of each path below a folder what tells that it was touched."""
    return {inner: _numbers(os.lstat(root / inner)) for inner in _paths(root)}


def _numbers(status: os.stat_result) -> tuple[int, ...]:
    is_folder = stat.S_ISDIR(status.st_mode)  # whose times say only that a name in it came or went
    moment = 0 if is_folder else status.st_ctime_ns
    return status.st_ino, status.st_mode, status.st_uid, moment


def touched(before: dict[str, tuple[int, ...]], after: dict[str, tuple[int, ...]]) -> set[str]:
    """Name the paths that came, went, or were changed."""
    return {inner for inner in before.keys() | after.keys() if before.get(inner) != after.get(inner)}


def contents(root: Path) -> dict[str, tuple[object, ...]]:
    """Say of each path below a folder what it is, but for its times and its number."""
    return {inner: _content(root / inner, inner) for inner in _paths(root) if not _is_like(inner, PASSING)}


def different(
    before: dict[str, tuple[object, ...]], after: dict[str, tuple[object, ...]], spared: Sequence[str]
) -> Iterator[str]:
    """Say what a repair left different, apart from paths like those `spared`."""
    for inner in sorted(before.keys() | after.keys()):
        if before.get(inner) != after.get(inner) and not _is_like(inner, spared):
            yield f"{inner}: {before.get(inner)} before, {after.get(inner)} now"


def _is_like(inner: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(inner, pattern) for pattern in patterns)


def _paths(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        for name in folders + names:
            yield os.path.relpath(os.path.join(folder, name), root)


def _content(path: Path, inner: str) -> tuple[object, ...]:
    status = path.lstat()
    head = (stat.S_IFMT(status.st_mode), status.st_uid)
    if path.is_symlink():
        return (*head, os.readlink(path))
    if not stat.S_ISREG(status.st_mode):
        return (*head, stat.S_IMODE(status.st_mode))
    if _is_like(inner, _COMPILED):
        return head
    return (*head, stat.S_IMODE(status.st_mode), status.st_size, hashlib.sha256(path.read_bytes()).hexdigest())
