"""The list of a package's files, as somebody else wrote it: of one kind, in one spelling, within bounds, or refused."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from envbuilder.digest import sha256_bytes
from envbuilder.members import MAX_NAME, MAX_PATH, MAX_UNPACKED, has_hidden
from envbuilder.notation import canonical, loads
from envbuilder.package import PackageFile
from envbuilder.record import is_bytecode
from envbuilder.wrapping import Unsound

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOMS = "lib|bin|data|include"
_PATH = re.compile(rf"(?:{_ROOMS})(?:/(?!\.\.?(?:/|\Z))[^/\\\x00-\x1f\x7f]+)+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MODES = (0o444, 0o555)


def files(content: bytes, sha256: str) -> tuple[PackageFile, ...]:
    """Read a `files.json` that must have this sha256; raise `Unsound` for what no package's list says."""
    if sha256_bytes(content) != sha256:
        raise Unsound("its list of files is not the one of this package")
    try:
        rows = loads(content)
        is_spelled = canonical(rows) == content
    except (ValueError, RecursionError):
        raise Unsound("its list of files cannot be read") from None
    if not is_spelled or not isinstance(rows, list):
        raise Unsound("its list of files is spelled in a way that nobody spells one")
    found = tuple(map(_file, rows))
    if problem := next(_of_all(found), None):
        raise Unsound(problem)
    return found


def _file(row: Any) -> PackageFile:
    if not isinstance(row, list) or [type(each) for each in row] != [str, int, int, str]:
        raise Unsound("its list of files has entries that are none")
    path, mode, size, sha256 = row
    if not _PATH.fullmatch(path) or has_hidden(path) or not _fits(path):
        raise Unsound(f"its list names {path[:120]!a}, which is no file of a package")
    if is_bytecode(path):
        raise Unsound(f"its list names {path[:120]!a}, which is made where a package arrives")
    if mode not in _MODES or not 0 <= size <= MAX_UNPACKED or not _SHA256.fullmatch(sha256):
        raise Unsound(f"its list says of {path[:120]!a} what no file has: mode {mode:o}, {size} bytes")
    return PackageFile(path, mode, size, sha256)


def _fits(path: str) -> bool:
    """Tell whether a file may have this path."""
    try:
        raw = path.encode()
    except UnicodeEncodeError:
        return False
    return len(raw) <= MAX_PATH and (len(raw) <= MAX_NAME or max(map(len, raw.split(b"/"))) <= MAX_NAME)


def _of_all(found: tuple[PackageFile, ...]) -> Iterator[str]:
    paths = [file.path for file in found]
    if any(path >= later for path, later in pairwise(paths)):
        yield "its list of files is not sorted, or names one twice"
    total = sum(file.size for file in found)
    if total > MAX_UNPACKED:
        yield f"it holds {total} bytes, and {MAX_UNPACKED} are the limit"
