"""Power cuts, one after the other, at chosen steps and anywhere, and what must be true after each."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import kit
from kit import faults
from power import BUILD, KILLED, House

from envbuilder import profile as profiles

if TYPE_CHECKING:
    from collections.abc import Iterator

BACK = ("rollback",)
NOTHING_BEHIND = "has no earlier generation to roll back to"
INSTALL, UNINSTALL, REPAIR = ("hook", "install"), ("hook", "uninstall"), ("verify", "--repair", "--offline")
WORDS = {
    **dict.fromkeys(("package", "overlay", "generation"), BUILD),
    "switch": BACK,
    "gc": ("gc",),
    "hook": INSTALL,
    "hook: unhooked": UNINSTALL,
    "hook: removed": UNINSTALL,
    "repair": REPAIR,
}
"""What comes to the steps of each commit; an uninstall leaves no home to look at."""

_MANY = 4
"""Overlays, from which on a gc comes before the next call: all files of all of them are read after each cut."""


@dataclass(frozen=True)
class Sets:
    """The sets that may be current after a cut: the old one, and what a rollback goes to."""

    old: str
    new: str = ""


class Outages:
    """Cut the power again and again, and look what that does.

    `cuts` are those that a call was met by; one that comes when it had ended already is looked at, but not counted.
    """

    def __init__(self, at: House, *, thorough: bool, seed: str) -> None:
        self._at, self._thorough = at, thorough
        self._random = random.Random(seed)
        self.cuts = 0
        self.wrong: list[str] = []

    def at_step(self, words: tuple[str, ...], step: str) -> None:
        """Cut when a step of a commit is done."""
        kind = self._random.choice(list(faults.CUTS))
        fault = kit.Fault(kind, event=f"{faults.STEP} {step}", gate=str(self._at.disk.mount))
        for _ in range(3):  # what was made before comes to fewer steps
            if self._cut(words, fault):
                return
        self.wrong.append(f"{words}: `{step}` was not come to")

    def somewhere(self, changes: int) -> None:
        """Cut a build at any of its changes."""
        kind, at = self._random.choice(list(faults.CUTS)), self._random.randint(1, changes)
        self._cut(BUILD, kit.Fault(kind, at=at, gate=str(self._at.disk.mount)))

    def sometime(self, seconds: float) -> None:
        """Cut a build at any moment, also while others work for it."""
        kind, sets = self._random.choice(list(faults.CUTS)), self._prepared(BUILD)
        ended = self._at.call_for(self._random.uniform(0, seconds), kind, *BUILD)
        self._look(BUILD, f"{kind} at some time", sets, is_counted=ended.code == KILLED)

    def _prepared(self, words: tuple[str, ...]) -> Sets:
        """Make the ground for a call, and say which sets may be current after it was cut."""
        if len(list(Path(self._at.layout.overlays).glob("*/*"))) > _MANY:
            self._at.must("gc")
        if words is BUILD:
            self._at.want(*self._random.choice([["ash"], ["ash"], ["birch"], ["ash", "birch"]]))
            if self._random.random() < 0.1:
                shutil.rmtree(self._at.layout.cache, ignore_errors=True)
        elif words == BACK:
            while not self._at.behind():
                self._at.want("ash")
                self._at.must(*BUILD)
        elif words == INSTALL:
            self._at.must(*UNINSTALL)
        elif words == UNINSTALL:
            self._at.must(*INSTALL)
        elif words == REPAIR:
            self._at.want("ash")
            self._at.must(*BUILD)
        sets = Sets(self._at.current(), self._at.behind() if words == BACK else "")
        if words == REPAIR:
            self._damage()
        return sets

    def _damage(self) -> None:
        """Spoil a package of the current set, and lose what leads to it."""
        layout, profile = self._at.layout, self._at.profile
        overlay = Path(os.path.realpath(profile.current))
        other = next(path for path in Path(layout.overlays).glob("*/*") if path != overlay)
        other.joinpath("overlay.json").write_text("{}")
        next(Path(layout.store).glob("*-ash-*/lib/ash/m1.py")).unlink()
        next(overlay.glob("lib/*/site-packages/ash")).unlink()
        Path(profile.pointer(profiles.numbers(profile)[-1])).unlink()
        os.sync()

    def _cut(self, words: tuple[str, ...], fault: kit.Fault) -> bool:
        sets = self._prepared(words)
        ended = self._at.call(*words, fault=fault)
        if ended.code == KILLED:
            self._look(words, f"{fault.kind} at {fault.event or fault.at}", sets)
        elif ended.code:
            self.wrong.append(f"{words} ended with {ended.code}: {ended.stderr}")
        return ended.code == KILLED

    def _look(self, words: tuple[str, ...], what: str, sets: Sets, *, is_counted: bool = True) -> None:
        self._at.disk.again()
        self.cuts += is_counted
        wrong = list(self._bad() if words != REPAIR else ())  # that was damaged before the cut
        wrong += [self._at.starts()]
        wrong += self._repeated(words, sets)
        wrong += self._bad()
        if self._thorough or self.cuts % 4 == 0:
            wrong += self._gone_back()
        self.wrong += [f"{' '.join(words)}, {what}: {text}" for text in wrong if text]

    def _bad(self) -> Iterator[str]:
        """Say what of a home is wrong at any moment."""
        yield from self._at.bad_files()
        verified = self._at.call("verify")
        if verified.code:
            yield f"verify: {verified.stdout}{verified.stderr}"

    def _repeated(self, words: tuple[str, ...], sets: Sets) -> Iterator[str]:
        """Say what is wrong when the same call is made again: it succeeds, or says why it has nothing to do.

        Right after the cut the old set is current, or the new one: what a build makes, what a rollback goes to.
        """
        after, behind = self._at.current(), self._at.behind() if words == BACK else ""
        again = self._at.call(*words)
        now = self._at.current()
        is_done = words == BACK and after == sets.new
        if again.code and not (is_done and not behind and NOTHING_BEHIND in again.stderr):
            yield f"again: {again.code} {again.stdout}{again.stderr}"
            return
        new = {BUILD: now, BACK: sets.new}.get(words, sets.old)
        if after not in (sets.old, new) and words != REPAIR:
            yield f"{after[:12] or 'nothing'} was current"
        wanted = {BUILD: now, BACK: (behind or after) if is_done else sets.new}.get(words, sets.old)
        if now != wanted or not now:
            yield f"{now[:12] or 'nothing'} is current after the same call"
        yield from filter(None, [self._at.imports()])

    def _gone_back(self) -> Iterator[str]:
        """Say what is wrong with a rollback, and with the set that it goes to."""
        behind = self._at.behind()
        rolled = self._at.call(*BACK)
        if bool(rolled.code) == bool(behind) or behind not in ("", self._at.current()):
            yield f"rollback: {rolled.code} {rolled.stderr}"
        yield from filter(None, [self._at.imports()])
        yield from self._at.bad_files()
