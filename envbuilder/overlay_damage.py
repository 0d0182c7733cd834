"""What is wrong with an overlay: all that lies in it against what it must be made of."""

from __future__ import annotations

import os
import stat
from os.path import basename, dirname, isdir, isfile, islink, join
from typing import TYPE_CHECKING

from envbuilder import bytecode, fs, overlay, package_damage, store
from envbuilder.damage import Look, Seen, Wrong, misplaced_rights, owners
from envbuilder.digest import RECORD_LIMIT
from envbuilder.overlay_entries import Entry, difference, entries_of, of_skeleton, same_file, skeleton_rows
from envbuilder.paths import site_packages
from envbuilder.record import is_bytecode
from envbuilder.skeleton import LIST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.manifest import Manifest
    from envbuilder.overlay import Part
    from envbuilder.paths import Layout

    Listings = dict[str, dict[str, dict[str, bool]]]

KIND = "overlay"
SEAL, ENTRY, SKELETON, AWAY, LEASE, RIGHTS, WAIT = "seal", "entry", "skeleton", "away", "lease", "rights", "wait"
"""Cures: its manifest anew; one entry as it must be; what it has of the skeleton; a path away; its lease; the rights of
one path; nothing but what mends its package."""
_COMPLETED = "completed.jsonl"
_HALF_WRITTEN = ".new"


def look(layout: Layout, base_key: str, digest: str) -> Look:
    """Look at an overlay that has a manifest, or should have."""
    found, path = Look(), layout.overlay(base_key, digest)
    manifest = overlay.read(path)
    if manifest is None or manifest.digest != digest or manifest.base.get("key") != base_key:
        what = "is missing or damaged" if manifest is None else f"describes {manifest.digest[:12]}"
        found.wrong.append(Wrong(KIND, digest, f"`{overlay.MANIFEST}` {what}", SEAL, (base_key, digest)))
        return found
    parts, missing = parts_of(layout, manifest)
    for key in missing:
        found.wrong.append(Wrong(KIND, digest, f"its package `{key}` is missing or damaged", WAIT))
    found.take(against_parts(layout, base_key, digest, manifest, parts, is_whole=not missing))
    return found


def parts_of(layout: Layout, manifest: Manifest) -> tuple[tuple[Part, ...], list[str]]:
    """Return what an overlay is made of, and the keys of packages that cannot be read."""
    parts, missing = [], []
    for member in manifest.members:
        package = store.get(layout, member.key)
        if package is None or not _is_listed(package.files) or not _has_readable_scripts(layout, member.key):
            missing.append(member.key)
        else:
            parts.append(overlay.part(package, override=member.override, selection=manifest.selection.get(member.name)))
    return tuple(parts), missing


def against_parts(
    layout: Layout, base_key: str, digest: str, manifest: Manifest, parts: tuple[Part, ...], *, is_whole: bool = True
) -> Look:
    """Compare an overlay with what its parts make of it; where that fails, with what they would be linked as now.

    A file that somebody put into a package may make a later overlay another farm. Where a package cannot be read
    (not `is_whole`), nobody knows what else may be there.
    """
    listings: Listings = {}
    for part in parts:
        listings |= package_damage.listings(part.package, layout.package(part.package.key), manifest.soabi)
    found = _Comparison(layout, base_key, digest, manifest, parts, is_whole=is_whole).run(listings)
    if found.wrong and is_whole:
        other = _Comparison(layout, base_key, digest, manifest, parts).run(None)
        found = found if other.wrong else other
    return found


