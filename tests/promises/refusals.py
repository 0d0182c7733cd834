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
_NOT_REPAIRED = "warning: not repaired: "
_NAMES_PROGRAM = re.compile(r"`git`( does not start)?: ")
_STARTS = "subprocess.Popen"
_IN_TRASH = re.compile(r"/?home/trash/")
_MAY_DIFFER = re.compile(
    r"(lacking|stray): (home/cache/|(home/profiles/.*|work)/pylock\.|home/.*\d\.registry$)|in the base: .*__pycache__$"
)
"""A cache may be without something, or note a failure; the lock is in the home if it found no room beside the config.

What `registry.json` is made of is made again by whoever misses it.
"""

PASSED_OVER = {
    r"os\.truncate -": "the note in a lock of who has it",
    r"fcntl\.flock -": "the lock of a folder, which spares two of one machine the same work; errors of the locks that "
    "keep what must not be apart, below `flocks`, are told",
    r"(open|vpm_env\.write|os\.rename) /home/\.registry\.json\..*": "who misses it makes it again",
    r"(open|vpm_env\.(write|sync)|os\.rename) /home/profiles/.*/generations/\.\d+\.registry\..*": "the same",
    r"\S+ /home/cache/.*": "a cache",
    r"\S+ /home/tmp/[^/]+/(skeleton|resolve/stubs/kept)/.*": "what will be a cache",
    r"(os\.(mkdir|rename)|vpm_env\.sync) /home/tmp/[^/]+/resolve/stubs/kept": "the same",
    r"(open|vpm_env\.write) /home/reserve/.*|os\.mkdir /home/(reserve|trash)": "the next build sets that aside",
    r"os\.(remove|rmdir) [^/]*": "below a folder that is thrown away: a gc clears it up",
    r"os\.rmdir /home/tmp/.*": "the same",
    r"os\.rename /home/(profiles|overlays|sources|store|cache)": "an uninstall deletes it where it lies, then",
    r"os\.rmdir /base/.*/site-packages/.*": "an empty folder of a hook that is gone",
}
"""Changes that may be refused without a word, and why. Nothing that publishes is among them, or syncs for that."""

OF_REPAIR = r"open /home/flocks/.*|os\.mkdir /home/tmp/.*|vpm_env\.sync /home/profiles/.*/generations"
"""What may be refused to a repair, which tries another way, and looks at all of the home in the end: what is not right
then is told. What a power cut takes back after that the next verify finds."""

