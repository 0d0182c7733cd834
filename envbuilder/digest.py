"""Names for content: canonical JSON and sha256, the same on every machine."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

_BLOCK = 1 << 20


def canonical(value: Any) -> bytes:
    """Write plain data as JSON with one spelling: keys sorted, no spaces, ASCII, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def sha256_of(value: Any) -> str:
    """Digest plain data: 64 hex digits of the sha256 over its canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()


def sha256_bytes(content: bytes) -> str:
    """Digest bytes: 64 hex digits of their sha256."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Digest a file's content in blocks of 1 MiB: 64 hex digits of its sha256."""
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
