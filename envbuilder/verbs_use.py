"""The verbs that put a set to use."""

from __future__ import annotations

import sys

from envbuilder.arguments import Call, Run, Words, duration, generation, json_only, number
from envbuilder.errors import UsageError
from envbuilder.paths import Environment
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from envbuilder.events import Journal
    from envbuilder.profile import Profile
    from envbuilder.scope import Scope
    from envbuilder.startup import HookStatus
    from envbuilder.trial import Watch


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
    parser.add_argument(
        "--rollback-after",
        type=number,
        default=0,
        metavar="N",
        help="go back before an engine starts if N starts in a row have failed and the set was never good",
    )
    parser.add_argument(
        "--good-after",
        type=duration,
        metavar="TIME",
        help="how long a start must last not to have failed (default: 10m)",
    )
    json_only(parser)


def _hook(call: Call) -> int:
    from envbuilder import house_views as views
    from envbuilder import startup
    from envbuilder.base import describe
    from envbuilder.scope import hand_over, make_home, scope

    asked, console = call.arguments, call.console
    if asked.policy and not asked.auto:
        raise UsageError("`--policy` says what to do if a build fails", hint="with `--auto`, a build is tried")
    if asked.good_after is not None and not asked.rollback_after:
        raise UsageError(
            "`--good-after` says which starts have failed", hint="with `--rollback-after N`, they are counted"
        )
    found = scope(call.options, call.env)
    base = describe(found.interpreter, found.layout, found.env, engine=found.engine)
    settings = {
        "layout": found.layout,
        "profile": found.profile_name,
        "command": (sys.executable, "-m", "envbuilder"),
        "trust_owner": tuple(asked.trust_owner),
        "trust_home": asked.trust_home,
        "auto": (asked.policy or "last-good") if asked.auto else "",
        "rollback_after": asked.rollback_after,
        "good_after": _good_after(asked),
    }
    if asked.action == "install":
        make_home(found.layout)
        before = startup.inspect(base)
        views.show_hook_installed(startup.install(base, **settings), asked.json, console)
        if gone := _no_more(before, startup.inspect(base)):
            console.warn(f"what the hook had that was there is gone, as it was not named again: {gone}")
        hand_over(found.layout, asked.trust_owner)
        if (asked.auto or asked.rollback_after) and not base.engine.serving:
            console.warn("no engine is known in this base: nothing will be built or counted when one starts")
    elif asked.action == "uninstall":
        views.show_hook_removed(startup.uninstall(base, reporter=console.reporter()), asked.json, console)
    elif asked.action == "show":
        views.show_hook_texts(startup.show(base, **settings), asked.json, console)
    else:
        hook = startup.inspect(base)
        views.show_hook(hook, asked.json, console)
        return 0 if hook.intact else 1
    return 0


def _good_after(asked: Words) -> float:
    from envbuilder.startup import GOOD_AFTER

    if not asked.rollback_after:
        return 0.0
    return GOOD_AFTER if asked.good_after is None else float(asked.good_after)


def _no_more(before: HookStatus, after: HookStatus) -> str:
    """Name the options of a hook that the one in its place does not have; another value is no loss."""
    has = {option.split()[0] for option in after.options}
    return ", ".join(f"`{option}`" for option in before.options if option.split()[0] not in has)


def _takes_run(parser: argparse.ArgumentParser) -> None:
    parser.usage = "vpm-env run [--health URL [--rollback]] [OPTIONS] [--] COMMAND"
    parser.add_argument("--generation", type=generation, metavar="N", help="with generation N (default: current)")
    _takes_without(parser)
    watched = parser.add_argument_group("stay with the command, a server")
    watched.add_argument("--health", metavar="URL", help="where it answers with 200 to 299 when it is healthy")
    watched.add_argument("--rollback", action="store_true", help="go back to the last good set if this one is not")
    for name, (_, default, text) in _WATCHED.items():
        kind = number if name == "--retries" else duration
        metavar = "N" if name == "--retries" else "TIME"
        watched.add_argument(name, type=kind, metavar=metavar, help=f"{text} (default: {default})")
    watched.add_argument("--events", metavar="FILE", help="append what happens, as JSON lines; `-`: standard output")


_WATCHED = {
    "--health-timeout": ("health_timeout", "30m", "how long it may take to get healthy"),
    "--health-interval": (
        "interval",
        "10s",
        "how often it is asked; after three bad answers in a row it is not healthy",
    ),
    "--good-after": ("good_after", "60s", "how long it must stay healthy for its set to be good"),
    "--retries": ("retries", "3", "how often it is started again, after 1, 2, 4 … 60 seconds"),
}
"""Option -> the field of `Watch` or `Pace` that it sets, the default there, and its help."""


