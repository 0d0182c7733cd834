"""The one door to changing files: write whole, publish by rename, one switch, locks that say who holds them."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import time
from contextlib import contextmanager, suppress
from os.path import basename, dirname, join

from envbuilder import protocol
from envbuilder.errors import Busy
from envbuilder.paths import DEFAULT_WAIT
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO, Any

    StrPath = str | os.PathLike[str]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LONGEST_NOTE = 4096
"""Bytes of a lock file: those who share a lock add a line each, and none is taken away before so many are there."""

TELL_AFTER = 2.0
"""Seconds of waiting for a lock that people notice: then they are told, and again at growing intervals."""


class Disk(NamedTuple):
    """A file system: bytes that this user may still write, and its size."""

    free: int
    total: int


def disk_of(path: StrPath) -> Disk:
    """Look at the file system that `path` lies in."""
    found = os.statvfs(path)
    return Disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def names_in(path: StrPath) -> list[str]:
    """List the names in a directory, sorted; none where there is no directory."""
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return []


def target_of(path: StrPath) -> str:
    """Return what a symlink says; "" where there is none."""
    try:
        return os.readlink(os.fspath(path))
    except OSError:
        return ""


def make_dir(path: StrPath) -> None:
    """Make a directory in one that is there; it may be there already."""
    try:
        os.mkdir(path)
    except FileExistsError:
        pass


def is_trusted(path: StrPath) -> bool:
    """Tell whether a real directory is root's or this user's, and nobody else may write to it."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022


def make_dirs(path: StrPath, *, mode: int = 0o755) -> None:
    """Make a directory and its parents; one that is there already is fine."""
    os.makedirs(path, mode=mode, exist_ok=True)


def give_dir(path: StrPath, like: os.stat_result) -> None:
    """Give a directory of this user to the owner and group of another, where that may be; links are not followed."""
    with suppress(OSError):
        descriptor = os.open(path, _FOLDER | os.O_NOFOLLOW)
        try:
            if os.fstat(descriptor).st_uid == os.geteuid() != like.st_uid:
                os.fchown(descriptor, like.st_uid, like.st_gid)
        finally:
            os.close(descriptor)


def shut_out_strangers(home: str) -> None:
    """Let nobody else write to what this process makes from here on in `home`: the start-up hook would not trust it.

    A group may if it is root's, the owner's private one, or the one that a setgid `home` is for.
    """
    before = os.umask(0o077)
    is_shared = os.path.isdir(home) and bool(os.stat(home).st_mode & 0o2000)
    os.umask(before | (0o002 if is_shared or os.getegid() in (0, os.geteuid()) else 0o022))


def write_atomic(
    path: StrPath, content: bytes, *, mode: int = 0o644, like: os.stat_result | None = None, synced: bool = True
) -> None:
    """Write a file so that readers, and whoever looks after a power cut, see the old content or the new.

    Its mode and its owner are those of `like`, where one is given. One that is not `synced` waits for no disk, and a
    power cut may tear it.
    """
    temporary = join(dirname(os.fspath(path)), f".{basename(os.fspath(path))}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb") as stream:
            if like:
                _liken(descriptor, like)
            protocol.writing(temporary)
            stream.write(content)
            if synced:
                protocol.syncing(temporary)
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        _unlink_quietly(temporary)
        raise
    if synced:
        sync_dir(dirname(os.fspath(path)))


def rewrite(path: StrPath, content: bytes) -> None:
    """Give a file, or the one that a symlink means, another content; its mode stays, and its owner where that may be.

    One that cannot be renamed over, because it is mounted by itself or its folder takes no new files, is written in
    place.
    """
    path = os.path.realpath(path)
    before = os.stat(path)
    try:
        write_atomic(path, content, like=before)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EACCES, errno.EPERM, errno.EXDEV):
            raise
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        with open(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())


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


