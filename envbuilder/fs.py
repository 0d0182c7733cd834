"""The one door to changing files: write whole, publish by rename, one switch; only `flocks` opens files beside it."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from os.path import basename, dirname, join

from envbuilder import protocol
from envbuilder.contexts import contextmanager, suppress
from envbuilder.notation import lined
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, ParamSpec, TypeVar

    StrPath = str | os.PathLike[str]
    Given = ParamSpec("Given")
    Made = TypeVar("Made")

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says where there is no room: no block, no inode, or no more of either for this user."""

_RESERVES: list[str] = []
"""Folders whose files may be given up for what this process writes, the innermost last."""


class Disk(NamedTuple):
    """A file system: bytes that this user may still write, its size, and its inodes that are free.

    The last are None where it makes them as they are needed. `device` tells one file system from another.
    """

    free: int
    total: int
    inodes: int | None = None
    device: int = 0


def disk_of(path: StrPath) -> Disk:
    """Look at the file system that `path` lies in."""
    found = os.statvfs(path)
    inodes = found.f_favail if found.f_files else None
    return Disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, inodes, os.stat(path).st_dev)


@contextmanager
def drawing_on(reserve: str) -> Iterator[None]:
    """Let what finds no room meanwhile have that of the files in `reserve`, one after the other (see `reserve`)."""
    _RESERVES.append(reserve)
    try:
        yield
    finally:
        _RESERVES.pop()


