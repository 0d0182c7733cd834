"""What was thrown away and is not deleted yet: each entry's name says from when on it may be."""

from __future__ import annotations

import errno
import os
import re
from os.path import join
from typing import TYPE_CHECKING

from envbuilder import flocks, fs

if TYPE_CHECKING:
    from collections.abc import Callable

    from envbuilder.paths import Layout

ENTRY = r"(?P<label>(leftover|overlay|package)-.+)\.(?P<until>\d+)-[0-9a-f]{8}"
_ENTRY = re.compile(ENTRY)
_MANIFESTS = ("overlay.json", "package.json")


def throw(layout: Layout, path: str, label: str, *, until: float = 0.0) -> str:
    """Move `path` to the trash, to be deleted when `until` (seconds since the epoch) is over; return where it lies.

    `label` says what it was: `leftover-…`, `overlay-…` or `package-…`. What comes with a container's image cannot be
    moved in some of them: that is deleted at once, its manifest first, without which it is nothing.
    """
    fs.make_dirs(layout.trash)
    entry = join(layout.trash, f"{label}.{int(until)}-{os.urandom(4).hex()}")
    try:
        fs.rename(path, entry)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        for manifest in _MANIFESTS:
            fs.remove(join(path, manifest))
        delete(layout, path, gone_from=path if os.path.isdir(path) else os.path.dirname(path))
    return entry


def delete(layout: Layout, *paths: str, gone_from: str) -> None:
    """Delete for good what lies in the trash, or what is nothing without the file that went from `gone_from`.

    First the disk has to know that they went. Some file systems (ext4 with `data=writeback`) give the blocks of a
    deleted file away before the deletion is in their journal: after a power cut, a package would be back under its
    name with the content of somebody else's files.
    """
    if paths:
        fs.sync_dir(gone_from)
    for path in paths:
        fs.remove_tree(path, within=layout.home)


def entries(layout: Layout) -> list[str]:
    """Name everything in the trash that was thrown there; what else lies there is not ours to remove."""
    return [join(layout.trash, name) for name in fs.names_in(layout.trash) if _ENTRY.fullmatch(name)]


def due(layout: Layout, now: float) -> list[str]:
    """Name what may be deleted at `now`."""
    return [path for path in entries(layout) if _until(os.path.basename(path)) <= now]


def label_of(path: str) -> str:
    """Say what an entry was."""
    found = _ENTRY.fullmatch(os.path.basename(path))
    return found["label"] if found else os.path.basename(path)


def empty(layout: Layout, now: float, *, wait: float, on_wait: Callable[[str, float], None] | None) -> None:
    """Delete for good what is due; holds up nobody but whoever else does the same."""
    with flocks.locked(join(layout.flocks, "trash"), wait=wait, on_wait=on_wait):
        delete(layout, *due(layout, now), gone_from=layout.trash)


def _until(name: str) -> int:
    found = _ENTRY.fullmatch(name)
    return int(found["until"]) if found else 0
