"""Mend overlays in place, name by name: nothing under a running process goes, and no name is missing meanwhile."""

from __future__ import annotations

import os
from os.path import dirname, isdir, islink, join, lexists
from typing import TYPE_CHECKING

from envbuilder import flocks, fs, gc, overlay, overlay_damage, protocol, store, swapping
from envbuilder import profile as profiles
from envbuilder.base import describe
from envbuilder.checks import accepts
from envbuilder.composition import describe as describe_set
from envbuilder.composition import parts_of
from envbuilder.digest import is_sealed
from envbuilder.errors import ProfileError, VpmError
from envbuilder.manifest import Manifest
from envbuilder.mending import manifests_known
from envbuilder.overlay_damage import AWAY, ENTRY, LEASE, RIGHTS, SEAL, SKELETON, WAIT, Entry
from envbuilder.pipeline import job_of, rebuild
from envbuilder.profile import Profile
from envbuilder.skeleton import skeleton

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    from envbuilder.damage import Wrong
    from envbuilder.lock import LockedPackage
    from envbuilder.mending import Mending
    from envbuilder.package import Package

SCRIPT, OWN = 0o755, 0o444


def describe_again(mending: Mending, wrong: Sequence[Wrong]) -> None:
    """Give overlays their manifests back; one that nothing points to goes."""
    for entry in (entry for entry in wrong if entry.cure == SEAL):
        base_key, digest = entry.at
        if (base_key, digest) in gc.pointed(mending.layout):
            with mending.attempt(entry, "its manifest was written again"):
                _describe(mending, entry)
        elif overlay.is_leased(mending.layout, base_key, digest):
            mending.refuse(entry, "no generation has it, and a process uses it")
        else:
            with mending.attempt(entry, "no generation has it; it went to the trash"):
                overlay.discard(mending.layout, base_key, digest)
    protocol.reached("repair", "described")


def mend(mending: Mending, wrong: Sequence[Wrong]) -> None:
    """Mend what overlays that have their manifests are made of."""
    renewed: set[str] = set()
    for entry in wrong:
        if entry.cure == SKELETON and entry.name not in renewed:
            renewed.add(entry.name)
            with mending.attempt(entry, "what it has of the skeleton was linked again"), _held(mending, entry):
                _renew_skeleton(mending, *entry.at[:2])
        elif entry.cure == WAIT:
            mending.refuse(entry, entry.text)
        elif entry.cure in _CURES:
            what, cure = _CURES[entry.cure]
            with mending.attempt(entry, f"{entry.text.split('` ')[0]}` {what}"), _held(mending, entry):
                cure(mending, mending.layout.overlay(*entry.at[:2]), entry.at[2])
    protocol.reached("repair", "relinked")


def _held(mending: Mending, entry: Wrong) -> AbstractContextManager[None]:
    lock = mending.layout.overlay_lock(*entry.at[:2])
    return flocks.locked(lock, wait=mending.env.lock_wait, on_wait=mending.report.waiting)


def _describe(mending: Mending, entry: Wrong) -> None:
    """Write an overlay's manifest again, from what the cache remembers or from a lock; else make all of it again."""
    base_key, digest = entry.at
    path = mending.layout.overlay(base_key, digest)
    known = next(_manifests(mending, base_key, digest), None)
    if known is not None and isdir(path) and not islink(path):
        with _held(mending, entry):
            if isdir(join(path, overlay.MANIFEST)):
                mending.throw(join(path, overlay.MANIFEST))
            overlay.reseal(path, known)
        return
    profile, generation = next(_generations(mending, base_key, digest), (None, None))
    if profile is None or generation is None:
        raise ProfileError("no record says which generation it is of")
    rebuild(mending.scope_of(profile), mending.report)(profile, generation)


def _manifests(mending: Mending, base_key: str, digest: str) -> Iterator[Manifest]:
    """Yield what an overlay may have said of itself: it is what has its digest."""
    for record in manifests_known(mending.layout):
        stored = record.get("manifest")
        if is_sealed(record) and isinstance(stored, dict) and is_sealed(stored):
            manifest = Manifest.from_dict(stored)
            if (manifest.digest, manifest.base["key"]) == (digest, base_key):
                yield manifest
    for profile, generation in _generations(mending, base_key, digest):
        try:
            manifest = _from_lock(mending, profile, generation)
        except VpmError:
            continue
        if manifest.digest == digest:
            yield manifest


