"""What the audit looks at: packages as an overlay would hold them, and the import names of directory entries."""

from __future__ import annotations

import os
from os.path import dirname, isdir, join, relpath
from typing import TYPE_CHECKING

from envbuilder.classes import dataclass
from envbuilder.codes import ERROR, WARNING
from envbuilder.errors import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.package import Package

__all__ = ["ERROR", "WARNING", "Subject", "import_name", "is_init", "module_name", "top_name"]

_NEVER_IMPORTED = frozenset({"__pycache__", "__init__", "__main__"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """One package under audit.

    `lib` is its folder of importable files (absolute), `plugin` the config's entry that asked for it ("" for a
    dependency); `override` says that it may shadow the base.
    """

    package: Package
    lib: str
    plugin: str = ""
    override: bool = False

    @property
    def name(self) -> str:
        """Return the normalized name of its package."""
        return self.package.name

    @property
    def label(self) -> str:
        """Name it for a reader: `raif-vllm 0.2.0`."""
        return f"{self.package.name} {self.package.version}"

    def locate(self, path: str) -> str:
        """Say where `path`, relative to `lib`, is on the disk; it need not exist."""
        editable = self.package.editable
        nearest = next((parent for parent in _upwards(path) if parent in editable), None)
        if nearest is None:
            return join(self.lib, path)
        rest = path[len(nearest) + 1 :]
        return join(editable[nearest], rest) if rest else editable[nearest]

    def folders(self, path: str) -> Iterator[str]:
        """Name the directories on the disk whose entries stand together at `path`, a directory below `lib` or ""."""
        yield self.locate(path) if path else self.lib
        yield from {dirname(source) for entry, source in self.package.editable.items() if dirname(entry) == path}

    def files(self, name: str) -> dict[str, str]:
        """Return path → sha256 of what lies below the top-level entries that are imported (or else spelled) as `name`.

        Paths are relative to `lib`. Files of an editable source change; their sha256 is "".
        """
        found = {
            file.path[4:]: file.sha256
            for file in self.package.files
            if file.path.startswith("lib/") and top_name(file.path[4:]) == name
        }
        for entry, source in self.package.editable.items():
            if top_name(entry) == name:
                found.update(dict.fromkeys(_walk(entry, source), ""))
        return found

    def finding(
        self, code: str, severity: str, *, what: str, why: str, way_forward: str, details: tuple[str, ...] = ()
    ) -> Finding:
        """Make a finding about this package."""
        return Finding(code, severity, self.name, self.plugin, what, why, way_forward, details=details)


def _upwards(path: str) -> Iterator[str]:
    """Name a relative path and its parents, the longest first."""
    while path:
        yield path
        path = dirname(path)


def import_name(entry: str) -> str:
    """Return the name under which a directory's entry is imported, "" for one that is not.

    An entry without a suffix is taken for a folder: `pkg`, `module.py` and `pkg.cpython-311-x86_64-linux-gnu.so` give
    `pkg` and `module`; `numpy.libs`, `pkg-1.0.dist-info` and `libcudart.so.12` give nothing, and neither do
    `__init__.py` and `__main__.py`, which nobody imports from the top.
    """
    stem = entry.partition(".")[0]
    return "" if stem in _NEVER_IMPORTED else module_name(entry)


def module_name(entry: str) -> str:
    """Return the name that an entry of a package's directory has as its module: as `import_name`, and `__main__`."""
    stem, _, suffix = entry.partition(".")
    importable = suffix in ("", "py", "pyc", "so") or suffix.endswith(".so")
    return stem if importable and stem.isidentifier() and stem != "__pycache__" else ""


def top_name(path: str) -> str:
    """Return the import name of a path's first part, or that part itself where it has none."""
    top = path.partition("/")[0]
    return import_name(top) or top


def is_init(entry: str) -> bool:
    """Tell whether a directory that has `entry` is a regular package."""
    stem, _, suffix = entry.partition(".")
    return stem == "__init__" and (suffix in ("py", "pyc", "so") or suffix.endswith(".so")) and "/" not in suffix


def _walk(entry: str, source: str) -> Iterator[str]:
    if not isdir(source):
        yield entry
        return
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        inner = relpath(folder, source)
        for name in sorted(names):
            yield join(entry, name) if inner == "." else join(entry, inner, name)
