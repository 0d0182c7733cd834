"""Collect what no generation needs: roots, then what they reach, then the rest goes.

Spared are, of every profile and base: the current generation, the one that a rollback would make current, the newest
(it may be built and not yet switched to), kept ones, what was current in the last 24 hours, what the options keep,
and whatever a living process holds the lease of. Records and locks of collected generations stay.
"""

from __future__ import annotations

import os
from itertools import accumulate
from typing import TYPE_CHECKING

from envbuilder import fs, profile_damage
from envbuilder import profile as profiles
from envbuilder.classes import dataclass
from envbuilder.errors import ProfileError
from envbuilder.ledger import Ledger
from envbuilder.switching import rollback_target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envbuilder.amounts import Amount
    from envbuilder.paths import Layout
    from envbuilder.profile import Generation, Profile

DAY = 86400.0
_TELLING = (profile_damage.CURRENT, profile_damage.ORDER, profile_damage.RECORD, profile_damage.FOLDER)
"""Cures of what says which sets are needed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What to keep beyond what is always spared, and how much is to go.

    Kept are the `keep` newest, and what was current `older_than` seconds ago. With `max_size` (bytes that the home's
    sets may take) or `min_free` (of the file system) only as much goes as is needed for that, without either
    everything that is not spared. What goes stays in the trash for `grace` seconds; 0 empties all the trash, None
    deletes at once and leaves alone what an earlier grace keeps.
    """

    keep: int = 0
    older_than: float | None = None
    max_size: int | None = None
    min_free: Amount | None = None
    grace: float | None = None

    @property
    def has_limit(self) -> bool:
        """Tell whether no more may go than a limit asks for."""
        return self.max_size is not None or self.min_free is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Doomed:
    """A generation to collect; `until` is when it was current last (seconds since the epoch), None if it never was."""

    profile: Profile
    generation: Generation
    until: float | None = None


def spared(profile: Profile, policy: Policy, *, now: float) -> dict[int, str]:
    """Say which generations of a profile stay, and why: number → reason."""
    known = profiles.generations(profile)
    reasons: dict[int, str] = {}
    recent = _current_since(profile, now - DAY, now)
    asked = _current_since(profile, now - policy.older_than, now) if policy.older_than is not None else set()
    if policy.older_than is not None:
        asked |= {generation.number for generation in known if _age(generation, now) < policy.older_than}
    newest = known[-policy.keep :] if policy.keep else []
    for numbers, why in (
        ({profiles.current(profile)}, "current"),
        (_begun(profile), "is switched to"),
        ({rollback_target(profile)}, "rollback target"),
        ({generation.number for generation in known[-1:] if generation.state != "bad"}, "newest"),
        ({generation.number for generation in known if generation.keep}, "kept"),
        (recent, "current in the last 24 hours"),
        ({generation.number for generation in newest}, f"among the {policy.keep} newest"),
        (asked, "not that old"),
    ):
        for number in numbers:
            if number is not None:
                reasons.setdefault(number, why)
    return reasons


def _begun(profile: Profile) -> list[int]:
    """Name what a first switch was to make current, and has not."""
    return profiles.read_order(profile).get("order", [])[-1:] if profiles.current(profile) is None else []


def doomed(layout: Layout, policy: Policy, *, now: float) -> list[Doomed]:
    """List the generations whose overlays may go, profile by profile."""
    found: list[Doomed] = []
    for profile in profiles.all_profiles(layout):
        until = _until(profile, now)
        found.extend(
            Doomed(profile=profile, generation=generation, until=until.get(generation.number))
            for generation, why in holding(profile, policy, now=now)
            if not why
        )
    return found


def holding(profile: Profile, policy: Policy, *, now: float) -> list[tuple[Generation, str]]:
    """List the generations that hold their overlays, each with why it is spared, "" where it is not.

    Who is spared does so without a symlink too: that may be lost. Of the others the symlink tells whether they were
    collected.
    """
    why = spared(profile, policy, now=now)
    return [
        (generation, why.get(generation.number, ""))
        for generation in profiles.generations(profile)
        if generation.number in why or os.path.lexists(profile.pointer(generation.number))
    ]


