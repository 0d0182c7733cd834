"""What was compiled of a package, file by file: Python checks none of it, so `verify` does.

Bytecode is in no key, and compiling again gives other bytes (they depend on what else was alive in the compiler). So
its digests are kept beside it when it is made: in the file that says for which interpreter it is.
"""

from __future__ import annotations

import json
import os
from os.path import join
from typing import TYPE_CHECKING

from envbuilder import fs
from envbuilder.digest import read_sealed, sealed, sha256_file
from envbuilder.record import is_bytecode, walk

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK = ".compiled-"
"""Begins the names of these lists; behind it stands the ABI."""
UNDERWAY = ".compiling-"
"""Begins the name of what stands for such a list until it is written, in a package that is in use already."""
_UNCHECKED = 1
"""Flags of bytecode whose source Python never looks at; what it writes by itself has others."""


def note(root: str, soabi: str, made: Mapping[str, str], *, synced: bool = False) -> None:
    """List what was compiled for an ABI in the package at `root`: `made` is path below `lib` → sha256."""
    files = {f"lib/{path}": made[path] for path in sorted(made)}
    fs.write_atomic(join(root, MARK + soabi), json.dumps(sealed({"files": files})).encode(), synced=synced)


def abis(root: str) -> list[str]:
    """Name the ABIs for which a package was compiled."""
    return [name.removeprefix(MARK) for name in fs.names_in(root) if name.startswith(MARK)]


def listed(root: str, soabi: str) -> dict[str, str] | None:
    """Return what was compiled for an ABI, path → sha256; None where the list is missing or damaged."""
    path = join(root, MARK + soabi)
    try:
        return None if os.path.islink(path) else dict(read_sealed(path)["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_taken_unseen(path: str) -> bool:
    """Tell whether Python would run the bytecode at `path` without a look at its source, or it is no regular file."""
    if os.path.islink(path) or not os.path.isfile(path):
        return True
    try:
        with open(path, "rb") as stream:
            head = stream.read(8)
    except OSError:
        return False
    return len(head) == 8 and int.from_bytes(head[4:], "little") == _UNCHECKED


def stale(root: str, soabi: str) -> list[str]:
    """Name the bytecode that is not as its list says; where there is no list, all that Python would take unseen."""
    known = listed(root, soabi)
    if known is None:
        others = {path for other in abis(root) for path in listed(root, other) or ()}
        paths = [join("lib", path) for path in walk(join(root, "lib")) if is_bytecode(path)]
        return [join(root, path) for path in paths if path not in others and is_taken_unseen(join(root, path))]
    bad = [path for path, digest in known.items() if not _is(join(root, path), digest)]
    return [join(root, path) for path in bad if os.path.lexists(join(root, path))]


def _is(path: str, digest: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path) and sha256_file(path) == digest
