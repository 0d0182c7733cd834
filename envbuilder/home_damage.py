"""What is wrong with a home apart from its packages, overlays and profiles: folders, records of sources, caches."""

from __future__ import annotations

import os
from glob import escape, glob
from os.path import basename, dirname, isdir, isfile, islink, join, lexists
from typing import TYPE_CHECKING, Any

from envbuilder import fs, notice, store, tickets
from envbuilder import lock as locks
from envbuilder.belongings import is_home
from envbuilder.damage import Look, Seen, Wrong, is_blank, misplaced_rights, owners
from envbuilder.digest import read, read_sealed, sha256_of
from envbuilder.errors import HomeError, VpmError
from envbuilder.overlay_entries import skeleton_damage
from envbuilder.package import SHORT
from envbuilder.scope import format_of, require_format

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from envbuilder.lock import Lock
    from envbuilder.paths import Layout

KIND = "home"
FORMAT_FILE, RIGHTS, AWAY, NOTICE, LOST = "format", "rights", "away", "notice", "lost"
"""Cures: the file `format`; the rights of a path; a path away, for it is made again; `registry.json` anew; none."""


def look(layout: Layout) -> Look:
    """Look at what lies around the packages, overlays and profiles."""
    found = Look()
    found.wrong += _of_folders(layout)
    found.take(_of_sources(layout))
    found.take(_of_caches(layout))
    found.wrong += _of_skeletons(layout)
    found.wrong += _of_notice(layout)
    found.wrong += _of_flocks(layout)
    found.take(_of_names(layout))
    return found


def look_at_format(layout: Layout) -> list[Wrong]:
    """Look at the file without which nothing here is a home; raise `HomeError` for what is none, or of another format.

    Where it is damaged, a package or an overlay of ours says that this is one.
    """
    path = layout.format
    try:
        require_format(layout, format_of(layout))
        is_sound = not islink(path)
    except PermissionError:
        raise
    except (OSError, ValueError):
        is_sound = False
    if is_sound:
        is_home(layout)
        return []
    if not _is_surely_ours(layout):
        _refuse(layout)
    what = "is damaged" if lexists(path) else "is missing"
    return [Wrong(KIND, layout.home, f"`format` {what}: no verb and no hook takes this for a home", FORMAT_FILE)]


def _refuse(layout: Layout) -> NoReturn:
    """Say what is in the place of a home."""
    if lexists(layout.format):
        raise HomeError(home=layout.home, reason="has an unreadable `format` file, and nothing of ours in it")
    is_home(layout)  # raises where there is something else
    what = "is empty" if isdir(layout.home) else "is not there"
    hint = "`vpm-env build` makes it; `--home` or `VPM_ENV_HOME` names another"
    raise HomeError(home=layout.home, reason=what, hint=hint)


def _is_surely_ours(layout: Layout) -> bool:
    folder = escape(layout.home)
    manifests = (join("overlays", "*", "*", "overlay.json"), join("store", "*", store.MANIFEST))
    return any(_read(path) for pattern in manifests for path in glob(join(folder, pattern)))


def _read(path: str) -> dict[str, Any]:
    """Return a sealed record; empty where it is damaged."""
    try:
        return read_sealed(path)
    except (OSError, ValueError):
        return {}


def _of_folders(layout: Layout) -> Iterator[Wrong]:
    allowed = owners(layout.home)
    patterns = ("overlays/*", "profiles/*", "profiles/*/*", "profiles/*/*/generations")
    deeper = [path for pattern in patterns for path in glob(join(escape(layout.home), pattern))]
    tops = [layout.store, layout.overlays, layout.profiles, layout.sources, layout.tmp, layout.trash, layout.flocks]
    for path in (*tops, layout.cache, *glob(join(escape(layout.profiles), "*"))):
        if lexists(path) and not isdir(path):
            yield Wrong(KIND, layout.home, f"`{_inner(layout, path)}` is no folder: nobody knows what was in it", LOST)
    for path in (*tops, layout.cache, *deeper):
        if isdir(path) and (text := misplaced_rights(os.stat(path), None, allowed)):
            yield Wrong(KIND, layout.home, f"the folder `{_inner(layout, path)}` {text}", RIGHTS, (path, 0o755))


