"""The compiled code of a package, as its libraries speak of themselves: read once, when it enters the store.

What that means on a base is for the audit to say; nothing here depends on one.
"""

from __future__ import annotations

import os
import posixpath
import re
from os.path import isdir, isfile, join
from typing import Any

from envbuilder import elf
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from envbuilder.subject import Subject

_ORIGIN = re.compile(r"\$(ORIGIN|\{ORIGIN\})(?=/|$)")
_SHARED_OBJECT = re.compile(r"\.so(\.[\w.]+)?$")
_TAGGED = re.compile(r"(?P<stem>[^.]+)\.(?P<tag>(?:cpython|pypy\d+|graalpy\d+)-[\w-]+|abi3)\.so")


class Library(NamedTuple):
    """One shared library; `path` begins with the package's room (`lib/`, `data/`), the rest is as in `elf.Elf`."""

    path: str
    machine: int
    soname: str
    needed: tuple[str, ...]
    searched: tuple[str, ...]
    versions: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the file's name."""
        return self.path.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """Return where it lies, seen from its room; "" for the top."""
        return self.path.partition("/")[2].rpartition("/")[0]

    @property
    def is_in_lib(self) -> bool:
        """Tell whether it lies among what is imported."""
        return self.path.startswith("lib/")

    @property
    def tag(self) -> str:
        """Return which Pythons may import it: `cpython-311-x86_64-linux-gnu`, `abi3`, "" for what does not say."""
        found = _TAGGED.fullmatch(self.name)
        return found["tag"] if found else ""

    @property
    def stem(self) -> str:
        """Return the name without what tells builds of one module apart."""
        return self.name.partition(".")[0]


def from_origin(entry: str, folder: str) -> str | None:
    """Return where a RUNPATH's entry leads from a library in `folder`, relative like that; None for an absolute one."""
    origin = _ORIGIN.match(entry)
    return posixpath.normpath(posixpath.join(folder, "." + entry[origin.end() :])) if origin else None


def found_in(root: str) -> tuple[Library, ...]:
    """Read every library of a package's tree, in the order of paths."""
    return tuple(_read(root, ("lib", "data")))


def to_rows(libraries: Iterable[Library]) -> list[list[Any]]:
    """Return what stands in `package.json`."""
    return [[list(value) if isinstance(value, tuple) else value for value in library] for library in libraries]


def from_rows(rows: Iterable[list[Any]]) -> tuple[Library, ...]:
    """Read what stands in `package.json`."""
    return tuple(
        Library(path, machine, soname, tuple(needed), tuple(searched), tuple(versions))
        for path, machine, soname, needed, searched, versions in rows
    )


def of_subject(subject: Subject) -> tuple[Library, ...]:
    """Return a package's libraries; those of an editable source are read as they are now."""
    rows = subject.package.compiled
    own = found_in(os.path.dirname(subject.lib)) if rows is None else from_rows(rows)
    return own + tuple(
        library for entry, source in subject.package.editable.items() for library in _linked(entry, source)
    )


def _linked(entry: str, source: str) -> Iterator[Library]:
    if isdir(source):
        yield from (library._replace(path=f"lib/{entry}/{library.path}") for library in _walk(source))
    elif isfile(source) and _SHARED_OBJECT.search(entry):
        said = elf.read(source)
        if said:
            yield Library(f"lib/{entry}", *said)


def _read(root: str, rooms: Iterable[str]) -> Iterator[Library]:
    for room in rooms:
        yield from (library._replace(path=f"{room}/{library.path}") for library in _walk(join(root, room)))


def _walk(top: str) -> Iterator[Library]:
    """Read the libraries below a folder; their paths count from there."""
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        inner = os.path.relpath(folder, top)
        for name in sorted(filter(_SHARED_OBJECT.search, names)):
            said = elf.read(join(folder, name))
            if said:
                yield Library(name if inner == "." else join(inner, name), *said)
