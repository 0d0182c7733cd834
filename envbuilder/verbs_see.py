"""The verbs that show what there is."""

from __future__ import annotations

from envbuilder.arguments import Call, Run, generation, json_only, number
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from envbuilder.scope import Scope


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
    parser.add_argument(
        "--without", metavar="NAME", action="append", default=[], help="make it without a plugin or package first"
    )
    json_only(parser)


def _path(call: Call) -> int:
    from envbuilder.scope import profile_of, scope
    from envbuilder.switching import chosen

    found = scope(call.options, call.env)
    if call.arguments.without or call.env.get("VPM_ENV_WITHOUT"):
        return _path_without(call, found)
    profile = profile_of(found)
    named = chosen(profile, call.arguments.generation)
    path = profile.layout.overlay(profile.base_key, named.digest)
    return _show_path(call, named.number, named.digest, path, ())


def _path_without(call: Call, found: Scope) -> int:
    from os.path import basename

    from envbuilder.names import listed
    from envbuilder.running import enter

    names = [name for text in call.arguments.without for name in listed(text)]
    entered = enter(found, number=call.arguments.generation, report=call.console.reporter(), without=names)
    return _show_path(call, entered.generation.number, basename(entered.path), entered.path, entered.without)


def _show_path(call: Call, number: int, digest: str, path: str, without: tuple[str, ...]) -> int:
    if call.arguments.json:
        call.console.json({"generation": number, "digest": digest, "path": path, "without": list(without)})
    else:
        call.console.path(path)
    return 0


RUNS = {
    "status": Run(_takes_status, _status),
    "history": Run(json_only, _history),
    "list": Run(json_only, _list),
    "path": Run(_takes_path, _path),
}
