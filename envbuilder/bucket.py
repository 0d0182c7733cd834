"""The one door to what a cache holds: a folder, a web server, or a store that speaks S3, all alike.

Paths are relative and plain. Whatever goes wrong is a `CacheError` that shows no credential.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from envbuilder.downloads import Wanted, measured, persistently
from envbuilder.errors import CacheError
from envbuilder.keys import INSTALL
from envbuilder.members import has_hidden
from envbuilder.process import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from envbuilder.downloads import Piece

TIMEOUT = 30.0
"""Seconds in which nothing comes until somebody gives up."""
_PAUSE = 0.5
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!-]*(?:/[A-Za-z0-9_][A-Za-z0-9._+!-]*)*")
"""What is a path in every kind of cache: no `..`, nothing that a URL would spell otherwise."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_CREDENTIALS = re.compile(r"(?s)(?<=:)(//)?.*@")
"""Of a URL that is none: in a password that nobody has encoded anything may stand."""
_ENCODED = "in a user's name, a password and a path, `/` is written `%2F` and `@` `%40` where it parts nothing"
_KINDS = "a path, or a URL that begins with `file:`, `http:`, `https:` or `s3:`"


class Shelf(Protocol):
    """What each kind of cache does in its own way."""

    shown: str

    def piece(self, path: str, start: int) -> Piece | None: ...
    def tagged(self, path: str, limit: int) -> tuple[bytes, str] | None: ...
    def swap(self, path: str, content: bytes, tag: str | None) -> bool: ...
    def create(self, path: str, content: bytes | str) -> bool: ...
    def names(self, folder: str) -> list[str]: ...


class Bucket:
    """What a cache holds, by path; `shown` is its URL for people, without credentials. Threads may share one."""

    __slots__ = ("_can_write", "_pause", "_shelf", "shown")

    def __init__(self, shelf: Shelf, *, can_write: bool = True, pause: float = _PAUSE) -> None:
        """Take what holds it; `pause` is how many seconds to wait before a second try."""
        self.shown = shelf.shown
        self._shelf = shelf
        self._can_write = can_write
        self._pause = pause

    def __repr__(self) -> str:
        return f"Bucket({self.shown!r})"

    def read(self, path: str, *, limit: int) -> bytes | None:
        """Read a document of no more than `limit` bytes; None where there is none."""
        found = self.read_tagged(path, limit=limit)
        return found[0] if found else None

    def read_tagged(self, path: str, *, limit: int = 64 << 20) -> tuple[bytes, str] | None:
        """Read a document, and the tag by which `swap` knows it again; None where there is none."""
        self._check(path)
        found = persistently(lambda: self._shelf.tagged(path, limit), pause=self._pause)
        if found and len(found[0]) > limit:
            raise CacheError(url=self.shown, reason=f"`{path}` has more than {limit} bytes")
        return found

    def swap(self, path: str, content: bytes, tag: str | None) -> bool:
        """Write a document if it is still the one with this tag, or, without a tag, if there is none.

        False where it is not: somebody else was first, or an earlier try of this call that was not heard of.
        """
        self._check(path, is_written=True)
        return persistently(lambda: self._shelf.swap(path, content, tag), pause=self._pause)

    def create(self, path: str, content: bytes | str) -> bool:
        """Write bytes, or the file at a path, where there is nothing yet; False where there is, as `swap` says."""
        self._check(path, is_written=True)
        return persistently(lambda: self._shelf.create(path, content), pause=self._pause)

    def fetch(
        self, path: str, target: str, *, sha256: str, size: int, on_bytes: Callable[[int], None] | None = None
    ) -> None:
        """Bring a file to `target`, which then has this size and sha256; `on_bytes` hears of what comes.

        What came of it stays in `target.part` if it breaks off, and the next call goes on there. Two calls at once
        must not have one target.
        """
        self._check(path)
        Wanted(
            ask=lambda start: self._shelf.piece(path, start),
            url=self.shown,
            path=path,
            sha256=sha256,
            size=size,
            pause=self._pause,
            on_bytes=on_bytes,
        ).into(target)

    def measure(self, path: str) -> tuple[str, int] | None:
        """Return the sha256 and the size of a file, which is read for it and kept nowhere; None where there is none."""
        self._check(path)
        return persistently(lambda: measured(self._shelf.piece(path, 0)), pause=self._pause)

    def names(self, folder: str) -> list[str]:
        """Name what is in a folder, sorted; a web server cannot tell."""
        self._check(folder)
        if not self._can_write:
            raise CacheError(url=self.shown, reason="a web server cannot be listed", hint=_THE_PLACE)
        return persistently(lambda: self._shelf.names(folder), pause=self._pause)

    def _check(self, path: str, *, is_written: bool = False) -> None:
        if not _PATH.fullmatch(path) or len(path) > 900:
            raise CacheError(url=self.shown, reason=f"{path[:80]!a} is no path in a cache")
        if is_written and not self._can_write:
            raise CacheError(url=self.shown, reason="nothing can be written to a web server", hint=_THE_PLACE)


_THE_PLACE = "name the place that it serves: a folder, or `s3://bucket/prefix`"


def open_bucket(url: str, *, env: Mapping[str, str], timeout: float = TIMEOUT, pause: float = _PAUSE) -> Bucket:
    """Open a cache by its URL or path; nobody is asked yet. Raise `CacheError` for what names none.

    `env` are the variables to find settings in, `timeout` is after how many seconds of silence somebody gives up.
    """
    found = _SCHEME.match(url)
    scheme = found[1].lower() if found else ""
    if not url or has_hidden(url):
        raise _no_cache(url, f"is none: give {_KINDS}")
    try:
        if not scheme or scheme == "file":
            return Bucket(_folder(url, scheme), pause=pause)
        if scheme in ("http", "https"):
            return Bucket(_web(url, env, timeout), can_write=False, pause=pause)
        if scheme == "s3":
            return Bucket(_s3(url, env, timeout), pause=pause)
    except ImportError as error:
        raise _no_cache(url, f"cannot be asked: `{error.name}` is not installed", hint=INSTALL) from None
    except OSError as error:
        raise _no_cache(url, f"the file of certificates cannot be read: {(error.strerror or '').lower()}") from None
    except ValueError:
        raise _no_cache(url, "is no URL", hint=_ENCODED if "@" in url else None) from None
    raise _no_cache(url, f"is none: give {_KINDS}")


def _folder(url: str, scheme: str) -> Shelf:
    from envbuilder.bucket_folder import Folder

    if not scheme:
        return Folder(os.path.abspath(url))
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or parts.query or parts.fragment:
        raise _no_cache(url, "is none: `file:` is followed by an absolute path")
    return Folder(os.path.normpath(path))


def _web(url: str, env: Mapping[str, str], timeout: float) -> Shelf:
    from envbuilder.bucket_remote import web

    parts = urlsplit(url)
    if not parts.hostname or parts.query or parts.fragment:
        raise _no_cache(url, "has no host, or more than a path behind it")
    _ = parts.port  # `ValueError` for what is no number: a slash in a password ends the host too early
    if "@" in parts.path:
        raise _no_cache(url, "has an `@` behind its host", hint=_ENCODED)
    host = parts.netloc.rpartition("@")[2]
    bare = f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
    login = unquote(parts.username or ""), unquote(parts.password or "")
    return web(bare, bare, login, env, timeout)


def _s3(url: str, env: Mapping[str, str], timeout: float) -> Shelf:
    from envbuilder.bucket_remote import s3

    parts = urlsplit(url)
    prefix = unquote(parts.path).strip("/")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc) or parts.query or parts.fragment:
        raise _no_cache(url, "is none: `s3://` is followed by a bucket's name, and a prefix or none")
    if prefix and not _PATH.fullmatch(prefix):
        raise _no_cache(url, "has a prefix that is no plain path")
    return s3(parts.netloc, prefix, f"s3://{parts.netloc}/{prefix}".rstrip("/"), env, timeout)


def _no_cache(url: str, reason: str, *, hint: str | None = None) -> CacheError:
    shown = redact(_CREDENTIALS.sub(r"\1****@", url)).encode("ascii", "backslashreplace").decode()
    return CacheError(url="".join(each if each.isprintable() else "?" for each in shown), reason=reason, hint=hint)