def drawing(function: Callable[Given, Made]) -> Callable[Given, Made]:
    """Repeat a call that finds no room, as long as there is a reserve to draw on."""

    def call(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        while True:
            try:
                return function(*args, **kwargs)
            except OSError as error:
                if error.errno not in FULL or not _drawn():
                    raise

    call.__doc__ = function.__doc__
    return call


def _drawn() -> bool:
    """Give up a file of the reserve; tell whether there was one."""
    if not _RESERVES:
        return False
    names = names_in(_RESERVES[-1])
    if names:
        os.unlink(join(_RESERVES[-1], names[-1]))
    return bool(names)


def named(error: OSError, path: StrPath) -> None:
    """Let an error tell its path where the system does not: writing and syncing know a descriptor only."""
    if not isinstance(error.filename, str) or not os.path.isabs(error.filename):
        error.filename = os.fspath(path)


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


@drawing
def make_dir(path: StrPath) -> None:
    """Make a directory in one that is there; it may be there already."""
    try:
        os.mkdir(path)
    except FileExistsError:
        pass


def make_new_dir(path: StrPath) -> None:
    """Make a directory for everybody to look into, where nothing is; raise `FileExistsError` where something is."""
    os.mkdir(path, 0o755)


def is_trusted(path: StrPath) -> bool:
    """Tell whether a real directory is root's or this user's, and nobody else may write to it."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022


def led_away(*paths: str) -> str | None:
    """Return the first of some paths that is a symlink of somebody else, neither root's nor this user's."""
    for path in paths:
        try:
            status = os.lstat(path)
        except OSError:
            continue
        if stat.S_ISLNK(status.st_mode) and status.st_uid not in (0, os.geteuid()):
            return path
    return None


@drawing
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


@drawing
def write_atomic(
    path: StrPath,
    content: bytes,
    *,
    mode: int = 0o644,
    like: os.stat_result | None = None,
    synced: bool = True,
    listed: bool = True,
    settle: Callable[[], None] | None = None,
) -> None:
    """Write a file so that readers, and whoever looks after a power cut, see the old content or the new.

    Its mode and its owner are those of `like`, where one is given. One that is not `synced` waits for no disk, and a
    power cut may tear it. One that is not `listed` may have the old content after a power cut, as long as its folder is
    not synced. `settle` brings the content to the disk, with whatever must be there before the file has its name.
    """
    temporary = _beside(os.fspath(path))
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            _take(descriptor)
            if like:
                _liken(descriptor, like)
            protocol.writing(temporary)
            _fill_or_borrow(descriptor, temporary, content, synced=synced and not settle)
            if settle:
                settle()
            os.replace(temporary, path)
        finally:
            os.close(descriptor)
    except BaseException as error:
        _unlink_quietly(temporary)
        if isinstance(error, OSError):
            named(error, path)
        raise
    if synced and listed:
        sync_dir(dirname(os.fspath(path)))


def _fill_or_borrow(descriptor: int, path: str, content: bytes, *, synced: bool) -> None:
    """Fill a new file; if there is no room, have one of the reserve's in its place, whose blocks it has already.

    To remove that one would not do where what becomes free is root's.
    """
    try:
        _fill(descriptor, path, content, synced=synced)
    except OSError as error:
        if error.errno not in FULL or not _lent(path):
            raise
        borrowed = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            _liken(borrowed, os.fstat(descriptor))
            _fill(borrowed, path, content, synced=synced)
        finally:
            os.close(borrowed)


def _fill(descriptor: int, path: str, content: bytes, *, synced: bool = True) -> None:
    """Let a file have this content and no more; what it has of blocks is written over."""
    at = 0
    while at < len(content):
        at += os.pwrite(descriptor, content[at:], at)
    if os.fstat(descriptor).st_size > len(content):
        os.ftruncate(descriptor, len(content))
    if synced:
        protocol.syncing(path)
        os.fsync(descriptor)


def _lent(path: str) -> bool:
    """Move a file of the reserve to `path`; tell whether there is one that this user may write to."""
    names = names_in(_RESERVES[-1]) if _RESERVES else []
    if not names or not os.access(join(_RESERVES[-1], names[-1]), os.W_OK):
        return False
    os.replace(join(_RESERVES[-1], names[-1]), path)
    return True


def _beside(path: str) -> str:
    """Name what is to become `path`: for this process alone, whatever containers share the folder."""
    return join(dirname(path), f".{basename(path)}.{os.getpid()}-{os.urandom(4).hex()}.new")


def _take(descriptor: int) -> None:
    """Say that a new file is being written; `is_held` tells whether that is so."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        pass  # not every file system has locks


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
        _write_over(path, content)


def _write_over(path: StrPath, content: bytes) -> None:
    """Write in place; if that fails, for want of room for instance, the old content is put back, which had room."""
    with open(path, "r+b") as stream:
        before = stream.read()
        protocol.writing(os.fspath(path))
        try:
            _fill(stream.fileno(), os.fspath(path), content)
        except OSError as error:
            named(error, path)
            with suppress(OSError):
                _fill(stream.fileno(), os.fspath(path), before)
            raise


def write_json(path: StrPath, value: Any, *, mode: int = 0o644, settle: Callable[[], None] | None = None) -> None:
    """Write a record as JSON with a line for each member, atomically."""
    write_atomic(path, f"{lined(value)}\n".encode(), mode=mode, settle=settle)


@drawing
def write_plain(path: StrPath, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file in place: for files in a tree that is not published yet."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        with open(descriptor, "wb") as stream:
            protocol.writing(os.fspath(path))
            stream.write(content)
    except OSError as error:
        named(error, path)
        raise


def write_new(path: StrPath, blocks: Iterable[bytes | memoryview], *, mode: int) -> None:
    """Write a file where nothing is, not even a symlink, with exactly this mode whatever the umask is.

    What fails half-way is removed again.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, mode)
    try:
        protocol.writing(os.fspath(path))
        for block in blocks:
            _written_whole(descriptor, block)
        os.fchmod(descriptor, mode)
    except BaseException as error:
        _unlink_quietly(os.fspath(path))
        if isinstance(error, OSError):
            named(error, path)
        raise
    finally:
        os.close(descriptor)


def append(path: StrPath, content: bytes) -> None:
    """Add to the end of a file, in one go, so that several may; it is made where there is none.

    Raise `OSError` also for a FIFO that nobody reads.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o644)
    try:
        os.set_blocking(descriptor, True)
        protocol.writing(os.fspath(path))
        os.write(descriptor, content)
    except OSError as error:
        named(error, path)
        raise
    finally:
        os.close(descriptor)


def lead_nowhere(descriptors: Sequence[int]) -> None:
    """Let what is written to open files of this process be lost."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


@drawing
def replace_symlink(path: StrPath, target: str, *, listed: bool = True) -> None:
    """Point the symlink at `path` to `target` in one rename; no reader ever finds it missing.

    One that is not `listed` may be the old one after a power cut, as long as its folder is not synced.
    """
    path = os.fspath(path)
    temporary = _beside(path)
    os.symlink(target, temporary)
    try:
        os.replace(temporary, path)
    except BaseException:
        _unlink_quietly(temporary)
        raise
    if listed:
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


@drawing
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


def remove_empty_dir(path: StrPath) -> None:
    """Remove a directory if nothing is in it; what is none, or gone already, is fine."""
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.ENOENT):
            raise


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
    except OSError as error:
        named(error, path if error.filename in (None, name) else join(path, "…", str(error.filename)))
        raise
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
    """Bring a finished tree to the disk and move it to its final name, where it is found as a whole or not at all.

    False, and the staged tree removed, if somebody else was first.
    """
    sync_tree(staged)
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
    """Bring a tree to the disk; raise `OSError` where the disk refuses."""
    from envbuilder.syncing import bring_to_disk  # only what makes trees syncs them

    try:
        protocol.syncing(os.fspath(path))
        bring_to_disk(os.fspath(path))
    except OSError as error:
        named(error, path)
        raise


def sync_files(paths: Sequence[str]) -> None:
    """Bring files that another program wrote to the disk, and the folders that they lie in."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            protocol.syncing(path)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    for folder in sorted({dirname(path) for path in paths}):
        sync_dir(folder)


def sync_dir(path: StrPath) -> None:
    """Bring a directory's entries to the disk."""
    descriptor = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        protocol.syncing(os.fspath(path))
        os.fsync(descriptor)
    except OSError as error:
        named(error, path)
        raise
    finally:
        os.close(descriptor)


@contextmanager
def staging(parent: StrPath) -> Iterator[str]:
    """Lend an empty private directory (0700) below `parent`; whatever is left of it is removed.

    Its flock is held meanwhile, where there is such, so `is_held` tells one whose process has died. What cannot
    be removed is no reason to fail, and hides no other: gc removes it.
    """
    name = f"{os.getpid()}-{os.urandom(6).hex()}"
    path = join(os.fspath(parent), name)
    held = -1
    try:
        os.makedirs(path, mode=0o700)
        held = os.open(path, _FOLDER)
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_SH)
        yield path
    finally:
        if held >= 0:
            os.close(held)
        remove_quietly(path)


def remove_quietly(path: StrPath) -> None:
    """Remove a tree as far as that can be had: a second time what a passing fault has left."""
    for _ in range(2):
        try:
            remove_tree(path)
        except OSError:
            continue
        break


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
def growing(path: StrPath) -> Iterator[int]:
    """Lend a file of this user alone to read what it has and to add to it, by its descriptor; it is made if need be.

    Raise `OSError` for what is no regular file, a symlink among it.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        _require_regular(descriptor)
        protocol.writing(os.fspath(path))
        yield descriptor
    except OSError as error:
        named(error, path)
        raise
    finally:
        os.close(descriptor)


def _require_regular(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "no regular file")


def fill(descriptor: int, blocks: Iterable[bytes]) -> int:
    """Write blocks to an open file, one after the other; return how many bytes they had."""
    return sum(_written_whole(descriptor, block) for block in blocks)


def _written_whole(descriptor: int, block: bytes | memoryview) -> int:
    at = 0
    while at < len(block):
        at += os.write(descriptor, block[at:])
    return at


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
