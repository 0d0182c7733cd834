"""The verbs that make a set."""

from __future__ import annotations

from envbuilder.arguments import Call, Run, json_only, moment
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import argparse

    from envbuilder.console import Console
    from envbuilder.profile import Generation
    from envbuilder.scope import Scope


def _takes_init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", action="store_true", help="write the one in ~/.config instead of ./plugins.yaml")


def _init(call: Call) -> int:
    from envbuilder.base import engine_in_reach
    from envbuilder.init import choose_target, write_config

    engine = engine_in_reach(call.options.base, call.env)
    target = choose_target(option=call.options.config, user=call.arguments.user, engine=engine, env=call.env)
    write_config(target=target, engine=engine)
    call.console.say(f"wrote `{target}` for {engine.name}")
    call.console.hint("add plugins to it, then run `vpm-env build`")
    return 0


def _takes_build(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument(
        "--exclude-newer",
        type=moment,
        metavar="WHEN",
        help="resolve as at a day (`2026-01-31`) or moment in UTC, or some time ago (`30d`)",
    )
    parser.add_argument(
        "--force", action="store_true", help="make the overlay again, end a hold, and switch in spite of a failed probe"
    )
    parser.add_argument(
        "--auto", action="store_true", help="as before an engine's start: not where the config says `auto: false`"
    )
    json_only(parser)


def _build(call: Call) -> int:
    from envbuilder.scope import scope

    asked = call.arguments
    found = scope(call.options, call.env, needs_config=True)
    if asked.auto and _is_switched_off(found):
        call.console.detail(f"`{found.config_file}` says `auto: false`")
        return 0
    if asked.auto:
        from envbuilder.process import end_with_parent

        end_with_parent()
    served = _build_now(found, call)
    if asked.auto:
        from envbuilder.starts import note

        note(found)
        if served is not None and not asked.json:
            call.console.data(str(served))  # the start takes this one, whoever switches meanwhile
    return 0


def _build_now(found: Scope, call: Call) -> int | None:
    """Build, show what it came to, and return the number of the generation that a process would get now."""
    asked = call.arguments
    if not (asked.force or asked.upgrade is not None or asked.dry_run or asked.exclude_newer):
        done = _build_quickly(found, call)
        if done is not None:
            return done.served
    from envbuilder.build_view import show_build
    from envbuilder.job import Request
    from envbuilder.pipeline import build

    request = Request(
        dry_run=asked.dry_run,
        switch=not asked.no_switch,
        locked=asked.locked,
        offline=asked.offline,
        force=asked.force,
        upgrade=None if asked.upgrade is None else frozenset(name for name in asked.upgrade if name),
        exclude_newer=asked.exclude_newer,
        auto=asked.auto,
    )
    outcome = build(found, request, call.console.reporter())
    show_build(outcome, asked.json, call.console, hints=not asked.auto)
    return outcome.served


def _is_switched_off(found: Scope) -> bool:
    """Tell whether the config says `auto: false`; it is parsed only where the word is in it."""
    if found.config_file is None:
        return False
    with open(found.config_file, "rb") as stream:
        if b"auto" not in stream.read():
            return False
    from envbuilder.pipeline import read_config

    return not read_config(found).auto


class _Done(NamedTuple):
    """What was built quickly, and the number of the generation that a process would get now."""

    served: int | None


def _build_quickly(found: Scope, call: Call) -> _Done | None:
    """Build what needs no look at anything but digests: nothing, or a set that was made before; None for the rest."""
    from envbuilder.unchanged import ask, has_stale_hook, look, unchanged

    seen = look(found) or ask(found)
    if seen is None or has_stale_hook(seen):
        return None
    same = unchanged(found, seen)
    if same is not None and (call.arguments.no_switch or same.held or same.current == same.generation.number):
        _show_unchanged(same.generation, same.current, call)
        return _Done(same.current)
    from envbuilder.recipe import find

    recipe = find(found, seen)
    if recipe is None:
        return None
    from envbuilder.again import build_again
    from envbuilder.build_view import show_build

    outcome = build_again(found, seen, recipe, switch=not call.arguments.no_switch, report=call.console.reporter())
    if outcome is None:
        return None
    show_build(outcome, call.arguments.json, call.console, hints=not call.arguments.auto)
    return _Done(outcome.served)


def _show_unchanged(newest: Generation, current: int | None, call: Call) -> None:
    undone, console = current != newest.number, call.console
    if call.arguments.json:
        record = {"result": "held" if undone else "unchanged", "generation": newest.number, "digest": newest.digest}
        console.json({**record, "current": current, "left_out": newest.left_out})
    elif undone:
        console.say(f"nothing to do: generation {newest.number} was rolled back, and generation {current} is current")
        console.hint(f"`vpm-env switch {newest.number}` takes it again; a changed config ends the hold")
    else:
        console.say(f"nothing to do: generation {newest.number} ({newest.digest[:12]}) is current")
        _remind(newest, console)


def _remind(newest: Generation, console: Console) -> None:
    for plugin, why in newest.left_out.items():
        console.warn(f"without `{plugin}` (optional): {why}")
    if newest.left_out:
        console.hint("`vpm-env build --force` tries again what was left out")


RUNS = {
    "init": Run(_takes_init, _init),
    "build": Run(_takes_build, _build),
}