_OTHERWISE = (
    (("EACCES", "EROFS"), r"open /home/overlays/.*/\.lease", r""),
    (("EACCES",), r"\S+ (-|/work|/work/\.plugins\.yaml\..*)", r"vpm_env\.write /work/plugins\.yaml"),
    (("EACCES",), r"os\.link .*", r"os\.symlink .*"),
)
"""Errors after which it is done in another way, and the change that shows that: a lease is opened for reading, a config
that cannot be renamed over is written in place, a file that may have no second name gets a symlink."""


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

    def unwritten(self) -> Iterator[kit.Fault]:
        """Name every write and every rename that puts it in its place, for which there is no room."""
        for event in (faults.WRITE, "os.rename"):
            for at in range(1, 1 + sum(change.startswith(f"{event} ") for change in self.clean.changes)):
                yield kit.Fault("ENOSPC", at=at, event=f"{event} ")

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
        self._refused.told += told.code != 0 or _is_told(told, fault)
        self._refused.places[_shape(refused[0])] += 1
        wrong = [*self._wrong_words(told, fault, refused), *self._left()]
        if told.code == 0 and not _is_told(told, fault) and not self._may_pass(told, fault):
            wrong.append("the error is told to nobody")
        wrong += [what for what in self.wrong(1) if not _MAY_DIFFER.match(what)]
        if wrong:
            where = refused[0].replace(str(world.folder), "")
            self._tally.violations.append(f"{story.name}, {fault.kind} at {fault.at} ({where}): " + "; ".join(wrong))

    def _may_pass(self, told: kit.Ended, fault: kit.Fault) -> bool:
        """Tell whether all that was refused may be passed over, or was done after all."""
        changes = [change.replace(str(self._world.folder), "") for change in told.changes]
        begin = f"{faults.REFUSED} "
        done = [
            "" if change.startswith(begin) or after.startswith(begin) else change
            for change, after in zip(changes, [*changes[1:], ""], strict=True)
        ]
        made = {os.path.normpath(change) for change in done if change.startswith("os.mkdir /")}
        refused = [(at, change.removeprefix(begin)) for at, change in enumerate(changes) if change.startswith(begin)]
        return all(
            os.path.normpath(change) in made or self._may_be_missed(change, done[at:], fault.kind)
            for at, change in refused
        )

    def _may_be_missed(self, refused: str, done: list[str], kind: str) -> bool:
        """Tell whether one change may be passed over; `done` is what was done from then on."""
        if refused.startswith("os.mkdir ") and (self._kept / refused.removeprefix("os.mkdir /")).is_dir():
            return True
        if refused.startswith(f"{_STARTS} ") and refused in done:
            return True  # what came of it was had at a second try, and stands
        if kind in ("ENOSPC", "EDQUOT") and _shape(refused) in map(_shape, done):
            return True
        also = (OF_REPAIR,) if self._story.is_damaged else ()
        if any(re.fullmatch(pattern, refused) for pattern in (*PASSED_OVER, *also)):
            return True
        return any(
            kind in kinds and re.fullmatch(pattern, refused) and any(re.match(shown, one) for one in ["", *done])
            for kinds, pattern, shown in _OTHERWISE
        )

    def _wrong_words(self, told: kit.Ended, fault: kit.Fault, refused: list[str]) -> list[str]:
        """Say what is wrong with what a refused call said: one error, in the system's words, with a path.

        A program that does not start is named instead, and a repair tells each thing once that it could not mend.
        """
        said = told.stdout + told.stderr
        if "Traceback" in said or told.code not in (0, 1):
            return [f"ended with {told.code}: {said}"]
        if told.code == 0:
            return []
        if fault.kind == "EACCES" and "in use" in said and all(" fcntl.flock " in change for change in refused):
            return []  # so a server of files says that somebody has the lock
        lines = told.stderr.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        unmended = [line for line in lines if line.startswith(_NOT_REPAIRED)] if self._story.is_damaged else []
        wrong = []
        if len(errors) + bool(unmended) != 1 or len(unmended) != len(set(unmended)):
            wrong.append(f"not one error: {said}")
        if _system_words(fault) not in told.stderr.lower():
            wrong.append(f"the system's words are not told: {said}")
        starts = all(change.startswith(f"{faults.REFUSED} {_STARTS} ") for change in refused)
        if "/" not in told.stderr and not (starts and _NAMES_PROGRAM.search(told.stderr)):
            wrong.append(f"no path: {told.stderr}")
        return wrong

    def _left(self) -> list[str]:
        """Name what a refused call has left behind, before anybody clears up."""
        world = self._world
        return [f"left: {path}" for path in world.strays() if path not in self._before and not _IN_TRASH.match(path)]


def _is_told(told: kit.Ended, fault: kit.Fault) -> bool:
    """Tell whether the system's words are there, in a warning for instance."""
    return _system_words(fault) in (told.stdout + told.stderr).lower()


def _system_words(fault: kit.Fault) -> str:
    return os.strerror(getattr(errno, fault.kind)).lower()


def _shape(change: str) -> str:
    """Say what kind of place a change is: its event, and its path without what differs each time."""
    event, _, path = change.removeprefix(f"{faults.REFUSED} ").partition(" ")
    short = "/".join(path.split("/")[-2:])
    return f"{event} {re.sub(r'[0-9a-f]{6,}|[0-9]+', '#', short)}"
