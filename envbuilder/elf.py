"""Read what a shared library says to the dynamic loader: whom it needs, where it looks, which versions it wants.

Only the headers and the dynamic section are read. Whatever is no ELF file, or a damaged one, reads as None.
"""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_SYMTAB, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 6, 14, 15, 29
_DT_GNU_HASH, _DT_VERDEF, _DT_VERNEED = 0x6FFFFEF5, 0x6FFFFFFC, 0x6FFFFFFE
_VER_FLG_WEAK = 2
_MOST = 1 << 20
"""Bytes that a dynamic section is believed to have at most."""
_MOST_ROWS = 4096
"""Entries that a table of segments or versions is believed to have at most."""
DAMAGED = (OSError, struct.error, ValueError, IndexError, OverflowError)
"""What reading a file that only begins like a library may raise."""


class Elf(NamedTuple):
    """What one library says; `searched` are the entries of its RUNPATH (else of its RPATH), as they stand.

    `machine` is the number of its processor (62: x86-64, 183: aarch64), `versions` the highest of each kind that it
    wants of other libraries: `GLIBC_2.34`, `CXXABI_1.3.13`.
    """

    machine: int
    soname: str
    needed: tuple[str, ...]
    searched: tuple[str, ...]
    versions: tuple[str, ...]


class _Shape(NamedTuple):
    """The numbers by which 32 and 64 bit files differ, and the byte order."""

    order: str
    header: str
    segment: str
    dynamic: str
    is_64: bool


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


class Image:
    """An open library: its dynamic section, and what is at an address; not to be kept longer than `stream`."""

    def __init__(self, stream: BinaryIO) -> None:
        """Read the headers; raise `ValueError`, or another of `DAMAGED`, for what is no dynamic library."""
        self.stream = stream
        self._shape = _shape(stream.read(16))
        self.order, self.is_64 = self._shape.order, self._shape.is_64
        self.machine, self._segments = self._headers()
        self.entries = self._dynamic()

    def values(self, tag: int) -> list[int]:
        """Return the values of all dynamic entries of a kind."""
        return [value for kind, value in self.entries if kind == tag]

    def offset(self, address: int) -> int:
        """Return where in the file an address is."""
        for segment in self._segments:
            if segment.kind == _PT_LOAD and segment.address <= address < segment.address + segment.size:
                return address - segment.address + segment.offset
        raise ValueError(f"no segment holds {address:#x}")

    def table(self, tag: int) -> int | None:
        """Return where in the file the table is that a dynamic entry points to."""
        found = self.values(tag)
        return self.offset(found[0]) if found else None

    def string(self, index: int) -> str:
        """Return an entry of the string table."""
        table = self.table(_DT_STRTAB)
        if table is None:
            raise ValueError("there is no string table")
        self.stream.seek(table + index)
        return self.stream.read(1 << 16).split(b"\0", 1)[0].decode("utf-8", "surrogateescape")

    def read(self, at: int, layout: str) -> tuple[int, ...]:
        """Unpack the numbers at a place of the file, in its byte order."""
        row = struct.Struct(self.order + layout)
        self.stream.seek(at)
        return row.unpack(self.stream.read(row.size))

    def _headers(self) -> tuple[int, list[_Segment]]:
        header = self.read(0, self._shape.header)
        machine, table, size, count = header[1], header[4], header[8], header[9]
        rows = range(min(count, _MOST_ROWS))
        return machine, [_segment(self.read(table + size * row, self._shape.segment), self.is_64) for row in rows]

    def _dynamic(self) -> list[tuple[int, int]]:
        dynamic = next((segment for segment in self._segments if segment.kind == _PT_DYNAMIC), None)
        if dynamic is None:
            raise ValueError("it has no dynamic section")
        self.stream.seek(dynamic.offset)
        content = self.stream.read(min(dynamic.size, _MOST))
        layout = struct.Struct(self.order + self._shape.dynamic)
        found: list[tuple[int, int]] = []
        for tag, value in layout.iter_unpack(content[: len(content) // layout.size * layout.size]):
            if tag == _DT_NULL:
                break
            found.append((tag, value))
        return found


def read(path: str) -> Elf | None:
    """Return what the library at `path` says; None for what is none."""
    try:
        with open(path, "rb") as stream:
            image = Image(stream)
            searched = image.values(_DT_RUNPATH) or image.values(_DT_RPATH)
            return Elf(
                machine=image.machine,
                soname="".join(map(image.string, image.values(_DT_SONAME)[:1])),
                needed=tuple(map(image.string, image.values(_DT_NEEDED))),
                searched=tuple(part for at in searched for part in image.string(at).split(":") if part),
                versions=_highest(_wanted(image)),
            )
    except DAMAGED:
        return None


def provided(path: str) -> frozenset[str]:
    """Return the versions that a library offers to others, such as `GLIBCXX_3.4.30`; none for what is no library."""
    try:
        with open(path, "rb") as stream:
            return frozenset(_offered(Image(stream)))
    except DAMAGED:
        return frozenset()


def ordered(version: str) -> tuple[str, list[int]]:
    """Return what versions of one kind are sorted by: `GLIBC_2.4` comes before `GLIBC_2.34`."""
    kind, _, number = version.rpartition("_")
    return kind, [int(part) for part in number.split(".") if part.isdigit()]


def _wanted(image: Image) -> Iterator[str]:
    """List the versions that must be there, from the libraries that are named for them."""
    at: int | None = image.table(_DT_VERNEED)
    for _ in range(_MOST_ROWS if at is not None else 0):
        _, count, _, first, following = image.read(at or 0, "HHIII")
        yield from _wanted_of_one(image, (at or 0) + first, min(count, _MOST_ROWS))
        if not following:
            return
        at = (at or 0) + following


def _wanted_of_one(image: Image, at: int, count: int) -> Iterator[str]:
    for _ in range(count):
        _, flags, _, name, following = image.read(at, "IHHII")
        if not flags & _VER_FLG_WEAK:
            yield image.string(name)
        at += following


def _offered(image: Image) -> Iterator[str]:
    at: int | None = image.table(_DT_VERDEF)
    for _ in range(_MOST_ROWS if at is not None else 0):
        *_, first, following = image.read(at or 0, "HHHHIII")
        yield image.string(image.read((at or 0) + first, "II")[0])
        if not following:
            return
        at = (at or 0) + following


def _highest(versions: Iterator[str]) -> tuple[str, ...]:
    """Keep the highest version of each kind; names without a number (`GLIBC_PRIVATE`) say nothing."""
    found: dict[str, str] = {}
    for version in versions:
        if re.fullmatch(r"[A-Z]+_\d[\d.]*", version):
            kind = ordered(version)[0]
            found[kind] = max(version, found.get(kind, version), key=ordered)
    return tuple(sorted(found.values()))


def _shape(ident: bytes) -> _Shape:
    if len(ident) < 16 or ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        raise ValueError("it is no ELF file")
    order = "<" if ident[5] == 1 else ">"
    if ident[4] == 2:
        return _Shape(order=order, header="16xHHIQQQIHHHHHH", segment="IIQQQQQQ", dynamic="qQ", is_64=True)
    return _Shape(order=order, header="16xHHIIIIIHHHHHH", segment="IIIIIIII", dynamic="iI", is_64=False)


def _segment(row: tuple[int, ...], is_64: bool) -> _Segment:
    if is_64:
        kind, _, offset, address, _, size, *_ = row
    else:
        kind, offset, address, _, size, *_ = row
    return _Segment(kind=kind, offset=offset, address=address, size=size)
