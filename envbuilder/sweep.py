"""gc and verify over the whole home: what is to go and what is damaged, then the going."""

from __future__ import annotations

import math
import os
import time
from contextlib import nullcontext
from dataclasses import dataclass
from os.path import isfile
from typing import TYPE_CHECKING, NamedTuple

from envbuilder import fs, going, overlay, protocol, store, trash
from envbuilder import profile as profiles
from envbuilder.belongings import is_home
from envbuilder.errors import Busy, ProfileError
from envbuilder.gc import Policy
from envbuilder.going import Going
from envbuilder.paths import DEFAULT_WAIT
from envbuilder.planning import counted, size_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from envbuilder.amounts import Amount
    from envbuilder.going import Item
    from envbuilder.manifest import Manifest
    from envbuilder.overlay import Part
    from envbuilder.paths import Layout
    from envbuilder.report import Reporter

    OnWait = Callable[[str, float], None] | None


class Collected(NamedTuple):
    """A generation that went: of which profile, for which base (its key), and its number."""

    profile: str
    base: str
    number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """What gc took, or would take: overlays are digests, packages keys.

    `items` are all of that one by one. `bytes` are freed at once, `later` when the grace of what lies in the trash is
    over, `over` are lacking to the limit that was asked for. `leased` are digests that living processes hold.
    """

    generations: tuple[Collected, ...]
    overlays: tuple[str, ...]
    packages: tuple[str, ...]
    leased: tuple[str, ...]
    items: tuple[Item, ...]
    bytes: int
    later: int
    over: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """What verify found wrong with one package, overlay or profile."""

    kind: str
    name: str
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """How much was looked at, and what was wrong."""

    packages: int
    overlays: int
    damage: tuple[Damage, ...]


def collect(layout: Layout, policy: Policy, *, dry_run: bool, wait: float, on_wait: OnWait = None) -> Swept:
    """Collect what is not spared, or only say what that would be; waits for builds and switches to end.

    Everything goes to the trash first, under the lock; deleting it, which may take long, holds up nobody. Raise
    `HomeError` for what is no home of ours, or has symlinks for folders.
    """
    if not is_home(layout):
        return _swept(Going())
    now = time.time()
    with _gc_alone(layout, wait, on_wait, only_looks=dry_run):
        chosen = going.plan(layout, policy, now=now, disk=fs.disk_of(layout.home))
        if not dry_run:
            _throw_away(layout, chosen, now + (policy.grace or 0))
    if not dry_run:
        trash.empty(layout, math.inf if policy.grace == 0 else now, wait=wait, on_wait=on_wait)
        protocol.reached("gc", "emptied")
    return _swept(chosen)


def _swept(chosen: Going) -> Swept:
    return Swept(
        generations=tuple(
            Collected(entry.profile.name, entry.profile.base_key, entry.generation.number)
            for entry in chosen.generations
        ),
        overlays=tuple(digest for _, digest in chosen.overlays),
        packages=tuple(sorted(chosen.packages)),
        leased=tuple(sorted(digest for _, digest in chosen.leased)),
        items=tuple(chosen.items),
        bytes=chosen.bytes,
        later=chosen.later,
        over=chosen.over,
    )


def make_room(layout: Layout, min_free: Amount, report: Reporter) -> None:
    """Collect what a build's file system lacks to `min_free`, and tell what that freed; nothing where it lacks nothing.

    Whatever keeps gc from that is told and no reason to stop.
    """
    disk = fs.disk_of(layout.home)
    if disk.free >= min_free.of(disk.total):
        return
    found = f"only {size_text(disk.free)} are free, less than `min_free: {min_free.text}`"
    try:
        swept = collect(layout, Policy(min_free=min_free), dry_run=False, wait=0)
    except Busy as error:
        report.warn(f"{found}; nothing was collected, for {error.holder} is at work here")
        return
    taken = f"{counted(len(swept.overlays), 'overlay')}, {counted(len(swept.packages), 'package')}"
    report.note(f"{found}: collected {taken}, which freed {size_text(swept.bytes)}")
    if swept.over:
        report.warn(f"{size_text(swept.over)} are lacking to `min_free: {min_free.text}`; what is left is protected")


