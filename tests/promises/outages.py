"""Power cuts, one after the other, at chosen steps and anywhere, and what must be true after each."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import kit
from kit import faults
from power import BUILD, KILLED, House

from envbuilder import profile as profiles

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTALL, UNINSTALL, REPAIR = ("hook", "install"), ("hook", "uninstall"), ("verify", "--repair", "--offline")
WORDS = {
    **dict.fromkeys(("package", "overlay", "generation"), BUILD),
    "switch": ("rollback",),
    "gc": ("gc",),
    "hook": INSTALL,
    "hook: unhooked": UNINSTALL,
    "hook: removed": UNINSTALL,
    "repair": REPAIR,
}
"""What comes to the steps of each commit; an uninstall leaves no home to look at."""


class Outages:
    """Cut the power again and again, and look what that does."""

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
        kind, before = self._random.choice(list(faults.CUTS)), self._prepared(BUILD)
        self._at.call_for(self._random.uniform(0, seconds), kind, *BUILD)
        self._look(BUILD, f"{kind} at some time", before)

    def _prepared(self, words: tuple[str, ...]) -> str:
        if words is BUILD:
            self._at.want(*self._random.choice([["ash"], ["ash"], ["birch"], ["ash", "birch"]]))
            if self._random.random() < 0.1:
                shutil.rmtree(self._at.layout.cache, ignore_errors=True)
        elif words == ("rollback",):
            while profiles.rollback_target(self._at.profile) is None:
                self._at.want("ash")
                self._at.must(*BUILD)
        elif words == INSTALL:
            self._at.must(*UNINSTALL)
        elif words == UNINSTALL:
            self._at.must(*INSTALL)
        elif words == REPAIR:
            self._at.want("ash")
            self._at.must(*BUILD)
            self._damage()
        return self._at.current()

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
        before = self._prepared(words)
        ended = self._at.call(*words, fault=fault)
        if ended.code == KILLED:
            self._look(words, f"{fault.kind} at {fault.event or fault.at}", before)
        elif ended.code:
            self.wrong.append(f"{words} ended with {ended.code}: {ended.stderr}")
        return ended.code == KILLED

    def _look(self, words: tuple[str, ...], what: str, before: str) -> None:
        self._at.disk.again()
        self.cuts += 1
        wrong = []
        if words == REPAIR:
            repaired = self._at.call(*REPAIR)
            wrong += [f"again: {repaired.stdout}{repaired.stderr}"] if repaired.code else []
        wrong += self._at.bad_files()
        after = self._at.current()
        wrong += filter(None, [self._at.starts()])
        verified = self._at.call("verify")
        if verified.code:
            wrong.append(f"verify: {verified.stdout}{verified.stderr}")
        if self._thorough or self.cuts % 4 == 0:
            wrong += self._repeated(words, before, after)
        self.wrong += [f"{' '.join(words)}, {what}: {text}" for text in wrong]

    def _repeated(self, words: tuple[str, ...], before: str, after: str) -> Iterator[str]:
        """Say what is wrong when the same call is made again, and with a rollback behind it."""
        again = self._at.call(*words)
        if again.code and (words is BUILD or before == after):
            yield f"again: {again.code} {again.stdout}{again.stderr}"
            return
        if words is BUILD and after not in (before, self._at.current()):
            yield f"{after[:12]} was current"
        rolled = self._at.call("rollback") if before else again
        if words is BUILD and rolled.code:
            yield f"rollback: {rolled.stderr}"
        yield from filter(None, [self._at.imports()])
        yield from self._at.bad_files()
