"""What goes around an archive: one frame of zstd, the same for the same content; taken off in bounded pieces."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from envbuilder.errors import CacheError
from envbuilder.keys import INSTALL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO

BLOCK = 1 << 20
_LEVEL, _WINDOW_LOG = 10, 23
_LARGEST_WINDOW = 128 << 20
"""Bytes of memory that a frame may ask for to be read."""
_MOST_THREADS = 4
_READ = 1 << 17
_MAGIC = b"\x28\xb5\x2f\xfd"
_HAS_CHECKSUM, _IS_ONE_SEGMENT = 0x04, 0x20
_REPEATED = 1
"""The kind of a block that is one byte, many times."""
_LEAST_BLOCK, _FEW_BLOCKS = 10, 64
"""Blocks have a kilobyte of content at least (as a power of two), on the average; somebody who wants to keep another
busy makes smaller ones."""


class Unsound(ValueError):
    """What is wrong with a parcel, in words for people."""


def wrapped(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Compress blocks to one frame; how many threads do it makes no difference to the bytes."""
    zstandard = _zstandard()
    threads = min(len(os.sched_getaffinity(0)), _MOST_THREADS) if hasattr(os, "sched_getaffinity") else 1
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, window_log=_WINDOW_LOG, write_checksum=True, write_content_size=False, threads=threads
    )
    chunker = zstandard.ZstdCompressor(compression_params=parameters).chunker(chunk_size=BLOCK)
    for block in blocks:
        yield from chunker.compress(block)
    yield from chunker.finish()


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        text = "parcels cannot be read or made: `zstandard` is not installed"
        raise CacheError(url="", reason=text, hint=INSTALL) from None
    return zstandard


class Unwrapped:
    """The content of the one frame that a file is; it never has more in memory than is taken, and a window."""

    __slots__ = ("_descriptor", "_reader", "_taken")

    def __init__(self, stream: IO[bytes]) -> None:
        """Read from an open file, to its end."""
        decompressor = _zstandard().ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
        self._reader = decompressor.stream_reader(stream, read_size=_READ, read_across_frames=False, closefd=False)
        self._descriptor = stream.fileno()
        self._taken = 0

    def take(self, size: int) -> bytes:
        """Return exactly so many bytes; raise `Unsound` where there are fewer."""
        from zstandard import ZstdError

        try:
            found = self._reader.read(size) if size else b""
        except (ZstdError, MemoryError):
            raise Unsound("it is damaged: it cannot be decompressed") from None
        if len(found) != size:
            raise Unsound("it ends too early")
        self._taken += size
        return found

    def require_end(self) -> None:
        """Refuse a file with more content, or with anything that is not this frame."""
        from zstandard import ZstdError

        try:
            is_over = not self._reader.read(1)  # which also compares the checksum
        except ZstdError:
            is_over = False
        most_blocks = (self._taken >> _LEAST_BLOCK) + _FEW_BLOCKS
        if not is_over or _frame(self._descriptor, most_blocks) != os.fstat(self._descriptor).st_size:
            raise Unsound("there is something behind its last file")


def _frame(descriptor: int, most_blocks: int) -> int:
    """Return the length of the frame that a file begins with (RFC 8878); -1 for one that nobody here has made.

    The library that decompresses does not tell where a frame ended, and takes some that follow for part of it.
    """
    start = os.pread(descriptor, 5, 0)
    if len(start) < 5 or start[:4] != _MAGIC or start[4] & 0x0B or not start[4] & _HAS_CHECKSUM:
        return -1
    at = 5 + (0 if start[4] & _IS_ONE_SEGMENT else 1)
    at += (1 if start[4] & _IS_ONE_SEGMENT else 0, 2, 4, 8)[start[4] >> 6]
    for _ in range(most_blocks):
        header = int.from_bytes(os.pread(descriptor, 3, at), "little")
        is_last, kind, size = header & 1, header >> 1 & 3, header >> 3
        at += 3 + (1 if kind == _REPEATED else size)
        if is_last:
            return at + 4
    return -1
