"""What no pull can do without: packages that are unpacked by `zstd` and `tar`, and compiled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Command

from envbuilder.bucket import open_bucket

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LITERAL = "zstd -d, tar x, `_compile.py`"

_COMPILE = Path(sys.modules[open_bucket.__module__].__file__ or "").with_name("_compile.py")
_PACK = 'cd "$1" && shift && tar c --exclude __pycache__ "$@" | zstd -q -10 > "$0"'
_EACH = 'mkdir -p "$2/$0" && zstd -dcq "$1/$0.tar.zst" | tar x -C "$2/$0" && exec "$3" -I -S -B -W ignore "$4" "$2/$0"'


def packages(store: Path, like: str = "*") -> list[str]:
    """Name the packages of a store."""
    return sorted(path.name for path in store.glob(like) if (path / "lib").is_dir())


def unpacked(
    store: Path, archives: Mapping[str, Sequence[str]], folder: Path, *, python: Path, env: Mapping[str, str]
) -> Command:
    """Pack archives of a store's packages, and return their unpacking and compiling, four at a time."""
    folder.mkdir(parents=True)
    for name, parts in archives.items():
        words = ["/bin/sh", "-c", _PACK, str(folder / f"{name}.tar.zst"), str(store), *parts]
        subprocess.run(words, check=True)
    listed, out = folder / "names", folder / "out"
    listed.write_text("\n".join(archives) + "\n")

    def prepare() -> None:
        shutil.rmtree(out, ignore_errors=True)
        os.sync()

    each = ["/bin/sh", "-c", _EACH, "{}", str(folder), str(out), str(python), str(_COMPILE)]
    words = ["/bin/sh", "-c", f'exec "$@" < "{listed}"', "sh", "xargs", "-P", "4", "-I", "{}", *each]
    return Command(words=words, env=env, cwd=folder, prepare=prepare)
