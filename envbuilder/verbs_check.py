"""The verbs that say what would go wrong, and switch nothing: of a config on several bases, and of a set."""

from __future__ import annotations

from envbuilder.arguments import Call, Run, generation, json_only
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


def _takes_audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "generation", nargs="?", type=generation, metavar="N", help="of generation N (default: current)"
    )
    parser.add_argument("--strict", action="store_true", help="end with 1 for warnings too")
    json_only(parser)


def _audit(call: Call) -> int:
    from envbuilder.audit_view import show_audit
    from envbuilder.inspection import inspect
    from envbuilder.scope import scope

    found = inspect(scope(call.options, call.env), call.arguments.generation)
    show_audit(found, call.arguments.json, call.console)
    told = {finding.severity for finding in found.findings if not finding.accepted}
    return 1 if "error" in told or (told and call.arguments.strict) else 0


RUNS = {
    "audit": Run(_takes_audit, _audit),
    "check": Run(_takes_check, _check, repeated=frozenset({"--base"})),
}
