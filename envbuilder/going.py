"""What gc takes, in which order, and what each thing frees; nothing is touched here.

First what processes that ended left behind, then what no set needs, then sets, least recently current first; with a
limit no more than it asks for.
"""

from __future__ import annotations

import math
import os
from datetime import datetime, timezone
from os.path import join
from typing import TYPE_CHECKING

from envbuilder import disposal, gc, overlay, store, trash
from envbuilder import profile as profiles
from envbuilder.belongings import leftovers, outlived
from envbuilder.classes import dataclass, field
from envbuilder.ledger import Ledger, occupied
from envbuilder.occupants import occupants

if TYPE_CHECKING:
    from collections.abc import Collection

    from envbuilder.fs import Disk
    from envbuilder.gc import Doomed, Policy
    from envbuilder.occupants import Occupants
    from envbuilder.paths import Layout
    from envbuilder.profile import Generation, Profile

    Overlay = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One thing that goes: a `generation`, `overlay`, `package`, `leftover` or `trash`; `bytes` on disk, and why."""

    kind: str
    name: str
    bytes: int
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Used:
    """An `overlay` or `package` that would go, but for living processes: who uses it, and how."""

    kind: str
    name: str
    by: tuple[str, ...]


@dataclass(kw_only=True, slots=True)
class Going:
    """What is to go. `bytes` are freed at once, `later` when the grace is over, `over` are lacking to the limit.

    `leased` are overlays that would go, but for a living process, `used` says of these and of packages which process.
    `leftovers` and `trash` are paths. `unpointed` are spared generations whose overlays only others pointed to.
    """

    items: list[Item] = field(default_factory=list)
    generations: list[Doomed] = field(default_factory=list)
    overlays: list[Overlay] = field(default_factory=list)
    packages: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    trash: list[str] = field(default_factory=list)
    unpointed: list[tuple[Profile, Generation]] = field(default_factory=list)
    leased: list[Overlay] = field(default_factory=list)
    used: list[Used] = field(default_factory=list)
    bytes: int = 0
    later: int = 0
    over: int = 0

    def spare(self, entry: Overlay, members: Collection[str], by: str) -> None:
        """Take an overlay out of this, with its packages and its generations: a process began to use it."""
        own = [found for found in self.generations if (found.profile.base_key, found.generation.digest) == entry]
        names = {entry[1], *members, *(_name(found) for found in own)}
        for item in [item for item in self.items if item.name in names]:
            self.items.remove(item)
            later = min(item.bytes, self.later)
            self.later -= later
            self.bytes -= item.bytes - later
        self.generations = [found for found in self.generations if found not in own]
        self.overlays.remove(entry)
        self.packages = [key for key in self.packages if key not in members]
        self.leased.append(entry)
        self.used.append(Used(kind="overlay", name=entry[1], by=(by,)))


def plan(layout: Layout, policy: Policy, *, now: float, disk: Disk) -> Going:
    """Choose what goes; gc's lock must be held. `disk` is the home's file system as it is.

    Raise `ProfileError` where it is not known which sets are needed.
    """
    gc.require_sound(layout)
    excess = _excess(layout, policy, now, disk)
    chooser = _Chooser(layout, policy, now)
    chooser.take_leftovers(now)
    if chooser.freed < excess:
        chooser.take_unneeded()
    for entry in gc.least_recent_first(gc.doomed(layout, policy, now=now), now=now):
        if chooser.freed >= excess:
            break
        chooser.take(entry)
    going = chooser.going
    going.over = max(0, int(excess) - chooser.freed) if policy.has_limit else 0
    return going


def _excess(layout: Layout, policy: Policy, now: float, disk: Disk) -> float:
    """Count the bytes that have to go for the limits to hold; everything where there are none.

    What lies in the trash until its grace is over has gone already: no other set need go in its place.
    """
    if not policy.has_limit:
        return math.inf
    measured = (layout.store, layout.overlays, layout.sources, layout.profiles, layout.tmp, layout.trash)
    skeletons = join(layout.cache, "skeletons")  # overlays are further names of their files
    taken = occupied((*measured, skeletons)) - policy.max_size if policy.max_size is not None else 0
    lacking = policy.min_free.of(disk.total) - disk.free if policy.min_free is not None else 0
    going_soon = occupied(set(trash.entries(layout)) - set(_due(layout, policy, now)))
    return max(max(taken, lacking) - going_soon, 0)


def _due(layout: Layout, policy: Policy, now: float) -> list[str]:
    return trash.due(layout, math.inf if policy.grace == 0 else now)


class _Chooser:
    """Choose one thing after another, keeping account of who still needs what."""

    def __init__(self, layout: Layout, policy: Policy, now: float) -> None:
        self.going = Going()
        self._layout = layout
        self._policy = policy
        self._ledger = Ledger()
        self._holders = gc.holders(layout, policy, now=now)
        self._members = {entry: overlay.members(layout, *entry) for entry in overlay.all_overlays(layout)}
        self._users: dict[str, set[Overlay]] = {key: set() for key in store.keys(layout)}
        for entry, keys in self._members.items():
            for key in keys:
                self._users.setdefault(key, set()).add(entry)
        self._traces = store.traces(layout)
        self._seen: Occupants | None = None

    @property
    def freed(self) -> int:
        """Count the bytes that are freed now and when the grace is over."""
        return self._ledger.bytes

    def take_leftovers(self, now: float) -> None:
        for path in _due(self._layout, self._policy, now):
            self.going.trash.append(path)
            self._note("trash", trash.label_of(path), "its grace is over", deleted=(path,))
        left = dict.fromkeys(leftovers(self._layout), "a process that ended left it")
        left |= outlived(self._layout, now)
        for path, why in left.items():
            self.going.leftovers.append(path)
            self._note("leftover", os.path.basename(path), why, deleted=(path,))

    def take_unneeded(self) -> None:
        for entry in sorted(self._members.keys() - self._holders.keys()):
            self._take_overlay(entry, "no generation points to it")
        for key in sorted(key for key, users in self._users.items() if not users):
            self._take_package(key, "no set has it")

    def take(self, entry: Doomed) -> None:
        """Take a generation, with what only it needs."""
        profile, number = entry.profile, entry.generation.number
        its = (profile.base_key, entry.generation.digest)
        others = self._holders[its] - {(profile, number)}
        if not others and self._is_used(its):
            return
        self._holders[its] = others
        if not any(os.path.lexists(other.pointer(each)) for other, each in others):
            self.going.unpointed += [(other, profiles.read(other, each)) for other, each in others]
        self.going.generations.append(entry)
        self._note("generation", _name(entry), _last_current(entry), deleted=(profile.pointer(number),))
        if not others:
            self._take_overlay(its, f"only generation {number} had it")

    def _take_overlay(self, entry: Overlay, why: str) -> None:
        if entry not in self._members or self._is_used(entry):
            return
        self.going.overlays.append(entry)
        self._note("overlay", entry[1], why, moved=(self._layout.overlay(*entry),))
        for key in sorted(self._members.pop(entry)):
            self._users[key].discard(entry)
            if not self._users[key]:
                self._take_package(key, "no set has it any more")

    def _take_package(self, key: str, why: str) -> None:
        self._users.pop(key)
        if not os.path.lexists(self._layout.package(key)):
            return
        if uses := self._occupants().packages.get(key):
            self.going.used.append(Used(kind="package", name=key, by=tuple(map(str, uses))))
            return
        self.going.packages.append(key)
        self._note("package", key, why, deleted=self._traces.get(key, ()), moved=(self._layout.package(key),))

    def _is_used(self, entry: Overlay) -> bool:
        if entry in self.going.leased:
            return True
        uses = tuple(map(str, self._occupants().overlays.get(entry, ())))
        if not uses and disposal.is_leased(self._layout, *entry):
            uses = ("a process holds its lease",)  # one of another container, or of another user
        if uses:
            self.going.leased.append(entry)
            self.going.used.append(Used(kind="overlay", name=entry[1], by=uses))
        return bool(uses)

    def _occupants(self) -> Occupants:
        """Look at all processes, once, when something is to go."""
        if self._seen is None:
            self._seen = occupants(self._layout, self._members)
        return self._seen

    def _note(
        self, kind: str, name: str, why: str, *, deleted: tuple[str, ...] = (), moved: tuple[str, ...] = ()
    ) -> None:
        at_once, later = self._ledger.add(*deleted), self._ledger.add(*moved)
        self.going.items.append(Item(kind=kind, name=name, bytes=at_once + later, why=why))
        if not self._policy.grace:
            at_once, later = at_once + later, 0
        self.going.bytes += at_once
        self.going.later += later


def _name(entry: Doomed) -> str:
    return f"{entry.profile.name} {entry.generation.number} ({entry.generation.digest[:12]})"


def _last_current(entry: Doomed) -> str:
    if entry.until is None:
        return "was never current"
    moment = datetime.fromtimestamp(entry.until, tz=timezone.utc)
    return f"last current {moment:%Y-%m-%d %H:%M}"
