"""R4: whatever the system refuses, wherever: one clear error, the old or the new set, and nothing left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import worlds
from refusals import ERRNOS, Refusals, Refused
from stories import STORIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import kit

SHORT = {
    "the first build": 40,
    "switch to a collected set": 40,
    "rollback --bad": 1,
    "gc": 12,
    "add": 4,
    "remove": 4,
    "keep": 3,
    "hook install": 70,
    "verify --repair": 25,
}
"""Stories of the short run, and of how many places one is tried."""

WRITTEN = ("rollback --bad",)
"""Stories all of whose writes find no room, one after the other."""

LONG = 3
"""The same of the long run, but for light stories."""

LIGHT = ("rollback", "switch", "add", "remove", "keep", "unkeep", "gc --grace 1h")
"""Stories of few changes: the long run tries every error at each."""

LASTING = {"the first build": 110, "rollback": 6, "gc": 8}
"""The same as of `SHORT`, for disks that stay full."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, workshop: kit.Workshop) -> Iterator[worlds.World]:
    """Make the world."""
    with worlds.world(tmp_path_factory.mktemp("world"), workshop) as made:
        yield made


def test_what_is_refused_is_told_and_leaves_nothing(
    world: worlds.World, figure: Callable[..., None], scale: Callable[[int, int], int]
) -> None:
    assert {*SHORT, *LIGHT, *LASTING} <= {story.name for story in STORIES}
    tally = Refused()
    for offset, story in enumerate(STORIES):
        stride = scale(SHORT.get(story.name, 0), 1 if story.name in LIGHT else LONG)
        if stride:
            stage = Refusals(world, story, tally)
            for fault in stage.points(stride, offset, every_errno=stride == 1 and story.name in LIGHT):
                stage.refuse(fault)
            for fault in stage.unwritten() if story.name in WRITTEN else ():
                stage.refuse(fault)
    figure(
        "R4",
        f"calls that the system refuses something ({len(ERRNOS)} errors, {len(tally.places)} kinds of places)",
        count=tally.count,
        wanted=scale(30, 900),
        violations=tally.violations,
        note=f"{tally.told} told, {tally.count - tally.told} passed over, at places that the test names",
    )


def test_a_disk_that_stays_full(
    world: worlds.World, figure: Callable[..., None], scale: Callable[[int, int], int]
) -> None:
    tally = Refused()
    for story in STORIES:
        if story.name in LASTING:
            stage = Refusals(world, story, tally)
            for fault in stage.lasting(scale(LASTING[story.name], 5)):
                stage.refuse(fault)
    title = "calls under which a disk gets full, and stays so"
    figure("R4", title, count=tally.count, wanted=scale(8, 40), violations=tally.violations)
