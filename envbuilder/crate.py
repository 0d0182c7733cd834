"""A cache that is one file: a plain tar of what a cache's folder holds, for machines that no network joins."""

from __future__ import annotations

import os
import re
import tarfile
from os.path import isfile, join

from envbuilder import fs
from envbuilder.contexts import contextmanager
from envbuilder.digest import sha256_bytes
from envbuilder.downloads import Piece
from envbuilder.errors import CacheError
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_BLOCK = 1 << 18
_FOLDERS = ("overlays", "packages", "inputs", "wheelhouse")
"""In the order in which they stand in the file: what says what is in it comes first."""
_PATH = re.compile(r"(?:overlays|packages|inputs|wheelhouse)/[A-Za-z0-9_][A-Za-z0-9._+!-]*")
_MOST = 100_000
"""Files; a set of 500 packages has 1,500."""


class _Place(NamedTuple):
    """Where the bytes of a member are."""

    start: int
    size: int


class Crate:
    """The file `path`, open for reading as `descriptor`, as a cache that nothing is written to."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.shown = path
        self._descriptor = descriptor
        self._places = dict(self._found())

    def piece(self, path: str, start: int) -> Piece | None:
        """Return what is in a member from a byte on; None where there is none."""
        place = self._places.get(path)
        return Piece(place.size, start, self._blocks(place, start)) if place else None

    def tagged(self, path: str, limit: int) -> tuple[bytes, str] | None:
        """Read a small member with its sha256; more than `limit` bytes are one byte too many."""
        found = self.piece(path, 0)
        if found is None:
            return None
        content = found.up_to(limit)
        return content, sha256_bytes(content)

    def swap(self, path: str, content: bytes, tag: str | None) -> bool:  # noqa: ARG002 (as every cache has it)
        """Refuse: such a file is written once."""
        raise CacheError(url=self.shown, reason=f"`{path}` cannot be written: the file is as it was exported")

    def create(self, path: str, content: bytes | str) -> bool:
        """Refuse: such a file is written once."""
        return self.swap(path, b"", str(content))

    def names(self, folder: str) -> list[str]:
        """Name what is in a folder, sorted."""
        return sorted(path.partition("/")[2] for path in self._places if path.startswith(f"{folder}/"))

    def _found(self) -> Iterator[tuple[str, _Place]]:
        """Find the members; raise `CacheError` for a file that no export has written, or only half of it."""
        seen: set[str] = set()
        try:
            with (
                os.fdopen(os.dup(self._descriptor), "rb") as stream,
                tarfile.open(fileobj=stream, mode="r:") as archive,
            ):
                for member in archive:
                    if not (member.isreg() and _PATH.fullmatch(member.name)) or member.name in seen:
                        raise self._no_crate(f"it has a member {member.name[:80]!a}")
                    seen.add(member.name)
                    if len(seen) > _MOST:
                        raise self._no_crate(f"it has more than {_MOST} members")
                    yield member.name, _Place(member.offset_data, member.size)
        except (tarfile.TarError, ValueError, EOFError) as error:
            raise self._no_crate(str(error) or "it is cut off") from None
        if not seen:
            raise self._no_crate("it is empty")

    def _no_crate(self, why: str) -> CacheError:
        return CacheError(url=self.shown, reason=f"this is no file that `vpm-env export` wrote: {why}")

    def _blocks(self, place: _Place, start: int) -> Generator[bytes]:
        at, end = place.start + start, place.start + place.size
        while at < end and (block := os.pread(self._descriptor, min(_BLOCK, end - at), at)):
            at += len(block)
            yield block


@contextmanager
def opened(path: str) -> Iterator[Crate]:
    """Open such a file; raise `CacheError` where that cannot be, or it is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise CacheError(url=path, reason=f"it cannot be read: {(error.strerror or '').lower()}") from None
    try:
        if not isfile(path):
            raise CacheError(url=path, reason="it is no regular file")
        yield Crate(path, descriptor)
    finally:
        os.close(descriptor)


def write(folder: str, path: str) -> int:
    """Write a cache's folder as one file, which is there as a whole or not at all; return its size in bytes."""
    part = f"{path}.part"
    try:
        fs.remove(part)
        with fs.growing(part) as descriptor:
            written = fs.fill(descriptor, _tar(folder))
        fs.set_mode(part, 0o644)
        fs.sync_files([part])
        fs.rename(part, path)
    except BaseException:
        fs.remove_quietly(part)
        raise
    return written


def _tar(folder: str) -> Iterator[bytes]:
    """Spell a folder as a tar that is the same for the same content."""
    total = 0
    for name in (join(below, name) for below in _FOLDERS for name in fs.names_in(join(folder, below))):
        member = tarfile.TarInfo(name)
        member.size = os.path.getsize(join(folder, name))
        head = member.tobuf(format=tarfile.PAX_FORMAT)
        yield head
        with open(join(folder, name), "rb") as stream:
            while block := stream.read(_BLOCK):
                yield block
        padding = -member.size % tarfile.BLOCKSIZE
        yield bytes(padding)
        total += len(head) + member.size + padding
    end = 2 * tarfile.BLOCKSIZE  # one block of zeros is no end: other readers warn of it
    yield bytes(end + -(total + end) % tarfile.RECORDSIZE)
