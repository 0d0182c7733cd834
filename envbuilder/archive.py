"""The directory of a zip archive, read by itself: what is in a wheel is known before anybody unpacks it.

A zip file says several things twice: sizes, names and places stand in its directory and before each member, and
programs differ in which they believe. An archive that says two things is refused, whichever of them is harmless.
Memory is bounded by what is read here, not by what an archive says of itself.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import Any

from envbuilder.contexts import contextmanager
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[int, int], bytes]
    """`read(start, length)` gives that many bytes, less at the end."""

MAX_MEMBERS = 200_000
MAX_DIRECTORY = 64 << 20
"""Bytes; a wheel of 15,000 files has 2 MB."""

_LIMITS = f"{MAX_MEMBERS} and {MAX_DIRECTORY} are the limits"

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_EXTRA = struct.Struct("<2H")
_HAS_DESCRIPTOR, _IS_UTF8, _IS_ENCRYPTED = 1 << 3, 1 << 11, 1 << 0 | 1 << 6 | 1 << 13
_ZIP64, _OTHER_NAME = 0x0001, 0x7075
_FULL, _FULL_SHORT = 0xFFFFFFFF, 0xFFFF
_DESCRIPTORS = (12, 16, 20, 24)


class Refused(Exception):
    """No archive, or one that cannot be trusted to hold what it says."""


class Crowded(Refused):
    """More members than anybody should unpack: each costs an inode and its time, however few bytes it has."""


class Member(NamedTuple):
    """One entry: `name` as its bytes say, sizes in bytes, `mode` as of Unix (0 where none is said), its place."""

    name: str
    flags: int
    method: int
    packed: int
    size: int
    mode: int
    start: int
    raw: bytes

    @property
    def is_encrypted(self) -> bool:
        """Tell whether it can be read with a password alone."""
        return bool(self.flags & _IS_ENCRYPTED)


class Directory(NamedTuple):
    """All entries, and where they end: what follows is the directory itself."""

    members: tuple[Member, ...]
    end: int


@contextmanager
def reading(path: str) -> Iterator[tuple[Read, int]]:
    """Lend what reads a file's bytes, and its size."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield lambda start, length: os.pread(descriptor, length, start), os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def directory(read: Read, size: int) -> Directory:
    """Read an archive's directory; raise `Refused`."""
    count, length, start, end = _found(read, size)
    if count > MAX_MEMBERS or length > MAX_DIRECTORY:
        raise Crowded(f"it has {count} members in a directory of {length} bytes; {_LIMITS}")
    if start + length != end:
        raise Refused("it holds bytes before its first member, or behind its directory")
    content = read(start, length)
    members: list[Member] = []
    at = 0
    while at < len(content):
        if len(members) == count:
            raise Crowded("its directory has more members than it says")
        member, at = _member(content, at)
        members.append(member)
    if len(members) != count or len(content) != length:
        raise Refused("its directory is cut short")
    return Directory(tuple(members), start)


def content(member: Member, read: Read) -> bytes:
    """Return what a member holds; raise `Refused` for more than it says, or for what cannot be unpacked."""
    head = read(member.start, _LOCAL.size)
    if len(head) < _LOCAL.size or member.size > MAX_DIRECTORY or member.is_encrypted:
        raise Refused(f"its member {member.name!r} cannot be read")
    *_, name_length, extra_length = _LOCAL.unpack(head)
    packed = read(member.start + _LOCAL.size + name_length + extra_length, member.packed)
    if not member.method:
        return packed
    try:
        found = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, member.size + 1)
    except zlib.error:
        raise Refused(f"its member {member.name!r} cannot be unpacked") from None
    if len(found) != member.size:
        raise Refused(f"its member {member.name!r} unpacks to more than it says, or to less")
    return found


def ambiguities(found: Directory, read: Read) -> Iterator[str]:
    """Yield where members overlap, where bytes belong to none, and where a member says another thing of itself."""
    expected, last = 0, None
    for member in sorted(found.members, key=lambda member: member.start):
        gap = member.start - expected
        if gap < 0:
            yield f"its member {member.name!r} overlaps another"
        elif gap and not (last and last.flags & _HAS_DESCRIPTOR and gap in _DESCRIPTORS):
            yield f"it holds {gap} bytes before its member {member.name!r} that belong to none"
        local = read(member.start, _LOCAL.size)
        if len(local) < _LOCAL.size or local[:4] != b"PK\3\4":
            yield f"its member {member.name!r} is not where its directory says"
            return
        yield from _differences(member, _LOCAL.unpack(local), read)
        *_, name_length, extra_length = _LOCAL.unpack(local)
        expected, last = member.start + _LOCAL.size + name_length + extra_length + member.packed, member
    gap = found.end - expected
    if gap < 0 or (gap and not (last and last.flags & _HAS_DESCRIPTOR and gap in _DESCRIPTORS)):
        yield "it holds bytes behind its last member that belong to none"


