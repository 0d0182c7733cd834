"""Calls that are killed at one place after another, and what must be true after each."""

from __future__ import annotations

import json
import random
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import kit
from worlds import NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from worlds import World

KILLED = -int(signal.SIGKILL)


@dataclass(frozen=True)
class Story:
    """A call to kill: what makes the ground for it, and its words.

    `then` is what is called after the kill, if that is not the same again; `again` are the exit codes that it may end
    with. A call that `moves_on` does more each time, as a rollback does; a home that `is_damaged` needs not be found
    sound before that, and a `variant` comes to the steps of another story. `short` and `long` say at which of the
    changes it is killed: at every so manyth.
    """

    name: str
    words: tuple[str, ...]
    ground: Callable[[World], None]
    then: tuple[str, ...] = ()
    again: tuple[int, ...] = (0,)
    moves_on: bool = False
    is_damaged: bool = False
    is_variant: bool = False
    short: int = 1
    long: int = 1


@dataclass
class Tally:
    """What was done in all stories: kills, looks at all files of a base, violations, and steps that were come to."""

    kills: int = 0
    looks: int = 0
    violations: list[str] = field(default_factory=list)
    steps: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Clean:
    """A story without a kill: the changes, the current sets before and after, and what lies where in the end."""

    changes: tuple[str, ...]
    before: str
    after: str
    names: frozenset[str]
    base: dict[str, str]
    begins_empty: bool
    ends_empty: bool

    @property
    def may_be_empty(self) -> bool:
        """Tell whether there is no home before the call, or none after it."""
        return self.begins_empty or self.ends_empty


