"""gc and verify over the whole home: what is to go and what is damaged, then the going."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from os.path import join
from typing import TYPE_CHECKING

from envbuilder import fs, gc, overlay, store
from envbuilder import profile as profiles
from envbuilder.errors import ProfileError
from envbuilder.overlay import Part

if TYPE_CHECKING:
    from envbuilder.gc import Policy
    from envbuilder.manifest import Manifest
    from envbuilder.paths import Layout


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """What gc took, or would take: generations as `profile N`, overlays as digests, packages as keys, and bytes freed.

    `leased` are digests that living processes hold.
    """

    generations: tuple[str, ...]
    overlays: tuple[str, ...]
    packages: tuple[str, ...]
    leased: tuple[str, ...]
    bytes: int


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


def collect(layout: Layout, policy: Policy, *, dry_run: bool, wait: float) -> Swept:
    """Collect what is not spared, or only say what that would be; waits for builds and switches to end.

    Everything goes to the trash first, under the lock; taking the trash away, which may take long, holds up nobody.
    """
    with fs.locked(layout.gc_lock, wait=wait):
        going = gc.doomed(layout, policy, now=time.time())
        live = gc.live_overlays(layout, going)
        dead = [entry for entry in overlay.all_overlays(layout) if entry not in live]
        leased = {entry for entry in dead if overlay.is_leased(layout, *entry)}
        going = [entry for entry in going if (entry.profile.base_key, entry.generation.digest) not in leased]
        dead = [entry for entry in dead if entry not in leased]
        packages = sorted(set(store.keys(layout)) - _reached(layout, live | leased))
        paths = [layout.overlay(*entry) for entry in dead] + [layout.package(key) for key in packages]
        swept = Swept(
            generations=tuple(f"{entry.profile.name} {entry.generation.number}" for entry in going),
            overlays=tuple(digest for _, digest in dead),
            packages=tuple(packages),
            leased=tuple(sorted(digest for _, digest in leased)),
            bytes=gc.freed([*paths, *_listed(layout.tmp), *_listed(layout.trash)]),
        )
        if not dry_run:
            _throw_away(layout, going, dead, packages)
    if not dry_run:
        _empty_trash(layout, wait)
    return swept


def _throw_away(layout: Layout, going: list[gc.Doomed], dead: list[tuple[str, str]], packages: list[str]) -> None:
    for entry in going:
        profiles.unpoint(entry.profile, entry.generation.number)
    for base_key, digest in dead:
        overlay.discard(layout, base_key, digest)
    store.discard(layout, packages)
    fs.make_dirs(layout.trash)
    for path in _listed(layout.tmp):  # nobody stages while gc holds its lock: what is there was left behind
        fs.rename(path, join(layout.trash, os.path.basename(path)))


def _empty_trash(layout: Layout, wait: float) -> None:
    with fs.locked(join(layout.flocks, "trash"), wait=wait):
        for path in _listed(layout.trash):
            fs.remove_tree(path)


def verify(layout: Layout) -> Verified:
    """Recompute every key and look at every link and pointer; writes nothing."""
    damage = []
    keys = sorted(store.keys(layout))
    for key in keys:
        damage += _damage("package", key, store.verify_package(layout, key))
    overlays = list(overlay.all_overlays(layout))
    for base_key, digest in overlays:
        damage += _damage("overlay", digest, _verify_overlay(layout, base_key, digest))
    for profile in profiles.all_profiles(layout):
        damage += _damage("profile", f"{profile.name} ({profile.base_key})", _verify_profile(profile))
    return Verified(packages=len(keys), overlays=len(overlays), damage=tuple(damage))


def _reached(layout: Layout, live: set[tuple[str, str]]) -> set[str]:
    reached: set[str] = set()
    for base_key, digest in live:
        manifest = overlay.get(layout, base_key, digest)
        reached |= {member.key for member in manifest.members} if manifest else set()
    return reached


def _damage(kind: str, name: str, problems: list[str]) -> list[Damage]:
    return [Damage(kind=kind, name=name, problems=tuple(problems))] if problems else []


def _verify_overlay(layout: Layout, base_key: str, digest: str) -> list[str]:
    manifest = overlay.get(layout, base_key, digest)
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
            parts.append(Part(package=package, override=member.override))
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


def _listed(folder: str) -> list[str]:
    return [join(folder, name) for name in fs.names_in(folder)]
