"""Hostile wheels, written byte by byte: each is sound but for one thing."""

from __future__ import annotations

import base64
import hashlib
import stat
import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

NAME, VERSION = "demo", "1.0"
UTF8 = 1 << 11
INFO, DATA = "demo-1.0.dist-info", "demo-1.0.data"
ENTRY_POINTS = "[vllm.general_plugins]\ndemo = demo:register\n"
METADATA = f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: kit\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass(frozen=True)
class Member:
    """One member.

    `local_name` and `local_size` stand in its own header where that says otherwise than the directory, `packed` in the
    place of what its content packs to; `is_listed` has RECORD name it, with `hash` or the true one; one that
    `is_hidden` is left out of the directory.
    """

    name: bytes
    content: bytes = b""
    mode: int = stat.S_IFREG | 0o644
    flags: int = 0
    method: int = 8
    size: int | None = None
    extra: bytes = b""
    local_name: bytes | None = None
    local_size: int | None = None
    packed: bytes | None = None
    is_listed: bool = True
    hash: str | None = None
    is_hidden: bool = False


def member(name: str, content: str | bytes = "", **fields: Any) -> Member:
    """Make a member of a name and a text; `fields` are those of `Member`."""
    body = content.encode() if isinstance(content, str) else content
    return replace(Member(name.encode(), body, flags=0 if name.isascii() else UTF8), **fields)


@dataclass(frozen=True)
class Hostile:
    """A wheel: members beside the sound ones, more lines for RECORD, and what is done to its bytes in the end.

    `told` are words that vpm-env must say of it, one of these sets: `a|b`.
    """

    members: tuple[Member, ...] = ()
    lines: tuple[str, ...] = ()
    info: str = INFO
    metadata: str = METADATA
    entry_points: str = ENTRY_POINTS
    end: Callable[[bytes], bytes] | None = None
    record: str | None = None
    told: str = ""
    file: str = f"{NAME}-{VERSION}-py3-none-any.whl"

    def write(self, folder: Path) -> Path:
        """Write it into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        sound = [
            member("demo/__init__.py", "def register(): open('/tmp/ran-by-hostile-wheel', 'w')\n"),
            member(f"{self.info}/METADATA", self.metadata),
            member(f"{self.info}/WHEEL", WHEEL),
            member(f"{self.info}/entry_points.txt", self.entry_points),
        ]
        members = [*sound, *self.members]
        record = self.record if self.record is not None else self._record(members)
        made = archive([*members, member(f"{self.info}/RECORD", record)])
        path = folder / self.file
        path.write_bytes(self.end(made) if self.end else made)
        return path

    def _record(self, members: Iterable[Member]) -> str:
        lines = [line_of(one) for one in members if one.is_listed and not one.name.endswith(b"/")]
        return "\n".join([*lines, *self.lines, f"{self.info}/RECORD,,"]) + "\n"


def line_of(one: Member) -> str:
    """Write a member's line of RECORD."""
    digest = one.hash or base64.urlsafe_b64encode(hashlib.sha256(one.content).digest()).rstrip(b"=").decode()
    name = one.name.decode("utf-8", "replace")
    quoted = '"' + name.replace('"', '""') + '"' if any(letter in name for letter in ',"\n\r') else name
    return f"{quoted},sha256={digest},{len(one.content)}"


def archive(members: Iterable[Member]) -> bytes:
    """Write a zip archive of exactly these members."""
    body, directory, count = bytearray(), bytearray(), 0
    for one in members:
        start = len(body)
        local, central = _headers(one, start)
        body += local
        if not one.is_hidden:
            directory += central
            count += 1
    return bytes(body) + _ended(bytes(directory), len(body), count)


def _ended(directory: bytes, start: int, count: int) -> bytes:
    """Put an archive's end behind its directory."""
    if count <= 0xFFFF:
        return directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), start, 0)
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), start)
    end += struct.pack("<4sLQL", b"PK\6\7", 0, start + len(directory), 1)
    return directory + end + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(directory), start, 0)


def crowded(made: bytes, *, count: int, says: int | None = None) -> bytes:
    """Put `count` empty members more into an archive; its end speaks of all of them, or of `says`."""
    length, start = struct.unpack_from("<2L", made, len(made) - 10)
    had = struct.unpack_from("<H", made, len(made) - 12)[0]
    names = [b"demo/%07d" % number for number in range(count)]
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, 12, 0)
    entry = struct.pack("<4s6H3L5HL", b"PK\1\2", 0x0314, 20, 0, 0, 0, 33, 0, 0, 0, 12, 0, 0, 0, 0, 0o100644 << 16)
    step = len(local) + 12
    body = made[:start] + b"".join(local + name for name in names)
    places = (struct.pack("<L", start + step * number) for number in range(count))
    entries = b"".join(entry + place + name for place, name in zip(places, names, strict=True))
    return body + _ended(made[start : start + length] + entries, len(body), had + count if says is None else says)


def _headers(one: Member, start: int) -> tuple[bytes, bytes]:
    packed = one.packed if one.packed is not None else _packed(one)
    size = len(one.content) if one.size is None else one.size
    common = (one.flags, one.method, 0, 33, zlib.crc32(one.content), len(packed))
    local_name = one.name if one.local_name is None else one.local_name
    local_size = size if one.local_size is None else one.local_size
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, *common, local_size, len(local_name), len(one.extra))
    central = struct.pack(
        "<4s6H3L5H2L",
        *(b"PK\1\2", 0x0314, 20, *common, size, len(one.name), len(one.extra), 0, 0, 0, one.mode << 16, start),
    )
    return local + local_name + one.extra + packed, central + one.name + one.extra


def _packed(one: Member) -> bytes:
    if one.method != 8:
        return one.content
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(one.content) + packer.flush()


def zeros(size: int) -> bytes:
    """Deflate so many zeros, without having them all at once."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(size >> 20)) + packer.flush()
