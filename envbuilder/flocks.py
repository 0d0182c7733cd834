"""Locks of files and folders that say who holds them, leases among them; where there are no flocks, tickets.

The second door to changing files: what is written here are notes of who has a lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from os.path import dirname

from envbuilder import fs
from envbuilder.contexts import contextmanager, suppress
from envbuilder.errors import Busy, NoLocks
from envbuilder.paths import DEFAULT_WAIT
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

    from envbuilder.fs import StrPath

_LONGEST_NOTE = 4096
"""Bytes of a lock file: those who share a lock add a line each, and none is taken away before so many are there."""

_REFUSED = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
"""What flock answers where a file system has no locks, or where who keeps them does not answer."""

_HELD = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
"""What it answers where somebody else has the lock; a server of files may say that he is not let in."""

_AT_ONCE = os.O_CLOEXEC | os.O_NONBLOCK
"""A pipe that lies where a lock file should be makes nobody wait."""

TELL_AFTER = 2.0
"""Seconds of waiting for a lock that people notice: then they are told, and again at growing intervals."""


@contextmanager
def locked(
    path: StrPath,
    *,
    wait: float = DEFAULT_WAIT,
    on_wait: Callable[[str, float], None] | None = None,
    shared: bool = False,
) -> Iterator[None]:
    """Hold the flock on `path`, exclusive unless `shared`; the file is never unlinked and says who took it.

    While somebody else has it, `on_wait(holder, seconds)` is called after 2, 4, 8 … seconds, in the end once a minute;
    after `wait` seconds `Busy` is raised. Where there are no flocks, a ticket in a folder beside it takes its place.
    """
    fs.make_dirs(dirname(os.fspath(path)))
    descriptor = _open_lock(path)
    ticket = ""
    try:
        ticket = _acquire(descriptor, os.fspath(path), fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait, on_wait)
        try:
            if not shared or os.fstat(descriptor).st_size > _LONGEST_NOTE:
                os.ftruncate(descriptor, 0)
            os.write(descriptor, b"%d %d\n" % (os.getpid(), time.time()))
        except OSError:
            pass  # the lock is what counts, not the note of who has it
        yield
    finally:
        if ticket:
            fs.remove_quietly(ticket)
        os.close(descriptor)


@fs.drawing
def _open_lock(path: StrPath) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | _AT_ONCE, 0o644)


def try_exclusive(path: StrPath) -> IO[str] | None:
    """Take a lease file exclusively, without waiting: the open stream that holds it, or None if somebody uses it.

    Of a file that this user may only read, the flock is all that is wanted. Raise `NoLocks` where there are none, and
    `OSError` where that cannot be told.
    """
    try:
        stream = open(_writable_or_not(path))  # noqa: SIM115 (the caller holds it)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
        return None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        stream.close()
        if error.errno in _REFUSED:
            raise NoLocks(path=os.fspath(path), why=os.strerror(error.errno)) from None
        if error.errno in _HELD:
            return None
        fs.named(error, path)
        raise
    return stream


def require_locks(path: StrPath) -> None:
    """Raise `NoLocks` where the file system of a lock file has no flocks; a file that is not there needs none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _AT_ONCE)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _REFUSED:
            raise NoLocks(path=os.fspath(path), why=os.strerror(error.errno)) from None
    finally:
        os.close(descriptor)


def _writable_or_not(path: StrPath) -> int:
    try:
        return os.open(path, os.O_RDWR | _AT_ONCE)  # NFS locks alone what may be written only
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return os.open(path, os.O_RDONLY | _AT_ONCE)


def _acquire(descriptor: int, path: str, mode: int, wait: float, on_wait: Callable[[str, float], None] | None) -> str:
    """Wait for a lock; return the ticket that stands for it where there are no flocks, else ""."""
    started, telling = time.monotonic(), TELL_AFTER
    while True:
        ticket = _try(descriptor, path, mode)
        if ticket is not None:
            return ticket
        waited = time.monotonic() - started
        if waited >= wait or (on_wait and waited >= telling):
            from envbuilder.holders import holders  # as a rule nobody waits

            if on_wait and waited >= telling:
                telling += min(telling, 60.0)
                on_wait(holders(path), waited)
            if waited >= wait:
                raise Busy(path=path, holder=holders(path), waited=waited)
        time.sleep(0.02)


def _try(descriptor: int, path: str, mode: int) -> str | None:
    """Take a lock if it is free: "", or the ticket that stands for it; None if somebody has it."""
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno not in _REFUSED:
            fs.named(error, path)
            raise
        return _draw(path, is_shared=mode == fcntl.LOCK_SH)
    return ""


def _draw(path: str, *, is_shared: bool) -> str | None:
    """Take a lock by putting a ticket down, and only then looking at the others'; None if somebody has it."""
    from envbuilder import tickets  # few file systems have no locks

    own = tickets.new(path, is_shared=is_shared)
    fs.make_dirs(dirname(own))
    fs.write_plain(own, b"")
    is_taken, dead = tickets.others(own)
    for ticket in dead:
        fs.remove(ticket)
    if not is_taken:
        return own
    fs.remove(own)
    time.sleep(tickets.pause())
    return None


def hold_lease(path: StrPath) -> int:
    """Take the shared flock on a lease file and keep it over `exec`: the descriptor is inherited, and never closed.

    It is the one that lies there when it is held: gc may have taken the file away meanwhile. Where there are no flocks
    the open file is all that others of this machine see. Raise `FileNotFoundError` where there is none.
    """
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            _share(descriptor)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                os.set_inheritable(descriptor, True)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _share(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise


@contextmanager
def folder_held(path: StrPath) -> Iterator[None]:
    """Hold the flock of a folder itself, where its file system has such: nothing is left behind."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_held(path: StrPath) -> bool | None:
    """Tell whether somebody holds the flock of a real file or folder; None where its file system has none for such.

    A symlink can have none: nobody holds it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _AT_ONCE | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False
