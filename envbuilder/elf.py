"""Read where a shared library looks for its neighbours: DT_RUNPATH and DT_RPATH of an ELF file, nothing else."""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NULL, _DT_STRTAB, _DT_RPATH, _DT_RUNPATH = 0, 5, 15, 29
_MOST = 1 << 20
"""Bytes that a dynamic section is believed to have at most; also entries of a program header table, times its size."""


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


def runpaths(path: str) -> tuple[str, ...]:
    """Return the entries of a library's RUNPATH (or RPATH) as they stand; empty for what is no ELF file, or damaged."""
    try:
        with open(path, "rb") as stream:
            return _runpaths(stream)
    except (OSError, struct.error, ValueError, IndexError, OverflowError, StopIteration):
        return ()


def _runpaths(stream: BinaryIO) -> tuple[str, ...]:
    shape = _shape(stream.read(16))
    if shape is None:
        return ()
    segments = _segments(stream, shape)
    dynamic = next((segment for segment in segments if segment.kind == _PT_DYNAMIC), None)
    if dynamic is None:
        return ()
    stream.seek(dynamic.offset)
    entries = _entries(stream.read(min(dynamic.size, _MOST)), shape)
    strings = next(_offset(value, segments) for tag, value in entries if tag == _DT_STRTAB)
    wanted = [value for tag, value in entries if tag in (_DT_RPATH, _DT_RUNPATH)]
    return tuple(part for value in wanted for part in _string(stream, strings + value).split(":") if part)


def _shape(ident: bytes) -> _Shape | None:
    if len(ident) < 16 or ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        return None
    order = "<" if ident[5] == 1 else ">"
    if ident[4] == 2:
        return _Shape(order=order, header="16xHHIQQQIHHHHHH", segment="IIQQQQQQ", dynamic="qQ", is_64=True)
    return _Shape(order=order, header="16xHHIIIIIHHHHHH", segment="IIIIIIII", dynamic="iI", is_64=False)


def _segments(stream: BinaryIO, shape: _Shape) -> list[_Segment]:
    stream.seek(0)
    layout = struct.Struct(shape.order + shape.header)
    header = layout.unpack(stream.read(layout.size))
    table, size, count = header[4], header[8], header[9]
    entry = struct.Struct(shape.order + shape.segment)
    stream.seek(table)
    rows = [stream.read(size)[: entry.size] for _ in range(min(count, 4096))]
    return [_segment(entry.unpack(row), shape) for row in rows]


def _segment(row: tuple[int, ...], shape: _Shape) -> _Segment:
    if shape.is_64:
        kind, _, offset, address, _, size, *_ = row
    else:
        kind, offset, address, _, size, *_ = row
    return _Segment(kind=kind, offset=offset, address=address, size=size)


def _entries(content: bytes, shape: _Shape) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    layout = struct.Struct(shape.order + shape.dynamic)
    for tag, value in layout.iter_unpack(content[: len(content) // layout.size * layout.size]):
        if tag == _DT_NULL:
            break
        found.append((tag, value))
    return found


def _offset(address: int, segments: list[_Segment]) -> int:
    """Return where in the file an address is."""
    for segment in segments:
        if segment.kind == _PT_LOAD and segment.address <= address < segment.address + segment.size:
            return address - segment.address + segment.offset
    raise ValueError(f"no segment holds {address:#x}")


def _string(stream: BinaryIO, offset: int) -> str:
    stream.seek(offset)
    return stream.read(1 << 16).split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
