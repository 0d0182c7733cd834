"""The verb that asks several bases about one config."""

from __future__ import annotations

from envbuilder.arguments import Call, Run, json_only
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def _takes_check(parser: argparse.ArgumentParser) -> None:
    parser.usage = "vpm-env check [--base PATH]... [OPTIONS]"
    parser.add_argument("--offline", action="store_true", help="use no network")
    json_only(parser)


def _check(call: Call) -> int:
    from envbuilder.check import check
    from envbuilder.check_view import show_checked

    bases = call.arguments.base or ()
    checked = check(call.options, bases, call.env, offline=call.arguments.offline, report=call.console.reporter())
    show_checked(checked, call.arguments.json, call.console)
    return 0 if all(entry.fits for entry in checked) else 1


RUNS = {"check": Run(_takes_check, _check, repeated=frozenset({"--base"}))}
