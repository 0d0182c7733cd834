"""The store: every package once, checked, compiled, read-only. The only room that writes `store/` and `sources/`.

`stocking` makes packages; here they are found again, published, looked over and thrown away.
"""

from __future__ import annotations

import os
from os.path import exists, isdir, isfile, join, lexists

from envbuilder import fs, protocol
from envbuilder.digest import read_bytes, read_sealed, sealed, sha256_of
from envbuilder.notation import dumps
from envbuilder.package import SHORT, Package
from envbuilder.paths import Layout
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any

    from envbuilder.base import Base
    from envbuilder.lock import LockedPackage
    from envbuilder.order import Order

MANIFEST = "package.json"
FILES = "files.json"
COMPILED = ".compiled-"
"""Files whose names say for which interpreters a package's modules are compiled; in no key."""


def known(
    locked: Iterable[LockedPackage], *, base: Base, layout: Layout, not_isolated: frozenset[str] = frozenset()
) -> dict[str, Package]:
    """Return those packages of an index that are in the store already, name → package; asks nobody."""
    from envbuilder import inputs  # a set that was made before is known by its packages' keys

    found = {}
    for entry in locked:
        made_from = inputs.of_locked(entry, base, build_isolation=entry.name not in not_isolated)
        package = recall(sha256_of(made_from), base, layout)
        # A lock may say something else of a known file; who makes packages finds out whether that is so.
        if package and (package.name, package.version) == (entry.name, entry.version):
            found[entry.name] = package
    return found


def get(layout: Layout, key: str) -> Package | None:
    """Return the package of that key; None for one that is missing or whose manifest is damaged."""
    try:
        root = layout.package(key)
        package = Package.from_dict(read_sealed(f"{root}/{MANIFEST}"), files=f"{root}/{FILES}")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return package if package.key == key else None


def get_all(layout: Layout, keys: Iterable[str], *, soabi: str) -> list[Package] | None:
    """Return the packages of these keys; None if one is missing, damaged, or not compiled for `soabi`."""
    found = []
    for key in keys:
        package = get(layout, key)
        if package is None or not exists(f"{layout.package(key)}/{COMPILED}{soabi}"):
            return None
        _link_alias(key, layout)
        found.append(package)
    return found


def name_again(layout: Layout, key: str) -> None:
    """Give a package its short name back, by which overlays link to it; one that is rightly another's stays."""
    alias = join(layout.store, key[:SHORT])
    other = fs.target_of(alias).removesuffix("/lib")
    if other[:SHORT] != key[:SHORT] or get(layout, other) is None:
        fs.replace_symlink(alias, join(key, "lib"))


def put_in_place(layout: Layout, staged: str, key: str) -> None:
    """Let the package that is staged take the place of a damaged one, which goes to the trash."""
    from envbuilder import swapping, trash  # as a rule no package is damaged

    final = layout.package(key)
    if lexists(final):
        swapping.exchange(staged, final)
        trash.throw(layout, staged, f"package-{key}")
    else:
        fs.rename(staged, final)
        fs.sync_dir(layout.store)


def keys(layout: Layout) -> list[str]:
    """Name every package in the store, damaged ones too."""
    import re  # only who looks at the whole store pays for it

    return sorted(name for name in fs.names_in(layout.store) if re.fullmatch(r"[0-9a-f]{32}-.+-.+", name))


def discard(layout: Layout, keys: Collection[str], *, until: float = 0.0) -> None:
    """Move packages to the trash, to be deleted after `until`; their aliases and what leads to them go at once."""
    if not keys:
        return
    from envbuilder import trash  # builds throw nothing away

    leading = traces(layout)
    for key in keys:
        for path in leading.get(key, ()):
            fs.remove(path)
        if os.path.islink(layout.package(key)):
            fs.remove(layout.package(key))
        elif isdir(layout.package(key)):
            trash.throw(layout, layout.package(key), f"package-{key}", until=until)


def traces(layout: Layout) -> dict[str, tuple[str, ...]]:
    """Name what leads to each package, key → paths: its alias, and the records of what it was made from."""
    found: dict[str, list[str]] = {}
    for name in fs.names_in(layout.sources):
        path = join(layout.sources, name)
        found.setdefault(_key_in(path) or "", []).append(path)
    for name in fs.names_in(layout.store):
        target = fs.target_of(join(layout.store, name))
        if target:
            found.setdefault(target.removesuffix("/lib"), []).append(join(layout.store, name))
    return {key: tuple(paths) for key, paths in found.items()}


