"""A file out of a cache: gone on with where a try broke off, asked for again where that may help, hashed on its way."""

from __future__ import annotations

import os
import time
from typing import Any

from envbuilder import fs
from envbuilder.classes import dataclass
from envbuilder.digest import hasher
from envbuilder.errors import CacheError
from envbuilder.process import is_ending
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import TypeVar

    Had = TypeVar("Had")

TRIES = 3
_ENOUGH = 1 << 20
"""Bytes of progress after which a connection that breaks off counts as the first again."""
_BLOCK = 1 << 18


class Piece(NamedTuple):
    """What a cache gives of a file: the whole one's size, where this begins, and its bytes as they come."""

    size: int
    start: int
    blocks: Generator[bytes]

    def up_to(self, limit: int) -> bytes:
        """Read the whole of it, or one byte more than `limit`; what is not read is let go."""
        content = bytearray()
        for block in self.blocks:
            content += block
            if len(content) > limit:
                break
        self.blocks.close()
        return bytes(content[: limit + 1])


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A file to be had: `ask` opens it from a byte on, None where it is not there; `url` and `path` are for messages.

    `pause` is how many seconds to wait before the second try; each later one waits twice as long.
    """

    ask: Callable[[int], Piece | None]
    url: str
    path: str
    sha256: str
    size: int
    pause: float
    on_bytes: Callable[[int], None] | None = None

    def into(self, target: str) -> None:
        """Write it to `target`, which is there as a whole or not at all; `target.part` is gone on with.

        Raise `CacheError`, and `OSError` where it is this machine's disk that refuses.
        """
        part = f"{target}.part"
        found = self._completed(part)
        if found != self.sha256:
            fs.remove(part)  # of an earlier try perhaps, or the network's fault
            found = self._completed(part)
        if found != self.sha256:
            fs.remove(part)
            raise self._error(f"`{self.path}` has the sha256 {found}, not {self.sha256}", hint=_NOT_WHAT_WAS_PUSHED)
        fs.rename(part, target)

    def _completed(self, part: str) -> str:
        """Try until all bytes are there, and return their sha256."""
        failures = 0
        while True:
            before = _size(part)
            try:
                return self._gone_on(part)
            except CacheError as error:
                failures = 1 if _size(part) - before >= _ENOUGH else failures + 1
                if not error.is_passing or failures >= TRIES or is_ending():
                    raise
            time.sleep(self.pause * 2 ** (failures - 1))

    def _gone_on(self, part: str) -> str:
        if _size(part) > self.size:
            fs.remove(part)
        with fs.growing(part) as descriptor:
            digest, had = _hashed(descriptor, hasher(self.size))
            if had < self.size or not self.size:
                for block in self._rest(had):
                    if is_ending():
                        raise self._error(f"`{self.path}` is wanted no more")
                    fs.fill(descriptor, (block,))
                    digest.update(block)
                    if self.on_bytes:
                        self.on_bytes(len(block))
            return str(digest.hexdigest())

    def _rest(self, had: int) -> Iterator[bytes]:
        """Yield what is lacking, and not one byte more."""
        piece = self.ask(had)
        if piece is None:
            raise self._error(f"`{self.path}` is not there")
        if piece.size != self.size:
            raise self._error(f"`{self.path}` has {piece.size} bytes, not {self.size}", hint=_NOT_WHAT_WAS_PUSHED)
        at = piece.start
        for block in piece.blocks:
            fresh = block[max(had - at, 0) :]  # one that gives no parts of files begins at the first byte
            at += len(block)
            if at > self.size:
                raise self._error(f"gives more than the {self.size} bytes of `{self.path}`", hint=_NOT_WHAT_WAS_PUSHED)
            if fresh:
                yield fresh
        if at < self.size:
            text = f"`{self.path}` broke off after {at} of {self.size} bytes"
            raise CacheError(url=self.url, reason=text, is_passing=True)

    def _error(self, reason: str, *, hint: str | None = None) -> CacheError:
        return CacheError(url=self.url, reason=reason, hint=hint)


_NOT_WHAT_WAS_PUSHED = "it is not what was pushed, or a proxy on the way changes files"


def persistently(attempt: Callable[[], Had], *, pause: float) -> Had:
    """Do what may fail for a while up to three times; raise the `CacheError` of the last."""
    for failures in range(1, TRIES):
        try:
            return attempt()
        except CacheError as error:
            if not error.is_passing:
                raise
        time.sleep(pause * 2 ** (failures - 1))
    return attempt()


def measured(piece: Piece | None) -> tuple[str, int] | None:
    """Read the whole of a file for its sha256 and its size."""
    if piece is None:
        return None
    digest, size = hasher(piece.size), 0
    for block in piece.blocks:
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0


def _hashed(descriptor: int, digest: Any) -> tuple[Any, int]:
    """Hash what an open file has; what is written next is added behind it."""
    had = 0
    while block := os.read(descriptor, _BLOCK):
        digest.update(block)
        had += len(block)
    return digest, had