class _Comparison:
    """One look at one overlay."""

    def __init__(
        self,
        layout: Layout,
        base_key: str,
        digest: str,
        manifest: Manifest,
        parts: tuple[Part, ...],
        *,
        is_whole: bool = True,
    ) -> None:
        self._layout = layout
        self._where = (base_key, digest)
        self._digest = digest
        self._path = layout.overlay(base_key, digest)
        self._farm = site_packages("", manifest.python_version)
        self._parts = parts
        self._is_whole = is_whole
        self._allowed = owners(layout.home)
        self._files = {part.package.key: part.package for part in parts}
        self._found = Look()

    def run(self, listings: Listings | None) -> Look:
        expected: dict[str, Entry] = {}
        rows = skeleton_rows(join(self._path, LIST))
        if rows is None:
            self._wrong(f"`{LIST}` is missing or damaged", SKELETON)
        for entry in (*of_skeleton(rows or ()), *self._of_farms(listings), *self._of_scripts()):
            expected[entry.path] = entry
        for entry in self._of_data(listings):
            expected.setdefault(entry.path, entry)
        for entry in expected.values():
            self._compare(entry)
        self._of_lease()
        self._of_rest(expected, is_known=self._is_whole and rows is not None)
        return self._found

    def _wrong(self, text: str, cure: str, at: object = None) -> None:
        self._found.wrong.append(Wrong(KIND, self._digest, text, cure, (*self._where, at)))

    def _of_farms(self, listings: Listings | None) -> Iterator[Entry]:
        own = overlay.own_files(self._parts)
        for farm, override, depth in (
            (self._farm, False, overlay.FARM_DEPTH),
            (overlay.OVERRIDE, True, overlay.OVERRIDE_DEPTH),
        ):
            packages = tuple(part.package for part in self._parts if part.override is override)
            yield from entries_of(overlay.plan_of(packages, self._layout, listings), farm, depth, own)

    def _of_scripts(self) -> Iterator[Entry]:
        packages = [part.package for part in self._parts if not part.override]
        packages += [part.package for part in self._parts if part.override]
        for name, content in overlay.scripts_of(packages, self._layout):
            if not overlay.is_own_script(name):
                yield Entry(join("bin", name), content=content, mode=0o100)

    def _of_data(self, listings: Listings | None) -> Iterator[Entry]:
        packages = [part.package for part in self._parts if not part.override]
        packages += [part.package for part in self._parts if part.override]
        for below, depth, planned in overlay.data_of(packages, self._layout, listings):
            yield from entries_of(planned, below, depth, {})

    def _compare(self, entry: Entry) -> None:
        at = join(self._path, entry.path)
        if not self._is_whole and entry.text and isdir(at) and not islink(at):
            return  # the package that cannot be read may have a share in it
        text = difference(at, entry, self._allowed)
        if text and entry.sha256:
            self._wrong(f"`{entry.path}` {text}", SKELETON, entry)
        elif text:
            self._wrong(f"`{entry.path}` {text}", ENTRY, entry)

    def _of_lease(self) -> None:
        lease = join(self._path, overlay.LEASE)
        if islink(lease) or not isfile(lease):
            self._wrong(f"`{overlay.LEASE}` is missing: gc could not tell that a process uses it", LEASE)

    def _of_rest(self, expected: dict[str, Entry], *, is_known: bool) -> None:
        """Look at all that is there, in folders of the overlay itself: no symlink is followed.

        What does not belong there can be told only if all is known that does.
        """
        folders = {path for entry in expected.values() for path in _above(entry.path)} | {self._farm, "bin"}
        known = expected.keys() | {overlay.MANIFEST, overlay.LEASE, LIST, _COMPLETED}
        for folder, inner, names in os.walk(self._path):
            below = os.path.relpath(folder, self._path).removeprefix(".").removeprefix("/")
            if text := misplaced_rights(os.lstat(folder), None, self._allowed):
                self._wrong(f"the folder `{below or '.'}` {text}", RIGHTS, (folder, 0o755))
            strange = [name for name in sorted(inner) if join(below, name) not in folders | known]
            inner[:] = [name for name in inner if name not in strange]
            for name in (sorted(names) + strange) if is_known else ():
                if join(below, name) not in known:
                    self._other(join(below, name))

    def _other(self, path: str) -> None:
        """Judge what no part has: what changes what is imported or run is damage, the rest was added."""
        at = join(self._path, path)
        if not islink(at) and isdir(at) and not any(names for _, _, names in os.walk(at)):
            return  # an empty folder is nothing
        if basename(path).startswith(".") and path.endswith(_HALF_WRITTEN):
            self._found.ignored.append(Seen(KIND, self._digest, f"`{path}` was never finished"))
        elif is_bytecode(path):
            self._bytecode(path)
        elif dirname(path) in ("bin", self._farm, overlay.OVERRIDE) or dirname(path).endswith(".dist-info"):
            self._wrong(f"`{path}` does not belong there", AWAY, path)
        else:
            self._found.added.append(Seen(KIND, self._digest, f"`{path}`"))

    def _bytecode(self, path: str) -> None:
        """Judge bytecode that was not planned: a package may have been compiled for another Python since."""
        at = join(self._path, path)
        if not bytecode.is_taken_unseen(at) or self._is_a_packages(at):
            self._found.added.append(Seen(KIND, self._digest, f"`{path}`"))
        else:
            self._wrong(f"`{path}` is bytecode that nobody made here", AWAY, path)

    def _is_a_packages(self, at: str) -> bool:
        real = os.path.realpath(at)
        tail = join("lib", "__pycache__", basename(at))
        candidates = (join(self._layout.package(key), tail) for key in self._files)
        return any(same_file(real, candidate) for candidate in candidates)


def _above(path: str) -> Iterator[str]:
    while path := dirname(path):
        yield path


def _has_readable_scripts(layout: Layout, key: str) -> bool:
    folder = join(layout.package(key), "bin")
    statuses = (os.lstat(join(folder, name)) for name in fs.names_in(folder))
    return all(stat.S_ISREG(status.st_mode) and status.st_size <= RECORD_LIMIT for status in statuses)


def _is_listed(files: object) -> bool:
    from envbuilder.errors import PackageError

    try:
        iter(files)  # type: ignore[call-overload]
    except PackageError:
        return False
    return True