def size(layout: Layout, key: str) -> int:
    """Count the bytes that a package occupies on the disk, compiled files included."""
    root = layout.package(key)
    paths = [root] + [join(folder, name) for folder, folders, names in os.walk(root) for name in folders + names]
    statuses = [os.lstat(path) for path in paths if lexists(path)]
    return 512 * sum({status.st_ino: status.st_blocks for status in statuses}.values())


def recall(digest: str, base: Base, layout: Layout) -> Package | None:
    """Return the package that the input of this digest gave, if it is still here."""
    key = _key_in(join(layout.sources, f"{digest}.json"))
    package = get(layout, key) if key else None
    if package:
        _complete(package, base, layout)
        return package
    return next(filter(None, (_borrow(digest, base, layout, Layout(home)) for home in layout.stores)), None)


def _borrow(digest: str, base: Base, layout: Layout, other: Layout) -> Package | None:
    """Link a package of another home's store into this one; None where it is not there, or not as it must be.

    Nothing is written there, so it must be compiled for this base; an editable one is for whoever made it.
    """
    record = join(other.sources, f"{digest}.json")
    key = _key_in(record)
    package = get(other, key) if key else None
    if key is None or package is None or package.editable or not fs.is_trusted(other.package(key)):
        return None
    if not isfile(join(other.package(key), f"{COMPILED}{base.soabi}")):
        return None
    if lexists(layout.package(key)):
        discard(layout, [key])
    fs.replace_symlink(layout.package(key), other.package(key))
    _link_alias(key, layout)
    fs.write_plain(join(layout.sources, f"{digest}.json"), read_bytes(record))
    return get(layout, key)


def borrowed(layout: Layout, keys: Iterable[str]) -> list[str]:
    """Return those of some packages that lie in other homes' stores: in this one they are symlinks."""
    return sorted(key for key in keys if os.path.islink(layout.package(key)))


def publish(staged: str, package: Package, order: Order, layout: Layout) -> None:
    """Move a staged package to its final name, and remember which input it came from."""
    final = layout.package(package.key)
    if lexists(final) and get(layout, package.key) is None:
        discard(layout, [package.key])
    if lexists(final):
        fs.remove_tree(staged)
    else:
        fs.rename(staged, final)
        protocol.reached("package", "published")
    _link_alias(package.key, layout)
    protocol.reached("package", "named")
    # Not synced: one that is lost or torn is a package that is made again.
    record = sealed({"input": order.input, "key": package.key})
    fs.write_plain(join(layout.sources, f"{order.digest}.json"), dumps(record).encode())
    protocol.reached("package", "remembered")


def ready(layout: Layout, key: str, base: Base) -> Package | None:
    """Return the package of that key as `base` needs it, compiled and named; None where it is not here."""
    package = get(layout, key)
    if package:
        _complete(package, base, layout)
    return package


def note_input(layout: Layout, made_from: dict[str, Any] | None, key: str) -> None:
    """Remember which package an input gave, unless that is known; builds find it by that."""
    if made_from is None:
        return
    path = join(layout.sources, f"{sha256_of(made_from)}.json")
    if not lexists(path):
        fs.write_plain(path, dumps(sealed({"input": made_from, "key": key})).encode())


def _link_alias(key: str, layout: Layout) -> None:
    alias = layout.package(key[:SHORT])
    if not exists(alias):  # the package of an alias that leads nowhere is gone
        fs.replace_symlink(alias, join(key, "lib"))


def _complete(package: Package, base: Base, layout: Layout) -> None:
    """Do what a crash, or a build for another interpreter, left undone; a store that is read-only stays as it is."""
    root = layout.package(package.key)
    try:
        _link_alias(package.key, layout)
        if os.path.islink(root):
            return
        if not isfile(join(root, f"{COMPILED}{base.soabi}")):
            from envbuilder import bytecode, compiling, unpack  # a package is compiled once for each Python

            fs.write_plain(join(root, bytecode.UNDERWAY + base.soabi), b"")
            made = compiling.compile_tree(join(root, "lib"), base=base)
            unpack.settle(root)
            fs.sync_tree(root)  # bytecode that a power cut tore is bytecode that nobody checks
            bytecode.note(root, base.soabi, made, synced=True)
            fs.remove(join(root, bytecode.UNDERWAY + base.soabi))
    except OSError:
        pass


def _key_in(path: str) -> str | None:
    try:
        return str(read_sealed(path)["key"])
    except (OSError, ValueError, KeyError):
        return None
