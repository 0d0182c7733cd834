"""The verbs that look after a set: is all well with what is around it, and what is in it."""

from __future__ import annotations

from envbuilder.arguments import Call, Run, generation, json_only
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def _takes_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these checks (`--list` names them)")
    parser.add_argument("--list", action="store_true", help="say which checks there are, and run none")
    parser.add_argument("--fix", action="store_true", help="mend what is safe to mend, and say what was done")
    parser.add_argument("--audit", action="store_true", help="ask for known vulnerabilities of the set (pip-audit)")
    parser.add_argument("--offline", action="store_true", help="use no network")
    json_only(parser)


def _doctor(call: Call) -> int:
    from envbuilder.doctor import CHECKS, chosen, examine, worst
    from envbuilder.doctor_view import show_checks, show_health
    from envbuilder.health import look_around

    asked = call.arguments
    if asked.list:
        show_checks(CHECKS, asked.json, call.console)
        return 0
    checks = chosen(asked.names, audit=asked.audit)
    with call.console.reporter().stage("looking", total=len(checks), minor=True):
        situation = look_around(call.options, call.env, offline=asked.offline)
        results = list(examine(situation, checks, fix=asked.fix))
    show_health(results, bool(asked.names) or call.console.verbose, asked.json, call.console)
    return 1 if worst(results) == "error" else 0


def _takes_sbom(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "generation", nargs="?", type=generation, metavar="N", help="of generation N (default: current)"
    )
    parser.add_argument("--output", "-o", metavar="FILE", help="write to FILE instead of standard output")


def _sbom(call: Call) -> int:
    from os.path import abspath, expanduser

    from envbuilder import fs
    from envbuilder.base import describe
    from envbuilder.console import json_text
    from envbuilder.errors import UsageError
    from envbuilder.revision import revision
    from envbuilder.sbom import sbom
    from envbuilder.scope import profile_of, scope

    found = scope(call.options, call.env)
    base = describe(found.interpreter, found.layout, found.env, engine=found.engine)
    of = revision(profile_of(found, base), call.arguments.generation)
    record = sbom(of, base, of.config(call.env))
    if call.arguments.output is None:
        call.console.document(record)
        return 0
    path = abspath(expanduser(call.arguments.output))
    try:
        fs.write_atomic(path, f"{json_text(record)}\n".encode())
    except OSError as error:
        raise UsageError(f"`{path}` cannot be written: {error.strerror}") from None
    call.console.say(f"wrote `{path}`")
    return 0


RUNS = {
    "doctor": Run(_takes_doctor, _doctor),
    "sbom": Run(_takes_sbom, _sbom),
}
