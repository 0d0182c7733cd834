"""From a tree that an installer staged to a package: checked against RECORD, sorted into rooms, described.

What depends on the installer, on a path or on the interpreter is taken out, so that the same wheel is the same
package everywhere.
"""

from __future__ import annotations

import os
import re
from os.path import isdir, isfile, join
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version

from envbuilder import compiled, core_metadata, fs
from envbuilder.bounds import is_one_line
from envbuilder.classes import dataclass
from envbuilder.digest import sha256_file
from envbuilder.errors import PackageError
from envbuilder.names import is_name, normalized
from envbuilder.package import NOTHING, Package, PackageFile
from envbuilder.record import UNHASHED, check_record, is_bytecode, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from envbuilder.compiled import Library

INSTALLER = b"vpm-env\n"
_ROOMS = ("lib", "bin", "data", "include")
_PREFIX_OF = {"lib": "", "bin": "../../../bin/", "data": "../../../", "include": "../../../include/"}
"""Where an overlay has a package's files, seen from its site-packages."""
_DROPPED = (*UNHASHED, "REQUESTED", "INSTALLER", "direct_url.json", "uv_cache.json")
_PYTHON_LINE = re.compile(rb"#!\s*(?:\S*/env\s+(?:-S\s+)?)?\"?(?:[^\s\"]*/)?pythonw?[\d.]*\"?(?=\s|$)")
_SHELL_LINES = re.compile(rb"#!/bin/sh\n'''exec' [^\n]*\n' '''\n")
_METADATA = (".dist-info", ".egg-info", ".egg-link", ".egg")
"""Ends of names, in any case, by which Python knows a distribution."""
_OUT_OF_OVERLAY = "../../../.."
"""Seen from an overlay's site-packages."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a staged dist-info says: its folder's name, name and version normalized, and its `Requires-Dist` lines."""

    dist_info: str
    name: str
    version: str
    requires: tuple[str, ...]


def take(prefix: str, target: str, *, package: str, source: dict[str, Any], declared: str | None = None) -> Package:
    """Check the tree that was installed into `prefix`, and make the package's tree of it in `target`.

    `package` is its name in messages, `source` what the manifest says of where it came from; `declared` is a file of
    its source tree that builds leave out, to be kept among its metadata. Files are moved.
    Raise `PackageError` with every problem; `target` is then of no use.
    """
    site = _site_packages(prefix, package)
    found = _found(site, package)
    digests = _inside(site[len(prefix) + 1 :], check_record(prefix, site, found.dist_info, package=package))
    _move(prefix, site, target)
    dist_info = join(target, "lib", found.dist_info)
    entry_points = _entry_points(dist_info, package)
    _clean(target, found.dist_info, entry_points)
    if declared:
        fs.copy_file(declared, join(dist_info, os.path.basename(declared)), mode=0o644)
    return describe(target, found, entry_points=entry_points, source=source, digests=digests)


def _inside(site: str, digests: Mapping[str, str]) -> dict[str, str]:
    """Name files of site-packages as a package does; scripts change yet, and metadata may."""
    inner = {path.removeprefix(f"{site}/"): digest for path, digest in digests.items() if path.startswith(f"{site}/")}
    return {f"lib/{path}": digest for path, digest in inner.items() if ".dist-info/" not in path}


def require(made: Package, *, name: str, version: str) -> None:
    """Refuse a package that is not the one that was locked."""
    if made.name != name or Version(made.version) != Version(version):
        text = f"it says that it is {made.name} {made.version}, not {name} {version}"
        raise PackageError(package=name, problems=(text,))


def describe(
    target: str,
    found: Found,
    *,
    entry_points: dict[str, dict[str, str]],
    source: dict[str, Any],
    editable: dict[str, str] | None = None,
    physical: tuple[str, ...] = (),
    digests: Mapping[str, str] = NOTHING,
) -> Package:
    """Write SOURCES.txt, take the rights to write from all files, and describe the tree as a package.

    `digests` are those of files that somebody has read already: path → sha256.
    """
    _write_sources(target, found.dist_info, entry_points, editable or {})
    libraries = compiled.found_in(target)
    return Package.of(
        _files(target, digests),
        name=found.name,
        version=found.version,
        dist_info=found.dist_info,
        entry_points=entry_points,
        requires=found.requires,
        editable=editable or {},
        physical=tuple(sorted({*physical, *_physical(join(target, "lib"), libraries)})),
        source=source,
        compiled=compiled.to_rows(libraries),
    )


def settle(target: str) -> None:
    """Give directories their last modes, whatever the umask was: their owner may change them."""
    for folder, _, _ in os.walk(target):
        fs.set_mode(folder, 0o755)


def _site_packages(prefix: str, package: str) -> str:
    """Find the one site-packages; an installer told to use a prefix lays it out as a virtual environment."""
    for library in ("lib", "lib64"):
        for folder in fs.names_in(join(prefix, library)):
            if isdir(join(prefix, library, folder, "site-packages")):
                return join(prefix, library, folder, "site-packages")
    raise PackageError(package=package, problems=("it installs nothing",))


def _found(site: str, package: str) -> Found:
    dist_infos = [name for name in sorted(os.listdir(site)) if name.endswith(".dist-info")]
    if len(dist_infos) != 1:
        raise PackageError(package=package, problems=(f"it has {len(dist_infos)} dist-info directories, not one",))
    posing = [name for name in sorted(os.listdir(site)) if name.lower().endswith(_METADATA) and name not in dist_infos]
    if posing:
        text = "its `{}` would pass for another distribution"
        raise PackageError(package=package, problems=tuple(text.format(name) for name in posing))
    try:
        said = core_metadata.headers(join(site, dist_infos[0]))
        return Found(
            dist_info=dist_infos[0],
            name=_normalized(said.name or ""),
            version=str(Version(said.version or "")),
            requires=_lines(said.requires, package),
        )
    except (InvalidVersion, ValueError, UnicodeDecodeError) as error:
        raise PackageError(package=package, problems=(f"its METADATA is damaged: {error}",)) from None


