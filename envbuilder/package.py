"""The format of a package in the store: `package.json`, which every build reads, and `files.json`, its manifest.

The key names the content: it is a digest over name, version, editable links, and the manifest: path, mode, size and
sha256 of every file except `.pyc`. Where a package came from is recorded beside it and is in no key, so the same files
have the same key whether they came from an index, a git repository or a folder.

The two are apart because a set of 60 packages may have 30,000 files, and a build that finds all of them in the store
looks at none of them: what it needs of a package is some hundred bytes.
"""

from __future__ import annotations

import os

from envbuilder.digest import read_bytes, sealed, sha256_bytes, sha256_of
from envbuilder.engines import SCRIPT_GROUPS
from envbuilder.errors import PackageError
from envbuilder.notation import canonical, loads
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

FORMAT = 1
NOTHING: dict[str, Any] = {}
"""What fields without an entry share; nobody writes into a package's record."""
SHORT = 12
"""Hex digits of a key in the short names by which overlays link to packages."""


class PackageFile(NamedTuple):
    """One file of a package; `path` starts with `lib/`, `bin/`, `data/` or `include/`, `mode` is 0o444 or 0o555."""

    path: str
    mode: int
    size: int
    sha256: str


class Files:
    """A package's manifest: its files, sorted by path; `sha256` is over the bytes of `files.json`.

    One that is in the store is read when somebody iterates over it, and raises `PackageError` if it is damaged.
    """

    __slots__ = ("_entries", "_path", "sha256")

    def __init__(self, entries: Iterable[PackageFile] | None = None, *, path: str = "", sha256: str = "") -> None:
        """Take the files themselves, or where they are listed and the digest of that list."""
        self._entries = None if entries is None else tuple(sorted(entries))
        self._path = path
        self.sha256 = sha256 or sha256_bytes(self.to_bytes())

    def __iter__(self) -> Iterator[PackageFile]:
        if self._entries is None:
            self._entries = self._read()
        return iter(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Files) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def to_bytes(self) -> bytes:
        """Return what stands in `files.json`."""
        return canonical([list(file) for file in self])

    def _read(self) -> tuple[PackageFile, ...]:
        try:
            content = read_bytes(self._path)
        except (OSError, ValueError):
            content = b""
        if sha256_bytes(content) != self.sha256:
            name = os.path.basename(os.path.dirname(self._path))
            problems = ("`files.json` is missing or damaged",)
            raise PackageError(package=name, problems=problems, hint="see `vpm-env verify`")
        return tuple(map(_file, loads(content)))


class Package(NamedTuple):
    """One distribution in the store; `key` names its content: `<32 hex>-<name>-<version>`.

    `entry_points` is group → name → value. `requires` are its `Requires-Dist` lines.
    `editable` maps names of `lib/` to absolute paths in the source tree: top-level ones, or paths below those that
    the tree has only a part of (empty for packages that are not editable).
    `physical` are directories of `lib/` that an overlay must not fold into one link, because a library's RUNPATH
    leads out of them. `source` says where it came from, with a lock entry's fields. `top_level` names what stands at
    the top of `lib/`, its dist-info apart (`pkg`, `module.py`, `ext.cpython-311.so`); `size` is in bytes, `.pyc` apart.
    `compiled` is what its shared libraries say of themselves (`compiled.from_rows` reads it); None where nobody asked.
    """

    name: str
    version: str
    key: str
    files: Files
    dist_info: str
    top_level: frozenset[str]
    size: int
    entry_points: dict[str, dict[str, str]] = NOTHING
    requires: tuple[str, ...] = ()
    editable: dict[str, str] = NOTHING
    physical: tuple[str, ...] = ()
    source: dict[str, Any] = NOTHING
    compiled: list[list[Any]] | None = None

    @classmethod
    def of(cls, files: Iterable[PackageFile], *, name: str, version: str, dist_info: str, **fields: Any) -> Package:
        """Describe a tree of `files`; `fields` are the others that are known of it."""
        entries = tuple(files)
        names = {file.path.split("/")[1] for file in entries if file.path.startswith("lib/")}
        names |= {name.split("/")[0] for name in fields.get("editable", {})}
        listed = Files(entries)
        return cls(
            name=name,
            version=version,
            key=_key(name, version, fields.get("editable", {}), listed),
            files=listed,
            dist_info=dist_info,
            top_level=frozenset(names - {dist_info}),
            size=sum(file.size for file in entries),
            **fields,
        )

    def selecting(self, selection: Iterable[str]) -> Package:
        """Return the package with only these of its entry points (`group:name`), and its scripts."""
        wanted = set(selection)
        points: dict[str, dict[str, str]] = {}
        for group, named in self.entry_points.items():
            for name, value in named.items():
                if group in SCRIPT_GROUPS or f"{group}:{name}" in wanted:
                    points.setdefault(group, {})[name] = value
        return self._replace(entry_points=points)

    def to_dict(self) -> dict[str, Any]:
        """Return what stands in `package.json`, checksum included."""
        return sealed(
            {
                "compiled": self.compiled,
                "dist_info": self.dist_info,
                "editable": self.editable,
                "entry_points": self.entry_points,
                "files_sha256": self.files.sha256,
                "format": FORMAT,
                "name": self.name,
                "physical": list(self.physical),
                "requires": list(self.requires),
                "size": self.size,
                "source": self.source,
                "top_level": sorted(self.top_level),
                "version": self.version,
            }
        )

    @classmethod
    def from_dict(cls, record: dict[str, Any], *, files: str) -> Package:
        """Make a package of what stands in `package.json`, its manifest lying at `files`.

        Raise `KeyError` or `ValueError` where it does not fit.
        """
        if record["format"] != FORMAT:
            raise ValueError(f"package.json has format {record['format']}, not {FORMAT}")
        listed = Files(path=files, sha256=record["files_sha256"])
        return cls(
            name=record["name"],
            version=record["version"],
            key=_key(record["name"], record["version"], record["editable"], listed),
            files=listed,
            dist_info=record["dist_info"],
            entry_points=record["entry_points"],
            requires=tuple(record["requires"]),
            editable=record["editable"],
            physical=tuple(record["physical"]),
            source=record["source"],
            top_level=frozenset(record["top_level"]),
            size=record["size"],
            compiled=record.get("compiled"),
        )


def _key(name: str, version: str, editable: dict[str, str], files: Files) -> str:
    content = {"editable": editable, "files": files.sha256, "format": FORMAT, "name": name, "version": version}
    return f"{sha256_of(content)[:32]}-{name}-{version}"


def _file(row: list[Any]) -> PackageFile:
    path, mode, size, sha256 = row
    return PackageFile(path, mode, size, sha256)
