"""What serving said of a generation: good, or bad, and then back to the last good one.

Only one that is not good yet can turn out to be bad: what served once and dies later died of something else. And what
is gone back to is the control: where it fails in the same way, it was not the set.
"""

from __future__ import annotations

import time

from envbuilder import profile as profiles
from envbuilder.errors import ProfileError, VpmError
from envbuilder.switching import ensure, is_sound, mark, rollback_order
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.profile import Generation, OnWait, Profile
    from envbuilder.switching import Rebuild

SPARED, MOVED, ALONE, BACK = "spared", "moved", "alone", "back"


class Verdict(NamedTuple):
    """What came of a failure.

    `spared`: somebody else found the set good meanwhile, it is as it was; `moved`: another generation is current by
    now; `alone`: there is none to go back to; `back`: `target` is current, and the profile held. `failed` is the record
    of what failed, and `was_held` whether the profile was held, before all that.
    """

    kind: str
    failed: Generation
    target: Generation | None = None
    was_held: bool = False


def acquit(profile: Profile, number: int, why: str, *, wait: float) -> bool:
    """Mark a generation good, for the reason `why`. One that a person marked bad stays so. Tell whether it is good."""
    with profiles.locked(profile, wait=wait):
        found = profiles.read(profile, number)
        if found.state == "bad" and not found.why:
            return False
        if found.state != "good":
            mark(profile, number, state="good", why=why, judged=_now())
        return True


def condemn(
    profile: Profile,
    number: int,
    why: str,
    *,
    wait: float,
    rebuild: Rebuild,
    wait_told: OnWait = None,
    marks_alone: bool = True,
) -> Verdict:
    """Mark a generation bad, and go back to the last good one if it is still current; the profile is held there.

    Where none is good, it is the last one that is not bad. Never the same set under another number. Unless
    `marks_alone`, one that has no other to go back to stays as it is: nothing could tell whether it is the set.
    """
    with profiles.changing(profile, wait=wait, on_wait=wait_told):
        failed = profiles.read(profile, number)
        if failed.state == "good":
            return Verdict(SPARED, failed)
        if profiles.current(profile) != number:
            _mark_bad(profile, failed, why)
            return Verdict(MOVED, failed)
        target = _usable_target(profile, failed, rebuild)
        if target or marks_alone:
            _mark_bad(profile, failed, why)
        if target is None:
            return Verdict(ALONE, failed)
        was_held = profiles.order(profile).held
        after = rollback_order(profile, target.number)
        profiles.switch(profile, target.number, verb="rollback", hold=True, after=after)
        return Verdict(BACK, failed, target, was_held)


def clear(profile: Profile, verdict: Verdict, why: str, *, wait: float, wait_told: OnWait = None) -> int | None:
    """Take back that a set was found bad, for the reason `why`; return the number of what is current then.

    What was gone back to stays current if it is good; else nothing speaks for it, and all is as it was before.
    """
    failed = verdict.failed
    with profiles.changing(profile, wait=wait, on_wait=wait_told):
        found = profiles.read(profile, failed.number)
        if found.state == "bad" and found.why:  # a person's judgement stays
            mark(profile, failed.number, state=failed.state, why=failed.why or why, judged=_now())
        now = profiles.current(profile)
        target = verdict.target
        if target is None or target.number != now or profiles.read(profile, now).state == "good":
            return now
        if is_sound(profile, failed):
            profiles.switch(profile, failed.number, verb="switch", hold=verdict.was_held)
        return profiles.current(profile)


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


def _mark_bad(profile: Profile, failed: Generation, why: str) -> None:
    if failed.state != "bad" or failed.why:  # else a person did
        mark(profile, failed.number, state="bad", why=why, judged=_now())


def _usable_target(profile: Profile, failed: Generation, rebuild: Rebuild) -> Generation | None:
    for target in _targets(profile, failed):
        try:
            ensure(profile, target, rebuild)
        except VpmError:
            continue  # collected or damaged, and its sources are gone: another one will do
        return target
    return None


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
