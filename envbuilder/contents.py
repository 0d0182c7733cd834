"""Read a file that somebody else wrote: no more of it than it may have, and no waiting for what never comes."""

from __future__ import annotations

import errno
import os
import select
import stat
import time

SECONDS_FOR_A_WRITER = 0.5
"""How long a named pipe may be without anybody who writes to it."""

_BLOCK = 1 << 20
_PIECE = 1 << 16


def start_of(path: str | os.PathLike[str], length: int, *, regular: bool = False) -> bytes:
    """Return up to `length` bytes from a file's start, or from a pipe.

    Raise `OSError` for one that cannot be read, for a pipe that nobody writes to, and with `regular` for what is no
    file at all.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if regular and not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        if stat.S_ISFIFO(mode):
            return _of_pipe(descriptor, length)
        return _of_file(descriptor, length)
    finally:
        os.close(descriptor)


def _of_file(descriptor: int, length: int) -> bytes:
    found = bytearray()
    while len(found) < length and (block := os.read(descriptor, min(_BLOCK, length - len(found)))):
        found += block
    return bytes(found)


def _of_pipe(descriptor: int, length: int) -> bytes:
    """Read to the end; the end that comes first may be a writer who has not come yet."""
    found = bytearray()
    waiting_until = time.monotonic() + SECONDS_FOR_A_WRITER
    while len(found) < length:
        try:
            block = os.read(descriptor, min(_PIECE, length - len(found)))
        except BlockingIOError:
            select.select([descriptor], [], [])
            waiting_until = 0.0
            continue
        found += block
        if not block and (found or time.monotonic() > waiting_until):
            break
        if not block:
            time.sleep(0.01)
    if not found and waiting_until:
        raise OSError(errno.EPIPE, "it is a pipe that nobody writes to")
    return bytes(found)
