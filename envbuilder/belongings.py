"""What in a home is vpm-env's, by name and shape. Nothing else in it is ever removed, and no symlink is followed.

A home has a file `format`. A folder with other things in it and without that file is somebody else's.
"""

from __future__ import annotations

import os
import re
import time
from os.path import basename, isdir, isfile, islink, join
from typing import TYPE_CHECKING

from envbuilder import flocks, fs, halves
from envbuilder.errors import HomeError
from envbuilder.halves import DAY, HOUR, is_alive
from envbuilder.trash import ENTRY

if TYPE_CHECKING:
    from envbuilder.paths import Layout

_BASE_KEY = r"[0-9a-f]{12}"
_STUBS = re.compile(rf"{_BASE_KEY}-[0-9a-f]{{16}}\.\d")
_PARCEL = re.compile(r"[0-9a-f]{64}(\.part)?")
_STAGED = re.compile(r"(?P<pid>\d+)-[0-9a-f]{12}")
_HALF_WRITTEN = r"\..+\.\d+(-[0-9a-f]{8})?\.new"
_CACHES = (
    r"bases|choices|failures|followed|git|parcels|pip-audit|recipes|skeletons|starts|stubs|uv|virtualenv|without"
    r"|\.(cache|config|local)"
)
_SHAPES: dict[str, tuple[str, ...]] = {
    # folder -> what is directly in it, what is in that, …
    "store": (rf"[0-9a-f]{{32}}-.+-.+|{_BASE_KEY}|{_HALF_WRITTEN}",),
    "overlays": (_BASE_KEY, "[0-9a-f]{64}"),
    "profiles": (r"[a-z0-9][a-z0-9._-]*", _BASE_KEY),
    "sources": (rf"[0-9a-f]{{64}}\.json|{_HALF_WRITTEN}",),
    "flocks": (r"(gc|trash|(build|profile|overlay)-.+|(git|store)-[0-9a-f]+\.lock)(\.tickets)?",),
    "tmp": (_STAGED.pattern,),
    "trash": (ENTRY,),
    "reserve": (r"\d\d",),
    "cache": (rf"{_CACHES}|{_HALF_WRITTEN}",),
}
_HOLDING = ("store", "overlays", "profiles", "sources", "tmp", "trash")
"""The folders that things are moved out of and removed from."""

_FILES = re.compile(rf"registry\.json|format|{_HALF_WRITTEN}")
_FOUND_IN_NEW_HOMES = re.compile(r"\..*|lost\+found|registry\.json.*")
"""What a fresh volume has, and what vllm-plugin-manager leaves: beside it a home may be made."""


def is_home(layout: Layout) -> bool:
    """Tell whether there is a home, which may be cleaned; raise `HomeError` where there is something else.

    That is a folder with things in it that vpm-env did not make, or a home with symlinks for folders.
    """
    if isfile(layout.format):
        require_folders(layout)
        return True
    require_vacant(layout)
    return False


def require_vacant(layout: Layout) -> None:
    """Raise `HomeError` for a folder without `format` where there is more than a home may be made beside."""
    strangers = [name for name in fs.names_in(layout.home) if not _may_be_there_before(layout, name)]
    if not strangers or isfile(layout.format):  # who makes a home of it meanwhile writes that first
        return
    listed = ", ".join(f"`{name}`" for name in strangers[:3]) + (", …" if len(strangers) > 3 else "")
    raise HomeError(
        home=layout.home,
        reason=f"was not made by vpm-env: it has no `format` file, but {listed}",
        hint="name an empty folder, or one that is not there yet, with `--home` or `VPM_ENV_HOME`",
    )


def _may_be_there_before(layout: Layout, name: str) -> bool:
    """Tell whether something is no obstacle for a home: it is not in the way, or was made for one."""
    path = join(layout.home, name)
    if _FOUND_IN_NEW_HOMES.fullmatch(name):
        return True
    if name in ("cache", "flocks") and isdir(path) and not islink(path):  # a look around leaves these
        return not _divided(path, _SHAPES[name])[1]
    return name in _SHAPES and isdir(path) and not islink(path) and not os.listdir(path)


