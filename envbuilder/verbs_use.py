"""The verbs that put a set to use."""

from __future__ import annotations

import sys

from envbuilder.arguments import Call, Run, generation, json_only, number
from envbuilder.errors import UsageError
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def _takes_hook(parser: argparse.ArgumentParser) -> None:
    from envbuilder._auto import POLICIES

    parser.add_argument("action", choices=("install", "uninstall", "status", "show"), help="what to do with the hook")
    parser.add_argument(
        "--trust-owner", type=number, action="append", default=[], metavar="UID", help="accept a home of this user"
    )
    parser.add_argument("--trust-home", action="store_true", help="accept a home that others may write to")
    parser.add_argument("--auto", action="store_true", help="build before an engine starts, if there is anything to do")
    parser.add_argument(
        "--policy",
        choices=POLICIES,
        help="if that fails, start with the current set, with none, or not at all (default: last-good)",
    )
    json_only(parser)


def _hook(call: Call) -> int:
    from envbuilder import house_views as views
    from envbuilder import startup
    from envbuilder.base import describe
    from envbuilder.scope import make_home, scope

    asked, console = call.arguments, call.console
    if asked.policy and not asked.auto:
        raise UsageError("`--policy` says what to do if a build fails", hint="with `--auto`, a build is tried")
    found = scope(call.options, call.env)
    base = describe(found.interpreter, found.layout, found.env, engine=found.engine)
    settings = {
        "layout": found.layout,
        "profile": found.profile_name,
        "command": (sys.executable, "-m", "envbuilder"),
        "trust_owner": tuple(asked.trust_owner),
        "trust_home": asked.trust_home,
        "auto": (asked.policy or "last-good") if asked.auto else "",
    }
    if asked.action == "install":
        make_home(found.layout)
        views.show_hook_installed(startup.install(base, **settings), asked.json, console)
        if asked.auto and not base.engine.serving:
            console.warn("no engine is known in this base: nothing will be built when one starts")
    elif asked.action == "uninstall":
        views.show_hook_removed(startup.uninstall(base, reporter=console.reporter()), asked.json, console)
    elif asked.action == "show":
        views.show_hook_texts(startup.show(base, **settings), asked.json, console)
    else:
        hook = startup.inspect(base)
        views.show_hook(hook, asked.json, console)
        return 0 if hook.intact else 1
    return 0


def _takes_run(parser: argparse.ArgumentParser) -> None:
    parser.usage = "vpm-env run [--generation N] [OPTIONS] [--] COMMAND"
    parser.add_argument("--generation", type=generation, metavar="N", help="with generation N (default: current)")


def _run(call: Call) -> int:
    from envbuilder.running import run
    from envbuilder.scope import scope

    if not call.arguments.command:
        raise UsageError("there is no command to run", hint="`vpm-env run vllm serve MODEL`")
    run(
        scope(call.options, call.env),
        call.arguments.command,
        number=call.arguments.generation,
        report=call.console.reporter(),
    )
    return 0


def _takes_shell(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--generation", type=generation, metavar="N", help="of generation N (default: current)")


def _shell(call: Call) -> int:
    from envbuilder.scope import scope
    from envbuilder.shells import shell

    shell(scope(call.options, call.env), number=call.arguments.generation, report=call.console.reporter())
    return 0


def _takes_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", nargs="?", choices=("bash", "zsh", "fish"), help="the shell to write a script for")
    parser.add_argument("--values", metavar="KIND", help="list what there is of a kind, as the scripts do")


def _completion(call: Call) -> int:
    from envbuilder.completion import script
    from envbuilder.scope import scope
    from envbuilder.values import KINDS, values

    kind = call.arguments.values
    if (call.arguments.shell is None) == (kind is None):
        raise UsageError("name a shell", hint="`vpm-env completion bash`, or `zsh`, or `fish`")
    if kind is None:
        call.console.data(script(call.arguments.shell, call.parsers()).rstrip("\n"))
        return 0
    if kind not in KINDS:
        raise UsageError(f"there are no values of the kind `{kind}`", hint=f"there are {', '.join(KINDS)}")
    for value, summary in values(kind, scope(call.options, call.env)):
        if all(letter.isalnum() or letter in "._+-" for letter in value):  # bash expands what it completes with
            call.console.data(f"{value}\t{summary}")
    return 0


RUNS = {
    "hook": Run(_takes_hook, _hook),
    "run": Run(_takes_run, _run),
    "shell": Run(_takes_shell, _shell),
    "completion": Run(_takes_completion, _completion),
}
