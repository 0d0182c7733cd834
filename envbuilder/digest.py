"""Names for content: canonical JSON and sha256, the same on every machine.

`hashlib` loads OpenSSL, which costs a tenth of an interpreter start; for the few kilobytes of a record the
interpreter's own sha256 does, as it does for the standard library's `random`.
"""

from __future__ import annotations

import os
import stat
import sys

from envbuilder.notation import canonical, loads
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

try:
    if sys.version_info >= (3, 12):
        from _sha2 import sha256
    else:
        from _sha256 import sha256  # type: ignore[import-not-found]
except ImportError:
    from hashlib import sha256

_BLOCK = 1 << 16
"""Bytes; for more at a time the allocator asks the system, which costs more than most files' digests."""

_LARGE = 1 << 20
"""Bytes: to hash so many takes the interpreter's own sha256 as long as OpenSSL's takes to load."""

_SEAL = b',"checksum":"%s"}'
"""How a record ends that `spelled` wrote."""
_SEALED = len(_SEAL % bytes(64))

RECORD_LIMIT = 128 << 20
"""Bytes of a record; that of a package with half a million files has fewer."""


def sha256_of(value: Any) -> str:
    """Digest plain data: 64 hex digits of the sha256 over its canonical JSON."""
    return str(sha256(canonical(value)).hexdigest())


def sha256_bytes(content: bytes) -> str:
    """Digest bytes: 64 hex digits of their sha256."""
    return str(sha256(content).hexdigest())


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Digest a file's content: 64 hex digits of its sha256."""
    return digest_file(path, "sha256").hex()


def digest_file(path: str | os.PathLike[str], algorithm: str) -> bytes:
    """Digest a file's content block by block, with any algorithm that `hashlib` knows."""
    import hashlib  # OpenSSL's is several times faster, which a file of many megabytes makes worth loading

    digest = hashlib.new(algorithm)
    with open(path, "rb", buffering=0) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.digest()


def hasher(size: int) -> Any:
    """Return a new sha256 for about so many bytes: the interpreter's own, or OpenSSL's, several times as fast."""
    if size < _LARGE:
        return sha256()
    import hashlib

    return hashlib.sha256()


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """Return `record` with a `checksum` over all its other members."""
    bare = {name: value for name, value in record.items() if name != "checksum"}
    return {**bare, "checksum": sha256_of(bare)}


def spelled(record: dict[str, Any]) -> bytes:
    """Write a record, sealed, with one spelling and its seal last: who reads it need not spell it again to check it."""
    bare = canonical({name: value for name, value in record.items() if name != "checksum"})
    whole = bare[:-1] + _SEAL % sha256_bytes(bare).encode()
    return whole if bare != b"{}" else whole.replace(b",", b"")


def _holds(content: bytes) -> bool:
    """Tell whether these bytes are what `spelled` wrote."""
    end = content[-_SEALED:]
    return end[:13] == _SEAL[:13] and end == _SEAL % sha256_bytes(content[:-_SEALED] + b"}").encode()


def is_sealed(record: Any) -> bool:
    """Tell whether `record` is an object whose `checksum` holds."""
    return isinstance(record, dict) and record.get("checksum") == sealed(record)["checksum"]


def read_bytes(path: str | os.PathLike[str], limit: int = RECORD_LIMIT) -> bytes:
    """Read a regular file of no more than `limit` bytes; raise `OSError`, or `ValueError` for what is none.

    Nothing that lies there instead makes the caller wait, or takes more memory than that.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait for its writer
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
            raise ValueError(f"no regular file, or one of more than {limit} bytes")
        return os.read(descriptor, found.st_size + 1)
    finally:
        os.close(descriptor)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a record, which is a JSON object in a regular file; raise as `read_bytes` does, also for what is none."""
    return _record(read_bytes(path))


def _record(content: bytes) -> dict[str, Any]:
    try:
        record = loads(content)
    except RecursionError:
        raise ValueError("nests too deeply") from None
    if isinstance(record, dict):
        return record
    raise ValueError("no object")


def read_sealed(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a record whose checksum holds; raise as `read` does, also where it does not hold."""
    content = read_bytes(path)
    record = _record(content)
    try:
        holds = _holds(content) or is_sealed(record)
    except RecursionError:
        raise ValueError("nests too deeply") from None
    if not holds:
        raise ValueError("its checksum does not hold")
    return record
