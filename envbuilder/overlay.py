"""Overlays: links into the store, layered on a base. The only room that writes `overlays/`.

An overlay is built under its final name and valid once its `overlay.json` parses and its checksum holds, so nothing
in it ever needs to be moved or rewritten.
"""

from __future__ import annotations

import json
import os
from os.path import dirname, isdir, isfile, join

from envbuilder import fs, protocol
from envbuilder.digest import is_sealed
from envbuilder.farm import Plan, Tree, link_text, plan
from envbuilder.manifest import Manifest
from envbuilder.package import SHORT
from envbuilder.paths import site_packages
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from envbuilder.package import Package
    from envbuilder.paths import Layout

MANIFEST = "overlay.json"
_HEX = frozenset("0123456789abcdef")
LEASE = ".lease"
OVERRIDE = "override"
_FARM_DEPTH = 6
"""Directories between the home and what lies in `overlays/<base key>/<digest>/lib/pythonX.Y/site-packages`."""
_OVERRIDE_DEPTH = 4
_SHARED = frozenset({"bin", "lib", "include"})
"""Directories that every overlay has, into which a wheel's data files may fall too."""


class Part(NamedTuple):
    """A package as an overlay takes it in; `override` puts it before the base.

    `selection` are the only entry points that it brings (`group:name`); None for all.
    """

    package: Package
    override: bool = False
    selection: tuple[str, ...] | None = None


def part(package: Package, *, override: bool, selection: Iterable[str] | None) -> Part:
    """Take a package in, with the selected ones of its entry points."""
    if selection is None:
        return Part(package, override)
    return Part(package.selecting(selection), override, tuple(selection))


def get(layout: Layout, base_key: str, digest: str) -> Manifest | None:
    """Return the manifest of a valid overlay; None for one that is missing, unfinished or damaged."""
    return read(layout.overlay(base_key, digest))


def read(path: str) -> Manifest | None:
    """Return the manifest of the overlay at `path` if it is valid."""
    try:
        with open(join(path, MANIFEST), encoding="utf-8") as stream:
            record = json.load(stream)
        return Manifest.from_dict(record) if is_sealed(record) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def link(path: str, *, layout: Layout, skeleton: str, python_version: str, parts: tuple[Part, ...]) -> None:
    """Make the overlay at `path` but for its manifest: skeleton, farm, scripts. What was there goes first."""
    fs.remove_tree(path)
    fs.make_dirs(path)
    farm = site_packages(path, python_version)
    _copy_skeleton(skeleton, path)
    plain = tuple(part.package for part in parts if not part.override)
    shadowing = tuple(part.package for part in parts if part.override)
    own = _own_files(parts)
    _plant(plan_of(plain, layout), farm, _FARM_DEPTH, own)
    if shadowing:
        fs.make_dirs(join(path, OVERRIDE))
        _plant(plan_of(shadowing, layout), join(path, OVERRIDE), _OVERRIDE_DEPTH, own)
    _write_scripts(join(path, "bin"), plain + shadowing, layout)
    _link_data(path, plain + shadowing, layout)
    fs.write_plain(join(path, LEASE), b"")
    protocol.reached("overlay", "linked")


def seal(path: str, manifest: Manifest) -> None:
    """Write the manifest: from here on the overlay is valid."""
    fs.sync_tree(path)
    protocol.reached("overlay", "synced")
    fs.write_json(join(path, MANIFEST), manifest.to_dict())
    protocol.reached("overlay", "sealed")


def renew(path: str, manifest: Manifest) -> None:
    """Write what was found out since about a valid overlay into its manifest; what it is made of is the same."""
    known = read(path)
    if known is not None and known != manifest:
        fs.write_json(join(path, MANIFEST), manifest.to_dict())


def plan_of(packages: tuple[Package, ...], layout: Layout) -> Plan:
    """Plan the farm of `packages`."""
    trees = [_tree(package, layout) for package in packages]
    sources = [
        (name, Tree(path=target, target=target)) for package in packages for name, target in package.editable.items()
    ]
    return plan(trees, sources=sources)


def python(layout: Layout, base_key: str, digest: str) -> str:
    """Return an overlay's own interpreter."""
    return join(layout.overlay(base_key, digest), "bin", "python")


def all_overlays(layout: Layout) -> Iterator[tuple[str, str]]:
    """Name every overlay directory, finished or not: `(base key, digest)`; what else lies there is not ours."""
    for base_key in fs.names_in(layout.overlays):
        for digest in fs.names_in(join(layout.overlays, base_key)):
            if (len(base_key), len(digest)) == (12, 64) and _HEX.issuperset(base_key + digest):
                yield base_key, digest


def discard(layout: Layout, base_key: str, digest: str, *, until: float = 0.0) -> bool:
    """Move an overlay to the trash, to be deleted after `until`, unless a living process holds its lease.

    Tell whether it went.
    """
    from envbuilder import trash  # builds throw nothing away

    path = layout.overlay(base_key, digest)
    lease = fs.try_exclusive(join(path, LEASE))
    if lease is None and isfile(join(path, LEASE)):
        return False
    try:
        trash.throw(layout, path, f"overlay-{digest[:12]}", until=until)
    finally:
        if lease:
            lease.close()
    return True


def is_leased(layout: Layout, base_key: str, digest: str) -> bool:
    """Tell whether a living process holds an overlay's lease."""
    path = join(layout.overlay(base_key, digest), LEASE)
    lease = fs.try_exclusive(path)
    if lease is None:
        return isfile(path)
    lease.close()
    return False


