"""The format of `store/<key>/package.json`: one unpacked distribution, as data.

The key names the content: it is a digest over name, version, editable links, and path, mode, size and sha256 of
every file except `.pyc`. Where a package came from is recorded beside it and is in no key, so the same files have
the same key whether they came from an index, a git repository or a folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from envbuilder.digest import sealed, sha256_of

FORMAT = 1
SHORT = 12
"""Hex digits of a key in the short names by which overlays link to packages."""


class PackageFile(NamedTuple):
    """One file of a package; `path` starts with `lib/`, `bin/`, `data/` or `include/`, `mode` is 0o444 or 0o555."""

    path: str
    mode: int
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """One distribution in the store.

    `files` are sorted by path. `entry_points` is group → name → value. `requires` are its `Requires-Dist` lines.
    `editable` maps names of `lib/` to absolute paths in the source tree: top-level ones, or paths below those that
    the tree has only a part of (empty for packages that are not editable).
    `physical` are directories of `lib/` that an overlay must not fold into one link, because a library's RUNPATH
    leads out of them. `source` says where it came from, with a lock entry's fields.
    """

    name: str
    version: str
    files: tuple[PackageFile, ...]
    dist_info: str
    entry_points: dict[str, dict[str, str]] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    editable: dict[str, str] = field(default_factory=dict)
    physical: tuple[str, ...] = ()
    source: dict[str, Any] = field(default_factory=dict)

    key: str = field(init=False)
    """Names the content: `<32 hex>-<name>-<version>`."""

    def __post_init__(self) -> None:
        # Once: of a package with thousands of files it takes milliseconds.
        object.__setattr__(self, "key", self._key())

    def _key(self) -> str:
        content = {
            "editable": self.editable,
            "files": self.files,
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
        }
        return f"{sha256_of(content)[:32]}-{self.name}-{self.version}"

    @property
    def top_level(self) -> frozenset[str]:
        """Name what stands at the top of `lib/`, its dist-info apart: `pkg`, `module.py`, `ext.cpython-311.so`."""
        names = {file.path.split("/")[1] for file in self.files if file.path.startswith("lib/")}
        return frozenset((names | {name.split("/")[0] for name in self.editable}) - {self.dist_info})

    @property
    def size(self) -> int:
        """Count the bytes of its files, `.pyc` apart."""
        return sum(file.size for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """Return what stands in `package.json`, checksum included."""
        return sealed(
            {
                "dist_info": self.dist_info,
                "editable": self.editable,
                "entry_points": self.entry_points,
                "files": [list(file) for file in self.files],
                "format": FORMAT,
                "name": self.name,
                "physical": list(self.physical),
                "requires": list(self.requires),
                "source": self.source,
                "version": self.version,
            }
        )

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Package:
        """Make a package of what stands in `package.json`; raise `KeyError` or `ValueError` where it does not fit."""
        if record["format"] != FORMAT:
            raise ValueError(f"package.json has format {record['format']}, not {FORMAT}")
        return cls(
            name=record["name"],
            version=record["version"],
            files=tuple(map(PackageFile._make, record["files"])),
            dist_info=record["dist_info"],
            entry_points=record["entry_points"],
            requires=tuple(record["requires"]),
            editable=record["editable"],
            physical=tuple(record["physical"]),
            source=record["source"],
        )
