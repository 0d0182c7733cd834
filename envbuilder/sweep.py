"""gc over the whole home: what is to go, then the going."""

from __future__ import annotations

import math
import os
import time
from contextlib import nullcontext
from os.path import isfile

from envbuilder import disposal, flocks, fs, going, overlay, protocol, store, trash
from envbuilder import profile as profiles
from envbuilder.belongings import is_home
from envbuilder.classes import dataclass
from envbuilder.errors import Busy, NoLocks, ProfileError
from envbuilder.gc import Policy
from envbuilder.going import Going
from envbuilder.planning import counted, size_text
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from envbuilder.amounts import Amount
    from envbuilder.going import Item, Used
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
    over, `over` are lacking to the limit that was asked for. `leased` are digests of overlays that living processes
    use, `used` says which do.
    """

    generations: tuple[Collected, ...]
    overlays: tuple[str, ...]
    packages: tuple[str, ...]
    leased: tuple[str, ...]
    items: tuple[Item, ...]
    bytes: int
    later: int
    over: int
    used: tuple[Used, ...]


def collect(layout: Layout, policy: Policy, *, dry_run: bool, wait: float, on_wait: OnWait = None) -> Swept:
    """Collect what is not spared, or only say what that would be; waits for builds and switches to end.

    Everything goes to the trash first, under the lock; deleting it, which may take long, holds up nobody. Raise
    `HomeError` for what is no home of ours, or has symlinks for folders, `NoLocks` where nobody can tell what is in
    use, and `ProfileError` where nobody can tell what is needed.
    """
    if not is_home(layout):
        return _swept(Going())
    flocks.require_locks(layout.gc_lock)
    with fs.drawing_on(layout.reserve):
        return _collected(layout, policy, dry_run=dry_run, wait=wait, on_wait=on_wait)


def _collected(layout: Layout, policy: Policy, *, dry_run: bool, wait: float, on_wait: OnWait) -> Swept:
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
        used=tuple(chosen.used),
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
    except (NoLocks, ProfileError) as error:
        report.warn(f"{found}; nothing was collected: {error.message}")
        return
    taken = f"{counted(len(swept.overlays), 'overlay')}, {counted(len(swept.packages), 'package')}"
    report.note(f"{found}: collected {taken}, which freed {size_text(swept.bytes)}")
    if swept.over:
        report.warn(f"{size_text(swept.over)} are lacking to `min_free: {min_free.text}`; what is left is protected")


def _throw_away(layout: Layout, chosen: Going, until: float) -> None:
    members = {entry: overlay.members(layout, *entry) for entry in chosen.overlays}
    for path in chosen.leftovers:  # some lie in overlays that go themselves
        trash.throw(layout, path, f"leftover-{os.path.basename(path)}")
    protocol.reached("gc", "leftovers thrown")
    for profile, generation in chosen.unpointed:
        profiles.point(profile, generation)
    for gone in chosen.generations:
        fs.remove(gone.profile.pointer(gone.generation.number))
    protocol.reached("gc", "unpointed")
    taken = [entry for entry in chosen.overlays if not disposal.discard(layout, *entry, until=until)]
    for entry in taken:  # by a process that began meanwhile: what it has stays, as a whole
        _leave(chosen, entry, members[entry])
    protocol.reached("gc", "overlays thrown")
    store.discard(layout, chosen.packages, until=until)
    protocol.reached("gc", "packages thrown")


def _leave(chosen: Going, entry: tuple[str, str], members: frozenset[str]) -> None:
    """Take an overlay out of what goes, with its packages and the generations that point to it."""
    for found in chosen.generations:
        if (found.profile.base_key, found.generation.digest) == entry:
            profiles.point(found.profile, found.generation)
    chosen.spare(entry, members, by="a process took its lease meanwhile")


def _gc_alone(layout: Layout, wait: float, on_wait: OnWait, *, only_looks: bool) -> AbstractContextManager[None]:
    """Take gc's lock; whoever only looks makes none where there is none, and needs none that it may not take."""
    if only_looks and not _has_gc_lock(layout):
        return nullcontext()
    return flocks.locked(layout.gc_lock, wait=wait, on_wait=on_wait)


def _has_gc_lock(layout: Layout) -> bool:
    return isfile(layout.gc_lock) and os.access(layout.gc_lock, os.W_OK)
