"""`vpm-env uninstall`: take away the hook and the home, and say what is left."""

from __future__ import annotations

import os
from os.path import join
from shlex import quote
from typing import TYPE_CHECKING

from envbuilder import disposal, fs, gc, notice, overlay, protocol, startup, trash
from envbuilder import profile as profiles
from envbuilder.base import describe
from envbuilder.belongings import belongings, is_home
from envbuilder.classes import dataclass
from envbuilder.contexts import suppress
from envbuilder.errors import BaseError, HomeError
from envbuilder.interpreter import Interpreter
from envbuilder.paths import lock_name
from envbuilder.scope import home, scope

if TYPE_CHECKING:
    from envbuilder.paths import Environment, Layout
    from envbuilder.scope import Options


@dataclass(frozen=True, kw_only=True, slots=True)
class Removed:
    """What went (paths), the bytes on disk that freed, and what is left: files that are the user's."""

    paths: tuple[str, ...]
    bytes: int
    left: tuple[str, ...]


def uninstall(options: Options, env: Environment, *, dry_run: bool) -> Removed:
    """Remove the hook from the base in scope, then everything of ours in the home.

    Raise `HomeError` where the home is none that vpm-env made, or a process uses an overlay of it. Files that others
    put there stay, and so do the config, its lock, and the hooks of other bases.
    """
    layout = home(options, env)
    ours, strange = _divided(layout)
    _require_unused(layout)
    left: list[str] = []
    hook: tuple[str, ...] = ()
    own_prefix = ""
    try:
        found = scope(options, env)
        left += _configs(found.config_file)
        base = describe(found.interpreter, None, env)
        own_prefix = base.prefix
        hook = startup.planned_removal(base) if dry_run else startup.uninstall(base)
    except BaseError as error:
        left.append(f"the hook, if there is one: {error.reason}")
    left += _other_hooks(layout, env, own_prefix)
    freed = gc.freed(ours)
    if not dry_run:
        left += _take_away(layout, ours)
    left += strange
    return Removed(paths=(*hook, *ours), bytes=freed, left=tuple(left))


def _take_away(layout: Layout, ours: list[str]) -> list[str]:
    """Remove what is ours, so that what is left is a sound home whenever this ends: what points to others goes first.

    Return what the system did not let go: nothing, or the home's own folder, which may be a mount. Sets go to the trash
    by a rename each. The `format` file goes last: a removal that died is gone on with by the next.
    """
    _throw(layout, ours, layout.profiles)
    protocol.reached("uninstall", "unpointed")
    for folder in (layout.overlays, layout.sources, layout.store, layout.cache):
        _throw(layout, ours, folder)
    protocol.reached("uninstall", "thrown")
    rest = [*(path for path in ours if path != layout.format), *trash.entries(layout)]
    if rest:
        fs.make_dirs(layout.trash)
        trash.delete(layout, *rest, gone_from=layout.trash)
    fs.remove_empty_dir(layout.trash)
    protocol.reached("uninstall", "removed")
    fs.remove(layout.format)
    try:
        fs.remove_empty_dir(layout.home)
    except OSError as error:
        return [f"the folder `{layout.home}`, which is empty: {(error.strerror or str(error)).lower()}"]
    return []


def _throw(layout: Layout, ours: list[str], folder: str) -> None:
    for path in ours:
        if path == folder or path.startswith(f"{folder}{os.sep}"):
            with suppress(OSError):  # it is deleted where it lies, then
                trash.throw(layout, path, f"leftover-{os.path.basename(path)}")


def _require_unused(layout: Layout) -> None:
    for base_key, digest in overlay.all_overlays(layout):
        if disposal.is_leased(layout, base_key, digest):
            raise HomeError(
                home=layout.home,
                reason=f"is in use: a process imports from the overlay {digest[:12]}",
                hint="end that process first, then uninstall",
            )


def _other_hooks(layout: Layout, env: Environment, own_prefix: str) -> list[str]:
    """Say which other bases, that this home has sets for, have a hook that leads here."""
    told = []
    for profile in profiles.all_profiles(layout):
        newest = profiles.newest(profile)
        if newest is None or newest.base["prefix"] == own_prefix:
            continue
        python = newest.base["python"]
        try:
            hook = startup.inspect(describe(Interpreter(python=python, rule="history"), None, env))
        except BaseError:
            continue
        if hook.installed and hook.home == layout.home:
            told.append(f"the hook in `{hook.folder}`: `vpm-env hook uninstall --base {quote(python)}` removes it")
    return sorted(set(told))


def _divided(layout: Layout) -> tuple[list[str], list[str]]:
    """Divide the home into what is ours and what is not."""
    if not is_home(layout) and fs.names_in(layout.home):
        raise HomeError(home=layout.home, reason="was not made by vpm-env: it has no `format` file")
    ours, strange = belongings(layout)
    if layout.registry in ours and not notice.is_ours(layout.registry):
        ours.remove(layout.registry)
        strange.append(layout.registry)
    return sorted(ours, key=lambda path: path == layout.format), strange


def _configs(config_file: str | None) -> list[str]:
    if config_file is None:
        return []
    beside = join(os.path.dirname(config_file), lock_name(config_file))
    return [path for path in (config_file, beside) if os.path.exists(path)]
