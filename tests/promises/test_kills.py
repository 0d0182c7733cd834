"""R1, R2, R14: a call may be killed anywhere and at any moment; the old or the new set is current, and it goes on."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

import pytest
from kills import KILLED, Stage, Story, Tally, pairs
from moments import await_orphans, kill_after, length_of
from stories import RANDOM, STORIES
from worlds import world as made_world

from envbuilder import protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    import kit
    from conftest import Figures, Scale
    from worlds import World

SEED = int(os.environ.get("VPM_ENV_TEST_SEED", "0")) or time.time_ns() % 1_000_000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, workshop: kit.Workshop) -> Iterator[World]:
    """Make the world that everything happens in."""
    with made_world(tmp_path_factory.mktemp("world"), workshop) as made:
        yield made


@pytest.fixture(scope="module")
def tally() -> Tally:
    """Give what all stories count in."""
    return Tally()


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    """Keep the grounds of stories that are told twice."""
    return {}


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_killed_at_every_change(
    world: World, tally: Tally, stages: dict[str, Stage], scale: Scale, story: Story
) -> None:
    kills, violations = tally.kills, len(tally.violations)
    stage = stages[story.name] = Stage(world, story, tally)
    stride = scale(story.short, story.long)
    for fault in (*stage.faults(stride, SEED), *stage.tears(stride, SEED)):
        stage.kill(fault)
    for two in pairs(stage, scale(1, 12), SEED):
        stage.kill(*two)

    print(f"\n{story.name}: {tally.kills - kills} kills at {len(stage.clean.changes)} changes, seed {SEED}")
    print(*tally.violations[violations:], sep="\n")
    assert tally.violations[violations:] == []


def test_figure_of_kill_points(tally: Tally, figure: Figures) -> None:
    title = "SIGKILL at every change and step, and while that is recovered from"
    figure("R1", title, count=tally.kills, wanted=300, violations=tally.violations, note=f"seed {SEED}")


def test_every_step_was_come_to(tally: Tally, figure: Figures) -> None:
    named = {f"{commit}: {step}" for commit, steps in protocol.STEPS.items() for step in steps}
    come_to = len(named & tally.steps)
    unknown = [f"nobody comes to the step `{step}`" for step in sorted(named - tally.steps)]
    unknown += [f"the step `{step}` is not named" for step in sorted(tally.steps - named)]
    figure("R1", "steps of the commit protocol that were come to", count=come_to, wanted=30, violations=unknown)


def test_figure_of_the_base(tally: Tally, stages: dict[str, Stage], figure: Figures) -> None:
    found = [one for one in tally.violations if "in the base: " in one]
    files = max((len(stage.clean.base) for stage in stages.values()), default=0)
    title = "looks at all files of the base, the hook's own aside, after the kills of R1"
    figure("R14", title, count=tally.looks, wanted=250, violations=found, note=f"{files} files and folders")


def test_killed_at_any_moment(
    world: World, stages: dict[str, Stage], figure: Figures, scale: Scale, tally: Tally
) -> None:
    """One in four kills leaves alone what the call has started."""
    chance, moments, wanted = random.Random(SEED), Tally(), scale(50, 500)
    told = {story.name: story for story in STORIES}
    lengths: dict[str, float] = {}
    alone = 0
    while moments.kills < wanted:
        name = chance.choices(list(RANDOM), list(RANDOM.values()))[0]
        if name not in stages:
            stages[name] = Stage(world, told[name], tally)
        stages[name].put_back()
        if name not in lengths:
            lengths[name] = length_of(world, told[name].words)
            stages[name].put_back()
        seconds, all_of_it = chance.uniform(0.0, 1.1 * lengths[name]), chance.random() < 0.75
        ended = kill_after(world, told[name].words, seconds, all_of_it=all_of_it)
        where = f"after {seconds:.3f} of {lengths[name]:.3f} s, {'with all of it' if all_of_it else 'alone'}"
        stages[name].judge([ended], moments, where, await_orphans)
        alone += not all_of_it and ended.code == KILLED
    title = "SIGKILL at random moments of builds, switches, rollbacks and gc, with uv, git, builds and probes"
    note = f"seed {SEED}; {alone} of these of vpm-env alone, and what it had started went on"
    figure("R2", title, count=moments.kills, wanted=wanted, violations=moments.violations, note=note)