def _from_lock(mending: Mending, profile: Profile, generation: profiles.Generation) -> Manifest:
    found = mending.scope_of(profile)
    job, lock = job_of(found, profile, generation.number, generation.config, mending.report, offline=True)
    packages = {locked.name: _package(mending, locked) for locked in lock.packages}
    base = describe(found.interpreter, mending.layout, mending.env, engine=found.engine)
    made = describe_set(lock, parts_of(lock, packages, job.config), base)
    return made._replace(accepts=accepts(job.config, lock))


def _package(mending: Mending, locked: LockedPackage) -> Package:
    """Find what a lock names in the store; where several have its name and version, the one that came from there."""
    keys = [key for key in store.keys(mending.layout) if key[33:] == f"{locked.name}-{locked.version}"]
    found = [package for package in (store.get(mending.layout, key) for key in keys) if package]
    origin = {"vcs": locked.vcs, "directory": locked.directory, "archive": locked.archive}
    fitting = [package for package in found if all(package.source.get(name) == origin[name] for name in origin)]
    if not found:
        raise ProfileError(f"`{locked.name} {locked.version}` is not in the store")
    return (fitting or found)[0]


def _generations(mending: Mending, base_key: str, digest: str) -> Iterator[tuple[Profile, profiles.Generation]]:
    for profile in profiles.all_profiles(mending.layout):
        for number in profiles.numbers(profile) if profile.base_key == base_key else ():
            try:
                generation = profiles.read(profile, number)
            except VpmError:
                continue
            if generation.digest == digest:
                yield profile, generation


def _renew_skeleton(mending: Mending, base_key: str, digest: str) -> None:
    """Put the files of the base's skeleton in the place of the overlay's own, scripts of its packages apart."""
    path = mending.layout.overlay(base_key, digest)
    manifest = overlay.read(path)
    if manifest is None:
        raise ProfileError("its manifest is gone")
    found = mending.scope_of(Profile(mending.layout, mending.options.profile or profiles.DEFAULT, base_key))
    base = describe(found.interpreter, mending.layout, mending.env, engine=found.engine)
    source = skeleton(base, mending.layout, mending.env)
    parts, _ = overlay_damage.parts_of(mending.layout, manifest)
    scripts = {join("bin", name) for name, _ in overlay.scripts_of([part.package for part in parts], mending.layout)}
    for folder, folders, names in os.walk(source):
        for name in names + [name for name in folders if islink(join(folder, name))]:
            at = join(folder, name)
            inner = os.path.relpath(at, source)
            if inner not in scripts or overlay.is_own_script(name):
                text = os.readlink(at) if islink(at) else ""
                _put(mending, path, Entry(inner, text=text, source=at, may_be_another=not text))


def _put(mending: Mending, path: str, entry: Entry) -> None:
    """Put one thing where it must be; what is in the way goes to the trash."""
    at = join(path, entry.path)
    _clear_the_way(mending, path, dirname(entry.path))
    if lexists(at) and (isdir(at) and not islink(at)) != entry.is_folder:
        mending.throw(at)
    if entry.is_folder:
        fs.make_dir(at)
    elif entry.content is not None:
        fs.write_atomic(at, entry.content, mode=SCRIPT if entry.mode else OWN)
    elif entry.text:
        fs.replace_symlink(at, entry.text)
    else:
        swapping.replace_hard_link(entry.source, at)


def _clear_the_way(mending: Mending, path: str, inner: str) -> None:
    """See to it that the folders above a thing are folders."""
    at = path
    for name in filter(None, inner.split("/")):
        at = join(at, name)
        if lexists(at) and (islink(at) or not isdir(at)):
            mending.throw(at)
        fs.make_dir(at)


def _take_away(mending: Mending, path: str, inner: str) -> None:
    mending.throw(join(path, inner))


def _lease(mending: Mending, path: str, _: object) -> None:
    at = join(path, overlay.LEASE)
    if lexists(at):
        mending.throw(at)
    fs.write_plain(at, b"")


def _rights(_: Mending, __: str, at: tuple[str, int]) -> None:
    swapping.take_over(*at)


_CURES: dict[str, tuple[str, Callable[[Mending, str, Any], None]]] = {
    ENTRY: ("is as it was", _put),
    AWAY: ("went to the trash", _take_away),
    LEASE: ("is there again", _lease),
    RIGHTS: ("has its rights again", _rights),
}
