"""The verbs that move between sets."""

from __future__ import annotations

from envbuilder.arguments import Call, Run, json_only, number
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from envbuilder.console import Console
    from envbuilder.switching import Switched


def _takes_rollback(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", type=number, metavar="N", help="back to generation N")
    parser.add_argument("--bad", action="store_true", help="mark the generation that is left as bad")
    json_only(parser)


def _rollback(call: Call) -> int:
    from envbuilder.scope import profile_of, scope
    from envbuilder.switching import rollback

    found = scope(call.options, call.env)
    done = rollback(
        profile_of(found),
        to=call.arguments.to,
        bad=call.arguments.bad,
        wait=found.lock_wait,
        rebuild=_rebuild(found, call.console),
        wait_told=call.waiting,
    )
    return _show_switched("rolled back to", done, call.arguments.json, call.console)


def _takes_switch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("generation", type=number, metavar="N", help="the generation to make current")
    json_only(parser)


def _switch(call: Call) -> int:
    from envbuilder.scope import profile_of, scope
    from envbuilder.switching import switch

    found = scope(call.options, call.env)
    done = switch(
        profile_of(found),
        call.arguments.generation,
        wait=found.lock_wait,
        rebuild=_rebuild(found, call.console),
        wait_told=call.waiting,
    )
    return _show_switched("switched to", done, call.arguments.json, call.console)


def _rebuild(found: Any, console: Console) -> Any:
    def rebuild(profile: Any, generation: Any) -> None:
        from envbuilder.pipeline import rebuild as make

        make(found, console.reporter())(profile, generation)

    return rebuild


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


RUNS = {
    "rollback": Run(_takes_rollback, _rollback),
    "switch": Run(_takes_switch, _switch),
}
