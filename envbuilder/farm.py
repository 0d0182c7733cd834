"""Plan a link farm: the fewest links that make many packages look like one site-packages.

Folded as GNU stow and Nix's buildEnv do: a directory with one owner becomes one symlink, a directory with several
becomes real, with links inside. Files in real directories are hard links, which cost no block on the disk; a symlink
of up to 59 bytes costs none either (ext4, xfs keep it in the inode), hence the short names of packages.
Reads the packages' directories, not their manifests: one `scandir` a package, and more only where owners meet.
"""

from __future__ import annotations

import os

from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class Tree(NamedTuple):
    """One tree to link: `path` is where it is (absolute), `target` how a link names it.

    `target` is relative to the home for a package in the store, absolute for an editable source. `physical` are
    directories, relative to `path`, that must stay real. `is_lent` says that the files are another home's: a further
    name of one would keep it from being freed there, and would not follow when the package is had anew. `listing` is
    what must be there, directory → name → whether that is a directory; without it, what is there is looked up.
    """

    path: str
    target: str
    physical: frozenset[str] = frozenset()
    is_lent: bool = False
    listing: Mapping[str, Mapping[str, bool]] | None = None

    @property
    def is_source(self) -> bool:
        """Tell whether this is an editable source: its files change, so a hard link would lose them."""
        return self.target.startswith("/")


class Link(NamedTuple):
    """One link: `path` relative to the farm, `target` as in `Tree`, `source` where the linked thing is."""

    path: str
    target: str
    source: str
    hard: bool


class Plan(NamedTuple):
    """Directories to make, parents first, and links to make in them."""

    directories: list[str]
    links: list[Link]


class _Holder(NamedTuple):
    tree: Tree
    path: str
    is_dir: bool


def plan(trees: Iterable[Tree], *, sources: Iterable[tuple[str, Tree]] = ()) -> Plan:
    """Plan the farm of `trees`, and of `sources`: `(top-level name, tree)` of editable plugins.

    Where two trees hold a file of one name, the first has it; the audit refuses those that differ.
    """
    made = Plan([], [])
    top: dict[str, list[_Holder]] = {}
    for tree in trees:
        _hold(top, tree, "")
    for name, tree in sources:
        top.setdefault(name, []).append(_Holder(tree=tree, path="", is_dir=os.path.isdir(tree.path)))
    _merge(made, "", top)
    return made


def _hold(held: dict[str, list[_Holder]], tree: Tree, path: str) -> None:
    below = f"{path}/" if path else ""
    for name, is_dir in _listing(tree, path):
        holder = _Holder._make((tree, below + name, is_dir))
        if name in held:
            held[name].append(holder)
        else:
            held[name] = [holder]


def _listing(tree: Tree, path: str) -> Iterable[tuple[str, bool]]:
    """List a directory of a tree: names, and which are directories."""
    if tree.listing is not None:
        return tree.listing.get(path, {}).items()
    with os.scandir(f"{tree.path}/{path}") as entries:
        return [(entry.name, entry.is_dir()) for entry in entries]


def _merge(made: Plan, path: str, held: dict[str, list[_Holder]]) -> None:
    for name in sorted(held):
        holders, inner = held[name], f"{path}/{name}" if path else name
        file = next((holder for holder in holders if not holder.is_dir), None)
        if file:
            made.links.append(_link(inner, file))
        elif len(holders) == 1 and not _must_be_real(inner, holders[0]):
            made.links.append(_link(inner, holders[0]))
        else:
            made.directories.append(inner)
            _merge(made, inner, _inside(holders))


def _inside(folders: list[_Holder]) -> dict[str, list[_Holder]]:
    held: dict[str, list[_Holder]] = {}
    for holder in folders:
        _hold(held, holder.tree, holder.path)
    return held


def _must_be_real(path: str, holder: _Holder) -> bool:
    """Tell what is never folded: dist-info (pip and uv list real ones only), `__pycache__`, physical directories."""
    if path.endswith(".dist-info") or path == "__pycache__":
        return True
    return any(real == holder.path or real.startswith(holder.path + "/") for real in holder.tree.physical)


def _link(path: str, holder: _Holder) -> Link:
    tree, below = holder.tree, f"/{holder.path}" if holder.path else ""
    hard = not (holder.is_dir or tree.is_source or tree.is_lent)
    return Link._make((path, tree.target + below, tree.path + below, hard))


def link_text(link: Link, *, depth: int) -> str:
    """Return what the symlink says, for a farm that lies `depth` directories below the home."""
    if link.target.startswith("/"):
        return link.target
    return "../" * (depth + link.path.count("/")) + link.target


def walk(made: Plan) -> Iterator[str]:
    """Name everything that the plan makes, relative to the farm."""
    yield from made.directories
    for link in made.links:
        yield link.path
