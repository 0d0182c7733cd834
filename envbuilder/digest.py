"""Names for content: canonical JSON and sha256, the same on every machine.

`hashlib` loads OpenSSL, which costs a tenth of an interpreter start; for the few kilobytes of a record the
interpreter's own sha256 does, as it does for the standard library's `random`.
"""

from __future__ import annotations

import json
import sys

from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from typing import Any

try:
    if sys.version_info >= (3, 12):
        from _sha2 import sha256
    else:
        from _sha256 import sha256  # type: ignore[import-not-found]
except ImportError:
    from hashlib import sha256

_BLOCK = 1 << 20


def canonical(value: Any) -> bytes:
    """Write plain data as JSON with one spelling: keys sorted, no spaces, ASCII, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def sha256_of(value: Any) -> str:
    """Digest plain data: 64 hex digits of the sha256 over its canonical JSON."""
    return str(sha256(canonical(value)).hexdigest())


def sha256_bytes(content: bytes) -> str:
    """Digest bytes: 64 hex digits of their sha256."""
    return str(sha256(content).hexdigest())


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Digest a file's content in blocks of 1 MiB: 64 hex digits of its sha256."""
    import hashlib  # OpenSSL's is several times faster, which a file of many megabytes makes worth loading

    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """Return `record` with a `checksum` over all its other members."""
    bare = {name: value for name, value in record.items() if name != "checksum"}
    return {**bare, "checksum": sha256_of(bare)}


def is_sealed(record: Any) -> bool:
    """Tell whether `record` is an object whose `checksum` holds."""
    return isinstance(record, dict) and record.get("checksum") == sealed(record)["checksum"]
