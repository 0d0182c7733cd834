"""How a generation is named: by its number, or by the beginning of its digest."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder import commands, recording
from envbuilder.arguments import generation as argument
from envbuilder.errors import ProfileError, UsageError
from envbuilder.gc import Policy
from envbuilder.paths import Layout
from envbuilder.profile import Generation, Profile
from envbuilder.roots import why_kept
from envbuilder.switching import named

DIGESTS = ("abcd1" + "0" * 59, "abcd2" + "0" * 59, "1234" + "5" * 60, "abcd1" + "0" * 59)


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    """Make a profile with four generations, the first and the last of one digest."""
    made = Profile(layout=Layout(home=str(tmp_path)), name="default", base_key="0123456789ab")
    for digest in DIGESTS:
        recording.add(made, record(digest), config=b"", lock="")
    return made


def record(digest: str, base_key: str = "0123456789ab") -> Generation:
    return Generation(
        number=0,
        digest=digest,
        base_key=base_key,
        created="2026-01-01T00:00:00+00:00",
        state="untried",
        keep=False,
        config="/c/plugins.yaml",
        base={"label": f"the base {base_key}"},
        inputs={},
        packages=[],
        left_out={},
        reason="build",
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("2", 2), ("abcd2", 2), ("ABCD2", 2), (DIGESTS[1], 2), ("0002", 2)),
        *(("1234", 3), ("12345", 3), ("12", 3), ("abcd1", 4), ("1", 1)),
    ],
)
def test_a_number_or_the_beginning_of_a_digest(profile: Profile, text: str, number: int) -> None:
    assert named(profile, text).number == number


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("a", "`a` is ambiguous: the digests of 2 (abcd20000000) and 4 (abcd10000000) begin so", "write more of it"),
        ("9", "the profile `default` has no generation 9", "there are 1, 2, 3 and 4: see `vpm-env history`"),
        (
            "abcd",
            "`abcd` is ambiguous: the digests of 2 (abcd20000000) and 4 (abcd10000000) begin so",
            "write more of it",
        ),
        (
            "ffff",
            "the profile `default` has no generation whose digest begins with `ffff`",
            "there are 2 (abcd20000000)",
        ),
    ],
)
def test_what_names_none_or_several_is_told_with_near_ones(
    profile: Profile, text: str, message: str, hint: str
) -> None:
    with pytest.raises(ProfileError) as caught:
        named(profile, text)

    assert (caught.value.message, caught.value.exit_code) == (message, 2)
    assert (caught.value.hint or "").startswith(hint)


def test_a_number_of_another_base_is_told(profile: Profile) -> None:
    other = profile._replace(base_key="ba9876543210")
    for _ in range(5):
        recording.add(other, record("e" * 64, "ba9876543210"), config=b"", lock="")

    with pytest.raises(ProfileError, match="generation 5 is for the base `the base ba9876543210`"):
        named(profile, "5")


def test_a_profile_without_generations(tmp_path: Path) -> None:
    empty = Profile(layout=Layout(home=str(tmp_path)), name="default", base_key="0123456789ab")

    for text in ("1", "abcd"):
        with pytest.raises(ProfileError, match="has no generation"):
            named(empty, text)


@pytest.mark.parametrize("text", ["x", "-1", "1.0", "g123", "a" * 65, ""])
def test_what_can_name_no_generation_is_a_mistake(text: str) -> None:
    with pytest.raises(UsageError, match="is no generation"):
        argument(text)


def test_what_gc_explains_goes_by_as_few_digits_as_are_enough(profile: Profile) -> None:
    keys = ("ab12" + "0" * 28 + "-demo-1.0", "5" + "0" * 31 + "-ab-2.0", "12" + "0" * 30 + "-other-1.0")
    home = Path(profile.layout.home)
    for path in (*(home / "store" / key for key in keys), *(home / "overlays" / "0123456789ab" / at for at in DIGESTS)):
        path.mkdir(parents=True, exist_ok=True)

    def kept(text: str) -> list[str]:
        return [entry.name for entry in why_kept(profile.layout, text, Policy())]

    assert kept("5") == [keys[1]]
    assert kept("abcd2") == [DIGESTS[1]]
    assert kept("ab1") == [keys[0]]
    assert kept("ab") == [keys[1]], "a name is meant before a digest"
    assert kept("2") == [DIGESTS[1]], "a number is meant before a digest"
    for text, candidates in (("abc", "abcd10000000, abcd20000000"), ("12", "120000000000 (other-1.0), 123455555555")):
        with pytest.raises(UsageError, match="is ambiguous") as caught:
            kept(text)
        assert caught.value.message == f"`{text}` is ambiguous: {candidates} begin so"


def test_words_of_other_tools_lead_to_verbs() -> None:
    assert set(commands.ALIASES.values()) <= set(commands.VERBS)
    assert not set(commands.ALIASES) & set(commands.VERBS)
    assert not set(commands.WAYS) & {*commands.VERBS, *commands.ALIASES}
    assert {verb.group for verb in commands.VERBS.values()} <= set(commands.GROUPS)


@pytest.mark.parametrize("verb", commands.VERBS)
def test_every_verb_has_a_room(verb: str) -> None:
    assert callable(commands.run_of(commands.VERBS[verb]).call)
