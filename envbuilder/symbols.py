"""The symbol tables of shared libraries: which symbols one wants of others, and whether one has a symbol.

A library with 400 MB of code has half a million symbols, so they are not listed: its hash table is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder.elf import DAMAGED, Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DT_SYMTAB, _DT_GNU_HASH = 6, 0x6FFFFEF5
_GLOBAL = 1
_MOST = 1 << 20
"""Symbols that a table is believed to have at most, and links that a chain is."""


def wanted(path: str) -> frozenset[str]:
    """Name the symbols that a library cannot do without and does not have; none where that cannot be read."""
    try:
        with open(path, "rb") as stream:
            return frozenset(_undefined(Image(stream)))
    except DAMAGED:
        return frozenset()


def lacking(names: Iterable[str], paths: Iterable[str]) -> list[str] | None:
    """Return those of `names`, sorted, that no library of `paths` has; None where one of them cannot be read."""
    left = set(names)
    try:
        for path in paths:
            left -= _found_in(path, left) if left else set()
    except DAMAGED:
        return None
    return sorted(left)


def _found_in(path: str, names: Iterable[str]) -> set[str]:
    with open(path, "rb") as stream:
        return set(_had(Image(stream), names))


def _undefined(image: Image) -> Iterator[str]:
    """List what is undefined: the linker puts it before what is hashed."""
    hashed, symbols = image.table(_DT_GNU_HASH), image.table(_DT_SYMTAB)
    if hashed is None or symbols is None:
        return
    first = image.read(hashed, "II")[1]
    for index in range(1, min(first, _MOST)):
        name, binding, section = _symbol(image, symbols, index)
        if section == 0 and binding == _GLOBAL:
            yield image.string(name)


def _had(image: Image, names: Iterable[str]) -> Iterator[str]:
    hashed, symbols = image.table(_DT_GNU_HASH), image.table(_DT_SYMTAB)
    if hashed is None or symbols is None:
        raise ValueError("it has no table of hashes")
    buckets, first, words, _ = image.read(hashed, "IIII")
    chains = hashed + 16 + words * (8 if image.is_64 else 4) + buckets * 4
    for name in names:
        bucket = _hash(name) % buckets
        index = image.read(chains - (buckets - bucket) * 4, "I")[0]
        if index >= first and _is_in_chain(image, name, symbols, index, chains - first * 4):
            yield name


def _is_in_chain(image: Image, name: str, symbols: int, index: int, chain: int) -> bool:
    wanted_hash = _hash(name) | 1
    for at in range(index, index + _MOST):
        found = image.read(chain + at * 4, "I")[0]
        if found | 1 == wanted_hash and image.string(_symbol(image, symbols, at)[0]) == name:
            return True
        if found & 1:
            return False
    return False


def _symbol(image: Image, symbols: int, index: int) -> tuple[int, int, int]:
    """Return a symbol's name (an index of strings), its binding, and its section (0: none)."""
    if image.is_64:
        name, info, _, section = image.read(symbols + index * 24, "IBBH")
    else:
        name, _, _, info, _, section = image.read(symbols + index * 16, "IIIBBH")
    return name, info >> 4, section


def _hash(name: str) -> int:
    value = 5381
    for letter in name.encode("utf-8", "surrogateescape"):
        value = (value * 33 + letter) & 0xFFFFFFFF
    return value
