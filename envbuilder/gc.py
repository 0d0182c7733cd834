"""Collect what no generation needs: roots, then what they reach, then the rest goes.

Spared are, of every profile and base: the current generation, the one that a rollback would make current, the newest
(it may be built and not yet switched to), kept ones, what was current in the last 24 hours, what the options keep,
and whatever a living process holds the lease of. Records and locks of collected generations stay.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from os.path import join
from typing import TYPE_CHECKING

from envbuilder import profile as profiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from envbuilder.paths import Layout
    from envbuilder.profile import Generation, Profile

DAY = 86400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What to keep beyond what is always spared: the `keep` newest, and what was current `older_than` seconds ago."""

    keep: int = 0
    older_than: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Doomed:
    """A generation to collect."""

    profile: Profile
    generation: Generation


def spared(profile: Profile, policy: Policy, *, now: float) -> dict[int, str]:
    """Say which generations of a profile stay, and why: number → reason."""
    known = profiles.generations(profile)
    reasons: dict[int, str] = {}
    recent = _current_since(profile, now - DAY)
    asked = _current_since(profile, now - policy.older_than) if policy.older_than is not None else set()
    if policy.older_than is not None:
        asked |= {generation.number for generation in known if _age(generation, now) < policy.older_than}
    newest = known[-policy.keep :] if policy.keep else []
    for numbers, why in (
        ({profiles.current(profile)}, "current"),
        ({profiles.rollback_target(profile)}, "rollback target"),
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


def doomed(layout: Layout, policy: Policy, *, now: float) -> list[Doomed]:
    """List the generations whose overlays may go."""
    found: list[Doomed] = []
    for profile in profiles.all_profiles(layout):
        stay = spared(profile, policy, now=now)
        found.extend(
            Doomed(profile=profile, generation=generation)
            for generation in profiles.generations(profile)
            if generation.number not in stay and os.path.lexists(profile.pointer(generation.number))
        )
    return found


def live_overlays(layout: Layout, gone: Iterable[Doomed]) -> set[tuple[str, str]]:
    """Name the overlays, `(base key, digest)`, that a generation points to, but for those in `gone`."""
    leaving = {(entry.profile, entry.generation.number) for entry in gone}
    return {
        (profile.base_key, generation.digest)
        for profile in profiles.all_profiles(layout)
        for generation in profiles.generations(profile)
        if (profile, generation.number) not in leaving and os.path.lexists(profile.pointer(generation.number))
    }


def freed(paths: Iterable[str]) -> int:
    """Count the bytes on disk that removing `paths` frees: a file with a name elsewhere frees nothing."""
    seen: dict[tuple[int, int], tuple[int, int, int]] = {}
    total = 0
    for path in paths:
        for status in _stats(path):
            size = status.st_blocks * 512
            if status.st_nlink == 1 or _is_dir(status):
                total += size
                continue
            identity = (status.st_dev, status.st_ino)
            names, _, _ = seen.get(identity, (0, 0, 0))
            seen[identity] = (names + 1, status.st_nlink, size)
    return total + sum(size for names, links, size in seen.values() if names >= links)


def _stats(path: str) -> Iterator[os.stat_result]:
    try:
        yield os.lstat(path)
    except FileNotFoundError:
        return
    if os.path.islink(path) or not os.path.isdir(path):
        return
    for folder, folders, files in os.walk(path):
        for name in folders + files:
            yield os.lstat(join(folder, name))


def _is_dir(status: os.stat_result) -> bool:
    return (status.st_mode & 0o170000) == 0o040000


def _current_since(profile: Profile, since: float) -> set[int]:
    """Return what was current at `since` or became so later."""
    switches = profiles.order(profile).switches
    before = [number for number, at, _ in switches if at < since]
    return {number for number, at, _ in switches if at >= since} | set(before[-1:])


def _age(generation: Generation, now: float) -> float:
    from datetime import datetime

    return now - datetime.fromisoformat(generation.created).timestamp()
