"""The base's folders, as the audit compares packages with them."""

from __future__ import annotations

import os
import re
from os.path import basename, isdir, join, lexists
from typing import TYPE_CHECKING

from envbuilder.subject import import_name, is_init

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from envbuilder.base import Base, Distribution

NAMESPACE = "namespace"
REGULAR = "regular"


class BaseFiles:
    """What the base's folders hold; each directory is listed once, when somebody asks about it.

    A *place* is an import name with slashes: `google/protobuf`.
    """

    def __init__(self, base: Base) -> None:
        """Take the base; nothing is read yet."""
        self._base = base
        self._mapped = frozenset(name.replace(".", "/") for name in base.mapped_names)
        self._listings: dict[str, dict[str, list[str]]] = {}
        self._records: dict[str, str] = {}

    def names(self) -> frozenset[str]:
        """Return every top-level import name of the base."""
        return frozenset(self._listing("")) | {place.partition("/")[0] for place in self._mapped}

    def kind(self, place: str) -> str:
        """Tell what an import of `place` finds in the base: `regular`, `namespace` (PEP 420), or "" for nothing."""
        holders = self._holders(place)
        if place in self._mapped or any(map(_is_regular, holders)):
            return REGULAR
        inside = any(mapped.startswith(f"{place}/") for mapped in self._mapped)
        return NAMESPACE if inside or any(map(isdir, holders)) else ""

    def has_file(self, path: str) -> bool:
        """Tell whether one of the base's folders has `path`."""
        return any(lexists(join(folder, path)) for folder in self._base.path)

    def owner(self, place: str) -> str:
        """Name the distribution that holds `place`, such as `numpy 1.26.4`; "" where no RECORD speaks of it."""
        for dist in self._base.distributions.values():
            if _speaks_of(self._record(dist), place):
                return f"{dist.name} {dist.version}"
        return ""

    def library(self, pattern: str) -> tuple[str, str]:
        """Find a file whose name fits `pattern` (a regular expression that begins with plain text).

        Returned are its name and the distribution that holds it, such as `torch 2.14.0`; "" where there is none.
        """
        wanted = re.compile(f"/({pattern}),")
        for dist in self._base.distributions.values():
            if found := wanted.search(self._record(dist)):
                return found[1], f"{dist.name} {dist.version}"
        return "", ""

    def script_owner(self, name: str) -> str:
        """Name the distribution whose RECORD has the script `name`, as `owner` does."""
        for dist in self._base.distributions.values():
            if f"../bin/{name}," in self._record(dist):
                return f"{dist.name} {dist.version}"
        return ""

    def may_be_shadowed(self, name: str, place: str) -> bool:
        """Tell whether an override called `name` may hide `place`: the base's distribution of that name owns it.

        A distribution whose RECORD cannot be read is taken to own what its successor has. A namespace may be hidden
        only where nobody else has a share in it.
        """
        dist = self._base.distributions.get(name)
        if dist is None:
            return False
        record = self._record(dist)
        if not record:
            return True
        holders = self._holders(place)
        shared = () if any(map(_is_regular, holders)) else (join(place, entry) for entry in _entries(holders))
        return _speaks_of(record, place) and all(_speaks_of(record, path) for path in shared)

    def _holders(self, place: str) -> list[str]:
        parent, _, name = place.rpartition("/")
        return self._listing(parent).get(name, [])

    def _listing(self, parent: str) -> dict[str, list[str]]:
        found = self._listings.get(parent)
        if found is None:
            found = self._listings[parent] = {}
            for folder in dict.fromkeys(join(path, parent) for path in self._base.path):
                for entry in _entries([folder]):
                    found.setdefault(import_name(entry), []).append(join(folder, entry))
            found.pop("", None)
        return found

    def _record(self, dist: Distribution) -> str:
        """Return RECORD with a line break before each path; "" where there is none, or where it lists no code."""
        if dist.path not in self._records:
            text = "" if dist.editable else _read(join(dist.path, "RECORD"))
            self._records[dist.path] = f"\n{text}" if text else ""
        return self._records[dist.path]


def _is_regular(holder: str) -> bool:
    return any(map(is_init, os.listdir(holder))) if isdir(holder) else "." in basename(holder)


def _entries(folders: Iterable[str]) -> Iterator[str]:
    for folder in folders:
        if isdir(folder):
            yield from (entry for entry in os.listdir(folder) if entry != "__pycache__")


def _speaks_of(record: str, place: str) -> bool:
    return any(f"\n{place}{end}" in record for end in ("/", ",", "."))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
