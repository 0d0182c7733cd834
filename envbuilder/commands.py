"""The verbs: what each takes, the one call it makes, and how its answer is shown. Each imports what it needs."""

from __future__ import annotations

import sys

from envbuilder import arguments as options_of
from envbuilder.errors import UsageError
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import Any

    from envbuilder.console import Console
    from envbuilder.engines import Engine
    from envbuilder.paths import Environment
    from envbuilder.profile import Generation
    from envbuilder.scope import Options
    from envbuilder.switching import Switched


class Verb(NamedTuple):
    """One verb; `arguments` adds what it takes to a parser, `run` returns the exit code."""

    name: str
    group: str
    summary: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Options, Environment, Console], int]


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


def _build(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder.scope import scope
    from envbuilder.unchanged import unchanged

    found = scope(options, env, needs_config=True)
    quick = not (arguments.force or arguments.upgrade is not None or arguments.dry_run)
    same = unchanged(found) if quick else None
    if same is not None and (arguments.no_switch or same.held or same.current == same.generation.number):
        return _show_unchanged(same.generation, same.current, arguments.json, console)
    from envbuilder.job import Request
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


def _show_unchanged(newest: Generation, current: int | None, as_json: bool, console: Console) -> int:
    undone = current != newest.number
    if as_json:
        record = {"result": "held" if undone else "unchanged", "generation": newest.number, "digest": newest.digest}
        console.json({**record, "current": current, "left_out": newest.left_out})
    elif undone:
        console.say(f"nothing to do: generation {newest.number} was rolled back, and generation {current} is current")
        console.hint(f"`vpm-env switch {newest.number}` takes it again; a changed config ends the hold")
    else:
        console.say(f"nothing to do: generation {newest.number} ({newest.digest[:12]}) is current")
        _remind(newest, console)
    return 0


def _remind(newest: Generation, console: Console) -> None:
    for plugin, why in newest.left_out.items():
        console.warn(f"without `{plugin}` (optional): {why}")
    if newest.left_out:
        console.hint("`vpm-env build --force` tries again what was left out")


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
    from envbuilder.status_view import show_status

    found = status(scope(options, env, needs_config=True))
    show_status(found, arguments.json, console)
    return 0 if found.active else 1


def _list(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder.scope import profile_of, scope
    from envbuilder.views import show_list

    show_list(profile_of(scope(options, env)), arguments.json, console)
    return 0


def _path(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder.scope import profile_of, scope
    from envbuilder.switching import chosen

    profile = profile_of(scope(options, env))
    generation = chosen(profile, arguments.generation)
    console.data(profile.layout.overlay(profile.base_key, generation.digest))
    return 0


def _hook(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder import startup
    from envbuilder.base import describe
    from envbuilder.house_views import show_hook
    from envbuilder.scope import make_home, scope

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


def _run(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder.running import run
    from envbuilder.scope import scope

    if not arguments.command:
        raise UsageError("there is no command to run", hint="put it behind `--`: `vpm-env run -- vllm serve MODEL`")
    run(scope(options, env), arguments.command, number=arguments.generation, report=console.reporter())
    return 0


def _gc(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder.gc import Policy
    from envbuilder.house_views import show_swept
    from envbuilder.scope import home, lock_wait
    from envbuilder.sweep import collect

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
    from envbuilder.house_views import show_verified
    from envbuilder.scope import home
    from envbuilder.sweep import verify

    verified = verify(home(options, env))
    show_verified(verified, arguments.json, console)
    return 1 if verified.damage else 0


def _uninstall(arguments: argparse.Namespace, options: Options, env: Environment, console: Console) -> int:
    from envbuilder.house_views import show_removed
    from envbuilder.removal import uninstall

    show_removed(uninstall(options, env, dry_run=arguments.dry_run), arguments.dry_run, console)
    return 0


GROUPS = ("Make a set", "Move between sets", "See", "Use", "Keep house")

VERBS = {
    verb.name: verb
    for verb in (
        Verb("init", "Make a set", "write a commented plugins.yaml", options_of.init, _init),
        Verb("build", "Make a set", "make what plugins.yaml asks for, and switch to it", options_of.build, _build),
        Verb("rollback", "Move between sets", "make the set before current again", options_of.rollback, _rollback),
        Verb("switch", "Move between sets", "make generation N current", options_of.switch, _switch),
        Verb("status", "See", "would a new engine process get this set?", options_of.json_only, _status),
        Verb("history", "See", "all generations, and what each changed", options_of.json_only, _history),
        Verb("list", "See", "plugins and packages of the current set", options_of.json_only, _list),
        Verb("path", "See", "the folder of the current overlay", options_of.path, _path),
        Verb("hook", "Use", "the start-up hook of the base: install, uninstall, status, show", options_of.hook, _hook),
        Verb("run", "Use", "run a command with the set, without a hook", options_of.run, _run),
        Verb("gc", "Keep house", "free the space of sets that nothing needs", options_of.gc, _gc),
        Verb("verify", "Keep house", "recompute every key and look at every link", options_of.json_only, _verify),
        Verb("uninstall", "Keep house", "remove hook and home, and say what is left", options_of.uninstall, _uninstall),
    )
}
