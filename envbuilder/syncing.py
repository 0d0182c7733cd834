"""Bring a tree to the disk: all that its file system has to write, or file by file where that is too much.

`syncfs` writes what a neighbour left dirty too. One that copies a model beside a small plugin would hold up its build
for as long as the copy takes; an fsync of each of our own files then costs less.
"""

from __future__ import annotations

import os
from os.path import dirname, join

from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

PATIENCE = 256 << 20
"""Bytes of others that a sync waits for without looking further."""

WORTH = 256 << 10
"""Bytes that a disk writes in the time of one more fsync."""

_MEMORY = "/proc/meminfo"
_UNWRITTEN = ("Dirty:", "Writeback:")
_START_WRITING = 2
"""Linux's SYNC_FILE_RANGE_WRITE."""


def bring_to_disk(path: str) -> None:
    """Return when all below `path` is on the disk; raise `OSError` where the disk refused some of it."""
    if unwritten() <= PATIENCE or not _is_held_up(path) or not _sync_each(path):
        _sync_file_system(path)


def unwritten() -> int:
    """Count the bytes that wait to be written, to whichever disk; 0 where that is not told."""
    try:
        with open(_MEMORY, encoding="utf-8") as stream:
            lines = [line.split() for line in stream if line.startswith(_UNWRITTEN)]
        return sum(int(words[1]) << 10 for words in lines)
    except (OSError, ValueError, IndexError):
        return 0


def _is_held_up(path: str) -> bool:
    """Tell whether others have so much to write that our own files one by one are sooner there."""
    sizes = [os.lstat(file).st_size for file in _files(path)]
    return unwritten() - sum(sizes) > PATIENCE + WORTH * len(sizes)


def _sync_file_system(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        call = _libc("syncfs")
        if call is None:
            os.sync()
        elif call(descriptor) != 0:
            _refuse(path)
    finally:
        os.close(descriptor)


def _refuse(path: str) -> None:
    import ctypes
    import errno

    number = ctypes.get_errno()
    if number != errno.ENOSYS:
        raise OSError(number, os.strerror(number), path)
    os.sync()


def _sync_each(path: str) -> bool:
    """Sync every file and folder below `path`, and the folder that it lies in; False for a tree we may not read.

    All are started before the first is waited for, so that one commit of the file system's journal serves them all.
    """
    files = list(_files(path))
    start = _libc("sync_file_range")
    try:
        for file in files if start else ():
            _with(file, lambda descriptor: start(descriptor, 0, 0, _START_WRITING))
        for entry in (*files, *_folders(path), dirname(path)):
            _with(entry, os.fsync)
    except PermissionError:
        return False
    return True


def _with(path: str, action: Callable[[int], object]) -> None:
    descriptor = os.open(path or ".", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        action(descriptor)
    finally:
        os.close(descriptor)


def _files(path: str) -> Iterator[str]:
    for folder, _, names in os.walk(path):
        yield from (join(folder, name) for name in names if not os.path.islink(join(folder, name)))


def _folders(path: str) -> list[str]:
    """Name the folders of a tree, inner ones first."""
    return [folder for folder, _, _ in os.walk(path, topdown=False)]


def _libc(name: str) -> Any:
    """Return a function of the C library; None where there is none of that name."""
    if name == "syncfs":
        try:
            return _plain(name)
        except (ImportError, OSError):
            pass  # an interpreter without these parts, or a library without the function
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if call is not None and name == "sync_file_range":
        call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return call


def _plain(name: str) -> Any:
    """Return a function of the C library that takes and returns what C calls an int.

    What is written in C of `ctypes` can do that alone; the package around it takes 4 ms, a tenth of a warm build.
    """
    from _ctypes import FUNCFLAG_CDECL, FUNCFLAG_USE_ERRNO, CFuncPtr, dlopen, dlsym

    class Function(CFuncPtr):
        _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO

    return Function(dlsym(dlopen(None, 0), name))  # type: ignore[arg-type]  # None is this process
