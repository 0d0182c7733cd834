"""Look at a wheel before an installer unpacks it: the file itself where it is at hand, else its directory on the index.

What an index shows here is not bound to the hash that is locked. So what the installer makes of the file is checked
against RECORD, and how much it writes is counted, whatever was seen before.
"""

from __future__ import annotations

import os
import re
from itertools import chain
from os.path import dirname, isabs, join
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from envbuilder import archive, contents, fs, members, process
from envbuilder.contexts import suppress
from envbuilder.digest import sha256_file
from envbuilder.errors import PackageError
from envbuilder.record import HARMFUL, check_listing, refuse
from envbuilder.served import served

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from http.client import HTTPResponse

    from envbuilder.archive import Directory, Read
    from envbuilder.lock import LockedPackage
    from envbuilder.process import Result
    from envbuilder.served import Served
    from envbuilder.uv import Uv

_RECORD = re.compile(r"[^/]+\.dist-info/RECORD")
_UNFINISHED = re.compile(r".*/\.tmp[^/]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NOTES = "vpm-env-1"
_SPARE = 64 << 20
_ROOM_FOR_A_CROWD = 8 << 20
"""Bytes of an archive in which there may be more members, shown by no directory, than anybody should unpack."""

_TAIL = 1 << 18
"""Bytes from a file's end that are asked for first; most directories fit."""


def examine(package: LockedPackage, *, uv: Uv, scratch: str) -> int | None:
    """Look at the wheel of a locked package and return how many bytes an installer may write for it.

    None for what has no wheel: what a build writes nobody knows. Raise `PackageError` with every problem.
    """
    direct = [package.archive] if package.archive and _is_wheel(package.archive) else []
    wheels = package.wheels or direct
    return max((_examine_one(wheel, package, uv, scratch) for wheel in wheels), default=None)


def _is_wheel(file: dict[str, Any]) -> bool:
    path = file.get("path") or urlsplit(str(file.get("url") or "")).path
    return unquote(str(path)).lower().endswith(".whl")


def _examine_one(wheel: dict[str, Any], package: LockedPackage, uv: Uv, scratch: str) -> int:
    """Look at one of the wheels of which the installer may take any."""
    path = _local(wheel)
    if uv.offline and path is None:
        return _allowance(wheel, None)
    if path is not None:
        return _examine_local(path, package.name, wheel)
    note = _looked_at(wheel, uv)
    unpacked = _noted(note)
    if unpacked is None:
        unpacked = _on_index(package, wheel, uv, scratch)
        _write_note(note, unpacked)
    return _allowance(wheel, unpacked)


def examine_file(path: str, *, package: str) -> int:
    """Look at a wheel file and return how many bytes an installer may write for it; raise `PackageError`."""
    try:
        with archive.reading(path) as (read, size):
            return _allowance({"size": size}, _examined(read, size, package, is_whole=True))
    except OSError as error:
        raise PackageError(package=package, problems=(f"is no wheel: {error}",)) from None


def _examine_local(path: str, package: str, wheel: dict[str, Any]) -> int:
    """Look at a file of this machine; its hash binds what is seen to what the installer opens by the same name."""
    try:
        is_locked = sha256_file(path) == wheel.get("hashes", {}).get("sha256")
    except OSError:
        is_locked = False
    return examine_file(path, package=package) if is_locked else _allowance(wheel, None)  # the installer says why


def _examined(read: Read, size: int, package: str, *, is_whole: bool) -> int:
    """Check an archive and return what it unpacks to; the members themselves too where all of it is at hand."""
    try:
        found = archive.directory(read, size)
    except archive.Refused as error:
        raise PackageError(package=package, problems=(str(error),), hint=HARMFUL) from None
    told = members.problems(found.members, weight=size)
    refuse(package, list(chain(told, archive.ambiguities(found, read) if is_whole else ())), hint=HARMFUL)
    _check_listing(found, read, package)
    return sum(member.size for member in found.members)


def _check_listing(found: Directory, read: Read, package: str) -> None:
    records = [member for member in found.members if _RECORD.fullmatch(member.name)]
    if len(records) != 1:
        raise PackageError(package=package, problems=(f"it has {len(records)} dist-info/RECORD, not one",))
    try:
        content = archive.content(records[0], read)
    except archive.Refused as error:
        raise PackageError(package=package, problems=(str(error),)) from None
    names = {member.name for member in found.members}
    check_listing(names, content, record=records[0].name, package=package)


def allowance_of_folders(folders: Iterable[str]) -> int:
    """Return how much a resolver may write that unpacks wheels of these folders: what they say that they hold.

    Raise `PackageError` for one with more members than a resolver should unpack: bytes do not bound these.
    """
    wheels = [join(folder, name) for folder in folders for name in fs.names_in(folder) if name.endswith(".whl")]
    return 2 * sum(map(_said, wheels)) + _SPARE


def require_bounded(result: Result, package: str, folders: Iterable[str] = ()) -> None:
    """Refuse what wrote more than its archive says that it holds, and take away what it left.

    `folders` are those that its wheel may come from. Raise `PackageError`.
    """
    if result.code != process.WROTE_TOO_MUCH:
        return
    for path in result.writing:
        unfinished = _UNFINISHED.match(path)  # uv unpacks there, and has had no chance to clean up
        if unfinished:
            fs.remove_quietly(unfinished[0])
    problems = tuple(_unfit_in(folders, result.writing)) or ("it unpacks to more than it says, or than it may",)
    raise PackageError(package=package, problems=problems)


def _unfit_in(folders: Iterable[str], writing: Iterable[str]) -> Iterator[str]:
    """Name the wheels of these folders that have a member which was being written."""
    written = {inner for inner in map(_below_temporary, writing) if inner}
    for path in (join(folder, name) for folder in folders for name in fs.names_in(folder) if name.endswith(".whl")):
        with suppress(OSError, archive.Refused), archive.reading(path) as (read, size):
            inside = written & {member.name for member in archive.directory(read, size).members}
            yield from (f"`{path}` unpacks to more than it says, or than it may, by its {name!r}" for name in inside)


def _below_temporary(path: str) -> str:
    """Return what a path is to the wheel that uv unpacks: it does so in a folder `.tmp…`."""
    return path.partition("/.tmp")[2].partition("/")[2]


def _said(path: str) -> int:
    """Return how much a wheel says that it holds; nothing for one that no resolver should open."""
    try:
        with archive.reading(path) as (read, size):
            found = archive.directory(read, size)
            hidden = next(archive.ambiguities(found, read), "") if size > _ROOM_FOR_A_CROWD else ""
    except archive.Crowded as error:
        hidden = str(error)
    except (OSError, archive.Refused):
        return 0
    if hidden:
        raise PackageError(package="find_links", problems=(f"`{path}`: {hidden}",), hint=HARMFUL)
    unpacked = sum(member.size for member in found.members)
    return 0 if any(members.too_large(unpacked, size)) else unpacked + size


def _allowance(wheel: Mapping[str, Any], unpacked: int | None) -> int:
    """Return how much may be written: all of it twice, into a cache and from there, and something for notes."""
    weight = int(wheel.get("size", 0))
    if unpacked is None:
        most = max(members.FREE_OF_RATIO, weight * members.MAX_RATIO) if weight else members.MAX_UNPACKED
        unpacked = min(members.MAX_UNPACKED, most)
    return 2 * unpacked + unpacked // 10 + weight + _SPARE


def _local(wheel: dict[str, Any]) -> str | None:
    """Return the path of a wheel that is a file of this machine."""
    parts = urlsplit(str(wheel.get("url", "")))
    if parts.scheme == "file":
        return unquote(parts.path)
    path = str(wheel.get("path", ""))
    return path if isabs(path) else None


def _looked_at(wheel: dict[str, Any], uv: Uv) -> str:
    """Name our note of a file that was looked at: how much it holds; "" where there is no place for one.

    It lies in uv's cache, whose word for a file's content is taken anyway. That uv has unpacked a file says nothing:
    so does a resolver that wants to know what it requires, before anybody looked.
    """
    sha256 = str(wheel.get("hashes", {}).get("sha256", ""))
    cache = uv.variables.get("UV_CACHE_DIR", "")
    return join(cache, _NOTES, sha256) if cache and _SHA256.fullmatch(sha256) else ""


def _noted(note: str) -> int | None:
    """Read a note; None where there is none."""
    try:
        return int(contents.start_of(note, 20, regular=True)) if note else None
    except (OSError, ValueError):
        return None


def _write_note(note: str, unpacked: int | None) -> None:
    if note and unpacked is not None:
        with suppress(OSError):  # then it is looked at again the next time
            fs.make_dirs(dirname(note))
            fs.write_plain(note, str(unpacked).encode())


def _on_index(package: LockedPackage, wheel: dict[str, Any], uv: Uv, scratch: str) -> int | None:
    """Look at a wheel's directory where it lies; None where the index does not let us."""
    from http.client import HTTPException  # packages of folders are not asked for

    try:
        file = served(uv.filled(str(wheel["url"])), package.plugin, uv)
        with file.ask(f"-{_TAIL}") as answer:
            if answer.status != 206:
                return _examined_whole(answer, package.name, wheel, scratch)
            total = int(answer.headers["Content-Range"].rpartition("/")[2])
            return _examined(_pieces(file, answer.read(_TAIL), total), total, package.name, is_whole=False)
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return None


def _pieces(file: Served, tail: bytes, total: int) -> Read:
    """Return what reads pieces of a file, from its end that is at hand or from the index."""
    behind = total - len(tail)

    def read(start: int, length: int) -> bytes:
        if start >= behind:
            return tail[start - behind : start - behind + length]
        last = min(start + min(length, archive.MAX_DIRECTORY), total) - 1
        with file.ask(f"{start}-{last}") as answer:
            return answer.read(last - start + 1) if answer.status == 206 else b""

    return read


def _examined_whole(answer: HTTPResponse, package: str, wheel: dict[str, Any], scratch: str) -> int:
    """Look at a file of an index that gives whole ones alone; no more of it is read than it is said to have."""
    limit = int(wheel.get("size") or answer.headers["Content-Length"])
    with fs.unnamed_file(scratch) as descriptor:
        size = fs.fill(descriptor, _blocks(answer, limit))
        return _examined(lambda start, length: os.pread(descriptor, length, start), size, package, is_whole=True)


def _blocks(answer: HTTPResponse, left: int) -> Iterator[bytes]:
    while left > 0 and (block := answer.read(min(left, 1 << 20))):
        left -= len(block)
        yield block
