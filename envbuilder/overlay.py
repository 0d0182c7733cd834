"""Overlays: links into the store, layered on a base. The only room that writes `overlays/`.

An overlay is built under its final name and valid once its `overlay.json` parses and its checksum holds, so nothing
in it ever needs to be moved or rewritten.
"""

from __future__ import annotations

import os
from os.path import dirname, isdir, islink, join, lexists

from envbuilder import fs, protocol
from envbuilder.digest import read_bytes, read_sealed
from envbuilder.errors import ProfileError
from envbuilder.farm import Plan, Tree, link_text, plan
from envbuilder.manifest import Manifest
from envbuilder.package import SHORT
from envbuilder.paths import site_packages
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from envbuilder.package import Package
    from envbuilder.paths import Layout

    Listing = Mapping[str, Mapping[str, bool]]

MANIFEST = "overlay.json"
_HEX = frozenset("0123456789abcdef")
LEASE = ".lease"
OVERRIDE = "override"
IN_USE = "end that process and build again, or roll back"
FARM_DEPTH = 6
"""Directories between the home and what lies in `overlays/<base key>/<digest>/lib/pythonX.Y/site-packages`."""
OVERRIDE_DEPTH = 4
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
        return Manifest.from_dict(read_sealed(join(path, MANIFEST)))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def link(path: str, *, layout: Layout, skeleton: str, python_version: str, parts: tuple[Part, ...]) -> None:
    """Make the overlay at `path` but for its manifest: skeleton, farm, scripts.

    What was there goes first, and at once: nobody meets a half. Raise `ProfileError` where a process uses it. Nothing
    is left of one that cannot be made.
    """
    _make_way(layout, path)
    try:
        _link(path, layout=layout, skeleton=skeleton, python_version=python_version, parts=parts)
    except BaseException:
        fs.remove_quietly(path)
        raise
    protocol.reached("overlay", "linked")


def _link(path: str, *, layout: Layout, skeleton: str, python_version: str, parts: tuple[Part, ...]) -> None:
    fs.make_dirs(path)
    farm = site_packages(path, python_version)
    _copy_skeleton(skeleton, path)
    plain = tuple(part.package for part in parts if not part.override)
    shadowing = tuple(part.package for part in parts if part.override)
    own = own_files(parts)
    _plant(plan_of(plain, layout), farm, FARM_DEPTH, own)
    if shadowing:
        fs.make_dirs(join(path, OVERRIDE))
        _plant(plan_of(shadowing, layout), join(path, OVERRIDE), OVERRIDE_DEPTH, own)
    for name, content in scripts_of(plain + shadowing, layout):
        _write_script(join(path, "bin", name), content)
    _link_data(path, plain + shadowing, layout)
    fs.write_plain(join(path, LEASE), b"")


def seal(path: str, manifest: Manifest) -> None:
    """Write the manifest: from here on the overlay is valid; nothing is left of one that cannot become so."""

    def settle() -> None:
        fs.sync_tree(path)  # what the manifest is going to be is in it
        protocol.reached("overlay", "synced")

    try:
        fs.write_json(join(path, MANIFEST), manifest.to_dict(), settle=settle)
        protocol.reached("overlay", "sealed")
    except BaseException:
        drop_unfinished(path)
        raise


def reseal(path: str, manifest: Manifest) -> None:
    """Write the manifest of an overlay that lost it, and that processes may be using: whatever fails, it stays."""
    fs.sync_tree(path)
    fs.write_json(join(path, MANIFEST), manifest.to_dict())


def drop_unfinished(path: str) -> None:
    """Remove an overlay that is not valid."""
    if read(path) is None:
        fs.remove_quietly(path)


def renew(path: str, manifest: Manifest) -> None:
    """Write what was found out since about a valid overlay into its manifest; what it is made of is the same."""
    known = read(path)
    if known is not None and known != manifest:
        fs.write_json(join(path, MANIFEST), manifest.to_dict())


def plan_of(packages: tuple[Package, ...], layout: Layout, listings: Mapping[str, Listing] | None = None) -> Plan:
    """Plan the farm of `packages`, by what lies in the store; with `listings` (`<key>/lib` → listing) by what must."""
    listed = listings or {}
    trees = [_tree(package, layout, listed.get(f"{package.key}/lib")) for package in packages]
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


def members(layout: Layout, base_key: str, digest: str) -> frozenset[str]:
    """Return the keys of a valid overlay's packages; none of one that is not valid."""
    manifest = get(layout, base_key, digest)
    return frozenset(member.key for member in manifest.members) if manifest else frozenset()