def holders(layout: Layout, policy: Policy, *, now: float) -> dict[tuple[str, str], set[tuple[Profile, int]]]:
    """Say which generations, `(profile, number)`, hold which overlays, `(base key, digest)`."""
    found: dict[tuple[str, str], set[tuple[Profile, int]]] = {}
    for profile in profiles.all_profiles(layout):
        for generation, _ in holding(profile, policy, now=now):
            found.setdefault((profile.base_key, generation.digest), set()).add((profile, generation.number))
    return found


def require_sound(layout: Layout) -> None:
    """Raise `ProfileError` where a profile has lost what says which of its sets are needed."""
    _require_folders(layout)
    for profile in profiles.all_profiles(layout):
        now = profiles.current(profile)
        for wrong in profile_damage.look(profile).wrong:
            if wrong.cure in _TELLING or (wrong.cure, wrong.at) == (profile_damage.POINTER, (profile, now)):
                text = f"the profile `{profile.name}` is damaged, and with it what says which sets are needed"
                raise ProfileError(f"{text}: {wrong.text}", hint=f"{profiles.REPAIR}; nothing was collected")


def _require_folders(layout: Layout) -> None:
    """Raise `ProfileError` where something else lies in the place of folders with profiles."""
    folders = (layout.profiles, *(os.path.join(layout.profiles, name) for name in fs.names_in(layout.profiles)))
    strange = [path for path in folders if os.path.lexists(path) and not os.path.isdir(path)]
    if strange:
        text = f"`{strange[0]}` is no folder, so nobody knows which sets are needed"
        raise ProfileError(text, hint=f"{profiles.REPAIR}; nothing was collected")


def least_recent_first(going: Iterable[Doomed], *, now: float) -> list[Doomed]:
    """Sort by when a generation was current last; one that never was counts from when it was made."""

    def moment(entry: Doomed) -> float:
        return now - _age(entry.generation, now) if entry.until is None else entry.until

    return sorted(going, key=moment)


def freed(paths: Iterable[str]) -> int:
    """Count the bytes on disk that removing `paths` frees: a file with a name elsewhere frees nothing."""
    return Ledger().add(*paths)


def _until(profile: Profile, now: float) -> dict[int, float]:
    """Say until when each generation was current, at the latest: number → seconds since the epoch."""
    switches = _switches(profile, now)
    ends = [*(at for _, at in switches[1:]), now]
    forgotten = dict.fromkeys(_forgotten(profile, switches), switches[0][1] if switches else now)
    return forgotten | {number: end for (number, _), end in zip(switches, ends, strict=False)}


def _current_since(profile: Profile, since: float, now: float) -> set[int]:
    """Return what was current at `since` or became so later."""
    switches = _switches(profile, now)
    before = [number for number, at in switches if at < since]
    unknown = set() if before else _forgotten(profile, switches)
    return {number for number, at in switches if at >= since} | set(before[-1:]) | unknown


def _forgotten(profile: Profile, switches: list[tuple[int, float]]) -> set[int]:
    """Name the generations that may have been current before the first switch that is remembered."""
    if len(switches) < profiles.REMEMBERED:
        return set()
    return set(profiles.numbers(profile)) - {number for number, _ in switches}


def _switches(profile: Profile, now: float) -> list[tuple[int, float]]:
    """Return the switches as `(number, moment)`, their moments in the order in which they were, and none after now.

    The clock may have been wrong at one of them, or have been set back since. A moment in the future is taken for the
    next one's, one before the last for the last: in doubt a set was current lately.
    """
    sane: list[tuple[int, float]] = []
    latest = now
    for number, at, _ in reversed(profiles.order(profile).switches):
        latest = float(at) if at <= now else latest
        sane.append((number, latest))
    moments = accumulate((at for _, at in reversed(sane)), max)
    return [(number, at) for (number, _), at in zip(reversed(sane), moments, strict=True)]


def _age(generation: Generation, now: float) -> float:
    """Return how many seconds ago a generation was made: 0 for one that a wrong clock made in the future."""
    from datetime import datetime

    return max(0.0, now - datetime.fromisoformat(generation.created).timestamp())
