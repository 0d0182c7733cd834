"""Profiles: numbers only rise, the order survives crashes, an undo goes back to where one was."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from envbuilder import profile as profiles
from envbuilder import recording, switching
from envbuilder.errors import ProfileError
from envbuilder.paths import Layout
from envbuilder.profile import Generation, Profile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    return Profile(layout=Layout(home=str(tmp_path)), name="default", base_key="0123456789ab")


def generation(digest: str = "d" * 64) -> Generation:
    return Generation(
        number=0,
        digest=digest,
        base_key="0123456789ab",
        created="2026-01-01T00:00:00+00:00",
        state="untried",
        keep=False,
        config="/c/plugins.yaml",
        base={"label": "a base"},
        inputs={},
        packages=[],
        left_out={},
        reason="build",
    )


def grow(profile: Profile, count: int) -> None:
    for _ in range(count):
        digest = f"{max(profiles.numbers(profile), default=0):064x}"
        made = recording.add(profile, generation(digest), config=b"plugins: []\n", lock="")
        profiles.switch(profile, made.number, verb="build", hold=False)


def test_a_rollback_goes_past_the_very_set_that_it_leaves(profile: Profile) -> None:
    """One goes back from 3 to 2, mends the file so that it asks for what 2 is, and finds that bad too."""
    grow(profile, 3)
    assert roll_back(profile) == 2
    made = recording.add(profile, profiles.read(profile, 2), config=b"plugins: []\n", lock="")
    profiles.switch(profile, made.number, verb="build", hold=False)

    switching.mark(profile, 4, state="bad")

    assert roll_back(profile) == 1
    assert [entry.state for entry in profiles.generations(profile)] == ["untried", "bad", "untried", "bad"]


def roll_back(profile: Profile, to: int | None = None) -> int:
    after = switching.rollback_order(profile, to)
    profiles.switch(profile, after[-1], verb="rollback", hold=True, after=after)
    return after[-1]


def test_the_order_of_the_design(profile: Profile) -> None:
    """1, 2, 3 → rollback 2 → rollback 1 → switch 3 → rollback 1."""
    grow(profile, 3)

    assert roll_back(profile) == 2
    assert roll_back(profile) == 1
    profiles.switch(profile, 3, verb="switch", hold=True)
    assert roll_back(profile) == 1
    assert profiles.order(profile).held
    with pytest.raises(ProfileError, match="no earlier generation"):
        switching.rollback_order(profile)


def test_a_rollback_goes_past_bad_generations(profile: Profile) -> None:
    grow(profile, 4)
    switching.mark(profile, 3, state="bad")
    switching.mark(profile, 2, state="bad")

    assert roll_back(profile) == 1


def test_a_rollback_to_an_earlier_one_forgets_what_came_after(profile: Profile) -> None:
    grow(profile, 4)

    assert roll_back(profile, to=2) == 2
    assert profiles.order(profile).numbers == [1, 2]


def test_a_rollback_to_one_that_never_was_current_can_be_undone(profile: Profile) -> None:
    grow(profile, 2)
    unused = recording.add(profile, generation(), config=b"", lock="")

    assert roll_back(profile, to=unused.number) == 3
    assert roll_back(profile) == 2


def test_numbers_only_rise(profile: Profile) -> None:
    grow(profile, 2)
    roll_back(profile)
    grow(profile, 1)

    assert profiles.numbers(profile) == [1, 2, 3]
    assert profiles.current(profile) == 3
    assert profiles.order(profile).numbers == [1, 3]


@pytest.mark.parametrize("verb", ["switch", "rollback"])
def test_a_crash_between_record_and_rename_leaves_the_old_order(profile: Profile, verb: str) -> None:
    """`order.json` is written first; if `current` never follows, the order before is the one that fits."""
    grow(profile, 3)
    before, now = profiles.order(profile), os.readlink(profile.current)
    if verb == "switch":
        profiles.switch(profile, 1, verb=verb, hold=True)
    else:
        roll_back(profile)

    os.unlink(profile.current)
    os.symlink(now, profile.current)

    assert profiles.order(profile).numbers == before.numbers
    assert not profiles.order(profile).held
    assert profiles.current(profile) == 3


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"order": 3}', b"\xff"])
def test_a_damaged_order_is_no_obstacle(profile: Profile, content: bytes) -> None:
    grow(profile, 2)
    with open(os.path.join(profile.path, "order.json"), "wb") as stream:
        stream.write(content)

    assert profiles.order(profile).numbers == [2]
    profiles.switch(profile, 1, verb="switch", hold=True)
    assert profiles.order(profile).numbers == [2, 1]


def test_current_always_is_a_relative_link(profile: Profile) -> None:
    """The home may move."""
    grow(profile, 1)

    assert os.readlink(profile.current) == "generations/1"
    assert os.readlink(profile.pointer(1)) == f"../../../../overlays/0123456789ab/{'0' * 64}"


def test_a_record_that_is_missing_or_broken_is_said_to_be(profile: Profile) -> None:
    grow(profile, 1)
    with pytest.raises(ProfileError, match="has no generation 7"):
        profiles.read(profile, 7)
    with open(profile.file(1, "json"), "w") as stream:
        stream.write('{"format": 1}')
    with pytest.raises(ProfileError, match="cannot be read"):
        profiles.read(profile, 1)


def test_what_switched_when_is_remembered(profile: Profile) -> None:
    grow(profile, 2)
    roll_back(profile)

    assert [(number, verb) for number, _, verb in profiles.order(profile).switches] == [
        (1, "build"),
        (2, "build"),
        (1, "rollback"),
    ]
    with open(os.path.join(profile.path, "order.json")) as stream:
        assert json.load(stream)["format"] == profiles.FORMAT


def test_a_switch_does_not_get_slower_with_the_years(profile: Profile) -> None:
    """What is remembered of the way here is bounded, and one may still go back step by step."""
    grow(profile, 2)
    for number in range(3 * profiles.REMEMBERED):
        profiles.switch(profile, 1 + number % 2, verb="switch", hold=True)

    record = profiles.read_order(profile)
    order = profiles.order(profile).numbers

    assert [len(record[name]) for name in ("order", "before", "switches")] == [profiles.REMEMBERED] * 3
    assert order[-2:] == [1, 2]
    assert roll_back(profile) == 1


@pytest.mark.parametrize("current", [1, 3, 5, None])
@pytest.mark.parametrize("gone", ["", "4.json", "6", "1.json", "5.json"])
def test_the_newest_is_found_whatever_is_current_and_lost(
    profile: Profile, gone: str, current: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(profile, 5)
    if current:
        profiles.switch(profile, current, verb="switch", hold=True)
    else:
        os.unlink(profile.current)
    if gone == "6":
        os.symlink("nowhere", profile.pointer(6))  # a build that was killed
    elif gone:
        os.unlink(os.path.join(profile.path, "generations", gone))
    if not gone and current:
        monkeypatch.setattr(os, "listdir", None)  # nobody needs the list of all

    newest = profiles.newest(profile)

    assert newest is not None
    assert newest.number == (4 if gone == "5.json" else 5)
