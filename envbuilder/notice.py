"""The home's `registry.json`: what tools that know vLLM's plugin manager read of the default profile.

Its first line says which base and generation the rest is about, and has the digest of the rest. This module is on
`rollback`'s path: no dataclass, no pathlib.
"""

from __future__ import annotations

from envbuilder import fs
from envbuilder.digest import read_bytes, sha256_bytes
from envbuilder.notation import loads
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from envbuilder.paths import Layout

HEAD = b'{"vpm_env": {'
"""How one begins that is ours."""


class Notice(NamedTuple):
    """What a `registry.json` of ours says is current: a generation and its digest.

    `has_failed` says that it tells of a build that failed since.
    """

    base_key: str
    generation: int | None
    has_failed: bool
    digest: str | None = None


def write(layout: Layout, kept: str) -> None:
    """Let it be what is in the file `kept`; one that is not ours stays.

    Whatever keeps it from that leaves it stale, and who reads it sees that.
    """
    try:
        content = _content(kept)
        if content and is_ours(layout.registry):
            fs.write_atomic(layout.registry, content, synced=False)
    except (OSError, ValueError):
        pass


def is_ours(path: str) -> bool:
    """Tell whether nothing would be lost with this file: there is none, or we wrote it."""
    try:
        return _content(path)[: len(HEAD)] in (HEAD, b"")
    except ValueError:
        return False


def read(layout: Layout) -> Notice | None:
    """Return what it says; None where there is none, or it is not as we wrote it."""
    return read_from(layout.registry)


def read_from(path: str) -> Notice | None:
    """Return what the registry at `path` says, which may be the one that is kept with a generation."""
    try:
        head, _, rest = _content(path).partition(b"\n")
        said = loads(head.rstrip(b",") + b"}")["vpm_env"]
        found = Notice(str(said["base"]), said["generation"], said["failed"], said.get("digest"))
        return found if said["sha256"] == sha256_bytes(rest) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _content(path: str) -> bytes:
    """Read a file; nothing where there is none. Raise `ValueError` for what is no regular file, or too large."""
    try:
        return read_bytes(path)
    except FileNotFoundError:
        return b""
