"""A verb's words, read without argparse: where anything is said at all, argparse says the same."""

from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envbuilder.arguments import OWN_OPTIONS, Words
from envbuilder.commands import VERBS, run_of
from envbuilder.errors import VpmError
from envbuilder.parsers import parser_of
from envbuilder.plain_words import Plain

OF_ALL = (*OWN_OPTIONS, "-q", "--quiet", "-v", "--json", "--home=x", "--", "-h", "--nothing", "-", "-1", "", "-qv")
VALUES = ("1", "abc", "0f", "30d", "one", "good", "vllm", "bash", "5%", "a b", "10G", "2026-01-31", "/x")


def by_argparse(verb: str, words: list[str]) -> dict[str, object] | None:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return vars(parser_of(VERBS[verb]).parse_args(words, Words()))
    except (VpmError, SystemExit):
        return None


@pytest.mark.parametrize("verb", VERBS)
@settings(max_examples=30)
@given(data=st.data())
def test_it_says_what_argparse_says_or_nothing(verb: str, data: st.DataObject) -> None:
    known = [name for action in parser_of(VERBS[verb])._actions for name in action.option_strings]
    words = data.draw(st.lists(st.sampled_from([*known, *OF_ALL, *VALUES]), max_size=6))

    found = Plain(run_of(VERBS[verb])).read(words)

    assert found is None or found == by_argparse(verb, words)


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("rollback", []),
        ("rollback", ["--bad", "--json", "-q"]),
        ("rollback", ["--to", "3"]),
        ("switch", ["3", "--home", "/x"]),
        ("switch", ["--profile", "other", "0fab"]),
        ("build", []),
        ("build", ["--offline", "-n", "--base", "/x", "--config", "a b.yaml"]),
        ("status", ["--json"]),
    ],
)
def test_what_people_wait_for_needs_no_argparse(verb: str, words: list[str]) -> None:
    found = Plain(run_of(VERBS[verb])).read(words)

    assert found is not None
    assert found == by_argparse(verb, words)