def _found(read: Read, size: int) -> tuple[int, int, int, int]:
    """Return what the end says: members, the directory's length, its start; and where the end itself begins."""
    end = size - _END.size
    if end < 0:
        raise Refused("it is no zip archive")
    signature, disk, first, here, count, length, start, comment = _END.unpack(read(end, _END.size))
    if signature != b"PK\5\6" or comment:
        raise Refused("it is no zip archive, or one with something behind its end")
    if disk or first or here != count:
        raise Refused("it is one of several parts")
    locator = read(end - _LOCATOR.size, _LOCATOR.size) if end >= _LOCATOR.size else b""
    if locator[:4] != b"PK\6\7":
        return count, length, start, end
    said = (count, length, start)
    count, length, start, end = _found64(read, _LOCATOR.unpack(locator)[2], end)
    limits = (_FULL_SHORT, _FULL, _FULL)
    if any(short not in (full, limit) for short, full, limit in zip(said, (count, length, start), limits, strict=True)):
        raise Refused("its two ends speak of two directories")
    return count, length, start, end


def _found64(read: Read, at: int, end: int) -> tuple[int, int, int, int]:
    record = read(at, _END64.size)
    if at + _END64.size + _LOCATOR.size != end or record[:4] != b"PK\6\6":
        raise Refused("its end is not where it says")
    *_, here, count, length, start = _END64.unpack(record)
    if here != count:
        raise Refused("it is one of several parts")
    return count, length, start, at


def _member(content: bytes, at: int) -> tuple[Member, int]:
    if content[at : at + 4] != b"PK\1\2" or len(content) < at + _ENTRY.size:
        raise Refused("its directory is damaged")
    fields = _ENTRY.unpack_from(content, at)
    flags, method, packed, size = fields[3], fields[4], fields[8], fields[9]
    name_length, extra_length, comment_length = fields[10:13]
    attributes, start = fields[15], fields[16]
    at += _ENTRY.size
    raw, extra = content[at : at + name_length], content[at + name_length : at + name_length + extra_length]
    name = _decoded(raw, flags)
    size, packed, start = _full_sizes(extra, (size, packed, start), name)
    is_unix = fields[1] >> 8 == 3 or attributes >> 16
    member = Member(name, flags, method, packed, size, attributes >> 16 if is_unix else 0, start, raw)
    return member, at + name_length + extra_length + comment_length


def _decoded(raw: bytes, flags: int) -> str:
    try:
        return raw.decode("utf-8" if flags & _IS_UTF8 else "ascii")
    except UnicodeDecodeError:
        raise Refused(f"its member {raw.decode('utf-8', 'backslashreplace')!r} has a name that is no UTF-8") from None


def _full_sizes(extra: bytes, short: tuple[int, int, int], name: str) -> list[int]:
    """Fill in the numbers that are too large for their field; they stand in this order where the field is full."""
    found, at = list(short), 0
    while at + _EXTRA.size <= len(extra):
        kind, length = _EXTRA.unpack_from(extra, at)
        body = extra[at + _EXTRA.size : at + _EXTRA.size + length]
        at += _EXTRA.size + length
        if kind == _OTHER_NAME:
            raise Refused(f"its member {name!r} has two names")
        if kind == _ZIP64:
            wanted = [index for index, value in enumerate(short) if value == _FULL]
            if len(body) < 8 * len(wanted):
                raise Refused(f"its member {name!r} does not say how large it is")
            for index, value in zip(wanted, struct.unpack_from(f"<{len(wanted)}Q", body), strict=True):
                found[index] = value
    return found


def _differences(member: Member, local: tuple[Any, ...], read: Read) -> Iterator[str]:
    _, _, flags, method, _, _, _, packed, size, name_length, _ = local
    name = read(member.start + _LOCAL.size, name_length)
    if name != member.raw:
        yield f"its member {member.name!r} says of itself that it is {name.decode('utf-8', 'backslashreplace')!r}"
    elif method != member.method or (flags ^ member.flags) & (_IS_ENCRYPTED | _IS_UTF8 | _HAS_DESCRIPTOR):
        yield f"its member {member.name!r} is packed in another way than its directory says"
    # A descriptor behind the member has its sizes, or an extra field does, where they are too large for these.
    elif not flags & _HAS_DESCRIPTOR and _FULL not in (packed, size) and (packed, size) != (member.packed, member.size):
        yield f"its member {member.name!r} has another size than its directory says"
