"""What an overlay must have, thing by thing, and how what is there differs from it."""

from __future__ import annotations

import os
import stat
from os.path import isfile, join, lexists

from envbuilder.damage import misplaced_rights
from envbuilder.digest import RECORD_LIMIT, read_bytes, read_sealed, sha256_file
from envbuilder.farm import link_text
from envbuilder.skeleton import LIST
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.farm import Plan


class Entry(NamedTuple):
    """One thing that an overlay must have at `path`, relative to it.

    A folder; a symlink that says `text`, to `source`; another name of the file `source`; or a file with this
    `content`. `mode` and `sha256` are those of a file of the skeleton.
    """

    path: str
    is_folder: bool = False
    text: str = ""
    source: str = ""
    content: bytes | None = None
    mode: int = 0
    sha256: str = ""
    may_be_another: bool = False


def entries_of(planned: Plan, farm: str, depth: int, own: dict[str, bytes]) -> Iterator[Entry]:
    """Yield what a plan of links below `farm` comes to; `own` are files that the overlay has for itself."""
    for folder in planned.directories:
        yield Entry(join(farm, folder), is_folder=True)
    for link in planned.links:
        path = join(farm, link.path)
        if link.path in own:
            yield Entry(path, content=own[link.path])
        elif link.hard:
            yield Entry(path, source=link.source, may_be_another=True)
        else:
            yield Entry(path, text=link_text(link, depth=depth), source=link.source)


def of_skeleton(rows: object) -> Iterator[Entry]:
    """Yield what a skeleton of these rows comes to."""
    for path, mode, sha256, target in rows:  # type: ignore[attr-defined]
        yield Entry(path, text=target) if target else Entry(path, mode=mode, sha256=sha256)


def skeleton_rows(path: str) -> list[tuple[str, int, str, str]] | None:
    """Read the list of a skeleton's files: path, mode, sha256, a link's text; None where it is missing or damaged."""
    try:
        return [tuple(row) for row in read_sealed(path)["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def skeleton_damage(path: str) -> str:
    """Say what is wrong with a skeleton in the cache; "" for nothing."""
    rows = skeleton_rows(join(path, LIST))
    if rows is None:
        return f"`{LIST}` is missing or damaged"
    for entry in of_skeleton(rows):
        if text := difference(join(path, entry.path), entry, frozenset()):
            return f"`{entry.path}` {text}"
    return ""


def difference(at: str, entry: Entry, allowed: frozenset[int]) -> str:
    """Say how what lies at a path differs from what must be there; "" where it does not. `allowed` are its owners."""
    if not lexists(at):
        return "is missing"
    status = os.lstat(at)
    if entry.is_folder:
        return "" if stat.S_ISDIR(status.st_mode) else "is no folder"
    if entry.content is not None:
        return _of_content(at, status, entry, allowed)
    if entry.sha256:
        return _of_digest(at, status, entry, allowed)
    if stat.S_ISLNK(status.st_mode):
        same = os.readlink(at) == entry.text or (bool(entry.source) and same_file(at, entry.source))
    else:
        same = entry.may_be_another and stat.S_ISREG(status.st_mode) and _is_equal(at, entry.source, allowed)
    return "" if same else "is not the link that it was"


def _of_content(at: str, status: os.stat_result, entry: Entry, allowed: frozenset[int]) -> str:
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    if status.st_size != len(entry.content or b"") or read_bytes(at) != entry.content:
        return "is not as it was written"
    if entry.mode and not status.st_mode & entry.mode:
        return "cannot be run"
    return misplaced_rights(status, None, allowed)


def _of_digest(at: str, status: os.stat_result, entry: Entry, allowed: frozenset[int]) -> str:
    """Compare with the skeleton; where there are no hard links, a symlink leads there."""
    if stat.S_ISLNK(status.st_mode):
        if f"{os.sep}skeletons{os.sep}" not in os.readlink(at) or not isfile(at):
            return "is no regular file"
        status = os.stat(at)
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    if status.st_size > RECORD_LIMIT or sha256_file(at) != entry.sha256:  # a skeleton has nothing as large
        return "has another content"
    return misplaced_rights(status, entry.mode, allowed)


def _is_equal(at: str, source: str, allowed: frozenset[int]) -> bool:
    """Tell whether a file is the package's, or a copy of it: who copies a home may lose its hard links."""
    if same_file(at, source):
        return True
    if not isfile(source) or os.stat(at).st_size != os.stat(source).st_size or sha256_file(at) != sha256_file(source):
        return False
    return not misplaced_rights(os.stat(at), stat.S_IMODE(os.stat(source).st_mode), allowed)


def same_file(left: str, right: str) -> bool:
    """Tell whether two paths lead to one file, which is there."""
    try:
        return os.path.samefile(left, right)
    except OSError:
        return False