def is_folder_held(path: StrPath) -> bool | None:
    """Tell whether somebody holds the flock of a real folder; None where its file system has none for folders."""
    descriptor = os.open(path, _FOLDER | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


def write_json(path: StrPath, value: Any, *, mode: int = 0o644) -> None:
    """Write plain data as indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode(), mode=mode)


def write_plain(path: StrPath, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file in place: for files in a tree that is not published yet."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    protocol.writing(os.fspath(path))
    with open(descriptor, "wb") as stream:
        stream.write(content)


def append(path: StrPath, content: bytes) -> None:
    """Add to the end of a file, in one go, so that several may; it is made where there is none.

    Raise `OSError` also for a FIFO that nobody reads.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o644)
    os.set_blocking(descriptor, True)
    protocol.writing(os.fspath(path))
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def lead_nowhere(descriptors: Sequence[int]) -> None:
    """Let what is written to open files of this process be lost."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def replace_symlink(path: StrPath, target: str) -> None:
    """Point the symlink at `path` to `target` in one rename; no reader ever finds it missing."""
    path = os.fspath(path)
    temporary = join(dirname(path), f".{basename(path)}.{os.getpid()}.new")
    _unlink_quietly(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, path)
    sync_dir(dirname(path))


def link(target: str, path: str) -> None:
    """Make the symlink `path`; one that says the same already is fine."""
    try:
        os.symlink(target, path)
    except FileExistsError:
        if not os.path.islink(path) or os.readlink(path) != target:
            raise


def hard_link(source: str, path: str) -> None:
    """Make `path` another name of the file `source`; a symlink where the file system or its policy says no."""
    try:
        os.link(source, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES):
            raise
        os.symlink(os.path.relpath(source, dirname(path)), path)


def rename(source: StrPath, target: StrPath) -> None:
    """Move within one file system, in one step."""
    os.rename(source, target)


def copy_file(source: StrPath, target: StrPath, *, mode: int | None = None) -> None:
    """Copy a regular file's content (and, without `mode`, its permission bits)."""
    import shutil  # no hot verb copies

    shutil.copyfile(source, target)
    os.chmod(target, stat.S_IMODE(os.stat(source).st_mode) if mode is None else mode)


def set_mode(path: StrPath, mode: int) -> None:
    """Set a file's permission bits."""
    os.chmod(path, mode)


def remove(path: StrPath) -> None:
    """Remove a file or symlink; one that is gone already is fine."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def remove_empty_dir(path: StrPath) -> bool:
    """Remove a directory if nothing is in it; tell whether it is gone."""
    try:
        os.rmdir(path)
    except OSError:
        return not os.path.lexists(path)
    return True


def remove_tree(path: StrPath, *, within: StrPath | None = None) -> None:
    """Remove a tree, read-only parts included, and follow no symlink in it; one that is gone already is fine.

    From `within` on, a folder above it, no symlink is followed on the way there either. Folders are opened one in the
    other and never by a path, so a symlink that takes the place of one meanwhile is not followed.
    """
    above, name = os.path.split(os.path.abspath(path))
    try:
        folder = _opened(os.path.abspath(within) if within else above, above)
    except FileNotFoundError:
        return
    try:
        _remove_at(folder, name, is_folder=stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode))
    except FileNotFoundError:
        pass
    finally:
        os.close(folder)


def _opened(top: str, path: str) -> int:
    """Open the folder `path`, and on the way from `top`, which is above it or the same, nothing but folders."""
    folder = os.open(top, _FOLDER)
    for name in os.path.relpath(path, top).split(os.sep):
        outer = folder
        try:
            folder = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=outer)
        finally:
            os.close(outer)
    return folder


def _remove_at(folder: int, name: str, *, is_folder: bool) -> None:
    with suppress(FileNotFoundError):
        if is_folder:
            _empty(folder, name)
            os.rmdir(name, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)


def _empty(folder: int, name: str) -> None:
    inner = _opened_up(folder, name)
    try:
        with os.scandir(inner) as found:
            entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
        for entry, is_folder in entries:
            _remove_at(inner, entry, is_folder=is_folder)
    finally:
        os.close(inner)


def _opened_up(folder: int, name: str) -> int:
    """Open a folder that is to be emptied, and let its owner do that where it lets nobody."""
    try:
        inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except PermissionError:
        _let_read(folder, name)
        inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    if os.fstat(inner).st_mode & 0o700 != 0o700:
        with suppress(OSError):
            os.fchmod(inner, 0o700)
    return inner


def _let_read(folder: int, name: str) -> None:
    """Change the mode of a folder that cannot be opened: through a handle, where the system has such, not its name."""
    if not hasattr(os, "O_PATH"):
        return os.chmod(name, 0o700, dir_fd=folder, follow_symlinks=False)
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.chmod(f"/proc/self/fd/{handle}", 0o700)
    finally:
        os.close(handle)


def publish_dir(staged: StrPath, final: StrPath) -> bool:
    """Move a finished tree to its final name; False, and the staged tree removed, if somebody else was first."""
    try:
        os.rename(staged, final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        remove_tree(staged)
        return False
    sync_dir(dirname(os.fspath(final)))
    return True


def sync_tree(path: StrPath) -> None:
    """Bring a tree to the disk: one `syncfs` of its file system (0.02 s where an fsync of each file costs 1.1 s)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        protocol.syncing(os.fspath(path))
        if _syncfs(descriptor) != 0:
            os.sync()
    finally:
        os.close(descriptor)