def _lines(requires: tuple[str, ...], package: str) -> tuple[str, ...]:
    """Return what is required; two readers of a line that goes on below do not see the same in it."""
    if wrong := [line for line in requires if not is_one_line(line)]:
        text = "its METADATA requires {!r}, which holds control characters or several lines"
        raise PackageError(package=package, problems=tuple(text.format(line[:80]) for line in wrong[:8]))
    return requires


def _normalized(name: str) -> str:
    if not is_name(name):
        raise ValueError(f"`{name}` is no name")
    return normalized(name)


def _move(prefix: str, site: str, target: str) -> None:
    """Sort the staged files into rooms: site-packages, scripts, headers; what is left are data files."""
    fs.make_dirs(target)
    fs.rename(site, join(target, "lib"))
    headers = [join("include", "site", folder) for folder in fs.names_in(join(prefix, "include", "site"))]
    for staged, room in [("bin", "bin"), *((folder, "include") for folder in headers)]:
        if isdir(join(prefix, staged)) and not isdir(join(target, room)):
            fs.rename(join(prefix, staged), join(target, room))
    for path in [path for path in walk(prefix) if path != ".lock"]:
        moved = join(target, "data", path)
        fs.make_dirs(os.path.dirname(moved))
        fs.rename(join(prefix, path), moved)


def _entry_points(dist_info: str, package: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    try:
        for group, name, value in core_metadata.entry_points(dist_info):
            found.setdefault(group, {})[name] = value
    except ValueError as error:
        raise PackageError(package=package, problems=(f"its entry_points.txt is damaged: {error}",)) from None
    return {group: dict(sorted(found[group].items())) for group in sorted(found)}


def _clean(target: str, dist_info: str, entry_points: dict[str, dict[str, str]]) -> None:
    """Take out what is the installer's: its notes, its scripts for entry points, and paths in other scripts."""
    for name in _DROPPED:
        fs.remove(join(target, "lib", dist_info, name))
    fs.write_plain(join(target, "lib", dist_info, "INSTALLER"), INSTALLER)
    for name in _scripts(entry_points):
        fs.remove(join(target, "bin", name))
    fs.remove_empty_dir(join(target, "bin"))
    for path in walk(join(target, "bin")):
        _make_portable(join(target, "bin", path))
    for path in [path for path in walk(join(target, "lib")) if is_bytecode(path)]:
        fs.remove(join(target, "lib", path))


def _scripts(entry_points: dict[str, dict[str, str]]) -> list[str]:
    groups = ("console_scripts", "gui_scripts")
    return [name for group in groups for name in entry_points.get(group, {}) if "/" not in name]


def _make_portable(path: str) -> None:
    """Put `#!python`, as in the wheel, where an installer wrote a path; any other script is executable as it is."""
    with open(path, "rb") as stream:
        content = stream.read()
    head = _SHELL_LINES.match(content)
    portable = b"#!python\n" + content[head.end() :] if head else _PYTHON_LINE.sub(b"#!python", content, count=1)
    if portable != content and (head or content.startswith(b"#!")):
        fs.write_plain(path, portable)
    fs.set_mode(path, 0o755)


def _write_sources(
    target: str, dist_info: str, entry_points: dict[str, dict[str, str]], editable: dict[str, str]
) -> None:
    """Write the list that `importlib.metadata.files()` reads where there is no RECORD; paths as an overlay has them."""
    listed = {f"{dist_info}/SOURCES.txt"} | {f"../../../bin/{name}" for name in _scripts(entry_points)}
    for room in _ROOMS:
        listed |= {_PREFIX_OF[room] + path for path in walk(join(target, room)) if not is_bytecode(path)}
    # Of an editable only what names its modules: a new file in the source tree makes no new package.
    listed |= {name for name, aim in editable.items() if isfile(aim)}
    listed |= {f"{name}/__init__.py" for name, aim in editable.items() if isfile(join(aim, "__init__.py"))}
    # Each line is read as one quoted CSV field.
    text = "".join(line.replace('"', '""') + "\n" for line in sorted(listed))
    path = join(target, "lib", dist_info, "SOURCES.txt")
    fs.remove(path)
    fs.write_plain(path, text.encode())


def _files(target: str, digests: Mapping[str, str]) -> Iterator[PackageFile]:
    for room in _ROOMS:
        for inner in walk(join(target, room)):
            name = f"{room}/{inner}"
            path = f"{target}/{name}"
            status = os.lstat(path)
            mode = 0o555 if status.st_mode & 0o100 else 0o444
            fs.set_mode(path, mode)
            if not is_bytecode(inner):
                yield PackageFile(name, mode, status.st_size, digests.get(name) or sha256_file(path))


def _physical(lib: str, libraries: Iterable[Library]) -> set[str]:
    """Name the directories that must stay real in an overlay: those of libraries that look for another package's."""
    found: set[str] = set()
    for library in libraries:
        if library.is_in_lib and library.folder and library.folder not in found and _looks_outside(lib, library):
            parts = library.folder.split("/")
            found |= {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return found


def _looks_outside(lib: str, library: Library) -> bool:
    """Tell whether a RUNPATH leads to what another package may have: below site-packages, or below the overlay."""
    for entry in library.searched:
        aim = compiled.from_origin(entry, library.folder)
        if aim is None or aim.startswith(_OUT_OF_OVERLAY):
            continue
        if aim.startswith("..") or not isdir(join(lib, aim)):
            return True
    return False
