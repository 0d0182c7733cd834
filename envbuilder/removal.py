"""`vpm-env uninstall`: take away the hook and the home, and say what is left."""

from __future__ import annotations

import os
from dataclasses import dataclass
from os.path import isdir, join
from typing import TYPE_CHECKING

from envbuilder import fs, gc, startup
from envbuilder.base import describe
from envbuilder.errors import BaseError, HomeError
from envbuilder.paths import LOCK_NAME
from envbuilder.scope import home, scope

if TYPE_CHECKING:
    from envbuilder.paths import Environment, Layout
    from envbuilder.scope import Options

_OURS = (
    "bases",
    "cache",
    "flocks",
    "format",
    "overlays",
    "profiles",
    "registry.json",
    "sources",
    "store",
    "tmp",
    "trash",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Removed:
    """What went (paths), the bytes on disk that freed, and what is left: files that are the user's."""

    paths: tuple[str, ...]
    bytes: int
    left: tuple[str, ...]


def uninstall(options: Options, env: Environment, *, dry_run: bool) -> Removed:
    """Remove the hook from the base in scope, then everything of ours in the home.

    Raise `HomeError` where the home is none that vpm-env made. Files that others put there stay, and so do the
    config and its lock.
    """
    layout = home(options, env)
    left: list[str] = []
    try:
        found = scope(options, env)
        left += _configs(found.config_file)
        base = describe(found.interpreter, None, env)
        hook = _hook_files(startup.inspect(base)) if dry_run else startup.uninstall(base)
    except BaseError as error:
        hook = ()
        left.append(f"the hook, if there is one: {error.reason}")
    ours = _ours(layout)
    freed = gc.freed(ours)
    if not dry_run:
        for path in ours:
            fs.remove_tree(path)
        fs.remove_empty_dir(layout.home)
    left += [join(layout.home, name) for name in _listdir(layout.home) if name not in _OURS]
    return Removed(paths=(*hook, *ours), bytes=freed, left=tuple(left))


def _hook_files(hook: startup.HookStatus) -> tuple[str, ...]:
    names = [name for name in _listdir(hook.folder) if name.startswith(("_vpm_env_", "vpm_env_hook-"))]
    return tuple(join(hook.folder, name) for name in names)


def _ours(layout: Layout) -> list[str]:
    if isdir(layout.home) and os.listdir(layout.home) and not os.path.exists(layout.format):
        raise HomeError(home=layout.home, reason="was not made by vpm-env: it has no `format` file")
    # The format file goes last: a removal that was interrupted is gone on with by the next.
    names = [name for name in _listdir(layout.home) if name in _OURS]
    return [join(layout.home, name) for name in sorted(names, key=lambda name: name == "format")]


def _configs(config_file: str | None) -> list[str]:
    if config_file is None:
        return []
    beside = join(os.path.dirname(config_file), LOCK_NAME)
    return [path for path in (config_file, beside) if os.path.exists(path)]


def _listdir(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []
