"""The verb that finds what makes a command fail."""

from __future__ import annotations

import signal
import sys

from envbuilder.arguments import Call, Run, duration, generation
from envbuilder.contexts import contextmanager
from envbuilder.errors import UsageError
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from typing import NoReturn


def _takes_bisect(parser: argparse.ArgumentParser) -> None:
    parser.usage = "vpm-env bisect [--good N] [--bad M] [OPTIONS] [--] COMMAND"
    parser.description = (
        "Find the plugin, or the change between two generations, that makes a command fail. "
        "It is tried with some of them, each time in a set of its own; nothing is switched. "
        "Exit code 0 of the command is good, 125 skips a set, any other is bad"
    )
    parser.add_argument(
        "--good", type=generation, metavar="N", help="it passes with generation N: look at what changed"
    )
    parser.add_argument(
        "--bad",
        type=generation,
        metavar="M",
        help="it fails with generation M (default: current, or the bad one that a rollback left)",
    )
    parser.add_argument(
        "--with", dest="kept", action="append", default=[], metavar="NAME", help="keep a plugin in all tries"
    )
    limits = parser.add_mutually_exclusive_group()
    limits.add_argument("--timeout", type=duration, metavar="TIME", help="one that takes longer fails (`5m`)")
    limits.add_argument(
        "--stays-up", type=duration, metavar="TIME", help="for servers: one that still runs then passes, else it fails"
    )
    parser.add_argument("--json", action="store_true", help="as JSON, with every try")


def _bisect(call: Call) -> int:
    from envbuilder.bisect_view import show_bisected, show_try
    from envbuilder.bisected import Question
    from envbuilder.bisection import bisect
    from envbuilder.names import listed
    from envbuilder.scope import scope

    asked, console = call.arguments, call.console
    if not asked.command:
        raise UsageError("there is no command to try", hint="`vpm-env bisect -- python -c 'import vllm'`")
    question = Question(
        command=asked.command,
        good=asked.good,
        bad=asked.bad,
        kept=tuple(name for text in asked.kept for name in listed(text)),
        limit=asked.stays_up or asked.timeout,
        stays_up=asked.stays_up is not None,
        verbose=console.verbose,
    )
    with _ending_in_order():
        found = bisect(
            scope(call.options, call.env),
            question,
            tell=lambda search, one: show_try(one, search.good, search.bad, question, console),
            report=console.reporter(),
        )
    show_bisected(found, question, asked.json, console)
    return 0


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let a signal that ends this process end the command first, and take away what was made."""

    def end(number: int, _frame: object) -> NoReturn:
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


RUNS = {"bisect": Run(_takes_bisect, _bisect)}
