"""Room on file systems: what a set needs, what is free, and which of them was full when something could not be written.

Bytes and inodes both run out. What an archive unpacks to is known where it lies on this machine; of others their own
size, which is the least that they need.
"""

from __future__ import annotations

import errno
import os
import re
from os.path import dirname, exists

from envbuilder import fs
from envbuilder.contexts import contextmanager
from envbuilder.errors import NoRoom, SystemRefusal
from envbuilder.mounts import mount_of
from envbuilder.planning import size_text
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from envbuilder.fs import Disk
    from envbuilder.lock import LockedPackage

_BLOCK = 4096
_SQUEEZING = frozenset({"bcachefs", "btrfs", "f2fs", "squashfs", "zfs"})
"""Kinds of file systems that may store a file in fewer bytes than it has, so that what seems too large may fit."""
_OVERLAY = (256 << 10, 96)
"""Bytes and inodes of an overlay and its generation, besides what each package adds to these and to the store."""
_OF_PACKAGE = (32 << 10, 18)
_FEW = 10_000
"""Inodes: where more are free, it is hardly these that ran out."""
_SURE_OF_BYTES, _SURE_OF_INODES = 0.9, 0.75
"""How much of a need is certain: the rest are folders, links and compiled modules, of which a bit less may do."""

_FULL_WAYS = """\
`vpm-env gc` frees what no generation needs, `vpm-env gc --dry-run` says what that is
`--home` or `VPM_ENV_HOME` names a home on another file system"""
_NUMBERED = re.compile(r"\(os error (?P<rust>\d+)\)|\[Errno (?P<python>\d+)\]")
_PHRASES = (
    ("No space left on device", errno.ENOSPC),
    ("Disk quota exceeded", errno.EDQUOT),
    ("Read-only file system", errno.EROFS),
    ("Input/output error", errno.EIO),
    ("Too many open files", errno.EMFILE),
)
"""What programs say in every language that they are written in; the last is told where there are several."""
_PATH = re.compile(r"(?<![\w:./])/[^\s`'\"<>|]+")


class Need(NamedTuple):
    """What something takes on a file system; not `is_exact` is the least that it may be."""

    bytes: int = 0
    inodes: int = 0
    is_exact: bool = True

    def __add__(self, other: object) -> Need:
        if not isinstance(other, Need):
            return NotImplemented
        return Need(self.bytes + other.bytes, self.inodes + other.inodes, self.is_exact and other.is_exact)


def need_of(locked: Iterable[LockedPackage]) -> Need:
    """Add up what packages that are to be fetched will take in the store, and in an overlay."""
    wanted = list(locked)
    total = need_of_overlay(len(wanted))
    for package in wanted:
        files = [*package.wheels, *([package.sdist] if package.sdist else [])]
        total += _of_file(files[0]) if files else Need(is_exact=False)
    return total


def need_of_overlay(packages: int) -> Need:
    """Say what an overlay of so many packages takes, with its generation: about as much, whatever is in them."""
    return Need(_OVERLAY[0] + packages * _OF_PACKAGE[0], _OVERLAY[1] + packages * _OF_PACKAGE[1])


def _of_file(file: dict[str, Any]) -> Need:
    from urllib.parse import unquote, urlsplit  # only what is fetched is measured

    located = urlsplit(str(file.get("url") or file.get("path") or ""))
    if located.scheme in ("", "file"):
        try:
            return _unpacked(unquote(located.path))
        except (OSError, ValueError):
            pass
    return Need(int(file.get("size") or 0), is_exact=False)