def _make_way(layout: Layout, path: str) -> None:
    """Throw away a half or damaged overlay; a process that began to use it meanwhile keeps it."""
    if not lexists(path):
        return
    digest = path.rpartition("/")[2]
    if not isdir(path) or islink(path):
        fs.remove_tree(path)
        return
    from envbuilder import lease, trash  # as a rule nothing is in the way

    held = lease.exclusive(join(path, LEASE))
    if held is None:
        raise ProfileError(f"the overlay {digest[:12]} is damaged, and a process uses it", hint=IN_USE)
    with held:
        thrown = trash.throw(layout, path, f"overlay-{digest[:12]}")
    trash.delete(layout, thrown, gone_from=layout.trash)


def own_files(parts: Iterable[Part]) -> dict[str, bytes]:
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


def _tree(package: Package, layout: Layout, listing: Listing | None) -> Tree:
    """Name a package by its short name, unless that is another's: twelve digits are few."""
    lib = f"{package.key}/lib"
    short = package.key[:SHORT]
    return Tree(
        path=layout.package(lib),
        target=f"store/{short}" if fs.target_of(layout.package(short)) == lib else f"store/{lib}",
        physical=frozenset(package.physical),
        is_lent=os.path.islink(layout.package(package.key)),
        listing=listing,
    )


def _plant(planned: Plan, farm: str, depth: int, own: dict[str, bytes]) -> None:
    for folder in planned.directories:
        fs.make_dir(f"{farm}/{folder}")
    for entry in planned.links:
        at = f"{farm}/{entry.path}"
        if entry.path in own:
            fs.write_plain(at, own[entry.path], mode=0o444)
        elif entry.hard:
            fs.hard_link(entry.source, at)
        else:
            fs.link(link_text(entry, depth=depth), at)


def _copy_skeleton(skeleton: str, path: str) -> None:
    """Hard-link the skeleton's files and repeat its directories and symlinks."""
    with os.scandir(skeleton) as found:
        entries = list(found)
    for entry in entries:
        target = f"{path}/{entry.name}"
        if entry.is_symlink():
            fs.link(os.readlink(entry.path), target)
        elif entry.is_dir():
            fs.make_dirs(target)
            _copy_skeleton(entry.path, target)
        else:
            fs.hard_link(entry.path, target)


def scripts_of(packages: Iterable[Package], layout: Layout) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the scripts that packages bring; of two with one name the later counts."""
    for package in packages:
        points = package.entry_points.get("console_scripts", {})
        files = fs.names_in(f"{layout.package(package.key)}/bin")
        if points or files:
            yield from _scripts_of(package, points, files, layout)


def _scripts_of(
    package: Package, points: dict[str, str], files: list[str], layout: Layout
) -> Iterator[tuple[str, bytes]]:
    from envbuilder.scripts import entry_script, portable  # many a plugin has no scripts

    for name, value in points.items():
        script = entry_script(value)
        if script and "/" not in name:
            yield name, script
    for name in files:
        yield name, portable(read_bytes(join(layout.package(package.key), "bin", name)))


def is_own_script(name: str) -> bool:
    """Tell whether a script of that name is the skeleton's own, which no package may replace."""
    from envbuilder.members import is_interpreter  # many a set has no scripts

    return is_interpreter(name)


def _write_script(path: str, content: bytes) -> None:
    """Write a script over the base's of that name, never over the interpreter or what the skeleton needs."""
    if os.path.islink(path) or is_own_script(os.path.basename(path)):
        return
    fs.remove(path)
    fs.write_plain(path, content, mode=0o755)


def data_of(
    packages: Iterable[Package], layout: Layout, listings: Mapping[str, Listing] | None = None
) -> Iterator[tuple[str, int, Plan]]:
    """Plan the links to wheels' data files and headers: the folder of the overlay, its depth, and what goes there."""
    for kind, below, depth in (("data", "", 3), ("include", "include", 4)):
        names = [f"{package.key}/{kind}" for package in packages]
        trees = [
            Tree(layout.package(name), f"store/{name}", _SHARED, listing=(listings or {}).get(name))
            for name in names
            if isdir(layout.package(name))
        ]
        yield below, depth, plan(trees)


def _link_data(path: str, packages: tuple[Package, ...], layout: Layout) -> None:
    """Link wheels' data files and headers below the overlay's prefix, where its own python looks for them."""
    for below, depth, planned in data_of(packages, layout):
        for folder in planned.directories:
            fs.make_dirs(join(path, below, folder))
        for entry in planned.links:
            at = join(path, below, entry.path)
            if not os.path.lexists(at):
                fs.make_dirs(dirname(at))
                fs.link(link_text(entry, depth=depth), at)
