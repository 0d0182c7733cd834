"""A cache that is a folder, of this machine or of a network's file system: what is in it is there as a whole."""

from __future__ import annotations

import errno
import os
import stat
import time
from os.path import basename, dirname, isdir, isfile, join, lexists
from shlex import quote
from typing import TYPE_CHECKING

from envbuilder import flocks, fs, halves
from envbuilder.belongings import is_left
from envbuilder.contexts import contextmanager, suppress
from envbuilder.digest import sha256_bytes
from envbuilder.downloads import Piece
from envbuilder.errors import CacheError
from envbuilder.tickets import world

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_BLOCK = 1 << 18
_LOCK, _STAGED = ".lock", ".new"
_PAST = {"read": "read", "write": "written", "list": "listed"}
_LARGEST_DOCUMENT = 64 << 20
"""Bytes; a larger one is nobody's to change."""
_PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EINTR)


class Folder:
    """The folder `root` as a cache; every refusal of its file system is a `CacheError`."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.shown = root

    def piece(self, path: str, start: int) -> Piece | None:
        """Open a file from a byte on; None where there is none."""
        with self._said("read", path):
            try:
                descriptor = os.open(join(self._root, path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except (FileNotFoundError, NotADirectoryError):
                self._require()
                return None
            size = os.fstat(descriptor).st_size
            blocks = self._blocks(descriptor, path, start)
            next(blocks)  # from here on it closes what it reads
            return Piece(size, start, blocks)

    def tagged(self, path: str, limit: int) -> tuple[bytes, str] | None:
        """Read a small file with its sha256; more than `limit` bytes are one byte too many."""
        found = self.piece(path, 0)
        if found is None:
            return None
        content = found.up_to(limit)
        return content, sha256_bytes(content)

    def swap(self, path: str, content: bytes, tag: str | None) -> bool:
        """Write a file if it has this sha256, or where there is none; tell whether it had."""
        with self._said("write", path), self._locked(path):
            self._clear()
            halves.clear(join(self._root, path))
            found = self.tagged(path, _LARGEST_DOCUMENT)
            if (found[1] if found else None) != tag:
                return False
            fs.write_atomic(join(self._root, path), content)
            fs.set_mode(join(self._root, path), 0o644)
            return True

    def create(self, path: str, content: bytes | str) -> bool:
        """Write a file, from bytes or a copy of another file, where there is none; tell whether there was none."""
        final = join(self._root, path)
        if lexists(final):
            return False
        with self._said("write", path), self._staged() as folder:
            staged = join(folder, basename(path))
            if isinstance(content, bytes):
                fs.write_plain(staged, content)
            else:
                fs.copy_file(content, staged, mode=0o644)
            fs.set_mode(staged, 0o644)  # whatever the umask is: others are to read it
            fs.sync_files([staged])
            with self._locked(path):
                if lexists(final):
                    return False
                fs.rename(staged, final)
                fs.sync_dir(dirname(final))
            return True

    def names(self, folder: str) -> list[str]:
        """Name what is in a folder; nothing where there is none."""
        with self._said("list", folder):
            self._require()
            return [name for name in fs.names_in(join(self._root, folder)) if self._is_file(f"{folder}/{name}")]

    def _is_file(self, path: str) -> bool:
        return not basename(path).startswith(".") and isfile(join(self._root, path))

    @contextmanager
    def _staged(self) -> Iterator[str]:
        own = join(self._root, _STAGED, world())
        self._make(dirname(own))
        self._make(own)
        self._clear()
        with fs.staging(own) as folder:
            yield folder

    def _clear(self) -> None:
        """Remove what calls that died have left; whatever cannot be removed stays."""
        staged = join(self._root, _STAGED)
        for path in _left(staged, join(staged, world())):
            fs.remove_quietly(path)

    @contextmanager
    def _locked(self, path: str) -> Iterator[None]:
        self._make(dirname(join(self._root, path)))
        self._make_lock()
        with flocks.locked(join(self._root, _LOCK)):
            yield

    def _make(self, folder: str) -> None:
        """Make a folder that lets in whom the cache's own folder lets in."""
        if not isdir(folder):
            fs.make_dirs(folder)
            with suppress(PermissionError):  # another user was quicker
                fs.set_mode(folder, 0o755 | (os.stat(self._root).st_mode & 0o2022))

    def _make_lock(self) -> None:
        """Make the lock's file, which everybody needs who may write to the cache."""
        path = join(self._root, _LOCK)
        if not lexists(path):
            with suppress(PermissionError):
                fs.write_plain(path, b"")
                fs.set_mode(path, 0o644 | (os.stat(self._root).st_mode & 0o022))

    def _require(self) -> None:
        if not isdir(self._root):
            hint = f"a cache begins as an empty folder: `mkdir -p {quote(self._root)}`"
            raise CacheError(url=self.shown, reason="there is no such folder", hint=hint)

    def _blocks(self, descriptor: int, path: str, start: int) -> Generator[bytes]:
        """Yield nothing first, and then what is read; the descriptor is closed when this ends."""
        with self._said("read", path):
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise CacheError(url=self.shown, reason=f"`{path}` is no regular file")
                yield b""
                os.lseek(descriptor, start, os.SEEK_SET)
                while block := os.read(descriptor, _BLOCK):
                    yield block
            finally:
                os.close(descriptor)

    @contextmanager
    def _said(self, verb: str, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            text = f"`{path}` cannot be {_PAST[verb]}: {(error.strerror or type(error).__name__).lower()}"
            raise CacheError(url=self.shown, reason=text, is_passing=error.errno in _PASSING) from None


def _left(folder: str, own: str) -> Iterator[str]:
    """Name what calls that have died left: of this machine what nobody holds, of others what is a day old."""
    now = time.time()
    for machine in (join(folder, name) for name in fs.names_in(folder)):
        is_past = is_left if machine == own else _is_old
        yield from (path for path in (join(machine, name) for name in fs.names_in(machine)) if is_past(path, now))


def _is_old(path: str, now: float) -> bool:
    try:
        return os.lstat(path).st_mtime < now - halves.DAY
    except FileNotFoundError:  # whoever made it has ended meanwhile
        return False
