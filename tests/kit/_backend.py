"""A build backend (PEP 517 and 660) on the standard library alone, so that no test needs an index to build a project.

`project` copies this file into a project's `_backend/` and writes what it must know beside it (`project.json`).
It also writes the wheels of `wheel`: a wheel is put together in one place.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TIME = (1980, 1, 1, 0, 0, 0)
HERE = os.path.dirname(os.path.abspath(__file__))
LEFT_OUT = {".git", "_backend", "build", "dist", "setup.py", "__pycache__"}


def record_hash(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def write_wheel(
    path: str | os.PathLike[str],
    files: Mapping[str, bytes],
    dist_info: str,
    modes: Mapping[str, int] | None = None,
    record_lies: Mapping[str, str | None] | None = None,
) -> None:
    """Write `files` (path → bytes) and their RECORD; `record_lies` is path → another hash, or None for no line."""
    lines = {name: f"{name},{record_hash(content)},{len(content)}" for name, content in files.items()}
    for name, lie in (record_lies or {}).items():
        size = len(files.get(name, b""))
        lines[name] = "" if lie is None else f"{name},{lie},{size}"
    record = f"{dist_info}/RECORD"
    text = "".join(line + "\n" for line in [*lines.values(), f"{record},,"] if line)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**files, record: text.encode()}.items():
            member = zipfile.ZipInfo(name, TIME)
            member.external_attr = (0o100000 | (modes or {}).get(name, 0o644)) << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, content)


def entry_points_text(entry_points: Mapping[str, Mapping[str, str]]) -> str:
    sections = (
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()), ""])
        for group, entries in entry_points.items()
    )
    return "\n".join(sections)


def metadata_text(
    name: str,
    version: str,
    requires: Sequence[str] = (),
    extras: Mapping[str, Sequence[str]] | None = None,
    requires_python: str | None = None,
) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    if requires_python:
        lines.append(f"Requires-Python: {requires_python}")
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    for extra, requirements in (extras or {}).items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {with_extra(requirement, extra)}" for requirement in requirements]
    return "\n".join(lines) + "\n"


def with_extra(requirement: str, extra: str) -> str:
    head, _, marker = requirement.partition(";")
    own = f'extra == "{extra}"'
    return f"{head.strip()}; ({marker.strip()}) and {own}" if marker else f"{head.strip()}; {own}"


def wheel_text(tag: str = "py3-none-any") -> str:
    purelib = "true" if tag.endswith("-any") else "false"
    pythons, abis, platforms = (part.split(".") for part in tag.split("-"))
    tags = [f"Tag: {python}-{abi}-{platform}" for python in pythons for abi in abis for platform in platforms]
    return "\n".join(["Wheel-Version: 1.0", "Generator: kit", f"Root-Is-Purelib: {purelib}", *tags, ""])


def file_name(name: str) -> str:
    return "_".join(part for part in name.lower().replace("-", "_").replace(".", "_").split("_") if part)


def described() -> dict[str, Any]:
    with open(os.path.join(HERE, "project.json"), encoding="utf-8") as stream:
        return dict(json.load(stream))


def root() -> str:
    folder = os.path.dirname(HERE)
    return os.path.join(folder, "src") if described()["layout"] == "src" else folder


def sources() -> dict[str, bytes]:
    """Read the importable files: packages and modules at the top of the root."""
    found = {}
    for folder, folders, names in os.walk(root()):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        for name in sorted(set(names) - LEFT_OUT):
            path = os.path.join(folder, name)
            inner = os.path.relpath(path, root()).replace(os.sep, "/")
            if not name.endswith(".pyc") and ("/" in inner or name.endswith(".py")):
                with open(path, "rb") as stream:
                    found[inner] = stream.read()
    return found


def metadata(project: dict[str, Any], dist_info: str) -> dict[str, bytes]:
    files = {
        f"{dist_info}/METADATA": metadata_text(
            project["name"], project["version"], project["requires"], project["extras"], project["requires_python"]
        ).encode(),
        f"{dist_info}/WHEEL": wheel_text().encode(),
    }
    if project["entry_points"]:
        files[f"{dist_info}/entry_points.txt"] = entry_points_text(project["entry_points"]).encode()
    return files


def make(folder: str, files: dict[str, bytes]) -> str:
    project = described()
    stem = f"{file_name(project['name'])}-{project['version']}"
    name = f"{stem}-py3-none-any.whl"
    dist_info = f"{stem}.dist-info"
    write_wheel(os.path.join(folder, name), {**files, **metadata(project, dist_info)}, dist_info)
    return name


def run_build_code() -> None:
    project = described()
    exec(compile(project["build_code"], "build_code", "exec"), {"__name__": "build_code", "project": project})


def build_wheel(wheel_directory: str, config_settings: object = None, metadata_directory: object = None) -> str:
    run_build_code()
    return make(wheel_directory, sources())


def build_editable(wheel_directory: str, config_settings: object = None, metadata_directory: object = None) -> str:
    run_build_code()
    return make(wheel_directory, {f"__editable__.{file_name(described()['name'])}.pth": f"{root()}\n".encode()})


def build_sdist(sdist_directory: str, config_settings: object = None) -> str:
    project = described()
    stem = f"{file_name(project['name'])}-{project['version']}"
    folder = os.path.dirname(HERE)
    with tarfile.open(os.path.join(sdist_directory, f"{stem}.tar.gz"), "w:gz") as archive:
        for name in sorted(os.listdir(folder)):
            archive.add(os.path.join(folder, name), f"{stem}/{name}")
    return f"{stem}.tar.gz"


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: object = None) -> str:
    project = described()
    dist_info = f"{file_name(project['name'])}-{project['version']}.dist-info"
    os.makedirs(os.path.join(metadata_directory, dist_info), exist_ok=True)
    for name, content in metadata(project, dist_info).items():
        with open(os.path.join(metadata_directory, name), "wb") as stream:
            stream.write(content)
    return dist_info


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def get_requires_for_build_wheel(config_settings: object = None) -> list[str]:
    return []


get_requires_for_build_editable = get_requires_for_build_sdist = get_requires_for_build_wheel
