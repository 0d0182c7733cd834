"""What verbs take and get: a call, and the values that its words may have."""

from __future__ import annotations

from envbuilder.errors import UsageError
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import Any

    from envbuilder.amounts import Amount
    from envbuilder.console import Console
    from envbuilder.paths import Environment
    from envbuilder.scope import Options


HIDDEN = "==SUPPRESS=="
"""argparse's word for what no help shows."""
_DIGITS, _HEX = 64, frozenset("0123456789abcdefABCDEF")


OWN_OPTIONS = ("--config", "--base", "--home", "--profile")
"""Options of every verb that take a value."""
OPTIONS_OF_ALL = (
    ("--config FILE", "the config (else $VPM_ENV_CONFIG, $VLLM_PLUGIN_CONFIG, ./plugins.yaml, ~/.config/ENGINE)"),
    ("--base PATH", "the engine's interpreter or environment (else looked for)"),
    ("--home DIR", "where everything is kept (else $VPM_ENV_HOME)"),
    ("--profile NAME", "which history to use (default: `default`)"),
    ("-q, --quiet", "only data, warnings and errors"),
    ("-v, --verbose", "every step"),
    ("-h, --help", "help for a verb"),
    ("--version", "the version"),
)
"""What help says of the options of every verb."""


class Words:
    """What was said to a verb, by the names that its parser gives; a name that it lacks is an `AttributeError`."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class Call(NamedTuple):
    """What a verb gets: its own words, the options of every verb, the environment, and where its words go.

    `parsers` makes the parsers of all verbs, by name.
    """

    arguments: Words
    options: Options
    env: Environment
    console: Console
    parsers: Callable[[], dict[str, argparse.ArgumentParser]]

    def waiting(self, holder: str, seconds: float) -> None:
        """Tell who holds a lock that is wanted."""
        self.console.say(f"note: waiting for {holder}, {seconds:.0f} s so far")


class Run(NamedTuple):
    """How a verb runs; `takes` adds to a parser what it takes, `call` returns the exit code.

    `repeated` are options of every verb that this one takes several times; it finds lists among its arguments. One that
    `mixes` takes a list of words, between which options may stand.
    """

    takes: Callable[[argparse.ArgumentParser], None]
    call: Callable[[Call], int]
    repeated: frozenset[str] = frozenset()
    mixes: bool = False


def json_only(parser: argparse.ArgumentParser) -> None:
    """Take `--json` and nothing else."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def number(text: str) -> int:
    """Read a whole number."""
    if not text.isdigit():
        raise UsageError(f"`{text}` is no number")
    return int(text)


def generation(text: str) -> str:
    """Read what may name a generation: a number, or the first hex digits of a digest; `switching.named` finds it."""
    if not text or len(text) > _DIGITS or not _HEX.issuperset(text):
        hint = "name it by its number, or by the first digits of its digest: see `vpm-env history`"
        raise UsageError(f"`{text}` is no generation", hint=hint)
    return text


def moment(text: str) -> str:
    """Read a day, a moment, or how long ago; returned is its one spelling."""
    from envbuilder.moments import checked

    try:
        return checked(text)
    except ValueError as error:
        raise UsageError(f"`{text}` {error}") from None


def duration(text: str) -> float:
    """Read `30d` as seconds."""
    from envbuilder.moments import seconds

    try:
        return seconds(text)
    except ValueError as error:
        raise UsageError(str(error), hint="write a whole number and `s`, `m`, `h`, `d` or `w`: `30d`") from None


def size(text: str) -> int:
    """Read `10G` as bytes."""
    from envbuilder import amounts

    try:
        return amounts.size(text)
    except ValueError as error:
        raise UsageError(str(error)) from None


def amount(text: str) -> Amount:
    """Read a size, or a share such as `5%`."""
    from envbuilder import amounts

    try:
        return amounts.amount(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