class Stage:
    """One story on its ground: it is put back for each kill."""

    def __init__(self, world: World, story: Story, tally: Tally) -> None:
        self._world, self._story, self._tally = world, story, tally
        story.ground(world)
        self._kept = world.save(story.name)
        self.clean = self._told()

    def _told(self) -> Clean:
        world = self._world
        before, base, begins_empty = world.current(), self._base(), world.is_empty
        told = world.must(*self._story.words)
        self._note_steps(told)
        if self._story.then:
            self._note_steps(world.must(*self._story.then))
        after, ends_empty = world.current(), world.is_empty
        world.must("gc", "--grace", "0s")
        return Clean(told.changes, before, after, frozenset(world.names()), base, begins_empty, ends_empty)

    def put_back(self) -> None:
        """Make the ground as it was."""
        self._world.put_back(self._kept)

    @property
    def steps(self) -> list[str]:
        """Name the steps that the call comes to, as changes."""
        return [change for change in self.clean.changes if change.startswith(kit.faults.STEP)]

    def faults(self, stride: int = 1, offset: int = 0) -> Iterator[kit.Fault]:
        """Name the places to kill at: every step, unless of a variant, and of all changes every `stride`th."""
        if stride > 1 and not self._story.is_variant:
            for step in dict.fromkeys(self.steps):
                yield kit.Fault("kill", event=step, at=self.steps.count(step))
        for at in range(1 + offset % stride, len(self.clean.changes) + 1, stride):
            yield kit.Fault("kill", at=at)

    def tears(self, stride: int = 1, offset: int = 0) -> Iterator[kit.Fault]:
        """Name the writes to kill in the middle of: half of the file is there."""
        writes = sum(change.startswith(kit.faults.WRITE) for change in self.clean.changes)
        for at in range(1 + offset % stride, 1 + writes, stride):
            yield kit.Fault("tear", event=kit.faults.WRITE, at=at)

    def kill(self, *faults: kit.Fault) -> None:
        """Kill the call at a place, the same call again at the next, and look what that leaves."""
        self.put_back()
        told = [self._world(*self._story.words, fault=fault) for fault in faults]
        where = ", then ".join(f"at {one.changes[-1] if one.changes else '-'}" for one in told)
        places = ", ".join(f"{fault.event or 'change'} {fault.at}" for fault in faults)
        self.judge(told, self._tally, f"{where} ({places})".replace(str(self._world.folder), ""))

    def judge(
        self, told: list[kit.Ended], tally: Tally, where: str, settled: Callable[[], None] = lambda: None
    ) -> None:
        """Count kills that were done, and what they violate; `settled` waits for what they left running."""
        story = self._story
        wrong = [f"ended by itself: {one.code} {one.stderr}" for one in told if one.code not in (KILLED, *story.again)]
        kills = sum(one.code == KILLED for one in told)
        tally.kills += kills
        for one in told:
            self._note_steps(one)
        if kills:
            wrong += self.wrong(len(told), settled)
        if wrong:
            tally.violations.append(f"{story.name}, killed {where}: " + "; ".join(wrong))

    def wrong(self, calls: int, settled: Callable[[], None] = lambda: None) -> list[str]:
        """Say what is wrong after some calls, and after the same call and a gc.

        A call that moves on with each time may have come to its end by then.
        """
        world, story, clean = self._world, self._story, self.clean
        sets = sets_of(world.home)
        allowed = set(sets) if story.moves_on else {clean.before, clean.after}
        found = world.broken(allowed, sets, is_damaged=story.is_damaged, may_be_empty=clean.may_be_empty)
        wrong = [f"right after: {what}" for what in found]
        again = world(*(story.then or story.words))
        if again.code not in (*story.again, *(1,) * story.moves_on * (calls - 1)):
            wrong.append(f"again: {again.code} {again.stdout}{again.stderr}")
        sets |= sets_of(world.home)
        wanted = {clean.after, *sets} if story.moves_on else {clean.after}
        wrong += [f"in the end: {what}" for what in world.broken(wanted, sets, may_be_empty=clean.ends_empty)]
        settled()
        collected = world("gc", "--grace", "0s")
        if collected.code != 0:
            wrong.append(f"gc: {collected.code} {collected.stdout}{collected.stderr}")
        wrong += [f"stray: {path}" for path in world.strays()]
        self._tally.looks += 1
        base = self._base().items() ^ clean.base.items()
        return [*wrong, *self._differing(), *(f"in the base: {path}" for path in sorted({path for path, _ in base}))]

    def _base(self) -> dict[str, str]:
        """Describe the base: but for its hook, unless that is taken out again."""
        return self._world.base_files(with_hook=bool(self._story.then))

    def _differing(self) -> list[str]:
        """Say what lies there that no finished call leaves, and what lacks; a cache may, and what is set aside."""
        names, wanted = self._world.names(), self.clean.names
        if self._story.moves_on:
            return []
        lacking = [path for path in sorted(wanted - names) if not path.startswith(("home/cache", "home/reserve"))]
        return [f"stray: {path}" for path in sorted(names - wanted)[:5]] + [f"lacking: {path}" for path in lacking[:5]]

    def _note_steps(self, told: kit.Ended) -> None:
        begin = f"{kit.faults.STEP} "
        self._tally.steps.update(change.removeprefix(begin) for change in told.changes if change.startswith(begin))


def pairs(stage: Stage, count: int, seed: int) -> Iterator[tuple[kit.Fault, kit.Fault]]:
    """Choose pairs of places: the second kill comes while the first one is being recovered from."""
    chance = random.Random(seed)
    length = len(stage.clean.changes)
    for _ in range(count):
        yield kit.Fault("kill", at=chance.randint(1, length)), kit.Fault("kill", at=chance.randint(1, length))


def sets_of(home: Path) -> dict[str, str]:
    """Say what a Python sees under each set that a generation has: digest → names and versions."""
    found = {"": ""}
    for path in home.glob("profiles/default/*/generations/*.json"):
        try:
            record = json.loads(path.read_text())
        except ValueError:
            continue
        versions = {name: version for name, version, *_ in record["packages"]}
        found[record["digest"]] = " ".join(f"{name}={versions[name]}" for name in NAMES if name in versions)
    return found
