"""A little of the home's file system that is set aside while there is room, so that going back works when it is full.

A rollback writes an order and makes a link, gc needs names in the trash: each is a block or an inode, and a full file
system has neither. So there are some files here that nobody needs. Within `fs.drawing_on`, what found no room has one
of them: written over where it is a file that is lacking, for its blocks are there, else removed for its inode. A build
that ends well makes them again.
"""

from __future__ import annotations

import os
from os.path import join
from typing import TYPE_CHECKING

from envbuilder import fs

if TYPE_CHECKING:
    from envbuilder.paths import Layout

SIZE = 64 << 10
"""Bytes of a file of the reserve."""
NAMES = tuple(f"{number:02}" for number in range(16))
"""Names of its files: 1 MiB, more than twice what the longest order takes."""
_SHARE = 4
"""No more is set aside than one in so many free bytes and inodes."""


def fill(layout: Layout) -> None:
    """Make what is lacking of the reserve, as far as there is room; what keeps it from that is no reason to fail.

    The folder that things are thrown into is part of it.
    """
    lacking = sorted({*NAMES} - {*fs.names_in(layout.reserve)})
    if not lacking:
        return
    content = os.urandom(SIZE)  # zeros would take no room where a file system compresses
    try:
        fs.make_dirs(layout.trash)
        fs.make_dirs(layout.reserve)
        for name in lacking[: _count(fs.disk_of(layout.home))]:
            _set_aside(join(layout.reserve, name), content)
    except OSError:
        pass


def _count(disk: fs.Disk) -> int:
    inodes = len(NAMES) if disk.inodes is None else disk.inodes // _SHARE
    return min(disk.free // SIZE // _SHARE, inodes)


def _set_aside(path: str, content: bytes) -> None:
    try:
        fs.write_plain(path, content, mode=0o664)
    except OSError:
        fs.remove(path)
        raise
