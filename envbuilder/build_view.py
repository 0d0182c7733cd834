"""How a build is shown: what changed, what was left to the base or left out, and the next step; text or JSON."""

from __future__ import annotations

from envbuilder.planning import size_text
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from envbuilder.commit import Outcome
    from envbuilder.console import Console
    from envbuilder.manifest import ProbeResult
    from envbuilder.planning import Change
    from envbuilder.profile import Generation


def show_build(outcome: Outcome, as_json: bool, console: Console, *, hints: bool = True) -> None:
    """Show what a build came to, with the next step unless nobody is there to take it."""
    if as_json:
        console.json(build_record(outcome))
        return
    generation = outcome.generation
    if generation and outcome.before and outcome.before.config not in ("", generation.config):
        console.say(f"note: generation {outcome.before.number} was built from `{outcome.before.config}`")
    _show_set(outcome, console)
    if generation is None:
        for line in _plan_lines(outcome):
            console.data(line)
        console.say("nothing was changed: this was a dry run" if _would_change(outcome) else "nothing would change")
        return
    if lines := outcome.difference.lines:
        console.say("\n".join(f"  {line}" for line in lines))
    told, way_forward = _told(outcome, generation)
    console.say(told)
    if way_forward and hints:
        console.hint(way_forward)


def _told(outcome: Outcome, generation: Generation) -> tuple[str, str]:
    """Say how a build ended, and the next step ("" where there is none)."""
    named = f"generation {generation.number} ({generation.digest[:12]})"
    before = outcome.before.number if outcome.before else "none"
    match outcome.kind:
        case "held":
            way = f"`vpm-env switch {generation.number}` takes it again"
            return f"{named} was rolled back and stays so; generation {before} is current", way
        case "unchanged":
            return f"nothing changed: {named} is current", ""
        case "made":
            return f"made {named}; `current` is as it was", f"`vpm-env switch {generation.number}` makes it current"
    way = "" if outcome.before else "`vpm-env status` tells whether engine processes get it"
    return f"switched to {named}, was {before}", way


def _show_set(outcome: Outcome, console: Console) -> None:
    """Tell everything about a set that must not go unsaid."""
    for note in outcome.notes:
        console.say(f"note: {note}")
    for line in said_of(outcome.provided, outcome.ignored):
        console.say(f"note: {line}")
    for plugin, why in outcome.left_out.items():
        console.warn(f"without `{plugin}` (optional): {why}")
    if outcome.findings:
        from envbuilder.finding_words import show_findings  # of most sets there is nothing to tell

        show_findings(outcome.findings, console)
    if telling := [result for result in outcome.probe if not result.is_plain]:
        _show_probe(telling, console)


def _show_probe(results: list[ProbeResult], console: Console) -> None:
    """Tell what does not work yet or not at all, and what a plugin does to the engine."""
    from envbuilder.probe_words import noteworthy  # of most sets there is nothing to tell

    for result in results:
        if result.status == "failed":
            console.warn(f"{result.group}: {result.name} {result.wrong}")
        elif result.status == "needs-device":
            when = "when it is called" if result.called else "to load"
            console.say(f"note: {result.group}: {result.name} needs a device {when}: {result.error}")
        if noted := noteworthy(result):
            console.say(f"note: {noted}")


def said_of(provided: dict[str, str], ignored: dict[str, list[str]]) -> list[str]:
    """Say what a set leaves to the base, and which of the base's bounds it ignores: a sentence each."""
    lines = [f"`{plugin}` is provided by the base ({entry})" for plugin, entry in provided.items()]
    return lines + [f"`{plugin}` ignores its bounds on {', '.join(names)}" for plugin, names in ignored.items()]


def _would_change(outcome: Outcome) -> bool:
    is_same = outcome.before is not None and outcome.before.digest == outcome.digest
    return bool(outcome.difference.lines) or (outcome.digest is not None and not is_same)


def _plan_lines(outcome: Outcome) -> list[str]:
    """Say what a build would change, and what it would have to fetch for that."""
    lines = [_planned(change, outcome) for change in outcome.difference.packages]
    return lines + [str(fact) for fact in outcome.difference.facts]


def _planned(change: Change, outcome: Outcome) -> str:
    size = outcome.to_fetch.get(change.name) if change.size is None else None
    return f"{change}, {size_text(size)} to fetch" if size else str(change)


def build_record(outcome: Outcome) -> dict[str, Any]:
    """Return what a build came to, as plain data."""
    return {
        "result": outcome.kind,
        "generation": outcome.generation.number if outcome.generation else None,
        "digest": outcome.digest,
        "before": outcome.before.number if outcome.before else None,
        "base": outcome.base_key,
        "changes": [
            {
                "name": change.name,
                "before": change.before,
                "after": change.after,
                "bytes": change.size,
                "content": change.content,
            }
            for change in outcome.difference.packages
        ],
        "facts": [{"name": fact.name, "before": fact.before, "after": fact.after} for fact in outcome.difference.facts],
        "provided": outcome.provided,
        "ignored": outcome.ignored,
        "left_out": outcome.left_out,
        "findings": [finding._asdict() for finding in outcome.findings],
        "probe": _probe_records(outcome.probe),
        "ran": [one._asdict() for one in outcome.ran],
    }


def _probe_records(results: tuple[ProbeResult, ...]) -> list[dict[str, Any]]:
    from envbuilder.probe_words import named_record  # only JSON has it all

    return [named_record(result) for result in results]
