"""verify --repair: what is damaged is had again from where it came from, or from where another copy lies.

In an order in which each step can rely on the one before: what is only remembered goes; what was kept with generations
is what packages are had by; packages are what overlays link to; overlays are what generations point to. Whatever stops
in between, the same call again finds less to do.
"""

from __future__ import annotations

from os.path import isdir, islink
from typing import TYPE_CHECKING

from envbuilder import (
    fs,
    home_damage,
    overlay,
    overlay_repair,
    package_repair,
    profile_repair,
    protocol,
    registry,
    startup,
    swapping,
    verification,
)
from envbuilder.classes import dataclass
from envbuilder.mending import Mended, Mending
from envbuilder.paths import FORMAT
from envbuilder.scope import make_home

if TYPE_CHECKING:
    from collections.abc import Callable

    from envbuilder.base import Base
    from envbuilder.damage import Wrong
    from envbuilder.paths import Environment, Layout
    from envbuilder.report import Reporter
    from envbuilder.scope import Options
    from envbuilder.verification import Verified


@dataclass(frozen=True, kw_only=True, slots=True)
class Repaired:
    """What verify found `before` and `after`; `repaired` is what was done about it, `refused` why not."""

    before: Verified
    after: Verified
    repaired: tuple[Mended, ...]
    refused: tuple[Mended, ...]


_PASSES = 3
"""Where a folder was no folder, what must be in it is missing when it is one."""


def repair(layout: Layout, options: Options, env: Environment, report: Reporter, *, offline: bool = False) -> Repaired:
    """Mend everything that verify finds, or say why not; one problem never stops the others.

    Raise `HomeError` for what is no home of ours.
    """
    mending = Mending(layout=layout, options=options, env=env, report=report, offline=offline)

    def find_base() -> Base | None:
        return verification.base_in_reach(layout, options, env)

    _mend_format(mending)
    make_home(layout)
    with verification.at_bay(layout, env.lock_wait, report.waiting):
        before = verification.look(layout, find_base)
        _mend_all(mending, before.wrong, lambda: verification.look(layout).wrong)
        after = verification.look(layout, find_base)
    return Repaired(before=before, after=after, repaired=tuple(mending.done), refused=_of_what_is_left(mending, after))


def _mend_all(mending: Mending, wrong: tuple[Wrong, ...], again: Callable[[], tuple[Wrong, ...]]) -> None:
    """Mend in turn; what rests on something else is looked at again when that is mended."""
    if not wrong:
        return
    _mend_home(mending, [entry for entry in wrong if entry.kind == home_damage.KIND])
    profile_repair.mend_kept(mending, [entry for entry in wrong if entry.kind == "profile"])
    package_repair.mend(mending, _packages(mending, wrong), _needed(mending.layout, wrong))
    overlay_repair.describe_again(mending, [entry for entry in again() if entry.kind == "overlay"])
    package_repair.mend(mending, _packages(mending, again()), _needed(mending.layout, ()))
    for _ in range(_PASSES):
        overlay_repair.mend(mending, [entry for entry in again() if entry.kind == "overlay"])
    profile_repair.mend(mending, [entry for entry in again() if entry.kind == "profile"])
    _mend_hook(mending, [entry for entry in wrong if entry.kind == verification.HOOK])


def _packages(mending: Mending, wrong: tuple[Wrong, ...]) -> list[Wrong]:
    """Return what is wrong with packages; what was refused is not tried again."""
    refused = {entry.name for entry in mending.refused}
    return [entry for entry in wrong if entry.kind == "package" and entry.name not in refused]


def _needed(layout: Layout, wrong: tuple[Wrong, ...]) -> frozenset[str]:
    """Name the packages that a set has, of which the manifest can be read; all, where one cannot."""
    from envbuilder import store

    overlays = list(overlay.all_overlays(layout))
    if any(entry.kind == "overlay" and entry.cure == "seal" for entry in wrong):
        return frozenset(store.keys(layout))
    return frozenset(key for entry in overlays for key in overlay.members(layout, *entry))


def _mend_format(mending: Mending) -> None:
    for entry in home_damage.look_at_format(mending.layout):
        with mending.attempt(entry, "`format` was written again"):
            path = mending.layout.format
            if isdir(path) and not islink(path):
                mending.throw(path)
            fs.write_atomic(path, f"{FORMAT}\n".encode())


def _mend_home(mending: Mending, wrong: list[Wrong]) -> None:
    for entry in wrong:
        if entry.cure not in _CURES:
            mending.refuse(entry, entry.text)
            continue
        done, cure = _CURES[entry.cure]
        with mending.attempt(entry, done(entry.text)):
            cure(mending, entry)
    protocol.reached("repair", "dropped")


def _take_over(_: Mending, entry: Wrong) -> None:
    swapping.take_over(*entry.at)


def _throw(mending: Mending, entry: Wrong) -> None:
    mending.throw(entry.at)


def _tell_again(mending: Mending, _: Wrong) -> None:
    mending.throw(mending.layout.registry)
    registry.renew(mending.layout)


_CURES: dict[str, tuple[Callable[[str], str], Callable[[Mending, Wrong], None]]] = {
    home_damage.RIGHTS: (lambda text: f"{' '.join(text.split(' ')[:3])} has its rights again", _take_over),
    home_damage.AWAY: (lambda text: f"{text.partition('` ')[0].rstrip('`:')}` went to the trash", _throw),
    home_damage.NOTICE: (lambda _: "`registry.json` was written again", _tell_again),
}
"""Cure → what is said of it, by what was wrong; and what it does."""


def _mend_hook(mending: Mending, wrong: list[Wrong]) -> None:
    """Write a damaged hook again, with all that it had; half a one is for whoever knows what it should be."""
    if not wrong:
        return
    entry, base = wrong[0], wrong[0].at
    hook = startup.inspect(base)
    if not (hook.installed and hook.home and hook.profile):
        way = "`vpm-env hook install` completes it, `vpm-env hook uninstall` takes it away"
        mending.refuse(entry, f"what it was made for cannot be read: {way}")
        return
    with mending.attempt(entry, "the hook was written again"):
        startup.install_again(base, hook)


def _of_what_is_left(mending: Mending, after: Verified) -> tuple[Mended, ...]:
    """Return why what is left is left; what was mended in the end was refused for a while only."""
    left = {entry.name for entry in after.wrong}
    known = {entry.name for entry in mending.refused}
    unexplained = [Mended(entry.kind, entry.name, entry.text) for entry in after.wrong if entry.name not in known]
    return (*(entry for entry in mending.refused if entry.name in left), *unexplained)
