"""What a wheel may hold: names that mean one place, on every system and to every reader, and sizes within bounds."""

from __future__ import annotations

import re
import stat
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envbuilder.archive import Member

MAX_UNPACKED = 32 << 30
"""Bytes of all files of one wheel; the largest of an engine have 3 GB."""

MAX_RATIO, FREE_OF_RATIO = 200, 256 << 20
"""How much more a wheel may hold than it weighs, and up to how many bytes nobody asks: zeros pack 1,000 to one."""

MAX_NAME, MAX_PATH = 255, 1024
"""Bytes, of one part of a path and of all of it."""

_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_STORED, _DEFLATED = 0, 8
_SCHEMES = ("purelib", "platlib", "headers", "scripts", "data")
_INTERPRETER = re.compile(
    r"(pythonw?|pypy)[\d.]*[dt]?(\.exe)?|(de)?activate(\.(sh|csh|fish|nu|ps1|bat|xsh))?|activate_this\.py",
    re.IGNORECASE,
)
"""`activate-…` and `python-…` are commands like any other."""
_OWN_DATA = ("pyvenv.cfg", "overlay.json", ".lease", ".lock", "override", "lib64")
"""What stands at the top of an environment and is nobody's but its maker's."""


def problems(members: Sequence[Member], *, weight: int) -> Iterator[str]:
    """Yield what is wrong with the members of a wheel; `weight` is the archive's size in bytes."""
    for member in members:
        yield from _of_name(member)
        yield from _of_kind(member)
    yield from _twice([member.name for member in members])
    yield from too_large(sum(member.size for member in members), weight)


def too_large(unpacked: int, weight: int) -> Iterator[str]:
    """Yield whether a wheel of `weight` bytes holds more than one may."""
    if unpacked > MAX_UNPACKED:
        yield f"it holds {unpacked} bytes, and {MAX_UNPACKED} are the limit"
    elif unpacked > max(FREE_OF_RATIO, weight * MAX_RATIO):
        yield f"it holds {unpacked} bytes in {weight}: more than {MAX_RATIO} times as many is no wheel but a bomb"


def has_hidden(name: str) -> bool:
    """Tell whether a name holds what a terminal obeys instead of showing."""
    return _HIDDEN.search(name) is not None


def _of_name(member: Member) -> Iterator[str]:
    name = member.name
    parts = name.replace("\\", "/").removesuffix("/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:", name):
        yield f"its member {name!r} leads outside"
    elif "\\" in name or "." in parts or "" in parts:
        yield f"its member {name!r} has a name that means two places"
    if has_hidden(name):
        yield f"its member {name!r} has control characters in its name"
    if len(member.raw) > MAX_PATH or any(len(part.encode()) > MAX_NAME for part in parts):
        yield f"its member {name[:60] + '…'!r} has a name that no file can have"
    yield from _of_data(name, parts)


def _of_data(name: str, parts: Sequence[str]) -> Iterator[str]:
    """Look at what is installed outside of site-packages: `demo-1.0.data/SCHEME/…`."""
    if not parts[0].endswith(".data") or len(parts) < 3:
        return
    scheme, inner = parts[1], parts[2:]
    if scheme not in _SCHEMES:
        yield f"its member {name!r} is for a place that there is none of"
    elif scheme == "data" and inner[0] == "bin" and len(inner) > 1:
        scheme, inner = "scripts", inner[1:]
    if scheme == "scripts" and is_interpreter(inner[0]):
        yield f"its member {name!r} would take the place of the environment's own `{inner[0]}`"
    if scheme == "data" and is_own_data(inner):
        yield f"its member {name!r} would lie where the environment's own files are"


def is_interpreter(name: str) -> bool:
    """Tell whether a script's name is one that an environment itself has."""
    return _INTERPRETER.fullmatch(name) is not None


def is_own_data(parts: Sequence[str]) -> bool:
    """Tell whether a data file would lie where an environment has its own, or where modules are."""
    # Libraries of MKL and the like do lie in `lib/`; modules have schemes of their own.
    is_module = len(parts) > 2 and parts[0] == "lib" and parts[1].lower().startswith("python")
    return parts[0].lower() in _OWN_DATA or is_module


def _of_kind(member: Member) -> Iterator[str]:
    kind = stat.S_IFMT(member.mode)
    if kind == stat.S_IFLNK:
        yield f"its member {member.name!r} is a symbolic link"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR and member.size):
        yield f"its member {member.name!r} is no regular file"
    if member.mode & 0o7000 and not member.name.endswith("/"):  # a folder has its group's bit; here its mode is ours
        yield f"its member {member.name!r} wants its owner's rights when it runs"
    if member.is_encrypted:
        yield f"its member {member.name!r} is encrypted"
    elif member.method not in (_STORED, _DEFLATED):
        yield f"its member {member.name!r} is packed by a method that wheels do not have"


def _twice(names: Sequence[str]) -> Iterator[str]:
    """Find names that are there twice, on a file system that tells no capitals or accents apart, and files in files."""
    first: dict[str, str] = {}
    for name in names:
        one = unicodedata.normalize("NFC", name.removesuffix("/")).casefold()
        if one in first:
            same = first[one] == name
            yield f"its member {name!r} is there twice" if same else f"its members {first[one]!r} and {name!r} are one"
        first.setdefault(one, name)
    for name in names:
        parts = unicodedata.normalize("NFC", name.removesuffix("/")).casefold().split("/")
        for count in range(1, len(parts)):
            above = first.get("/".join(parts[:count]))
            if above is not None and not above.endswith("/"):
                yield f"its member {name!r} lies in {above!r}, which is a file"