def require_folders(layout: Layout) -> None:
    """Raise `HomeError` where symlinks stand for folders of a home: what is behind them is not the home's."""
    linked = [path for path in _folders(layout) if islink(path)]
    if linked:
        told = ", ".join(f"`{os.path.relpath(path, layout.home)}` (→ `{os.readlink(path)}`)" for path in linked)
        raise HomeError(
            home=layout.home,
            reason=f"has symlinks where its own folders should be: {told}",
            hint="put the folder itself there, or mount it there; what a symlink leads to is not touched",
        )


def _folders(layout: Layout) -> list[str]:
    """Name the folders of a home that have others of its own in them, outer ones first."""
    found = [join(layout.home, name) for name in _HOLDING]
    for top, depth in ((layout.overlays, 1), (layout.profiles, 2)):
        level = [] if islink(top) else [top]
        for _ in range(depth):
            level = [join(path, name) for path in level if not islink(path) for name in fs.names_in(path)]
            found += level
    return [*found, *(join(path, "generations") for path in level if not islink(path))]


def leftovers(layout: Layout) -> list[str]:
    """Name what calls that have died left in tmp, and half-written files.

    gc's lock must be held: who writes what has no flock of its own shares that.
    """
    return [*staged(layout), *halves.of_home(layout)]


def outlived(layout: Layout, now: float) -> dict[str, str]:
    """Name what nobody needs in caches, and why: stubs of a base that has got others since, and what came in part only.

    Both must be a day old; gc's lock must be held.
    """
    stubs = [(made, path) for made, path in _aged(layout, "stubs") if _STUBS.fullmatch(basename(path))]
    last = {basename(path).partition("-")[0]: path for _, path in stubs}
    old = {path: "what the base had before" for made, path in stubs if path not in last.values() and made < now - DAY}
    parts = [(made, path) for made, path in _aged(layout, "parcels") if _PARCEL.fullmatch(basename(path))]
    return old | {path: "it never came as a whole" for made, path in parts if made < now - DAY}


def _aged(layout: Layout, name: str) -> list[tuple[float, str]]:
    """List what lies in a folder of the cache, the oldest first: when it was changed, and its path."""
    folder = join(layout.cache, name)
    if islink(layout.cache) or islink(folder):
        return []
    paths = [join(folder, name) for name in fs.names_in(folder)]
    return sorted((os.lstat(path).st_mtime, path) for path in paths)


def staged(layout: Layout) -> list[str]:
    """Name what calls that have died left in tmp; what is not of our making there is nobody's to remove."""
    now = time.time()
    return [join(layout.tmp, name) for name in fs.names_in(layout.tmp) if is_left(join(layout.tmp, name), now)]


def is_left(path: str, now: float) -> bool:
    """Tell whether a staging folder has nobody any more.

    Its flock is free, which holds between containers too; and its process is gone, or it is an hour old, for
    a container starts with the same process ids again. Where folders have no flocks, it must be a day old.
    """
    found = _STAGED.fullmatch(basename(path))
    if not found:
        return False
    try:
        held, age = flocks.is_held(path), now - os.lstat(path).st_mtime
    except OSError:
        return False
    if held is None:
        return age > DAY and not is_alive(found["pid"])
    return not held and (age > HOUR or not is_alive(found["pid"]))


def belongings(layout: Layout) -> tuple[list[str], list[str]]:
    """Divide a home into what is ours, by name and shape, and what is not; a folder is named where all of it is."""
    ours: list[str] = []
    strange: list[str] = []
    for name in fs.names_in(layout.home):
        path = join(layout.home, name)
        if name in _SHAPES and isdir(path) and not islink(path):
            of_folder = _divided(path, _SHAPES[name])
            ours += of_folder[0]
            strange += of_folder[1]
        else:
            (ours if _FILES.fullmatch(name) and not isdir(path) else strange).append(path)
    return ours, strange


def _divided(path: str, shapes: tuple[str, ...]) -> tuple[list[str], list[str]]:
    ours: list[str] = []
    strange: list[str] = []
    for name in fs.names_in(path):
        entry, is_ours = join(path, name), bool(re.fullmatch(shapes[0], name))
        if is_ours and shapes[1:] and isdir(entry) and not islink(entry):
            deeper = _divided(entry, shapes[1:])
            ours += deeper[0]
            strange += deeper[1]
        else:
            (ours if is_ours and not shapes[1:] else strange).append(entry)
    return (ours, strange) if strange else ([path], [])