def _throw_away(layout: Layout, chosen: Going, until: float) -> None:
    for entry in chosen.generations:
        profiles.unpoint(entry.profile, entry.generation.number)
    protocol.reached("gc", "unpointed")
    for base_key, digest in chosen.overlays:
        overlay.discard(layout, base_key, digest, until=until)
    protocol.reached("gc", "overlays thrown")
    store.discard(layout, chosen.packages, until=until)
    protocol.reached("gc", "packages thrown")
    for path in chosen.leftovers:
        trash.throw(layout, path, f"leftover-{os.path.basename(path)}")
    protocol.reached("gc", "leftovers thrown")


def verify(layout: Layout, *, wait: float = DEFAULT_WAIT, on_wait: OnWait = None) -> Verified:
    """Recompute every key and look at every link and pointer, while no gc takes anything; changes nothing."""
    if not is_home(layout):
        return Verified(packages=0, overlays=0, damage=())
    damage = []
    with _gc_at_bay(layout, wait, on_wait):
        keys = sorted(store.keys(layout))
        for key in keys:
            damage += _damage("package", key, store.verify_package(layout, key))
        overlays = list(overlay.all_overlays(layout))
        for base_key, digest in overlays:
            damage += _damage("overlay", digest, _verify_overlay(layout, base_key, digest))
        for profile in profiles.all_profiles(layout):
            damage += _damage("profile", f"{profile.name} ({profile.base_key})", _verify_profile(profile))
    return Verified(packages=len(keys), overlays=len(overlays), damage=tuple(damage))


def _gc_alone(layout: Layout, wait: float, on_wait: OnWait, *, only_looks: bool) -> AbstractContextManager[None]:
    """Take gc's lock; whoever only looks makes none where there is none, and needs none that it may not take."""
    if only_looks and not _has_gc_lock(layout):
        return nullcontext()
    return fs.locked(layout.gc_lock, wait=wait, on_wait=on_wait)


def _gc_at_bay(layout: Layout, wait: float, on_wait: OnWait) -> AbstractContextManager[None]:
    """Share gc's lock where there is one: a home that is read-only, or has not been built in, has no gc either."""
    if not _has_gc_lock(layout):
        return nullcontext()
    return fs.locked(layout.gc_lock, wait=wait, on_wait=on_wait, shared=True)


def _has_gc_lock(layout: Layout) -> bool:
    return isfile(layout.gc_lock) and os.access(layout.gc_lock, os.W_OK)


def _damage(kind: str, name: str, problems: list[str]) -> list[Damage]:
    return [Damage(kind=kind, name=name, problems=tuple(problems))] if problems else []


def _verify_overlay(layout: Layout, base_key: str, digest: str) -> list[str]:
    manifest = overlay.get(layout, base_key, digest)
    if manifest is None and _is_being_made(layout, base_key, digest):
        return []
    if manifest is None:
        return ["`overlay.json` is missing or damaged; `vpm-env build --force` makes the overlay again"]
    parts, missing = _parts(layout, manifest)
    return missing or overlay.verify(layout, base_key, digest, parts)


def _parts(layout: Layout, manifest: Manifest) -> tuple[tuple[Part, ...], list[str]]:
    parts, missing = [], []
    for member in manifest.members:
        package = store.get(layout, member.key)
        if package is None:
            missing.append(f"its package `{member.key}` is missing or damaged")
        else:
            parts.append(overlay.part(package, override=member.override, selection=manifest.selection.get(member.name)))
    return tuple(parts), missing


def _verify_profile(profile: profiles.Profile) -> list[str]:
    problems = []
    number = profiles.current(profile)
    if number is not None and not os.path.isdir(profile.current):
        problems.append(f"`current` names generation {number}, whose overlay is gone")
    for known in profiles.numbers(profile):
        try:
            profiles.read(profile, known)
        except ProfileError as error:
            problems.append(error.message)
    return problems


def _is_being_made(layout: Layout, base_key: str, digest: str) -> bool:
    path = layout.overlay_lock(base_key, digest)
    lock = fs.try_exclusive(path)
    if lock is None:
        return isfile(path)
    lock.close()
    return False
