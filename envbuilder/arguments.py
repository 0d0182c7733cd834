"""What verbs take and get: a call, and the values that its words may have."""

from __future__ import annotations

import re

from envbuilder.errors import UsageError
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from envbuilder.console import Console
    from envbuilder.paths import Environment
    from envbuilder.scope import Options

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Call(NamedTuple):
    """What a verb gets: its own words, the options of every verb, the environment, and where its words go."""

    arguments: argparse.Namespace
    options: Options
    env: Environment
    console: Console

    def waiting(self, holder: str, seconds: float) -> None:
        """Tell who holds a lock, once that takes longer than people notice."""
        if seconds >= 2:
            self.console.say(f"waiting for {holder}, {seconds:.0f} s so far")


class Run(NamedTuple):
    """How a verb runs; `takes` adds to a parser what it takes, `call` returns the exit code."""

    takes: Callable[[argparse.ArgumentParser], None]
    call: Callable[[Call], int]


def json_only(parser: argparse.ArgumentParser) -> None:
    """Take `--json` and nothing else."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def number(text: str) -> int:
    """Read a whole number."""
    if not text.isdigit():
        raise UsageError(f"`{text}` is no number")
    return int(text)


def duration(text: str) -> float:
    """Read `30d` as seconds."""
    found = re.fullmatch(r"(\d+)([smhdw])", text)
    if not found:
        raise UsageError(f"`{text}` is no duration", hint="write a number and `s`, `m`, `h`, `d` or `w`: `30d`")
    return float(found[1]) * _UNITS[found[2]]
