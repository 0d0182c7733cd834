"""The verbs that move between sets."""

from __future__ import annotations

from envbuilder.arguments import HIDDEN, Call, Run, generation, json_only, number
from envbuilder.errors import UsageError
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from envbuilder.console import Console
    from envbuilder.followup import Ran
    from envbuilder.profile import Profile
    from envbuilder.switching import Switched


def _takes_rollback(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", type=generation, metavar="N", help="back to generation N")
    parser.add_argument("--bad", action="store_true", help="mark the generation that is left as bad")
    json_only(parser)
    parser.add_argument("--judge", nargs=3, metavar=("STATE", "N", "WHY"), help=HIDDEN)  # what a start-up hook says


def _rollback(call: Call) -> int:
    if call.arguments.judge:
        return _judge(call)
    from envbuilder.scope import profile_of, scope
    from envbuilder.switching import named, rollback

    found = scope(call.options, call.env)
    profile = profile_of(found)
    done = rollback(
        profile,
        to=named(profile, call.arguments.to).number if call.arguments.to else None,
        bad=call.arguments.bad,
        wait=found.lock_wait,
        rebuild=_rebuild(found, call.console),
        wait_told=call.waiting,
    )
    ran = _followed("rollback", profile, done, call)
    return _show_switched("rolled back to", done, ran, call.arguments.json, call.console)


def _judge(call: Call) -> int:
    """Mark a generation as a start-up hook found it, and go back from a bad one."""
    from envbuilder.scope import profile_of, scope
    from envbuilder.verdict import acquit, condemn, outcome

    state, name, why = call.arguments.judge
    if state not in ("good", "bad"):
        raise UsageError(f"`{state}` is neither `good` nor `bad`")
    found = scope(call.options, call.env)
    profile, judged = profile_of(found), number(name)
    if state == "good":
        acquit(profile, judged, why, wait=found.lock_wait)
        return 0
    rebuild = _rebuild(found, call.console)
    verdict = condemn(profile, judged, why, wait=found.lock_wait, rebuild=rebuild, wait_told=call.waiting)
    call.console.warn(outcome(profile, judged, why, verdict))
    return 0


def _takes_switch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("generation", type=generation, metavar="N", help="the generation to make current")
    json_only(parser)


def _switch(call: Call) -> int:
    from envbuilder.scope import profile_of, scope
    from envbuilder.switching import named, switch

    found = scope(call.options, call.env)
    profile = profile_of(found)
    done = switch(
        profile,
        named(profile, call.arguments.generation).number,
        wait=found.lock_wait,
        rebuild=_rebuild(found, call.console),
        wait_told=call.waiting,
    )
    ran = _followed("switch", profile, done, call)
    return _show_switched("switched to", done, ran, call.arguments.json, call.console)


def _rebuild(found: Any, console: Console) -> Any:
    def rebuild(profile: Any, generation: Any) -> None:
        from envbuilder.rebuilding import rebuild as make

        make(found, console.reporter())(profile, generation)

    return rebuild


def _followed(verb: str, profile: Profile, done: Switched, call: Call) -> tuple[Ran, ...]:
    """Run the command that the newest generation wants run after a switch; the switch stands, whatever comes of it."""
    from envbuilder.profile import LOST, newest

    source = newest(profile)
    if source and source.reason == LOST:
        call.console.warn(
            f"whether a command is to run now is not known: the record of generation {source.number} cannot be read"
        )
        return ()
    before = done.before.number if done.before else None
    if source is None or "on_switch" not in source.inputs or before == done.generation.number:
        return ()
    from envbuilder.followup import Event, follow  # few profiles have commands

    event, wanted = Event(verb, done.generation, before), {"on_switch": source.inputs["on_switch"]}
    return follow(profile, event, wanted, source, env=call.env, report=call.console.reporter())


def _show_switched(verb: str, done: Switched, ran: tuple[Ran, ...], as_json: bool, console: Console) -> int:
    before = done.before.number if done.before else None
    if as_json:
        record = {"generation": done.generation.number, "digest": done.generation.digest, "before": before}
        told = {"notes": [*done.notes, *done.warnings], "ran": [one._asdict() for one in ran]}
        console.json({**record, "rebuilt": done.rebuilt, **told})
        return 0
    console.say(f"{verb} generation {done.generation.number} ({done.generation.digest[:12]}), was {before or 'none'}")
    for note in done.notes:
        console.say(f"note: {note}")
    for warning in done.warnings:
        console.warn(warning)
    return 0


RUNS = {
    "rollback": Run(_takes_rollback, _rollback),
    "switch": Run(_takes_switch, _switch),
}
