"""verify: everything in a home against what it was made to be. Reads only.

What changes under it is looked at again under its lock, so a verb that works meanwhile is no damage.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from os.path import isfile, join, lexists
from typing import TYPE_CHECKING

from envbuilder import flocks, home_damage, overlay, overlay_damage, package_damage, profile_damage, recording, store
from envbuilder import profile as profiles
from envbuilder.base import describe
from envbuilder.classes import dataclass
from envbuilder.damage import Look, Seen, Wrong
from envbuilder.errors import NoLocks, VpmError
from envbuilder.paths import DEFAULT_WAIT
from envbuilder.scope import scope

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from envbuilder.base import Base
    from envbuilder.paths import Environment, Layout
    from envbuilder.scope import Options

    FindBase = Callable[[], Base | None] | None
    OnWait = Callable[[str, float], None] | None
    Overlay = tuple[str, str]

HOOK = "hook"


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """What verify found wrong with one package, overlay or profile, with the home around them, or with the hook."""

    kind: str
    name: str
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """How much was looked at, and what was found.

    `wrong` is damage. `added` is what somebody put beside our files, `ignored` what was never finished or cannot be
    read, which every verb leaves out of account; neither is damage.
    """

    packages: int
    overlays: int
    wrong: tuple[Wrong, ...] = ()
    added: tuple[Seen, ...] = ()
    ignored: tuple[Seen, ...] = ()

    @property
    def damage(self) -> tuple[Damage, ...]:
        """Return what is wrong, by the thing it is wrong with."""
        found: dict[tuple[str, str], list[str]] = {}
        for entry in self.wrong:
            found.setdefault((entry.kind, entry.name), []).append(entry.text)
        return tuple(Damage(kind=kind, name=name, problems=tuple(of)) for (kind, name), of in found.items())


def verify(
    layout: Layout, *, find_base: FindBase = None, wait: float = DEFAULT_WAIT, on_wait: OnWait = None
) -> Verified:
    """Look at everything, while no gc takes anything; at the hook of the base too, if it is for this home.

    `find_base` is called when what is remembered of bases has been looked at.
    Raise `HomeError` for what is no home of ours, or has symlinks for folders.
    """
    wrong = home_damage.look_at_format(layout)
    if wrong:
        return Verified(packages=0, overlays=0, wrong=tuple(wrong))
    with at_bay(layout, wait, on_wait):
        return look(layout, find_base)


def look(layout: Layout, find_base: FindBase = None) -> Verified:
    """Look at everything; gc must be at bay."""
    found = Look()
    overlays = list(overlay.all_overlays(layout))
    needed = {key for entry in overlays for key in overlay.members(layout, *entry)}
    keys = store.keys(layout)
    for key in keys:
        found.take(package_damage.look(layout, key, is_used=key in needed))
    found.wrong += [Wrong("package", key, "it is missing in the store", "fetch") for key in sorted(needed - {*keys})]
    pointed = recording.pointed(layout)
    for entry in overlays:
        found.take(_of_overlay(layout, entry, is_pointed_to=entry in pointed))
    for profile in profiles.all_profiles(layout):
        found.take(_of_profile(profile))
    found.take(home_damage.look(layout))
    if find_base and (base := find_base()):
        found.take(_of_hook(layout, base))
    return Verified(
        packages=len(keys),
        overlays=len(overlays),
        wrong=tuple(found.wrong),
        added=tuple(found.added),
        ignored=tuple(found.ignored),
    )


def base_in_reach(layout: Layout, options: Options, env: Environment) -> Base | None:
    """Return the base in scope, whose hook is looked at too; None where there is none, which is nobody's damage."""
    try:
        found = scope(options, env)
        return describe(found.interpreter, layout, env, engine=found.engine)
    except VpmError:
        return None


def at_bay(layout: Layout, wait: float, on_wait: OnWait) -> AbstractContextManager[None]:
    """Share gc's lock where there is one: a home that is read-only, or has not been built in, has no gc either."""
    if not _may_lock(layout.gc_lock):
        return nullcontext()
    return flocks.locked(layout.gc_lock, wait=wait, on_wait=on_wait, shared=True)


def _of_overlay(layout: Layout, entry: Overlay, *, is_pointed_to: bool) -> Look:
    path, (base_key, digest) = layout.overlay(*entry), entry
    if not lexists(join(path, overlay.MANIFEST)) and not is_pointed_to:
        return Look(ignored=[Seen("overlay", digest, "it was never finished")])
    found = overlay_damage.look(layout, base_key, digest)
    if not found.wrong:
        return found
    if _is_being_made(layout, base_key, digest):
        return Look()
    return overlay_damage.look(layout, base_key, digest)  # it may have been finished a moment ago


def _of_profile(profile: profiles.Profile) -> Look:
    found = profile_damage.look(profile)
    flock = join(profile.layout.flocks, f"profile-{profile.name}-{profile.base_key}")
    if found.wrong and _may_lock(flock):
        with profiles.locked(profile, wait=DEFAULT_WAIT):
            found = profile_damage.look(profile)
    return found


def _of_hook(layout: Layout, base: Base) -> Look:
    """Look at the base's hook, if it is for this home; half a one does harm only if Python imports it."""
    from envbuilder import startup  # only where the base is known
    from envbuilder.hook_files import PTH

    hook = startup.inspect(base)
    if hook.installed:
        problems = hook.problems if hook.home in ("", layout.home) else ()
        return Look(wrong=[Wrong(HOOK, hook.folder, problem, "hook", base) for problem in problems])
    pieces = startup.pieces(base)
    if not pieces:
        return Look()
    text = f"there is half of it: {', '.join(pieces)}"
    if PTH in pieces:
        return Look(wrong=[Wrong(HOOK, hook.folder, text, "hook", base)])
    return Look(ignored=[Seen(HOOK, hook.folder, text)])


def _may_lock(path: str) -> bool:
    return isfile(path) and os.access(path, os.W_OK)


def _is_being_made(layout: Layout, base_key: str, digest: str) -> bool:
    path = layout.overlay_lock(base_key, digest)
    try:
        lock = flocks.try_exclusive(path)
    except NoLocks:
        from envbuilder.tickets import is_drawn  # few file systems have no locks

        return is_drawn(path)
    if lock is None:
        return isfile(path)
    lock.close()
    return False
