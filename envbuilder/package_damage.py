"""What is wrong with a package in the store: every file against its manifest, bytecode against the lists of it."""

from __future__ import annotations

import os
import stat
from os.path import basename, dirname, join
from typing import TYPE_CHECKING

from envbuilder import bytecode, fs, store
from envbuilder.damage import Look, Seen, Wrong, misplaced_rights, owners
from envbuilder.digest import sha256_file
from envbuilder.errors import PackageError
from envbuilder.package import SHORT
from envbuilder.record import is_bytecode, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.package import Package, PackageFile
    from envbuilder.paths import Layout

FETCH, RIGHTS, COMPILE, DROP, NAME = "fetch", "rights", "compile", "drop", "name"
"""Cures: the package anew; the rights of one path; the bytecode for one ABI; a path away; its short name."""
KIND = "package"


def look(layout: Layout, key: str, *, is_used: bool) -> Look:
    """Look at a package; only one that is used must have its short name, by which overlays link to it."""
    found = Look()
    root, package = layout.package(key), store.get(layout, key)
    if os.path.islink(root) and not _is_lent(root, key):
        found.wrong.append(Wrong(KIND, key, f"it is a link to `{os.readlink(root)}`", FETCH))
        return found
    if package is None:
        found.wrong.append(Wrong(KIND, key, f"`{store.MANIFEST}` is missing or damaged", FETCH))
        return found
    try:
        said = {file.path: file for file in package.files}
    except PackageError as error:
        found.wrong += [Wrong(KIND, key, problem, FETCH) for problem in error.problems]
        return found
    allowed = owners(layout.home, os.path.realpath(root))
    found.wrong += _of_files(root, key, said, allowed)
    found.take(_of_others(root, key, said, allowed))
    found.wrong += _of_folders(root, key, allowed if os.path.islink(root) else owners(layout.home))
    if is_used:
        found.wrong += _of_name(layout, key)
    return found


def problems(layout: Layout, key: str) -> list[str]:
    """Say what is wrong with a package, whoever uses it."""
    return [wrong.text for wrong in look(layout, key, is_used=False).wrong]


def listings(package: Package, root: str, soabi: str) -> dict[str, dict[str, dict[str, bool]]]:
    """List what a package must have, as a farm's plan reads it: `<key>/<room>` → directory → name → is a directory."""
    made: dict[str, dict[str, dict[str, bool]]] = {
        f"{package.key}/{room}": {"": {}} for room in ("lib", "data", "include")
    }
    paths = [file.path for file in package.files]
    for path in (*paths, *(bytecode.listed(root, soabi) or ())):
        room, _, inner = path.partition("/")
        listing = made.get(f"{package.key}/{room}")
        is_dir = False
        while listing is not None and inner:
            listing.setdefault(dirname(inner), {})[basename(inner)] = is_dir
            inner, is_dir = dirname(inner), True
    return made


def _is_lent(root: str, key: str) -> bool:
    target = os.readlink(root)
    return os.path.isabs(target) and basename(target) == key and basename(dirname(target)) == "store"


def _of_files(root: str, key: str, said: dict[str, PackageFile], allowed: frozenset[int]) -> Iterator[Wrong]:
    for folder in sorted({above for path in said for above in _above(path)}):
        if os.path.islink(join(root, folder)):
            yield Wrong(KIND, key, f"`{folder}` is no folder", FETCH)
    for file in said.values():
        if text := _wrong_content(join(root, file.path), file):
            yield Wrong(KIND, key, f"`{file.path}` {text}", FETCH)
        elif text := misplaced_rights(os.lstat(join(root, file.path)), file.mode, allowed):
            yield Wrong(KIND, key, f"`{file.path}` {text}", RIGHTS, (join(root, file.path), file.mode))
    for name in (store.MANIFEST, store.FILES):
        if text := misplaced_rights(os.lstat(join(root, name)), 0o444, allowed):
            yield Wrong(KIND, key, f"`{name}` {text}", RIGHTS, (join(root, name), 0o444))


def _wrong_content(path: str, file: PackageFile) -> str:
    """Say what is wrong with a file but for its rights; "" if nothing is."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    return "has another content" if status.st_size != file.size or sha256_file(path) != file.sha256 else ""


def _of_others(root: str, key: str, said: dict[str, PackageFile], allowed: frozenset[int]) -> Look:
    """Look at what is in no manifest: bytecode that we made, bytecode that Python made, and what is nobody's."""
    found = Look()
    made: dict[str, str] = {}
    for soabi in bytecode.abis(root):
        listed = bytecode.listed(root, soabi)
        if listed is None:
            text = f"`{bytecode.MARK}{soabi}` does not say what was compiled"
            found.wrong.append(Wrong(KIND, key, text, COMPILE, soabi))
        found.wrong += _of_bytecode(root, key, soabi, listed or {}, allowed)
        made.update(listed or {})
    own = (store.MANIFEST, store.FILES, bytecode.MARK, f".{bytecode.MARK}", bytecode.UNDERWAY)
    underway = any(name.startswith(bytecode.UNDERWAY) for name in fs.names_in(root))
    for path in sorted(set(walk(os.path.realpath(root))) - said.keys() - made.keys()):
        if path.startswith(own):
            continue
        if not (is_bytecode(path) and bytecode.is_taken_unseen(join(root, path))):
            found.added.append(Seen(KIND, key, f"`{path}`"))
        elif underway:
            found.ignored.append(Seen(KIND, key, f"`{path}` was being compiled"))
        else:
            text = f"`{path}` is bytecode that nobody made here"
            found.wrong.append(Wrong(KIND, key, text, DROP, join(root, path)))
    return found


def _of_bytecode(root: str, key: str, soabi: str, listed: dict[str, str], allowed: frozenset[int]) -> Iterator[Wrong]:
    """Look at the bytecode that was made for one interpreter."""
    for path, digest in listed.items():
        if text := _wrong_bytecode(join(root, path), digest):
            yield Wrong(KIND, key, f"`{path}` {text}", COMPILE, soabi)
        elif text := misplaced_rights(os.lstat(join(root, path)), 0o444, allowed):
            yield Wrong(KIND, key, f"`{path}` {text}", RIGHTS, (join(root, path), 0o444))


def _above(path: str) -> Iterator[str]:
    while path := dirname(path):
        yield path


def _wrong_bytecode(path: str, digest: str) -> str:
    if not os.path.lexists(path):
        return "is missing"
    if os.path.islink(path) or not os.path.isfile(path):
        return "is no regular file"
    return "" if sha256_file(path) == digest else "is not what was compiled"


def _of_folders(root: str, key: str, allowed: frozenset[int]) -> Iterator[Wrong]:
    for folder, _, _ in os.walk(root):
        if text := misplaced_rights(os.stat(folder), None, allowed):
            inner = os.path.relpath(folder, root)
            yield Wrong(KIND, key, f"the folder `{inner}` {text}", RIGHTS, (folder, 0o755))


def _of_name(layout: Layout, key: str) -> Iterator[Wrong]:
    """Look at the short name; one that leads to another package, whose key begins so too, is no obstacle."""
    target = fs.target_of(join(layout.store, key[:SHORT]))
    if target == f"{key}/lib" or (_begins_so(target, key) and store.get(layout, dirname(target))):
        return
    what = f"leads to `{target}`" if target else "is missing"
    yield Wrong(KIND, key, f"its short name `{key[:SHORT]}` {what}", NAME)


def _begins_so(target: str, key: str) -> bool:
    return target.endswith("/lib") and target != f"{key}/lib" and target[:SHORT] == key[:SHORT]
