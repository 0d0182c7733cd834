"""Put one thing in the place of another that processes may be using: by names, so that who has it open keeps it."""

from __future__ import annotations

import os
import stat
import sys
from os.path import basename, dirname, join

from envbuilder import fs

_EXCHANGE = 2
"""Linux's RENAME_EXCHANGE."""
_HERE = -100
"""Linux's AT_FDCWD: paths are what they say."""


def exchange(left: str, right: str) -> None:
    """Let two names change places in one step; where the system cannot, there is nothing at `right` for a moment."""
    sys.audit("os.rename", left, right, -1, -1)
    if not _exchanged(os.fsencode(left), os.fsencode(right)):
        aside = f"{left}.aside"
        os.rename(right, aside)
        os.rename(left, right)
        os.rename(aside, left)
    fs.sync_dir(dirname(right))


def _exchanged(left: bytes, right: bytes) -> bool:
    """Call renameat2(2); False where the platform or the file system lacks it."""
    import ctypes  # few calls put one tree in another's place

    call = getattr(ctypes.CDLL(None), "renameat2", None)
    return call is not None and call(_HERE, left, _HERE, right, _EXCHANGE) == 0


def replace_hard_link(source: str, path: str) -> None:
    """Make `path` another name of the file `source`, as `fs.hard_link` does, in the place of what is there."""
    temporary = join(dirname(path), f".{basename(path)}.{os.getpid()}.new")
    fs.remove(temporary)
    fs.hard_link(source, temporary)
    os.replace(temporary, path)
    fs.remove(temporary)  # of two names of one file, `replace` leaves both


def take_over(path: str, mode: int) -> None:
    """Let a file or folder be this user's, with these rights; a file that is another's becomes a copy of itself."""
    status = os.lstat(path)
    is_folder = stat.S_ISDIR(status.st_mode)
    if status.st_uid not in (0, os.geteuid()) and is_folder:
        os.chown(path, os.geteuid(), -1, follow_symlinks=False)
    elif status.st_uid not in (0, os.geteuid()):
        with open(path, "rb") as stream:
            fs.write_atomic(path, stream.read())
    os.chmod(path, mode)