def _run(call: Call) -> int:
    from envbuilder.running import run
    from envbuilder.scope import scope

    if not call.arguments.command:
        raise UsageError("there is no command to run", hint="`vpm-env run vllm serve MODEL`")
    if call.arguments.health is not None:
        return _supervise(call)
    alone = ("--rollback", *_WATCHED, "--events")
    given = [name for name in alone if getattr(call.arguments, name[2:].replace("-", "_")) not in (None, False)]
    if given:
        raise UsageError(f"`{given[0]}` is for a server that is watched", hint="name its health page: `--health URL`")
    run(
        scope(call.options, call.env),
        call.arguments.command,
        number=call.arguments.generation,
        report=call.console.reporter(),
        without=_left_out(call),
    )
    return 0


def _supervise(call: Call) -> int:
    """Stay with a server to its end, and end as it did."""
    from envbuilder import process
    from envbuilder.rebuilding import rebuild
    from envbuilder.scope import profile_of, scope
    from envbuilder.supervise import Supervisor, require_movable

    asked, report = call.arguments, call.console.reporter()
    if asked.rollback and asked.generation is not None:
        hint = "`vpm-env switch N` makes one current"
        raise UsageError("`--rollback` moves what is current, `--generation` does not start it", hint=hint)
    watch = _watch(asked)
    found = _lacking(call, scope(call.options, call.env))
    profile = profile_of(found)
    if asked.rollback:
        require_movable(profile)
    journal = _journal(call, profile)
    supervisor = Supervisor(found, asked.command, watch, journal, rebuild(found, report), report)
    code = supervisor.run(number=asked.generation)
    return code if code >= 0 else process.die_of(-code)


def _watch(asked: Words) -> Watch:
    from envbuilder.heartbeat import Pace, Target
    from envbuilder.trial import Watch

    given = {field: getattr(asked, name[2:].replace("-", "_")) for name, (field, _, _) in _WATCHED.items()}
    given = {field: value for field, value in given.items() if value is not None}
    pace = Pace(interval=given.pop("interval")) if "interval" in given else Pace()
    return Watch(Target.of(asked.health), rollback=asked.rollback, pace=pace, **given)


def _journal(call: Call, profile: Profile) -> Journal:
    """Let people read on standard error what happens, and programs where they want to."""
    from envbuilder import fs
    from envbuilder.events import Journal

    console, file = call.console, call.arguments.events

    def say(text: str, is_loud: bool) -> None:
        (console.warn if is_loud else console.say)(f"vpm-env: {text}")

    def write(line: str) -> None:
        if file == "-":
            console.line(line)
        else:
            fs.append(file, f"{line}\n".encode())

    if file not in (None, "-"):
        try:
            fs.append(file, b"")  # better a word now than silence later
        except OSError as error:
            raise UsageError(f"`{file}` takes no events: {error.strerror}") from None
    kept = write if file else None
    return Journal(profile.name, profile.base_key, say=say, write=kept, is_beside_output=file == "-")


def _takes_without(parser: argparse.ArgumentParser) -> None:
    text = "leave a plugin out, with what only it needs, or a package; as $VPM_ENV_WITHOUT does"
    parser.add_argument("--without", metavar="NAME", action="append", default=[], help=text)


def _left_out(call: Call) -> list[str]:
    from envbuilder.names import listed

    return [name for text in call.arguments.without for name in listed(text)]


def _lacking(call: Call, found: Scope) -> Scope:
    """Let what is left out stay out, whichever generation a supervisor moves to."""
    names = _left_out(call)
    if not names:
        return found
    from envbuilder.report import Reporter
    from envbuilder.running import enter

    enter(found, number=call.arguments.generation, report=Reporter(), without=names).leave()  # it says what is wrong
    joined = ",".join([*names, found.env.get("VPM_ENV_WITHOUT") or ""])
    return found._replace(env=Environment({**found.env.variables, "VPM_ENV_WITHOUT": joined}))


def _takes_shell(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--generation", type=generation, metavar="N", help="of generation N (default: current)")
    _takes_without(parser)


def _shell(call: Call) -> int:
    from envbuilder.scope import scope
    from envbuilder.shells import shell

    shell(
        scope(call.options, call.env),
        number=call.arguments.generation,
        report=call.console.reporter(),
        without=_left_out(call),
    )
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
