"""The verbs: what each takes, the one call it makes, and how its answer is shown. Each imports what it needs."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from envbuilder.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from envbuilder.console import Console
    from envbuilder.engines import Engine
    from envbuilder.paths import Environment
    from envbuilder.scope import Options
    from envbuilder.switching import Switched

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Verb(NamedTuple):
    """One verb; `arguments` adds what it takes to a parser, `run` returns the exit code."""

    name: str
    group: str
    summary: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Options, Environment, Console], int]


def _json_only(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def _init_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", action="store_true", help="write the one in ~/.config instead of ./plugins.yaml")


def _init(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder.init import choose_target, write_config

    engine = _engine_in_reach(options, env)
    target = choose_target(option=options.config, user=arguments.user, engine=engine, env=env)
    write_config(target=target, engine=engine)
    console.say(f"wrote `{target}` for {engine.name}")
    console.hint("add plugins to it, then run `vpm-env build`")
    return 0


def _engine_in_reach(options: Options, env: Environment) -> Engine:
    """Return the engine of the base that a build would choose; the generic one where there is no base."""
    from envbuilder.base import describe
    from envbuilder.engines import GENERIC
    from envbuilder.errors import BaseError
    from envbuilder.interpreter import find_base

    try:
        return describe(find_base(option=options.base, configured=None, env=env), None, env).engine
    except BaseError:
        if options.base:
            raise
        return GENERIC


def _build_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", "-n", action="store_true", help="show what would change, and change nothing")
    parser.add_argument("--no-switch", action="store_true", help="make the generation, but leave `current` as it is")
    parser.add_argument("--locked", action="store_true", help="fail (exit 3) if the lock would change")
    parser.add_argument("--offline", action="store_true", help="use no network")
    parser.add_argument(
        "--upgrade",
        "-U",
        nargs="?",
        const="",
        action="append",
        metavar="NAME",
        help="take newer versions: of NAME, or of everything",
    )
    parser.add_argument("--force", action="store_true", help="make the overlay again, and end a hold")
    _json_only(parser)


def _build(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder.scope import scope
    from envbuilder.unchanged import unchanged

    found = scope(options, env, needs_config=True)
    quick = not (arguments.force or arguments.upgrade is not None or arguments.dry_run)
    same = unchanged(found) if quick else None
    if same is not None and (arguments.no_switch or same.held or same.current == same.generation.number):
        return _show_unchanged(same.generation.number, same.generation.digest, same.current, arguments.json, console)
    from envbuilder.assembly import Request
    from envbuilder.pipeline import build
    from envbuilder.views import show_build

    upgrade = None if arguments.upgrade is None else frozenset(name for name in arguments.upgrade if name)
    request = Request(
        dry_run=arguments.dry_run,
        switch=not arguments.no_switch,
        locked=arguments.locked,
        offline=arguments.offline,
        force=arguments.force,
        upgrade=upgrade,
    )
    outcome = build(found, request, console.reporter())
    show_build(outcome, arguments.json, console)
    return 0


def _show_unchanged(number: int, digest: str, current: int | None, as_json: bool, console: Console) -> int:
    undone = current != number
    if as_json:
        kind = "held" if undone else "unchanged"
        console.json({"result": kind, "generation": number, "digest": digest, "current": current})
    elif undone:
        console.say(f"nothing to do: generation {number} was rolled back, and generation {current} is current")
        console.hint(f"`vpm-env switch {number}` takes it again; a changed config ends the hold")
    else:
        console.say(f"nothing to do: generation {number} ({digest[:12]}) is current")
    return 0


def _rollback_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", type=_number, metavar="N", help="back to generation N")
    parser.add_argument("--bad", action="store_true", help="mark the generation that is left as bad")
    _json_only(parser)


def _rollback(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder.scope import profile_of, scope
    from envbuilder.switching import rollback

    found = scope(options, env)
    done = rollback(
        profile_of(found),
        to=arguments.to,
        bad=arguments.bad,
        wait=found.lock_wait,
        rebuild=_rebuild(found, console),
        wait_told=_waiting(console),
    )
    return _show_switched("rolled back to", done, arguments.json, console)


def _switch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("generation", type=_number, metavar="N", help="the generation to make current")
    _json_only(parser)


def _switch(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder.scope import profile_of, scope
    from envbuilder.switching import switch

    found = scope(options, env)
    done = switch(
        profile_of(found),
        arguments.generation,
        wait=found.lock_wait,
        rebuild=_rebuild(found, console),
        wait_told=_waiting(console),
    )
    return _show_switched("switched to", done, arguments.json, console)


def _rebuild(found: Any, console: Console) -> Any:
    def rebuild(profile: Any, generation: Any) -> None:
        from envbuilder.pipeline import rebuild as make

        make(found, console.reporter())(profile, generation)

    return rebuild


def _waiting(console: Console) -> Callable[[str, float], None]:
    def told(holder: str, seconds: float) -> None:
        if seconds >= 2:
            console.say(f"waiting for {holder}, {seconds:.0f} s so far")

    return told


def _show_switched(verb: str, done: Switched, as_json: bool, console: Console) -> int:
    before = done.before.number if done.before else None
    if as_json:
        record = {"generation": done.generation.number, "digest": done.generation.digest, "before": before}
        console.json({**record, "rebuilt": done.rebuilt, "notes": list(done.notes)})
        return 0
    console.say(f"{verb} generation {done.generation.number} ({done.generation.digest[:12]}), was {before or 'none'}")
    for note in done.notes:
        console.say(f"note: {note}")
    return 0


def _history(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder.scope import profile_of, scope
    from envbuilder.views import show_history

    show_history(profile_of(scope(options, env)), arguments.json, console)
    return 0


def _status(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder.scope import scope
    from envbuilder.status import status
    from envbuilder.views import show_status

    found = status(scope(options, env, needs_config=True))
    show_status(found, arguments.json, console)
    return 0 if found.active else 1


def _list(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder.scope import profile_of, scope
    from envbuilder.views import show_list

    show_list(profile_of(scope(options, env)), arguments.json, console)
    return 0


def _path_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("generation", nargs="?", type=_number, metavar="N", help="of generation N (default: current)")


def _path(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder.scope import profile_of, scope
    from envbuilder.switching import chosen

    profile = profile_of(scope(options, env))
    generation = chosen(profile, arguments.generation)
    console.data(profile.layout.overlay(profile.base_key, generation.digest))
    return 0


def _hook_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("install", "uninstall", "status", "show"), help="what to do with the hook")
    parser.add_argument(
        "--trust-owner", type=_number, action="append", default=[], metavar="UID", help="accept a home of this user"
    )
    parser.add_argument("--trust-home", action="store_true", help="accept a home that others may write to")
    _json_only(parser)


def _hook(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder import startup
    from envbuilder.base import describe
    from envbuilder.scope import make_home, scope
    from envbuilder.views import show_hook

    found = scope(options, env)
    base = describe(found.interpreter, found.layout, found.env, engine=found.engine)
    settings = {
        "layout": found.layout,
        "profile": found.profile_name,
        "command": (sys.executable, "-m", "envbuilder"),
        "trust_owner": tuple(arguments.trust_owner),
        "trust_home": arguments.trust_home,
    }
    if arguments.action == "install":
        make_home(found.layout)
        installed = startup.install(base, **settings)
        console.say(f"installed the hook in `{installed.folder}`")
    elif arguments.action == "uninstall":
        for path in startup.uninstall(base, reporter=console.reporter()):
            console.say(f"removed {path}")
    elif arguments.action == "show":
        console.data(startup.show(base, **settings))
    else:
        hook = startup.inspect(base)
        show_hook(hook, arguments.json, console)
        return 0 if hook.intact else 1
    return 0


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "vpm-env run [--generation N] [OPTIONS] -- COMMAND"
    parser.add_argument("--generation", type=_number, metavar="N", help="with generation N (default: current)")


def _run(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder.running import run
    from envbuilder.scope import scope

    if not arguments.command:
        raise UsageError("there is no command to run", hint="put it behind `--`: `vpm-env run -- vllm serve MODEL`")
    run(scope(options, env), arguments.command, number=arguments.generation, report=console.reporter())
    return 0


def _gc_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep", type=_number, default=0, metavar="N", help="keep the N newest generations too")
    parser.add_argument("--older-than", type=_duration, metavar="AGE", help="only what was not current for AGE (`30d`)")
    parser.add_argument("--dry-run", "-n", action="store_true", help="say what would go and what that frees")
    _json_only(parser)


def _gc(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder.gc import Policy
    from envbuilder.scope import home, lock_wait
    from envbuilder.sweep import collect
    from envbuilder.views import show_swept

    layout = home(options, env)
    swept = collect(
        layout,
        Policy(keep=arguments.keep, older_than=arguments.older_than),
        dry_run=arguments.dry_run,
        wait=lock_wait(env),
    )
    show_swept(swept, arguments.dry_run, arguments.json, console)
    return 0


def _verify(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder.scope import home
    from envbuilder.sweep import verify
    from envbuilder.views import show_verified

    verified = verify(home(options, env))
    show_verified(verified, arguments.json, console)
    return 1 if verified.damage else 0


def _uninstall_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", "-n", action="store_true", help="say what would go")


def _uninstall(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder.removal import uninstall
    from envbuilder.views import show_removed

    show_removed(uninstall(options, env, dry_run=arguments.dry_run), arguments.dry_run, console)
    return 0


def _number(text: str) -> int:
    if not text.isdigit():
        raise UsageError(f"`{text}` is no number")
    return int(text)


def _duration(text: str) -> float:
    found = re.fullmatch(r"(\d+)([smhdw])", text)
    if not found:
        raise UsageError(f"`{text}` is no duration", hint="write a number and `s`, `m`, `h`, `d` or `w`: `30d`")
    return float(found[1]) * _UNITS[found[2]]


GROUPS = ("Make a set", "Move between sets", "See", "Use", "Keep house")

VERBS = {
    verb.name: verb
    for verb in (
        Verb("init", "Make a set", "write a commented plugins.yaml", _init_arguments, _init),
        Verb("build", "Make a set", "make what plugins.yaml asks for, and switch to it", _build_arguments, _build),
        Verb("rollback", "Move between sets", "make the set before current again", _rollback_arguments, _rollback),
        Verb("switch", "Move between sets", "make generation N current", _switch_arguments, _switch),
        Verb("status", "See", "would a new engine process get this set?", _json_only, _status),
        Verb("history", "See", "all generations, and what each changed", _json_only, _history),
        Verb("list", "See", "plugins and packages of the current set", _json_only, _list),
        Verb("path", "See", "the folder of the current overlay", _path_arguments, _path),
        Verb("hook", "Use", "the start-up hook of the base: install, uninstall, status, show", _hook_arguments, _hook),
        Verb("run", "Use", "run a command with the set, without a hook", _run_arguments, _run),
        Verb("gc", "Keep house", "free the space of sets that nothing needs", _gc_arguments, _gc),
        Verb("verify", "Keep house", "recompute every key and look at every link", _json_only, _verify),
        Verb("uninstall", "Keep house", "remove hook and home, and say what is left", _uninstall_arguments, _uninstall),
    )
}
