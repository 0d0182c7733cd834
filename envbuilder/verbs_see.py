"""The verbs that show what there is."""

from __future__ import annotations

from envbuilder.arguments import Call, Run, generation, json_only
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def _status(call: Call) -> int:
    from envbuilder.scope import scope
    from envbuilder.status import status
    from envbuilder.status_view import show_status

    found = status(scope(call.options, call.env, needs_config=True))
    show_status(found, call.arguments.json, call.console)
    return 0 if found.active else 1


def _history(call: Call) -> int:
    from envbuilder.scope import profile_of, scope
    from envbuilder.views import show_history

    show_history(profile_of(scope(call.options, call.env)), call.arguments.json, call.console)
    return 0


def _list(call: Call) -> int:
    from envbuilder.scope import profile_of, scope
    from envbuilder.views import show_list

    show_list(profile_of(scope(call.options, call.env)), call.arguments.json, call.console)
    return 0


def _takes_path(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "generation", nargs="?", type=generation, metavar="N", help="of generation N (default: current)"
    )


def _path(call: Call) -> int:
    from envbuilder.scope import profile_of, scope
    from envbuilder.switching import chosen

    profile = profile_of(scope(call.options, call.env))
    digest = chosen(profile, call.arguments.generation).digest
    call.console.data(profile.layout.overlay(profile.base_key, digest))
    return 0


RUNS = {
    "status": Run(json_only, _status),
    "history": Run(json_only, _history),
    "list": Run(json_only, _list),
    "path": Run(_takes_path, _path),
}