def _unpacked(path: str) -> Need:
    """Read from a wheel's directory what its files will take, and the compiled form of its modules, of similar size.

    Raise `ValueError` for what is no such archive.
    """
    from zipfile import BadZipFile, ZipFile

    try:
        wheel = ZipFile(path)
    except BadZipFile as error:
        raise ValueError(str(error)) from None
    with wheel:
        sizes = {info.filename: info.file_size for info in wheel.infolist() if not info.is_dir()}
    modules = [size for name, size in sizes.items() if name.endswith(".py")]
    folders = {dirname(name) for name in sizes}
    blocks = sum(-(-size // _BLOCK) for size in [*sizes.values(), *modules]) + len(folders)
    return Need(blocks * _BLOCK, len(sizes) + len(modules) + len(folders))


def require(need: Need, path: str) -> None:
    """Raise `NoRoom` where it is certain beforehand that `path` has too little room."""
    mount = mount_of(path)
    if mount is None or mount.kind not in _SQUEEZING:
        disk = fs.disk_of(path)
        sure = Need(int(need.bytes * _SURE_OF_BYTES), int(need.inodes * _SURE_OF_INODES))
        if sure.bytes > disk.free or _lacks_inodes(sure, disk):
            raise _short(path, need)


@contextmanager
def needing(need: Need, *folders: str) -> Iterator[None]:
    """Check that the first of `folders` has room for what is enclosed, and let its errors say how much is missing.

    All of them take as much; an error about another file system stays as it is. What is free is looked up when what
    was left of the attempt is removed.
    """
    require(need, folders[0])
    try:
        yield
    except (NoRoom, OSError) as error:
        found = error if isinstance(error, NoRoom) else refusal(error)
        if not isinstance(found, NoRoom):
            raise
        at = _standing(found.path or found.folder)
        devices = {fs.disk_of(_standing(folder)).device for folder in folders}
        raise (_short(at, need, failed=found) if fs.disk_of(at).device in devices else found) from None


def refusal(error: OSError) -> SystemRefusal:
    """Say what an `OSError` means to a user; where there was no room, of which file system that is told."""
    failed = SystemRefusal.of(error)
    if error.errno not in fs.FULL or not failed.path:
        return failed
    return _short(_standing(failed.path), None, failed=failed, of_quota=error.errno == errno.EDQUOT)


def told(output: str, folder: str) -> OSError | None:
    """Find in what a program said that the system refused it something for want of room, or because a disk fails.

    The path is the last one that it named before, else `folder`.
    """
    text = " ".join(output.split())
    numbers = {int(found[found.lastgroup or 0]) for found in _NUMBERED.finditer(text)}
    known = {number: phrase for phrase, number in _PHRASES}
    number = next((known_one for known_one in known if known_one in numbers), None)
    number = number or next((found for phrase, found in _PHRASES if phrase in text), None)
    if number is None:
        return None
    before = text[: max(text.rfind(known[number]), 0)] or text
    named = [path.rstrip(":,.)") for path in _PATH.findall(before)]
    return OSError(number, os.strerror(number), named[-1] if named else folder)


def require_nothing_refused(output: str, folder: str) -> None:
    """Raise what the system refused a program (see `told`), if that is what it ended of."""
    if error := told(output, folder):
        raise refusal(error)


def _short(path: str, need: Need | None, *, failed: SystemRefusal | None = None, of_quota: bool = False) -> NoRoom:
    """Describe a lack of room on the file system of `path`."""
    disk = fs.disk_of(path)
    mount = mount_of(path)
    folder = mount.point if mount else path
    lacks_bytes = need is not None and need.bytes > disk.free
    of_inodes = (need is not None and _lacks_inodes(need, disk)) or (not lacks_bytes and _has_fewer_inodes(disk))
    free = (disk.inodes or 0) if of_inodes else disk.free
    needed = (need.inodes if of_inodes else need.bytes) if need else None
    if needed is not None and needed <= free:
        needed = None
    of_quota = of_quota or (isinstance(failed, NoRoom) and failed.of_quota)
    return NoRoom(
        f"{_lack(folder, free, of_inodes, of_quota)}{_difference(needed, free, need, of_inodes)}",
        folder=folder,
        unit="inodes" if of_inodes else "bytes",
        needed=needed,
        free=free,
        of_quota=of_quota,
        path=failed.path if failed else "",
        cause=(failed.cause if isinstance(failed, NoRoom) else failed.reason) if failed else "",
        hint=_FULL_WAYS,
    )


def _lack(folder: str, free: int, of_inodes: bool, of_quota: bool) -> str:
    if of_quota:
        return f"the quota on the file system `{folder}` is used up"
    if of_inodes:
        return f"the file system `{folder}` has no inodes left" if not free else _too_little(folder, "few inodes")
    return f"the file system `{folder}` is full" if free < _BLOCK else _too_little(folder, "little room")


def _too_little(folder: str, what: str) -> str:
    return f"the file system `{folder}` has too {what}"


def _difference(needed: int | None, free: int, need: Need | None, of_inodes: bool) -> str:
    def spelled(amount: int) -> str:
        return f"{amount} inodes" if of_inodes else size_text(amount)

    if needed is None or need is None:
        return f": {spelled(free)} are free"
    about = "about" if need.is_exact else "at least"
    return f": the set needs {about} {spelled(needed)}, {spelled(free)} are free: {spelled(needed - free)} are missing"


def _lacks_inodes(need: Need, disk: Disk) -> bool:
    return disk.inodes is not None and need.inodes > disk.inodes


def _has_fewer_inodes(disk: Disk) -> bool:
    """Tell whether inodes end before bytes do: when somebody looks, an attempt has been cleared away again."""
    return disk.inodes is not None and disk.inodes < min(_FEW, disk.free // _BLOCK)


def _standing(path: str) -> str:
    """Return the nearest folder on the way to `path` that is there; what could not be written need not be."""
    path = os.path.abspath(path or ".")
    while not exists(path):
        path = dirname(path)
    return path