def sync_dir(path: StrPath) -> None:
    """Bring a directory's entries to the disk."""
    descriptor = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        protocol.syncing(os.fspath(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def staging(parent: StrPath) -> Iterator[str]:
    """Lend an empty private directory (0700) below `parent`; whatever is left of it is removed.

    Its flock is held meanwhile, where there is such, so `is_folder_held` tells one whose process has died.
    """
    name = f"{os.getpid()}-{os.urandom(6).hex()}"
    path = join(os.fspath(parent), name)
    os.makedirs(path, mode=0o700)
    held = os.open(path, _FOLDER)
    try:
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_SH)
        yield path
    finally:
        os.close(held)
        remove_tree(path)


@contextmanager
def unnamed_file(folder: StrPath) -> Iterator[int]:
    """Lend a file to write to and to read from, by its descriptor; it has no name, so whatever happens it is gone."""
    path = join(os.fspath(folder), f"{os.getpid()}-{os.urandom(6).hex()}")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


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
    after `wait` seconds `Busy` is raised.
    """
    make_dirs(dirname(os.fspath(path)))
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        _acquire(descriptor, os.fspath(path), fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait, on_wait)
        if not shared or os.fstat(descriptor).st_size > _LONGEST_NOTE:
            os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d %d\n" % (os.getpid(), time.time()))
        yield
    finally:
        os.close(descriptor)


def try_exclusive(path: StrPath) -> IO[str] | None:
    """Take a lease file exclusively, without waiting: the open stream that holds it, or None if somebody uses it.

    Of a file that this user may only read, the flock is all that is wanted.
    """
    try:
        stream = open(_writable_or_not(path))  # noqa: SIM115 (the caller holds it)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        return None
    return stream


def _writable_or_not(path: StrPath) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)  # NFS locks alone what may be written only
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _acquire(descriptor: int, path: str, mode: int, wait: float, on_wait: Callable[[str, float], None] | None) -> None:
    started, telling = time.monotonic(), TELL_AFTER
    while True:
        try:
            return fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = time.monotonic() - started
        if waited >= wait or (on_wait and waited >= telling):
            from envbuilder.holders import holders  # as a rule nobody waits

            if on_wait and waited >= telling:
                telling += min(telling, 60.0)
                on_wait(holders(path), waited)
            if waited >= wait:
                raise Busy(path=path, holder=holders(path), waited=waited)
        time.sleep(0.02)


def _syncfs(descriptor: int) -> int:
    """Call syncfs(2); non-zero where the platform lacks it."""
    import ctypes  # 4 ms that only a build pays

    call = getattr(ctypes.CDLL(None), "syncfs", None)
    return int(call(descriptor)) if call else -1


def _liken(descriptor: int, like: os.stat_result) -> None:
    """Give an open file the owner and the mode of another; whose owner cannot be given stays ours."""
    if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(OSError):
            os.fchown(descriptor, like.st_uid, like.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(like.st_mode))


def _unlink_quietly(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def hold_lease(path: StrPath) -> int:
    """Take the shared flock on a lease file and keep it over `exec`: the descriptor is inherited, and never closed."""
    descriptor = os.open(path, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor
