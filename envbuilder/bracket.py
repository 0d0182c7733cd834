"""Between which two generations a bisection looks, and whether it can."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from envbuilder import profile as profiles
from envbuilder.errors import BisectError
from envbuilder.rebuilding import rebuild
from envbuilder.switching import chosen, ensure, named

if TYPE_CHECKING:
    from envbuilder.profile import Generation, Profile
    from envbuilder.report import Reporter
    from envbuilder.scope import Scope


def require_writable(found: Scope) -> None:
    """Raise `BisectError` where no sets can be made."""
    home = found.layout.home
    if os.path.isdir(home) and not os.access(home, os.W_OK | os.X_OK):
        raise BisectError(
            f"`bisect` makes sets in `{home}`, and this user cannot write to it",
            hint="run it where the home can be written to, or leave out one plugin at a time: `vpm-env run --without`",
        )


def generation_of(name: str | int | None, found: Scope, profile: Profile, report: Reporter) -> Generation:
    """Return the generation that `name` names, or the current one; one that was collected is made again."""
    if name is None:
        return chosen(profile, None)
    generation = named(profile, str(name))
    with profiles.changing(profile, wait=found.lock_wait, on_wait=report.waiting):
        ensure(profile, generation, rebuild(found, report))
    return generation


def left_as_bad(profile: Profile, report: Reporter) -> int | None:
    """Name the bad generation that a rollback came back from, if that was the last thing that happened."""
    order = profiles.order(profile)
    if not (order.held and order.switches and order.switches[-1][2] == "rollback"):
        return None
    number = newest_bad(profile, profiles.read(profile, order.numbers[-1]).digest)
    if number is None or number < order.numbers[-1]:
        return None
    report.note(f"generation {number} is marked bad, and was left: looking there, not at what is current")
    return number


def newest_bad(profile: Profile, digest: str) -> int | None:
    """Name the newest generation that is marked bad and is another set than `digest`."""
    known = profiles.generations(profile)
    return max((one.number for one in known if one.state == "bad" and one.digest != digest), default=None)
