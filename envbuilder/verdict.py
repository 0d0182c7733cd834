"""What serving said of a generation: good, or bad, and then back to the last good one.

Only one that is not good yet can turn out to be bad: what served once and dies later died of something else.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from envbuilder import profile as profiles
from envbuilder.errors import ProfileError, VpmError
from envbuilder.switching import ensure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.profile import Generation, OnWait, Profile
    from envbuilder.switching import Rebuild

SPARED, MOVED, ALONE, BACK = "spared", "moved", "alone", "back"


class Verdict(NamedTuple):
    """What came of a failure.

    `spared`: somebody else found the set good meanwhile, it is as it was; `moved`: another generation is current by
    now; `alone`: there is none to go back to; `back`: `target` is current, and the profile held.
    """

    kind: str
    target: Generation | None = None


def acquit(profile: Profile, number: int, why: str, *, wait: float) -> bool:
    """Mark a generation good, for the reason `why`. One that a person marked bad stays so. Tell whether it is good."""
    with profiles.locked(profile, wait=wait):
        found = profiles.read(profile, number)
        if found.state == "bad" and not found.why:
            return False
        if found.state != "good":
            profiles.mark(profile, number, state="good", why=why, judged=_now())
        return True


def condemn(
    profile: Profile, number: int, why: str, *, wait: float, rebuild: Rebuild, wait_told: OnWait = None
) -> Verdict:
    """Mark a generation bad, and go back to the last good one if it is still current; the profile is held there.

    Where none is good, it is the last one that is not bad. Never the same set under another number.
    """
    with profiles.changing(profile, wait=wait, on_wait=wait_told):
        failed = profiles.read(profile, number)
        if failed.state == "good":
            return Verdict(SPARED)
        if failed.state != "bad" or failed.why:
            profiles.mark(profile, number, state="bad", why=why, judged=_now())
        if profiles.current(profile) != number:
            return Verdict(MOVED)
        for target in _targets(profile, failed):
            try:
                ensure(profile, target, rebuild)
            except VpmError:
                continue  # collected, and its sources are gone: an older one will do
            after = profiles.rollback_order(profile, target.number)
            profiles.switch(profile, target.number, verb="rollback", hold=True, after=after)
            return Verdict(BACK, target)
        return Verdict(ALONE)


def outcome(profile: Profile, number: int, why: str, verdict: Verdict) -> str:
    """Say in one line what came of a failure."""
    failed = profiles.read(profile, number)
    name = f"generation {number} ({failed.digest[:12]})"
    if verdict.kind == SPARED:
        return f"{name} stays: {why}, and yet it was found good meanwhile"
    if verdict.kind == MOVED:
        return f"{name} is marked bad: {why}; generation {profiles.current(profile)} is current by now"
    if verdict.target is None:
        return f"{name} is marked bad, and stays current: {why}; there is no other to go back to"
    target = f"generation {verdict.target.number} ({verdict.target.digest[:12]})"
    return f"{name} is marked bad: {why}; rolled back to {target}, and the profile is held there"


def _targets(profile: Profile, failed: Generation) -> Iterator[Generation]:
    """Name what may become current again, the likeliest to serve first."""
    numbers = dict.fromkeys(reversed(profiles.order(profile).numbers[:-1]))
    known: list[Generation] = []
    for number in numbers:
        try:
            known.append(profiles.read(profile, number))
        except ProfileError:
            continue  # a record that cannot be read is no way back
    able = [one for one in known if one.state != "bad" and one.digest != failed.digest]
    yield from sorted(able, key=lambda one: one.state != "good")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
