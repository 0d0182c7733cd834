"""Packages as the store unpacks them, over a real base: what the tests of the audit look at."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

import kit

from envbuilder.base import Base, Distribution, describe
from envbuilder.classes import replace
from envbuilder.digest import sha256_bytes
from envbuilder.engines import VLLM
from envbuilder.interpreter import Interpreter
from envbuilder.package import Package, PackageFile
from envbuilder.paths import Environment
from envbuilder.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envbuilder.errors import Finding

GENERAL = "vllm.general_plugins"


def venv(folder: Path) -> Base:
    """Describe a real venv; tests put other folders and distributions in place of its own."""
    made = kit.base(folder / "base")
    return describe(Interpreter(str(made.python), "`--base`"), None, Environment(variables={}))


class Ground:
    """A base in the making: real folders, and the real `Base` that speaks of them."""

    def __init__(self, folder: Path, described: Base) -> None:
        self.site = folder / "site"
        self.site.mkdir()
        self.folder = folder
        self.described = replace(described, path=(str(self.site),), engine=VLLM)

    def wheel(self, name: str, version: str = "1.0", **content: object) -> None:
        kit_base = kit.Base(
            prefix=self.folder,
            python=Path(self.described.python),
            kind="venv",
            version="",
            purelib=self.site,
            scripts=self.folder / "bin",
            site_dirs=(),
            user_site=None,
        )
        kit.install(kit_base, kit.wheel(self.folder / "wheels", name, version, **content))  # type: ignore[arg-type]

    def base(self, **changes: object) -> Base:
        dists = {
            dist.metadata["Name"]: Distribution(
                name=dist.metadata["Name"],
                version=dist.version,
                path=str(dist._path),  # type: ignore[attr-defined]
                entry_points=tuple((point.group, point.name, point.value) for point in dist.entry_points),
            )
            for dist in importlib.metadata.distributions(path=[str(self.site)])
        }
        return replace(self.described, distributions=dists, **changes)  # type: ignore[arg-type]


class Make:
    """Write packages as the store has them."""

    def __init__(self, store: Path) -> None:
        self.store = store

    def __call__(
        self,
        name: str,
        *paths: str,
        files: Mapping[str, str | bytes] | None = None,
        data: Mapping[str, str | bytes] | None = None,
        tags: Sequence[str] = (),
        version: str = "1.0",
        points: Mapping[str, Mapping[str, str]] | None = None,
        requires: Sequence[str] = (),
        editable: Mapping[str, Path] | None = None,
        plugin: str = "",
        override: bool = False,
    ) -> Subject:
        lib = self.store / name / "lib"
        content = {path: _bytes(text) for path, text in {**dict.fromkeys(paths, ""), **(files or {})}.items()}
        dist_info = f"{name.replace('-', '_')}-{version}.dist-info"
        wheel = "".join(f"Tag: {tag}\n" for tag in tags).encode()
        _write(lib, {**content, f"{dist_info}/METADATA": b"", f"{dist_info}/WHEEL": wheel})
        _write(lib.parent / "data", {path: _bytes(text) for path, text in (data or {}).items()})
        package = Package.of(
            (
                PackageFile(path=f"lib/{path}", mode=0o444, size=len(text), sha256=sha256_bytes(text))
                for path, text in content.items()
            ),
            name=name,
            version=version,
            dist_info=dist_info,
            entry_points={group: dict(values) for group, values in (points or {}).items()},
            requires=tuple(requires),
            editable={entry: str(path) for entry, path in (editable or {}).items()},
        )
        return Subject(package=package, lib=str(lib), plugin=plugin, override=override)


def told(findings: Sequence[Finding]) -> list[tuple[str, str, str]]:
    return [(finding.code, finding.severity, finding.package) for finding in findings]


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _write(folder: Path, content: Mapping[str, bytes]) -> None:
    for path, text in content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text)
