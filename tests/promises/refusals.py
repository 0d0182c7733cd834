"""Calls to which the system refuses something: one change after another, with what it may say to each."""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import kit
from kills import Stage, Story, Tally
from kit import faults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worlds import World

ERRNOS = ("ENOSPC", "EIO", "EACCES", "EROFS", "EDQUOT", "EMFILE")
_TELLING = ("error: ", "warning: not repaired: ")
_IN_TRASH = re.compile(r"/?home/trash/")
_MAY_DIFFER = re.compile(
    r"(lacking|stray): (home/cache/|(home/profiles/.*|work)/pylock\.|home/.*\d\.registry$)|in the base: .*__pycache__$"
)
"""A cache may be without something, or note a failure; the lock is in the home if it found no room beside the config.

What `registry.json` is made of is made again by whoever misses it.
"""


@dataclass
class Refused(Tally):
    """What was refused, how often it was told and how often passed over, and at how many different places."""

    count: int = 0
    told: int = 0
    places: Counter[str] = field(default_factory=Counter)


class Refusals(Stage):
    """A story on its ground, to which the system refuses one thing for each try."""

    def __init__(self, world: World, story: Story, tally: Refused) -> None:
        super().__init__(world, story, tally)
        self._refused = tally
        world.put_back(self._kept)
        self._before = world.strays()

    def points(self, stride: int, offset: int = 0, *, every_errno: bool = False) -> Iterator[kit.Fault]:
        """Name the places: of all changes that a number of an error can happen to every `stride`th.

        Which error it is goes in turn, unless it is to be every one.
        """
        for turn, kind in enumerate(ERRNOS):
            able = [change for change in self.clean.changes if faults.can_fail(kind, change.split(" ")[0])]
            for at in range(1, len(able) + 1):
                if every_errno or ((at + offset) % stride == 0 and (at + offset) // stride % len(ERRNOS) == turn):
                    yield kit.Fault(kind, at=at)

    def lasting(self, stride: int) -> Iterator[kit.Fault]:
        """Name places from which on the disk is full."""
        able = [change for change in self.clean.changes if faults.can_fail("ENOSPC", change.split(" ")[0])]
        for at in range(1, len(able) + 1, stride):
            yield kit.Fault("ENOSPC", at=at, always=True)

    def refuse(self, fault: kit.Fault) -> None:
        """Refuse the call one thing, and look what it says and leaves."""
        world, story = self._world, self._story
        world.put_back(self._kept)
        told = world(*story.words, fault=fault)
        refused = [change for change in told.changes if change.startswith(faults.REFUSED)]
        if not refused:
            return
        self._refused.count += 1
        self._refused.told += told.code != 0
        self._refused.places[_shape(refused[0])] += 1
        wrong = [*_wrong_words(told, fault, refused), *self._left()]
        wrong += [what for what in self.wrong(1) if not _MAY_DIFFER.match(what)]
        if wrong:
            where = refused[0].replace(str(world.folder), "")
            self._tally.violations.append(f"{story.name}, {fault.kind} at {fault.at} ({where}): " + "; ".join(wrong))

    def _left(self) -> list[str]:
        """Name what a refused call has left behind, before anybody clears up."""
        world = self._world
        return [f"left: {path}" for path in world.strays() if path not in self._before and not _IN_TRASH.match(path)]


def _wrong_words(told: kit.Ended, fault: kit.Fault, refused: list[str]) -> list[str]:
    """Say what is wrong with what a refused call said."""
    said = told.stdout + told.stderr
    if "Traceback" in said or told.code not in (0, 1):
        return [f"ended with {told.code}: {said}"]
    if told.code == 0:
        return []
    errors = [line for line in told.stderr.splitlines() if line.startswith(_TELLING)]
    if len(errors) != 1:
        return [f"{len(errors)} errors: {said}"]
    wrong = []
    words = os.strerror(getattr(errno, fault.kind)).lower()
    if words not in told.stderr.lower():
        wrong.append(f"the system's words are not told: {told.stderr}")
    if "/" not in told.stderr:
        wrong.append(f"no path: {told.stderr}")
    return wrong


def _shape(change: str) -> str:
    """Say what kind of place a change is: its event, and its path without what differs each time."""
    event, _, path = change.removeprefix(f"{faults.REFUSED} ").partition(" ")
    short = "/".join(path.split("/")[-2:])
    return f"{event} {re.sub(r'[0-9a-f]{6,}|[0-9]+', '#', short)}"
