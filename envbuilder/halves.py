"""Files that were being written when their process died: `.NAME.PID-….new`, beside what they were to become.

Whoever writes one holds its flock, so that one that is still being written is told from one that is left, also by
those who see no process of its container.
"""

from __future__ import annotations

import os
import re
import time
from os.path import basename, dirname, isdir, islink, join
from typing import TYPE_CHECKING

from envbuilder import flocks, fs
from envbuilder.contexts import suppress

if TYPE_CHECKING:
    from envbuilder.paths import Layout

NAME = r"\..+\.(?P<pid>\d+)(-[0-9a-f]{8})?\.new"
HOUR, DAY = 3600.0, 86400.0

_HALF = re.compile(NAME)


def of_home(layout: Layout) -> list[str]:
    """List those of a home whose writers have died."""
    now = time.time()
    return [path for folder in _folders(layout) for path in _in(folder) if is_left(path, now)]


def clear(*paths: str) -> None:
    """Remove what calls that died have left of writing these files; whatever cannot be removed stays."""
    now = time.time()
    for path in (half for wanted in map(os.path.realpath, paths) for half in _of_one(wanted)):
        with suppress(OSError):
            if is_left(path, now):
                fs.remove(path)


def is_left(path: str, now: float | None = None) -> bool:
    """Tell whether what has the name of a half-written file has nobody any more who writes it.

    Its flock is free, and its process is gone or it is an hour old: a container starts with the same process ids again.
    Where there are no flocks, it must be a day old.
    """
    found = _HALF.fullmatch(basename(path))
    try:
        if found is None or _is_folder(path):
            return False
        held, age = flocks.is_held(path), (now or time.time()) - os.lstat(path).st_mtime
    except OSError:
        return False
    if held is None:
        return age > DAY and not is_alive(found["pid"])
    return not held and (age > HOUR or not is_alive(found["pid"]))


def is_alive(pid: str) -> bool:
    """Tell whether there is such a process here, or none can be seen."""
    return not isdir("/proc/self") or isdir(f"/proc/{pid}")


def _of_one(wanted: str) -> list[str]:
    """List what has the name of a half of this file."""
    return [path for path in _in(dirname(wanted)) if basename(path)[1:].rsplit(".", 2)[0] == basename(wanted)]


def _in(folder: str) -> list[str]:
    return [join(folder, name) for name in fs.names_in(folder) if _HALF.fullmatch(name)]


def _folders(layout: Layout) -> list[str]:
    """Name the folders of a home that files are replaced in; no symlink is followed."""
    found = [layout.home, layout.store, layout.sources, layout.cache]
    for top, depth in ((layout.overlays, 2), (layout.profiles, 2), (layout.cache, 1)):
        level = [top]
        for _ in range(depth):
            level = [join(path, name) for path in level for name in fs.names_in(path) if _is_folder(join(path, name))]
        found += level
    found += [join(path, "generations") for path in found if _is_folder(join(path, "generations"))]
    return [path for path in found if _is_folder(path)]


def _is_folder(path: str) -> bool:
    return isdir(path) and not islink(path)
