"""Mend overlays in place, name by name: nothing under a running process goes, and no name is missing meanwhile."""

from __future__ import annotations

import os
from os.path import basename, dirname, isdir, islink, join, lexists
from typing import TYPE_CHECKING

from envbuilder import disposal, flocks, fs, overlay, overlay_damage, protocol, recording, swapping
from envbuilder import profile as profiles
from envbuilder.base import describe
from envbuilder.errors import ProfileError
from envbuilder.overlay_damage import AWAY, ENTRY, LEASE, RIGHTS, SEAL, SKELETON, WAIT
from envbuilder.overlay_entries import Entry
from envbuilder.profile import Profile
from envbuilder.rebuilding import rebuild
from envbuilder.recollection import generations_of, manifest_of
from envbuilder.skeleton import skeleton

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from envbuilder.damage import Wrong
    from envbuilder.mending import Mending

SCRIPT, OWN = 0o755, 0o444


def describe_again(mending: Mending, wrong: Sequence[Wrong]) -> None:
    """Give overlays their manifests back; one that nothing points to goes."""
    for entry in (entry for entry in wrong if entry.cure == SEAL):
        if entry.at in recording.pointed(mending.layout):
            with mending.attempt(entry, "its manifest was written again"):
                _describe(mending, entry)
        else:
            _discard(mending, entry)
    protocol.reached("repair", "described")


def _discard(mending: Mending, entry: Wrong) -> None:
    if why := _why_it_stays(mending, entry):
        mending.refuse(entry, why)
        return
    with mending.attempt(entry, "no generation has it; it went to the trash"):
        disposal.discard(mending.layout, *entry.at)


def _why_it_stays(mending: Mending, entry: Wrong) -> str:
    """Say why an overlay that nothing points to cannot go; "" where it can."""
    if not all(map(_can_be_asked, profiles.all_profiles(mending.layout))):
        return "whether a generation has it cannot be told while a profile is damaged"
    return "no generation has it, and a process uses it" if disposal.is_leased(mending.layout, *entry.at) else ""


def _can_be_asked(profile: Profile) -> bool:
    try:
        profiles.numbers(profile)
    except ProfileError:
        return False
    return True


def mend(mending: Mending, wrong: Sequence[Wrong]) -> None:
    """Mend what overlays that have their manifests are made of; of a skeleton all at once."""
    seen: set[str] = set()
    for entry in wrong:
        if entry.cure == SKELETON and entry.name in seen:
            continue
        seen |= {entry.name} if entry.cure == SKELETON else set()
        _mend(mending, entry)
    protocol.reached("repair", "relinked")


def _mend(mending: Mending, entry: Wrong) -> None:
    if entry.cure == WAIT:
        mending.refuse(entry, entry.text)
    elif entry.cure in _CURES:
        what, cure = _CURES[entry.cure]
        thing = f"{entry.text.partition('` ')[0]}` " if entry.cure != SKELETON else ""
        with mending.attempt(entry, f"{thing}{what}"), _held(mending, entry):
            cure(mending, entry)


def _held(mending: Mending, entry: Wrong) -> AbstractContextManager[None]:
    lock = mending.layout.overlay_lock(*entry.at[:2])
    return flocks.locked(lock, wait=mending.env.lock_wait, on_wait=mending.report.waiting)


def _describe(mending: Mending, entry: Wrong) -> None:
    """Write an overlay's manifest again, from what the cache remembers or from a lock; else make all of it again."""
    base_key, digest = entry.at
    path = mending.layout.overlay(base_key, digest)
    known = manifest_of(mending, base_key, digest)
    if known is not None and isdir(path) and not islink(path):
        with _held(mending, entry):
            if isdir(join(path, overlay.MANIFEST)):
                mending.throw(join(path, overlay.MANIFEST))
            overlay.reseal(path, known)
        return
    profile, generation = next(generations_of(mending.layout, base_key, digest), (None, None))
    if profile is None or generation is None:
        raise ProfileError("no record says which generation it is of")
    rebuild(mending.scope_of(profile), mending.report)(profile, generation)


def _renew_skeleton(mending: Mending, wrong: Wrong) -> None:
    """Put the files of the base's skeleton in the place of the overlay's own, scripts of its packages apart."""
    base_key, digest, _ = wrong.at
    path = mending.layout.overlay(base_key, digest)
    manifest = overlay.read(path)
    if manifest is None:
        raise ProfileError("its manifest is gone")
    found = mending.scope_of(Profile(mending.layout, mending.options.profile or profiles.DEFAULT, base_key))
    base = describe(found.interpreter, mending.layout, mending.env, engine=found.engine)
    parts, _ = overlay_damage.parts_of(mending.layout, manifest)
    scripts = {join("bin", name) for name, _ in overlay.scripts_of([part.package for part in parts], mending.layout)}
    for entry in _of_skeleton(skeleton(base, mending.layout, mending.env)):
        if entry.path not in scripts or overlay.is_own_script(basename(entry.path)):
            _put(mending, path, entry)


def _of_skeleton(source: str) -> Iterator[Entry]:
    for folder, folders, names in os.walk(source):
        for name in names + [name for name in folders if islink(join(folder, name))]:
            at = join(folder, name)
            text = os.readlink(at) if islink(at) else ""
            yield Entry(os.path.relpath(at, source), text=text, source=at, may_be_another=not text)


def _put_entry(mending: Mending, wrong: Wrong) -> None:
    base_key, digest, entry = wrong.at
    _put(mending, mending.layout.overlay(base_key, digest), entry)


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


def _take_away(mending: Mending, wrong: Wrong) -> None:
    base_key, digest, inner = wrong.at
    mending.throw(join(mending.layout.overlay(base_key, digest), inner))


def _lease(mending: Mending, wrong: Wrong) -> None:
    at = join(mending.layout.overlay(*wrong.at[:2]), overlay.LEASE)
    mending.throw(at)
    fs.write_plain(at, b"")


def _rights(_: Mending, wrong: Wrong) -> None:
    swapping.take_over(*wrong.at[2])


_CURES: dict[str, tuple[str, Callable[[Mending, Wrong], None]]] = {
    SKELETON: ("what it has of the skeleton was linked again", _renew_skeleton),
    ENTRY: ("is as it was", _put_entry),
    AWAY: ("went to the trash", _take_away),
    LEASE: ("is there again", _lease),
    RIGHTS: ("has its rights again", _rights),
}
