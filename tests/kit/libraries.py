"""Shared libraries of a few hundred bytes, written by hand: what the dynamic loader reads of one, and no code."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

X86_64, AARCH64 = 62, 183
_NEEDED, _STRTAB, _SYMTAB, _SONAME, _RPATH, _RUNPATH = 1, 5, 6, 14, 15, 29
_GNU_HASH, _VERDEF, _VERNEED = 0x6FFFFEF5, 0x6FFFFFFC, 0x6FFFFFFE
_HEADERS = 64 + 2 * 56


def library(
    *needed: str,
    soname: str = "",
    runpath: str = "",
    rpath: str = "",
    wants: Mapping[str, Sequence[str]] | None = None,
    offers: Sequence[str] = (),
    undefined: Sequence[str] = (),
    defined: Sequence[str] = (),
    machine: int = X86_64,
) -> bytes:
    """Write a 64-bit little-endian library; `wants` is library → versions that it must have, `offers` are its own."""
    strings = _Strings()
    entries = [(_NEEDED, strings.at(name)) for name in needed]
    named = ((_SONAME, soname), (_RUNPATH, runpath), (_RPATH, rpath))
    entries += [(tag, strings.at(text)) for tag, text in named if text]
    parts = {
        _SYMTAB: _symbols(strings, undefined, defined),
        _GNU_HASH: _hashes(1 + len(undefined), defined),
        _VERNEED: b"".join(_wanted(strings, wants or {})),
        _VERDEF: b"".join(_offered(strings, offers)),
    }
    body = b""
    for tag, content in parts.items():
        if content:
            entries.append((tag, _HEADERS + len(body)))
            body += content
    entries += [(_STRTAB, _HEADERS + len(body)), (0, 0)]
    dynamic = b"".join(struct.pack("<qQ", *entry) for entry in entries)
    body += strings.content
    return _file(machine, body, dynamic)


def hashed(name: str) -> int:
    """Return the hash by which the loader looks for a symbol."""
    value = 5381
    for letter in name.encode():
        value = (value * 33 + letter) % 2**32
    return value


class _Strings:
    def __init__(self) -> None:
        self.content = b"\0"

    def at(self, text: str) -> int:
        place = len(self.content)
        self.content += text.encode() + b"\0"
        return place


def _symbols(strings: _Strings, undefined: Sequence[str], defined: Sequence[str]) -> bytes:
    rows = [struct.pack("<IBBHQQ", strings.at(name), 0x12, 0, 0, 0, 0) for name in undefined]
    rows += [struct.pack("<IBBHQQ", strings.at(name), 0x12, 0, 1, 0, 0) for name in defined]
    return bytes(24) + b"".join(rows)


def _hashes(first: int, defined: Sequence[str]) -> bytes:
    """Write a table with one bucket, and a filter that lets everything pass."""
    chain = [hashed(name) & ~1 for name in defined]
    chain[-1:] = [value | 1 for value in chain[-1:]]
    head = struct.pack("<IIIIQI", 1, first, 1, 0, 2**64 - 1, first if defined else 0)
    return head + b"".join(struct.pack("<I", value) for value in chain)


def _wanted(strings: _Strings, wants: Mapping[str, Sequence[str]]) -> list[bytes]:
    rows = []
    for at, (name, versions) in enumerate(wants.items()):
        length = 16 + 16 * len(versions)
        following = length if at + 1 < len(wants) else 0
        rows.append(struct.pack("<HHIII", 1, len(versions), strings.at(name), 16, following))
        for index, version in enumerate(versions):
            more = 16 if index + 1 < len(versions) else 0
            rows.append(struct.pack("<IHHII", hashed(version), 0, 2, strings.at(version), more))
    return rows


def _offered(strings: _Strings, offers: Sequence[str]) -> list[bytes]:
    rows = []
    for at, version in enumerate(offers):
        following = 28 if at + 1 < len(offers) else 0
        rows.append(struct.pack("<HHHHIII", 1, 0, at + 1, 1, hashed(version), 20, following))
        rows.append(struct.pack("<II", strings.at(version), 0))
    return rows


def _file(machine: int, body: bytes, dynamic: bytes) -> bytes:
    end = _HEADERS + len(body) + len(dynamic)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, end, end, 4096)
    place = _HEADERS + len(body)
    return (
        header + load + struct.pack("<IIQQQQQQ", 2, 4, place, place, 0, len(dynamic), len(dynamic), 8) + body + dynamic
    )
