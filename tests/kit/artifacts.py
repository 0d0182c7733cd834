"""Real wheels, sdists and source trees, made on the spot."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from kit import _backend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Content = str | bytes
    EntryPoints = Mapping[str, Mapping[str, str]]

BUILD_SYSTEMS = {
    "tiny": (),
    "setuptools": ("setuptools>=61",),
    "hatchling": ("hatchling",),
}


def wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    files: Mapping[str, Content] | None = None,
    requires: Sequence[str] = (),
    entry_points: EntryPoints | None = None,
    extras: Mapping[str, Sequence[str]] | None = None,
    scripts: Mapping[str, Content] | None = None,
    data: Mapping[str, Content] | None = None,
    headers: Mapping[str, Content] | None = None,
    tag: str = "py3-none-any",
    requires_python: str | None = None,
    metadata: Content | None = None,
    modes: Mapping[str, int] | None = None,
    record_lies: Mapping[str, str | None] | None = None,
) -> Path:
    """Write a wheel into `folder`; without `files` it holds one package, named after it, with a `__version__`.

    `metadata` replaces METADATA as a whole. `record_lies` is path → another hash in RECORD, or None for no line.
    """
    stem = f"{_backend.file_name(name)}-{version}"
    dist_info = f"{stem}.dist-info"
    if files is None:
        files = {f"{_backend.file_name(name)}/__init__.py": f"__version__ = {version!r}\n"}
    content = dict(files)
    content |= {f"{stem}.data/scripts/{path}": text for path, text in (scripts or {}).items()}
    content |= {f"{stem}.data/data/{path}": text for path, text in (data or {}).items()}
    content |= {f"{stem}.data/headers/{path}": text for path, text in (headers or {}).items()}
    if metadata is None:
        metadata = _backend.metadata_text(name, version, requires, extras, requires_python)
    content[f"{dist_info}/METADATA"] = metadata
    content[f"{dist_info}/WHEEL"] = _backend.wheel_text(tag)
    if entry_points:
        content[f"{dist_info}/entry_points.txt"] = _backend.entry_points_text(entry_points)
    script_modes = {f"{stem}.data/scripts/{path}": 0o755 for path in scripts or {}}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-{tag}.whl"
    _backend.write_wheel(
        path,
        {inner: _bytes(text) for inner, text in content.items()},
        dist_info,
        modes={**script_modes, **(modes or {})},
        record_lies=dict(record_lies or {}),
    )
    return path


def project(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    files: Mapping[str, Content] | None = None,
    backend: str = "tiny",
    layout: str = "flat",
    requires: Sequence[str] = (),
    entry_points: EntryPoints | None = None,
    extras: Mapping[str, Sequence[str]] | None = None,
    requires_python: str | None = None,
    build_requires: Sequence[str] | None = None,
    build_code: str = "",
) -> Path:
    """Write a source tree into `folder` and return it; a second call with other arguments changes it in place.

    `backend` is `tiny` (on the standard library alone, needs no index), `setuptools` or `hatchling`; `layout` is
    `flat` or `src`, and `files` are relative to the root of the layout (`../README` leaves it). `build_code` is
    Python that the tiny backend runs when it builds.
    """
    module = _backend.file_name(name)
    root = folder / "src" if layout == "src" else folder
    if files is None:
        files = {f"{module}/__init__.py": f"__version__ = {version!r}\n"}
    packages = sorted({path.split("/")[0] for path in files if "/" in path and not path.startswith("..")})
    needed = BUILD_SYSTEMS[backend] if build_requires is None else tuple(build_requires)
    head = {"name": name, "version": version, "dependencies": list(requires), "requires-python": requires_python}
    text = _project_table(head, entry_points or {}, extras or {})
    text += _build_table(backend, layout, packages, needed)
    _write(folder / "pyproject.toml", text)
    for path, content in files.items():
        _write(root / path, content)
    if backend == "tiny":
        known = {
            "name": name,
            "version": version,
            "layout": layout,
            "requires": list(requires),
            "extras": {extra: list(needs) for extra, needs in (extras or {}).items()},
            "entry_points": {group: dict(entries) for group, entries in (entry_points or {}).items()},
            "requires_python": requires_python,
            "build_code": build_code,
        }
        _write(folder / "_backend" / "project.json", json.dumps(known, indent=1))
        shutil.copyfile(_backend.__file__, folder / "_backend" / "tiny_backend.py")
    return folder


def sdist(
    folder: Path,
    name: str,
    version: str = "1.0",
    files: Mapping[str, Content] | None = None,
    *,
    backend: str = "tiny",
    requires: Sequence[str] = (),
    entry_points: EntryPoints | None = None,
    build_requires: Sequence[str] | None = None,
    build_code: str = "",
) -> Path:
    """Write an sdist (`.tar.gz`, with PKG-INFO) of such a project into `folder`."""
    stem = f"{_backend.file_name(name)}-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    tree = folder / f".{stem}"
    project(
        tree,
        name,
        version,
        files=files,
        backend=backend,
        requires=requires,
        entry_points=entry_points,
        build_requires=build_requires,
        build_code=build_code,
    )
    _write(tree / "PKG-INFO", _backend.metadata_text(name, version, requires).replace("2.1", "2.2", 1))
    path = folder / f"{stem}.tar.gz"
    with (
        path.open("wb") as stream,
        gzip.GzipFile("", "wb", fileobj=stream, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for inner in sorted(filter(Path.is_file, tree.rglob("*"))):
            _add(archive, f"{stem}/{inner.relative_to(tree).as_posix()}", inner.read_bytes())
    shutil.rmtree(tree)
    return path


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mtime = 315532800
    archive.addfile(member, io.BytesIO(content))


def _project_table(
    head: Mapping[str, str | list[str] | None], entry_points: EntryPoints, extras: Mapping[str, Sequence[str]]
) -> str:
    lines = ["[project]", *(f"{key} = {json.dumps(value)}" for key, value in head.items() if value is not None)]
    if extras:
        lines += ["", "[project.optional-dependencies]"]
        lines += [f"{extra} = {json.dumps(list(needs))}" for extra, needs in extras.items()]
    for group, entries in entry_points.items():
        table = {"console_scripts": "scripts", "gui_scripts": "gui-scripts"}.get(group, f'entry-points."{group}"')
        lines += ["", f"[project.{table}]"]
        lines += [f"{json.dumps(point)} = {json.dumps(value)}" for point, value in entries.items()]
    return "\n".join(lines) + "\n"


def _build_table(backend: str, layout: str, packages: Sequence[str], needed: Sequence[str]) -> str:
    lines = ["", "[build-system]", f"requires = {json.dumps(list(needed))}"]
    prefix = "src/" if layout == "src" else ""
    if backend == "tiny":
        lines += ['build-backend = "tiny_backend"', 'backend-path = ["_backend"]']
    elif backend == "setuptools":
        lines += ['build-backend = "setuptools.build_meta"', "", "[tool.setuptools]"]
        lines += [f"packages = {json.dumps(list(packages))}"]
        lines += [f'package-dir = {{ "" = "{prefix[:-1]}" }}'] if prefix else []
    else:
        lines += ['build-backend = "hatchling.build"', "", "[tool.hatch.build.targets.wheel]"]
        lines += [f"packages = {json.dumps([prefix + package for package in packages])}"]
    return "\n".join(lines) + "\n"


def _write(path: Path, content: Content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_bytes(content))


def _bytes(content: Content) -> bytes:
    return content.encode() if isinstance(content, str) else content
