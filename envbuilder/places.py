"""Where the dynamic loader finds shared libraries: by itself, by a RUNPATH, or because something loaded them before.

`$ORIGIN` is the folder of the name under which a library is opened, links in it unresolved; `..` behind it is taken by
the file system, which follows them. Directories that a RUNPATH leaves are therefore real in an overlay, and what it
leads to is judged by the overlay's names.
"""

from __future__ import annotations

import os
import posixpath
import re
from os.path import isfile, join
from typing import TYPE_CHECKING

from envbuilder.compiled import from_origin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from envbuilder.base import Base
    from envbuilder.base_files import BaseFiles
    from envbuilder.compiled import Library
    from envbuilder.subject import Subject

    Compiled = Mapping[str, Sequence[Library]]

_CACHE = "/etc/ld.so.cache"
_DEFAULT = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")
_TOOLKITS = ("/usr/local/cuda/lib64",)
"""Where images of CUDA put what code loads by its path."""


class Loader:
    """What the loader of this machine finds without being told: by its variable, in its cache, in its folders."""

    def __init__(self, base: Base, variables: Mapping[str, str]) -> None:
        """Take the base, whose interpreter may look beside itself, and the environment of an engine."""
        told = [folder for folder in variables.get("LD_LIBRARY_PATH", "").split(":") if folder]
        homes = [join(variables[name], "lib64") for name in ("CUDA_HOME", "CUDA_PATH") if variables.get(name)]
        own = [join(prefix, "lib") for prefix in (base.prefix, base.base_prefix)]
        self._folders = (*told, *own, *homes, *_TOOLKITS, *_DEFAULT)
        self._cache: bytes | None = None

    def found(self, name: str) -> list[str]:
        """Return every place where a library of this name is."""
        beside = [join(folder, name) for folder in self._folders]
        return [path for path in dict.fromkeys((*beside, *self._cached(re.escape(name)))) if isfile(path)]

    def other(self, stem: str) -> str:
        """Return the name of a library that is `stem` with another number, `libcudart.so.13`; "" for none."""
        cached = self._cached(re.escape(stem) + r"[\d.]+")
        return max((posixpath.basename(path) for path in cached if isfile(path)), default="")

    def _cached(self, pattern: str) -> list[str]:
        """Look for names in the strings of the loader's cache; each path in it is a string of its own."""
        if self._cache is None:
            self._cache = _content(_CACHE)
        return [os.fsdecode(path) for path in re.findall(rb"(?<=\0)(/[^\0]*/%b)\0" % pattern.encode(), self._cache)]


class Places:
    """Where the libraries of a set are, and where each of them looks for others."""

    def __init__(self, subjects: Sequence[Subject], compiled: Compiled, base: Base, files: BaseFiles) -> None:
        """Take the packages, what each has compiled (package → libraries), and the base."""
        self._site = f"lib/python{base.python_version}/site-packages"
        self._files = files
        self._names: dict[str, str] = {}
        self._paths: set[str] = set()
        for subject in subjects:
            for library in compiled[subject.name]:
                self._paths.add(self._path(subject, library))
                self._names.setdefault(library.name, subject.label)
                self._names.setdefault(library.soname or library.name, subject.label)

    def leads(self, subject: Subject, library: Library, name: str) -> bool:
        """Tell whether the RUNPATH of `library` leads to one called `name`."""
        aims = (aim for aim in self._aims(subject, library) if self._is_followed(subject, library, aim))
        relative = {f"{aim}/{name}" for aim in aims}
        absolute = (entry for entry in library.searched if entry.startswith("/"))
        return not relative.isdisjoint(self._paths) or any(isfile(join(entry, name)) for entry in absolute)

    def away(self, subject: Subject, library: Library) -> tuple[str, ...]:
        """Name the folders, but its own, to which the RUNPATH of `library` leads, as `aims` does or absolute."""
        home = posixpath.dirname(self._path(subject, library))
        absolute = [entry for entry in library.searched if entry.startswith("/")]
        return tuple(aim for aim in (*self._aims(subject, library), *absolute) if aim != home)

    def _aims(self, subject: Subject, library: Library) -> Iterator[str]:
        """Name the folders of the overlay to which the RUNPATH leads, seen from the overlay's prefix."""
        at = self._path(subject, library)
        for entry in library.searched:
            aim = from_origin(entry, posixpath.dirname(at))
            if aim is not None:
                yield aim

    def held(self, name: str) -> str:
        """Name the package of the set that has a library called `name`; "" for none."""
        return self._names.get(name, "")

    def held_by_base(self, name: str) -> str:
        """Name the base's distribution that has a library called `name`, such as `torch 2.14.0`; "" for none."""
        return self._files.library(re.escape(name))[1]

    def other(self, stem: str) -> str:
        """Name a library that is `stem` with another number, and who has it; "" for none."""
        pattern = re.escape(stem) + r"[\d.]+"
        own = next((name for name in sorted(self._names) if re.fullmatch(pattern, name)), "")
        name, holder = (own, self._names[own]) if own else self._files.library(pattern)
        return f"`{name}` (from `{holder}`)" if name else ""

    def _path(self, subject: Subject, library: Library) -> str:
        """Return where an overlay has a library, seen from its prefix."""
        room, _, inner = library.path.partition("/")
        if room != "lib":
            return inner
        return f"override/{inner}" if subject.override else f"{self._site}/{inner}"

    def _is_followed(self, subject: Subject, library: Library, aim: str) -> bool:
        """Tell whether a way out of site-packages leads there: from a folded directory it leads into the store."""
        inside = aim.startswith((self._site, "override")) or not library.is_in_lib
        return inside or not library.folder or library.folder in subject.package.physical


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return b""
