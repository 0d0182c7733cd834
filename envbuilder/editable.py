"""Where an editable plugin's modules live in its source tree: found by comparing its wheel with the tree.

No start-up code and no import finder is needed then: an overlay links the names that the wheel has to the places
in the tree that they came from, whatever the build backend calls its layout. What only the wheel has (a compiled
extension, a generated version module) stays a file of the package.
"""

from __future__ import annotations

import filecmp
import os
import posixpath
from collections import Counter, defaultdict
from os.path import isdir, isfile, join
from typing import TYPE_CHECKING

from envbuilder import fs, unpack
from envbuilder.classes import dataclass, field
from envbuilder.record import walk

if TYPE_CHECKING:
    from envbuilder.package import Package


@dataclass(frozen=True, kw_only=True, slots=True)
class _Links:
    """Paths in `lib/` → absolute paths in the tree, and the directories of `lib/` that are linked only in part."""

    found: dict[str, str] = field(default_factory=dict)
    partial: list[str] = field(default_factory=list)


def detach(target: str, package: Package, *, copy: str, members: tuple[str, ...], root: str) -> Package:
    """Replace the package's modules in `target` by links to the user's folder `root`.

    `copy` is a copy of it, in which a build may have left files besides the `members`.
    """
    lib, links = join(target, "lib"), _Links()
    tree = _by_name(members)
    for name in sorted(set(os.listdir(lib)) - {package.dist_info}):
        place = _place(lib, name, copy, tree)
        if place is not None:
            _link(links, lib, name, join(root, place) if place else root)
    for name in links.found:
        fs.remove_tree(join(lib, name))
    return unpack.describe(
        target,
        unpack.Found(
            dist_info=package.dist_info, name=package.name, version=package.version, requires=package.requires
        ),
        entry_points=package.entry_points,
        source=package.source,
        editable=dict(sorted(links.found.items())),
        physical=tuple(links.partial),
    )


def _by_name(members: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for path in members:
        found[posixpath.basename(path)].append(path)
    return found


def _place(lib: str, name: str, copy: str, tree: dict[str, list[str]]) -> str | None:
    """Return the path in the tree that most of the contents of `lib/<name>` come from; None where there is none."""
    if not isdir(join(lib, name)):
        same = [path for path in tree.get(name, ()) if _same(join(lib, name), join(copy, path))]
        return min(same, key=lambda path: (path.count("/"), path), default=None)
    votes: Counter[str] = Counter()
    for inner in walk(join(lib, name)):
        for path in tree.get(posixpath.basename(inner), ()):
            if f"/{path}".endswith(f"/{inner}") and _same(join(lib, name, inner), join(copy, path)):
                votes[path[: len(path) - len(inner)].rstrip("/")] += 1

    def rank(place: str) -> tuple[int, bool, int, str]:
        return -votes[place], posixpath.basename(place) != name, place.count("/"), place

    return min(votes, key=rank, default=None)


def _same(left: str, right: str) -> bool:
    """Compare contents; a member that the build took away, or that is a link to nothing, is like no file."""
    return isfile(right) and filecmp.cmp(left, right, shallow=False)


def _link(links: _Links, lib: str, name: str, source: str) -> None:
    """Link `lib/<name>` as a whole if the tree has all of it, else its parts as far as the tree has them."""
    if isfile(join(lib, name)) or all(isfile(join(source, inner)) for inner in walk(join(lib, name))):
        links.found[name] = source
        return
    # What python compiles of linked modules must not land in the store.
    links.partial.extend((name, f"{name}/__pycache__"))
    for inner in sorted(os.listdir(join(lib, name))):
        same_kind = isdir if isdir(join(lib, name, inner)) else isfile
        if same_kind(join(source, inner)):
            _link(links, lib, f"{name}/{inner}", join(source, inner))