def _of_sources(layout: Layout) -> Look:
    """Look at what remembers which input gave which package; a lost one costs a download."""
    found, versions = Look(), _wheels_of_locks(layout)
    for name in fs.names_in(layout.sources):
        path = join(layout.sources, name)
        if not name.endswith(".json"):
            continue
        record = _read(path) if isfile(path) and not islink(path) else {}
        inner = _inner(layout, path)
        if not record:
            found.ignored.append(Seen(KIND, layout.home, f"`{inner}` cannot be read"))
        elif text := _wrong_source(record, name, versions):
            found.wrong.append(Wrong(KIND, layout.home, f"`{inner}` {text}", AWAY, path))
    return found


def _wrong_source(record: dict[str, Any], name: str, versions: dict[str, str]) -> str:
    if f"{sha256_of(record.get('input'))}.json" != name:
        return "is about another input"
    key, wanted = str(record.get("key", "")), versions.get(str(record["input"].get("wheel")))
    if wanted and key[33:] != wanted:
        return f"leads to `{key}`, not to {wanted}"
    return ""


def _wheels_of_locks(layout: Layout) -> dict[str, str]:
    """Say of which package the locks have the wheels: sha256 → `name-version`."""
    packages = (package for lock in _kept_locks(layout) for package in lock.packages)
    return {
        wheel["hashes"].get("sha256", ""): f"{package.name}-{package.version}"
        for package in packages
        for wheel in package.wheels
    }


def _kept_locks(layout: Layout) -> Iterator[Lock]:
    for path in sorted(glob(join(escape(layout.profiles), "*", "*", "generations", "*.pylock.toml"))):
        try:
            lock = locks.read(path)
        except VpmError:
            continue
        if lock:
            yield lock


def _of_caches(layout: Layout) -> Look:
    """Look at what is remembered: what cannot be read is ignored by all, a base's facts are believed."""
    found = Look()
    for path in sorted(glob(join(escape(layout.cache), "*", "*.json"))):
        kind, inner = basename(dirname(path)), _inner(layout, path)
        if kind not in ("bases", "choices", "recipes") or _read(path) or is_blank(path):
            continue
        if kind == "bases" and _is_taken_at_its_word(path):
            found.wrong.append(Wrong(KIND, layout.home, f"`{inner}` is not as it was written", AWAY, path))
        else:
            found.ignored.append(Seen(KIND, layout.home, f"`{inner}` cannot be read"))
    return found


def _is_taken_at_its_word(path: str) -> bool:
    """Tell whether the facts of a base would be believed: every verb reads them, and checks no sum over them."""
    try:
        return "checksum" in read(path)
    except (OSError, ValueError):
        return False


def _of_flocks(layout: Layout) -> Iterator[Wrong]:
    """Look at lock files: what is none keeps a verb from its lock."""
    for name in fs.names_in(layout.flocks):
        path = join(layout.flocks, name)
        is_right = isdir(path) if name.endswith(tickets.FOLDER) else isfile(path)
        if islink(path) or not is_right:
            yield Wrong(KIND, layout.home, f"`{_inner(layout, path)}` is no lock file", AWAY, path)


def _of_skeletons(layout: Layout) -> Iterator[Wrong]:
    for path in sorted(glob(join(escape(layout.cache), "skeletons", "*"))):
        if text := skeleton_damage(path):
            yield Wrong(KIND, layout.home, f"the skeleton `{_inner(layout, path)}`: {text}", AWAY, path)


def _of_notice(layout: Layout) -> Iterator[Wrong]:
    path = layout.registry
    if not lexists(path) or is_blank(path):
        return
    if islink(path) or not isfile(path) or (notice.read(layout) is None and notice.is_ours(path)):
        yield Wrong(KIND, layout.home, "`registry.json` is not as it was written", NOTICE)


def _of_names(layout: Layout) -> Look:
    """Look at short names of packages: one that leads to nothing is nobody's, one that is no link is in the way."""
    found = Look()
    for name in fs.names_in(layout.store):
        path = join(layout.store, name)
        if len(name) != SHORT:
            continue
        if not islink(path):
            text = f"`{_inner(layout, path)}` is no link to a package"
            found.wrong.append(Wrong(KIND, layout.home, text, AWAY, path))
        elif not lexists(join(layout.store, os.readlink(path))):
            found.ignored.append(Seen(KIND, layout.home, f"`{_inner(layout, path)}` leads to no package"))
    return found


def _inner(layout: Layout, path: str) -> str:
    return os.path.relpath(path, layout.home)
