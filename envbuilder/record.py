"""Check an artifact against its own word: RECORD against the tree that was installed.

Installers do not check the hashes of RECORD; nothing enters the store before it was checked here.
"""

from __future__ import annotations

import base64
import csv
import os
import posixpath
import re
import stat
from os.path import join

from envbuilder.digest import digest_file
from envbuilder.errors import PackageError
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

SHOWN_PROBLEMS = 20
DAMAGED = "its files are not the ones it was published with; delete uv's cache, or tell its author"
HARMFUL = "no sound tool makes such a package: do not use this release, and tell its author"
"""Hints: for what a cache or a disk may have done, and for what somebody has made."""
UNHASHED = ("RECORD", "RECORD.jws", "RECORD.p7s")
_HASHES = frozenset({"sha256", "sha384", "sha512"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class _Row(NamedTuple):
    """One line of RECORD: its path below the prefix, and its hash as it stands."""

    path: str
    hash: str


def check_record(prefix: str, site: str, dist_info: str, *, package: str) -> dict[str, str]:
    """Refuse a tree that is not what its RECORD says, no more and no less; raise `PackageError` with all problems.

    Return the sha256 of each file that has one in RECORD, by its path below `prefix`: nobody need read it again.
    """
    found: dict[str, str] = {}
    refuse(package, list(_record_problems(prefix, site, dist_info, found)))
    return found


def check_listing(names: Collection[str], content: bytes, *, record: str, package: str) -> None:
    """Refuse a wheel whose RECORD (`content`, the member `record`) does not list its members, no more and no less.

    Installers mend a RECORD that lists too much, so that the tree cannot show it.
    """
    try:
        listed = {row[0] for row in csv.reader(content.decode().splitlines()) if row}
    except (csv.Error, UnicodeDecodeError) as error:
        raise PackageError(package=package, problems=(f"its RECORD cannot be read: {error}",)) from None
    own = {posixpath.join(posixpath.dirname(record), name) for name in UNHASHED}
    there = {name for name in names if not name.endswith("/")}
    outside = {path for path in listed if path.startswith("/") or ".." in path.split("/")}
    problems = [f"its RECORD names {_shown(path)}, which leads outside" for path in sorted(outside)]
    problems += [f"{_shown(path)} of its RECORD is missing" for path in sorted(listed - there - own - outside)]
    problems += [f"{_shown(path)} is not in its RECORD" for path in sorted(there - listed - own)]
    refuse(package, problems)


def walk(root: str) -> Iterator[str]:
    """Name everything below `root` that is no directory, relative to it, with slashes."""
    pending = [""]
    while pending:
        below = pending.pop()
        for name, is_folder in _entries(f"{root}/{below}"):
            if is_folder:
                pending.append(f"{below}{name}/")
            else:
                yield below + name


def _entries(folder: str) -> list[tuple[str, bool]]:
    """List a folder: names, and which are folders themselves; nothing of one that cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except OSError:
        return []


def is_bytecode(path: str) -> bool:
    """Tell whether a path is a cached compilation, which is in no key; a sourceless `.pyc` is content."""
    return path.endswith(".pyc") and posixpath.basename(posixpath.dirname(path)) == "__pycache__"


def _record_problems(prefix: str, site: str, dist_info: str, found: dict[str, str]) -> Iterator[str]:
    """Compare RECORD with the tree, both ways, and put the digests that hold into `found`."""
    own = posixpath.join(os.path.relpath(site, prefix), dist_info)
    present = {path for path in walk(prefix) if not is_bytecode(path)} - {".lock"}
    try:
        rows = list(_rows(join(site, dist_info, "RECORD"), os.path.relpath(site, prefix)))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        yield f"its RECORD cannot be read: {error}"
        return
    listed = {row.path for row in rows}
    unhashed = {posixpath.join(own, name) for name in UNHASHED}
    yield from filter(None, (_row_problem(prefix, row, present, unhashed, found) for row in rows))
    yield from (f"{_shown(path)} is not in its RECORD" for path in sorted(present - listed - unhashed))


def _rows(record: str, site: str) -> Iterator[_Row]:
    with open(record, encoding="utf-8", newline="") as stream:
        for row in csv.reader(stream):
            if row:
                path = row[0] if row[0].startswith("/") else posixpath.normpath(posixpath.join(site, row[0]))
                yield _Row(path=path, hash=row[1] if len(row) > 1 else "")


def _row_problem(prefix: str, row: _Row, present: set[str], unhashed: set[str], found: dict[str, str]) -> str | None:
    path = row.path
    if path.startswith("/") or path.split("/")[0] == "..":
        return f"its RECORD names {_shown(path)}, which leads outside"
    if _CONTROL.search(path):
        return f"its RECORD names {path!r}, with control characters"
    if is_bytecode(path) or path in unhashed:
        return None
    if path not in present:
        return f"{_shown(path)} of its RECORD is missing"
    if not stat.S_ISREG(os.lstat(f"{prefix}/{path}").st_mode):
        return f"{_shown(path)} is no regular file"
    if digest := _held(f"{prefix}/{path}", row.hash):
        if row.hash.startswith("sha256="):
            found[path] = digest.hex()
        return None
    return f"{_shown(path)} is not what its RECORD says" if row.hash else f"its RECORD has no hash of {_shown(path)}"


def _held(path: str, said: str) -> bytes:
    """Return a file's digest if it is what RECORD says, else nothing."""
    algorithm, _, value = said.partition("=")
    digest = digest_file(path, algorithm) if algorithm in _HASHES else b""
    # Some builders spell it in hexadecimal, and installers never look.
    spelled = (base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), digest.hex())
    return digest if value.rstrip("=") == spelled[0] or value.lower() == spelled[1] else b""


def _shown(path: str) -> str:
    inner = re.sub(r"^lib(64)?/[^/]+/site-packages/", "", path)
    return f"`{inner}`" if inner.isprintable() else repr(inner)


def refuse(package: str, problems: list[str], *, hint: str = DAMAGED) -> None:
    """Raise `PackageError` if there are problems: the first ones, for a hostile archive may have a million."""
    if len(problems) > SHOWN_PROBLEMS:
        problems = [*problems[:SHOWN_PROBLEMS], f"and {len(problems) - SHOWN_PROBLEMS} more"]
    if problems:
        raise PackageError(
            package=package,
            problems=tuple(problems),
            hint=hint,
        )
