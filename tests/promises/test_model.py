"""R12: build, switch, rollback, keep, gc, crash, corrupt and repair, in any order, against a model of sixty lines."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kit
import stands
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from envbuilder import overlay
from envbuilder import profile as profiles
from envbuilder.paths import Layout

if TYPE_CHECKING:
    from conftest import Figures, Scale

    from envbuilder.profile import Profile

NAMES = ("ash", "birch", "cedar")
LATER = 3 * 86400.0
"""Seconds after which nothing is spared for having been current lately."""
PICKS = st.integers(0, 1 << 20)
"""What a rule takes one of several by: where a crash hits is not the same each time, and Hypothesis must not notice."""
_STEPS = 50
Wanted = frozenset[str]


@dataclass(frozen=True)
class Model:
    """What a profile must be like: the set of each generation (the first is 1), the order, and marks."""

    sets: tuple[Wanted, ...] = ()
    stack: tuple[int, ...] = ()
    held: bool = False
    bad: frozenset[int] = frozenset()
    kept: frozenset[int] = frozenset()
    gone: frozenset[int] = frozenset()

    @property
    def current(self) -> int | None:
        return self.stack[-1] if self.stack else None

    @property
    def newest(self) -> int:
        return len(self.sets)

    @property
    def below(self) -> tuple[int, ...]:
        """Return the order after a rollback."""
        rest = self.stack[:-1]
        while rest and (rest[-1] in self.bad or self.sets[rest[-1] - 1] == self.sets[self.stack[-1] - 1]):
            rest = rest[:-1]
        return rest

    def build(self, wanted: Wanted, *, switch: bool) -> Model:
        after = self
        if not self.sets or self.sets[-1] != wanted:
            after = replace(self, sets=(*self.sets, wanted))
        else:
            after = replace(self, gone=self.gone - {self.newest})
            if self.newest == self.current or self.held:
                return after
        return after._current(after.newest, held=False) if switch else after

    def switch(self, number: int) -> Model:
        return self._untried(number)._current(number, held=True)

    def rollback(self, *, bad: bool) -> Model:
        target = self.below[-1]
        mine = self.sets[self.stack[-1] - 1]
        marked = {number for number in range(1, self.newest + 1) if self.sets[number - 1] == mine} if bad else set()
        return replace(self, stack=self.below, held=True, bad=self.bad | marked, gone=self.gone - {target})

    def collect(self, begun: frozenset[int] = frozenset()) -> Model:
        spared = {self.current, *self.below[-1:], *self.kept, *begun} | ({self.newest} - self.bad)
        going = set(range(1, self.newest + 1)) - spared
        stay = {self.sets[number - 1] for number in spared - self.gone if number}
        last = {self.sets[number - 1] for number in going - self.gone} - stay
        back = {number for number in spared & self.gone if number and self.sets[number - 1] in last}
        return replace(self, gone=(self.gone | going) - back)

    def _untried(self, number: int) -> Model:
        if number not in self.bad:
            return self  # a crash may have left the mark on others of this set only
        same = {other for other in self.bad if self.sets[other - 1] == self.sets[number - 1]}
        return replace(self, bad=self.bad - same)

    def _current(self, number: int, *, held: bool) -> Model:
        stack = self.stack if self.stack[-1:] == (number,) else (*self.stack, number)
        return replace(self, stack=stack, held=held, gone=self.gone - {number})


def between(low: frozenset[int], found: frozenset[int], high: frozenset[int]) -> bool:
    """Tell whether of what was to change some has and some has not."""
    return low & high <= found <= low | high


class Home(RuleBasedStateMachine):
    """One home, driven by the verbs themselves; `shared` and `counts` are set by the test."""

    workshop: kit.Workshop
    shared: kit.VpmEnv
    counts: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.model = self.before = Model()
        self.wanted: Wanted = frozenset()
        self.first: frozenset[int] = frozenset()  # what killed calls were to make current first

    @initialize()
    def begin(self) -> None:
        shutil.rmtree(self.shared.home)
        shutil.copytree(f"{self.shared.home}.empty", self.shared.home, symlinks=True)
        (self.shared.folder / "pylock.plugins.toml").unlink(missing_ok=True)
        self.layout = Layout(home=str(self.shared.home))

    @property
    def profile(self) -> Profile:
        (found,) = list(profiles.all_profiles(self.layout))
        return found

    @rule(wanted=st.frozensets(st.sampled_from(NAMES)), switch=st.booleans(), crash=st.integers(-200, 330))
    def build(self, wanted: Wanted, switch: bool, crash: int) -> None:
        self.wanted = wanted
        lines = "".join(f"  - {{name: {name}, source: pypi, package: {name}}}\n" for name in sorted(wanted))
        wheels = self.shared.folder.parent / "wheels"
        text = f"probe: none\nfind_links: [{wheels}]\nplugins:{'' if lines else ' []'}\n{lines}"
        self.shared.config(text)
        after = self.model.build(wanted, switch=switch)
        self._do(after, "build", "--offline", *(() if switch else ("--no-switch",)), crash=crash)
        if self.model.newest in after.gone | self.before.gone and self.model.held:
            self.model = replace(self.model, gone=self._found().gone)  # a held build need not make the set again

    @rule(pick=PICKS, crash=st.integers(-30, 60))
    def switch(self, pick: int, crash: int) -> None:
        if self.model.sets:
            number = self._picked(pick)
            self._do(self.model.switch(number), "switch", str(number), crash=crash)

    @rule(bad=st.booleans(), crash=st.integers(-30, 60))
    def rollback(self, bad: bool, crash: int) -> None:
        if self.model.below:
            self._do(self.model.rollback(bad=bad), "rollback", *(("--bad",) if bad else ()), crash=crash)

    @rule(pick=PICKS)
    def keep(self, pick: int) -> None:
        if self.model.sets and (number := self._picked(pick)) not in self.model.gone:
            is_kept = number in self.model.kept
            after = replace(self.model, kept=self.model.kept ^ {number})
            self._do(after, "unkeep" if is_kept else "keep", str(number))

    @rule(crash=st.integers(-30, 60))
    def collect(self, crash: int) -> None:
        if self.model.sets:
            self._do(self.model.collect(self._begun()), "gc", "--grace", "0s", crash=crash, later=LATER)

    @rule(pick=PICKS)
    def corrupt_and_repair(self, pick: int) -> None:
        if not self.model.sets:
            return
        if damage(self.profile, set(range(1, self.model.newest + 1)) - self.model.gone, random.Random(pick)):
            assert self._call("verify").code == 1
        self._do(self.model, "verify", "--repair")

    @invariant()
    def agrees(self) -> None:
        if self.model.sets:
            self._require(self.model)

    def teardown(self) -> None:
        if self.model.sets:
            self._do(self.model, "verify")

    def _begun(self) -> frozenset[int]:
        """Say what a first switch was to make current, and wrote down, before it was killed: that is spared."""
        order = Path(self.profile.path, "order.json")
        if self.model.current is not None or not order.exists():
            return frozenset()
        begun = frozenset(json.loads(order.read_text())["order"][-1:])
        assert begun <= self.first, f"{begun} and not one of {self.first}"
        return begun

    def _picked(self, pick: int) -> int:
        return 1 + pick % self.model.newest

    def _do(self, after: Model, *words: str, crash: int = 0, later: float = 0.0) -> None:
        """Call a verb, killed at a change where `crash` is positive, and see that the old or the new stands."""
        self.counts["steps"] += 1
        self.before = self.model
        fault = kit.Fault("kill", crash) if crash > 0 else None
        ended = self._call(*words, fault=fault, later=later)
        if ended.code == -9:
            self.counts["crashes"] += 1
            self.first |= frozenset(after.stack[-1:]) if self.model.current is None else frozenset()
            self.model = self._standing(self.model, after)
        else:
            assert ended.code == 0, f"{words}\n{ended.stdout}{ended.stderr}"
            self.model = after

    def _call(self, *words: str, **options: Any) -> kit.Ended:
        return self.workshop(*words, env=self.shared.env, cwd=self.shared.folder, **options)

    def _standing(self, before: Model, after: Model) -> Model:
        """Return what stands after a crash: of what changes by one rename the old or the new, of the rest a part."""
        if not list(profiles.all_profiles(self.layout)) or not profiles.numbers(self.profile):
            assert not before.sets
            return before
        found = self._found()
        assert found.sets in (before.sets, after.sets)
        choices = [model for model in (before, after) if (found.stack, found.held) == (model.stack, model.held)]
        assert choices, f"neither {before} nor {after} but {found}"
        if found.sets == before.sets != after.sets:
            assert found.stack == before.stack
        for mark in ("bad", "kept", "gone"):
            made = getattr(found, mark) & frozenset(range(1, len(found.sets) + 1))
            assert between(getattr(before, mark), made, getattr(after, mark)), (mark, before, after, found)
        return found

    def _found(self) -> Model:
        """Read what there is, as the model has it; the set of a collected generation is known by its packages."""
        known = profiles.generations(self.profile)
        order = profiles.order(self.profile)
        return Model(
            sets=tuple(frozenset(str(name) for name, *_ in generation.packages) for generation in known),
            stack=tuple(order.numbers),
            held=order.held,
            bad=frozenset(generation.number for generation in known if generation.state == "bad"),
            kept=frozenset(generation.number for generation in known if generation.keep),
            gone=frozenset(
                generation.number
                for generation in known
                if not os.path.lexists(self.profile.pointer(generation.number))
            ),
        )

    def _require(self, model: Model) -> None:
        """Look at the disk: the model holds, and every set that is there has exactly its packages."""
        found = self._found()
        assert found == model, f"{found}\nis not\n{model}"
        for number in set(range(1, model.newest + 1)) - model.gone:
            generation = profiles.read(self.profile, number)
            manifest = overlay.get(self.layout, self.profile.base_key, generation.digest)
            assert manifest is not None, f"generation {number} is torn"
            assert {member.name for member in manifest.members} == model.sets[number - 1]
        if model.current is not None:
            (site,) = Path(self.profile.current).glob("lib/python*/site-packages")
            importable = {entry.name for entry in site.iterdir() if (entry / "__init__.py").is_file()}
            assert importable >= model.sets[model.current - 1]
            assert not importable & (set(NAMES) - model.sets[model.current - 1])


def damage(profile: profiles.Profile, numbers: set[int], random_: random.Random) -> bool:
    """Do harm to one thing that one of these generations needs; tell whether there was any to do it to."""
    found: set[Path] = set()
    for number in numbers:
        made = Path(os.path.realpath(profile.pointer(number)))
        found |= {made / "overlay.json", *made.glob("lib/*/site-packages/*.pth")}
        manifest = overlay.get(profile.layout, profile.base_key, made.name)
        for member in manifest.members if manifest else ():
            package = Path(profile.layout.package(member.key))
            found |= {*package.glob("*.json"), *package.glob("lib/*/__init__.py")}
    if not found:
        return False
    path = random_.choice(sorted(found))
    os.chmod(path, 0o644)
    path.write_bytes(path.read_bytes()[: random_.choice((0, 3))] + random_.choice((b"", b"\0rot")))
    return True


def test_any_order_of_verbs_crashes_and_damage_agrees_with_the_model(
    tmp_path: Path, workshop: kit.Workshop, figure: Figures, scale: Scale
) -> None:
    shared = stands.small(tmp_path)
    for name in NAMES:
        kit.wheel(tmp_path / "wheels", name, "1.0")
    shared.config("plugins: []\n")
    shared("build", "--offline", check=True)
    for folder in ("profiles", "overlays"):
        shutil.rmtree(shared.home / folder)
    (shared.home / "registry.json").unlink(missing_ok=True)
    shutil.copytree(shared.home, f"{shared.home}.empty", symlinks=True)
    wanted = scale(500, 10_000)
    Home.workshop, Home.shared, Home.counts = workshop, shared, Counter()
    rounds = settings(
        max_examples=wanted // _STEPS * 3 // 4,  # what a round ends with counts, too
        stateful_step_count=_STEPS,
        deadline=None,
        database=None,
        derandomize=False,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    while Home.counts["steps"] < wanted:
        run_state_machine_as_test(Home, settings=rounds)
        print(Home.counts)
    figure(
        "R12",
        "steps of a state machine against a model",
        count=Home.counts["steps"],
        wanted=wanted,
        note=f"{Home.counts['crashes']} of them killed",
    )
