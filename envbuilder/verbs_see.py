"""The verbs that show what there is."""

from __future__ import annotations

from envbuilder.arguments import Call, Run, generation, json_only, number
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def _takes_status(parser: argparse.ArgumentParser) -> None:
    json_only(parser)
    parser.add_argument("--pid", type=number, metavar="PID", help="which set has this living process?")


def _status(call: Call) -> int:
    if call.arguments.pid is not None:
        return _status_of(call)
    from envbuilder.scope import scope
    from envbuilder.status import status
    from envbuilder.status_view import show_status

    found = status(scope(call.options, call.env, needs_config=True))
    show_status(found, call.arguments.json, call.console)
    return 0 if found.active else 1


def _status_of(call: Call) -> int:
    from envbuilder.living import living
    from envbuilder.living_view import show_living
    from envbuilder.scope import home

    found = living(home(call.options, call.env), call.arguments.pid)
    show_living(found, call.arguments.json, call.console)
    return 0 if found.digest else 1


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
    json_only(parser)


def _path(call: Call) -> int:
    from envbuilder.scope import profile_of, scope
    from envbuilder.switching import chosen

    profile = profile_of(scope(call.options, call.env))
    named = chosen(profile, call.arguments.generation)
    path = profile.layout.overlay(profile.base_key, named.digest)
    if call.arguments.json:
        call.console.json({"generation": named.number, "digest": named.digest, "path": path})
    else:
        call.console.path(path)
    return 0


RUNS = {
    "status": Run(_takes_status, _status),
    "history": Run(json_only, _history),
    "list": Run(json_only, _list),
    "path": Run(_takes_path, _path),
}