def verify(layout: Layout, base_key: str, digest: str, packages: tuple[Part, ...]) -> list[str]:
    """Return what is wrong with a sealed overlay: its digest, and every link that is not as the plan makes it."""
    path = layout.overlay(base_key, digest)
    manifest = read(path)
    if manifest is None:
        return [f"`{MANIFEST}` is missing or damaged"]
    wrong = [] if manifest.digest == digest else [f"`{MANIFEST}` describes {manifest.digest[:12]}"]
    farms = {site_packages(path, manifest.python_version): (False, _FARM_DEPTH)}
    farms[join(path, OVERRIDE)] = (True, _OVERRIDE_DEPTH)
    for farm, (override, depth) in farms.items():
        planned = plan_of(tuple(part.package for part in packages if part.override is override), layout)
        wrong += _differences(planned, farm, depth, _own_files(packages))
    return wrong


def _own_files(parts: Iterable[Part]) -> dict[str, bytes]:
    """Return the files that an overlay has for itself: `entry_points.txt` of packages that bring only some."""
    return {
        f"{part.package.dist_info}/entry_points.txt": _entry_points_text(part.package.entry_points)
        for part in parts
        if part.selection is not None
    }


def _entry_points_text(points: dict[str, dict[str, str]]) -> bytes:
    lines: list[str] = []
    for group in sorted(points):
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in sorted(points[group].items())), ""]
    return "\n".join(lines).encode()


def _holds(path: str, content: bytes) -> bool:
    try:
        with open(path, "rb") as stream:
            return not os.path.islink(path) and stream.read() == content
    except OSError:
        return False


def _differences(planned: Plan, farm: str, depth: int, own: dict[str, bytes]) -> Iterator[str]:
    for entry in planned.links:
        at = join(farm, entry.path)
        if entry.path in own:
            if not _holds(at, own[entry.path]):
                yield f"`{entry.path}` is not as it was written"
            continue
        if os.path.islink(at):
            as_planned = os.readlink(at) == link_text(entry, depth=depth) or _same_file(at, entry.source)
        else:
            as_planned = entry.hard and _same_file(at, entry.source)
        if not as_planned:
            yield f"`{entry.path}` is not the link that it was"


def _same_file(left: str, right: str) -> bool:
    try:
        return os.path.samefile(left, right)
    except OSError:
        return False


def _tree(package: Package, layout: Layout) -> Tree:
    """Name a package by its short name, unless that is another's: twelve digits are few."""
    lib = f"{package.key}/lib"
    short = package.key[:SHORT]
    return Tree(
        path=join(layout.store, lib),
        target=f"store/{short}" if fs.target_of(join(layout.store, short)) == lib else f"store/{lib}",
        physical=frozenset(package.physical),
        is_lent=os.path.islink(layout.package(package.key)),
    )


def _plant(planned: Plan, farm: str, depth: int, own: dict[str, bytes]) -> None:
    for folder in planned.directories:
        fs.make_dir(join(farm, folder))
    for entry in planned.links:
        if entry.path in own:
            fs.write_plain(join(farm, entry.path), own[entry.path], mode=0o444)
        elif entry.hard:
            fs.hard_link(entry.source, join(farm, entry.path))
        else:
            fs.link(link_text(entry, depth=depth), join(farm, entry.path))


def _copy_skeleton(skeleton: str, path: str) -> None:
    """Hard-link the skeleton's files and repeat its directories and symlinks."""
    for folder, folders, files in os.walk(skeleton):
        inner = join(path, os.path.relpath(folder, skeleton))
        fs.make_dirs(inner)
        for name in files + [name for name in folders if os.path.islink(join(folder, name))]:
            source, target = join(folder, name), join(inner, name)
            if os.path.islink(source):
                fs.link(os.readlink(source), target)
            else:
                fs.hard_link(source, target)


def _write_scripts(folder: str, packages: tuple[Package, ...], layout: Layout) -> None:
    for package in packages:
        points = package.entry_points.get("console_scripts", {})
        files = fs.names_in(join(layout.package(package.key), "bin"))
        if points or files:
            _write_scripts_of(package, points, files, folder, layout)


def _write_scripts_of(package: Package, points: dict[str, str], files: list[str], folder: str, layout: Layout) -> None:
    from envbuilder.scripts import entry_script, portable  # many a plugin has no scripts

    for name, value in points.items():
        script = entry_script(value)
        if script and "/" not in name:
            _write_script(join(folder, name), script)
    for name in files:
        with open(join(layout.package(package.key), "bin", name), "rb") as stream:
            _write_script(join(folder, name), portable(stream.read()))


def _write_script(path: str, content: bytes) -> None:
    """Write a script over the base's of that name, never over the interpreter or what the skeleton needs."""
    if os.path.islink(path) or os.path.basename(path).startswith(("python", "activate")):
        return
    fs.remove(path)
    fs.write_plain(path, content, mode=0o755)


def _link_data(path: str, packages: tuple[Package, ...], layout: Layout) -> None:
    """Link wheels' data files and headers below the overlay's prefix, where its own python looks for them."""
    for kind, below in (("data", path), ("include", join(path, "include"))):
        roots = [join(layout.package(package.key), kind) for package in packages]
        trees = [
            Tree(path=root, target=os.path.relpath(root, layout.home), physical=_SHARED)
            for root in roots
            if isdir(root)
        ]
        planned = plan(trees)
        depth = 3 if kind == "data" else 4
        for folder in planned.directories:
            fs.make_dirs(join(below, folder))
        for entry in planned.links:
            at = join(below, entry.path)
            if not os.path.lexists(at):
                fs.make_dirs(dirname(at))
                fs.link(link_text(entry, depth=depth), at)
