"""How verify is shown: what is damaged, what was added, what was mended, and what could not be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envbuilder.planning import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envbuilder.console import Console
    from envbuilder.damage import Seen
    from envbuilder.repair import Repaired
    from envbuilder.verification import Verified


def show_verified(verified: Verified, as_json: bool, console: Console) -> None:
    """Show what verify found."""
    if as_json:
        console.json(_record(verified))
        return
    _say_damage(verified, console)
    _say_others(verified, console)
    console.say(f"{_looked_at(verified)}: {_sound(verified)}")
    if verified.wrong:
        console.hint("`vpm-env verify --repair` has it again from its source, or from where another copy is")


def show_repaired(done: Repaired, as_json: bool, console: Console) -> None:
    """Show what was damaged, what was done about it, and why not."""
    if as_json:
        repaired = [entry._asdict() for entry in done.repaired]
        refused = [entry._asdict() for entry in done.refused]
        console.json({**_record(done.before), "repaired": repaired, "refused": refused})
        return
    _say_damage(done.before, console)
    for entry in done.repaired:
        console.say(f"repaired {entry.kind} {entry.name}: {entry.text}")
    for entry in done.refused:
        console.warn(f"not repaired: {entry.kind} {entry.name}: {entry.text}")
    _say_others(done.after, console)
    console.say(f"{_looked_at(done.after)}: {_outcome(done)}")


def _record(verified: Verified) -> dict[str, Any]:
    return {
        "packages": verified.packages,
        "overlays": verified.overlays,
        "damage": [
            {"kind": entry.kind, "name": entry.name, "problems": list(entry.problems)} for entry in verified.damage
        ],
        "added": [entry._asdict() for entry in verified.added],
        "ignored": [entry._asdict() for entry in verified.ignored],
    }


def _say_damage(verified: Verified, console: Console) -> None:
    for entry in verified.damage:
        for problem in entry.problems:
            console.warn(f"{entry.kind} {entry.name}: {problem}")


def _say_others(verified: Verified, console: Console) -> None:
    _say_each("was added", verified.added, console)
    _say_each("is ignored", verified.ignored, console)


def _say_each(what: str, seen: Iterable[Seen], console: Console) -> None:
    for entry in seen:
        console.say(f"{entry.kind} {entry.name}: {entry.text} {what}")


def _looked_at(verified: Verified) -> str:
    return f"looked at {counted(verified.packages, 'package')} and {counted(verified.overlays, 'overlay')}"


def _sound(verified: Verified) -> str:
    return f"{len(verified.damage)} damaged" if verified.wrong else "all as they were made"


def _outcome(done: Repaired) -> str:
    if not done.before.wrong and not done.repaired:
        return "all as they were made"
    return f"{len(done.after.damage)} still damaged" if done.after.wrong else "all as they were made, after repairs"
