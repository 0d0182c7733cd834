"""How a bisection is shown: a line for each try, and in the end what makes the command fail, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envbuilder.bisected import Bisected, Culprit, Question, Try
    from envbuilder.changes import Step
    from envbuilder.console import Console
    from envbuilder.profile import Generation

_LISTED = 4
"""How many changes a line names."""
_PLAUSIBLE = 2
"""How many changes that fail only together need no doubt."""


def show_try(one: Try, good: Generation | None, bad: Generation, asked: Question, console: Console) -> None:
    """Say in one line how a try ended."""
    again = "once more " if one.again else ""
    console.say(
        f"try {one.number}: {again}{_set_of(one, good, bad, asked)}: {_end_of(one, asked)}, {one.seconds:.1f} s"
    )


def show_bisected(found: Bisected, asked: Question, as_json: bool, console: Console) -> None:
    """Show what makes the command fail."""
    if as_json:
        console.json(_record(found, asked))
    else:
        for culprit in found.culprits:
            _show_end(culprit, found.good is None, console)
        for line in _sentences(found, asked):
            console.data(line)
    console.hint(_way_forward(found))


def _show_end(culprit: Culprit, is_plugin: bool, console: Console) -> None:
    """Show the last words of the command with what makes it fail."""
    if culprit.output:
        console.say(f"\nthe end of what it says with {_named(culprit.steps, is_plugin)}:")
    for line in culprit.output:
        console.say(f"  {line}")


def _set_of(one: Try, good: Generation | None, bad: Generation, asked: Question) -> str:
    """Name the set of a try: by what it lacks, or by what it has, whichever is shorter."""
    few = len(one.steps) <= len(one.without)
    if good is None:
        if not one.steps:
            return f"with {_names(asked.kept)} alone" if asked.kept else "without plugins"
        return _counted(one.steps, "with", "alone") if few and one.without else _counted(one.without, "without", "")
    number, steps = (good.number, one.steps) if few else (bad.number, one.without)
    return " ".join((f"generation {number}", *_altered(steps, undone=not few)))


def _altered(steps: Sequence[Step], *, undone: bool) -> list[str]:
    """Say what a set has that is not a generation's own: ``with `one` 1.0, without `two` ``."""
    if len(steps) > _LISTED:
        return [f"with {len(steps)} changes {'undone' if undone else 'made'}"]
    versions = {step: step.version(undone=undone) for step in steps}
    more = [f"`{step.label}` {version}" for step, version in versions.items() if version is not None]
    less = [f"`{step.label}`" for step, version in versions.items() if version is None]
    parts = ([f"with {_joined(more)}"] if more else []) + ([f"without {_joined(less)}"] if less else [])
    return [", ".join(parts)] if parts else []


def _counted(steps: Sequence[Step], before: str, behind: str) -> str:
    if not steps:
        return "with all plugins"
    names = [step.label for step in steps]
    told = f"{len(names)} plugins" if len(names) > _LISTED else _names(names)
    return " ".join(filter(None, (before, told, behind)))


def _end_of(one: Try, asked: Question) -> str:
    if one.outcome == "unjudged":
        return "is skipped"
    if one.code is None:
        return "still runs: passes" if asked.stays_up else "does not end in time: fails"
    if asked.stays_up and one.code == 0:
        return "ends: fails"
    how = f" (exit {one.code})" if one.code > 1 else f" (signal {-one.code})" if one.code < 0 else ""
    return f"{one.outcome}{how}"


def _sentences(found: Bisected, asked: Question) -> list[str]:
    """Say why it fails, and that it was seen to pass without that."""
    command = asked.command[0]
    lines = [_blame(culprit, command, found.good is None) for culprit in found.culprits]
    if any(len(culprit.steps) > _PLAUSIBLE and culprit.is_exact for culprit in found.culprits):
        lines.append(f"so many together are rare: see whether `{command}` always ends the same")
    cures = [step for culprit in found.culprits for step in culprit.cure]
    rest = len(found.steps) - len(cures)
    if not found.is_cured:
        lines.append("there may be more: what is left could not be judged")
    elif rest:
        if found.good is None:
            told = f"the other {rest} plugins pass" if rest > 1 else "the other plugin passes"
            lines.append(f"without {_names([step.label for step in cures])}, {told}")
        else:
            lines.append(" ".join((f"generation {found.bad.number}", *_altered(cures, undone=True), "passes")))
    return lines


def _blame(culprit: Culprit, command: str, is_plugin: bool) -> str:
    """Say that a change makes it fail, or several together."""
    steps = [step for step in culprit.steps if step not in culprit.required] or culprit.steps
    named = _named(steps, is_plugin)
    if culprit.required and len(steps) == 1:
        return f"{named}, which requires {_named(culprit.required, is_plugin)}, makes `{command}` fail"
    if len(steps) == 1:
        return f"{named} makes `{command}` fail"
    if culprit.is_exact and len(steps) == 2:
        return f"{named} make `{command}` fail together: neither does alone"
    if culprit.is_exact:
        return f"{named} make `{command}` fail together, and with one of them less it passes"
    return f"{named} make `{command}` fail; they could not be tried apart"


def _named(steps: Sequence[Step], is_plugin: bool) -> str:
    return _names([step.label for step in steps]) if is_plugin else _joined([step.text for step in steps])


def _way_forward(found: Bisected) -> str:
    """Say what to type: a plugin is switched off, a change is taken back."""
    cures = [step for culprit in found.culprits for step in culprit.cure or culprit.steps]
    if found.good is None:
        names = " ".join(step.label for step in cures)
        left_out = " ".join(f"--without {step.label}" for step in cures)
        return f"run `vpm-env disable {names} --build`, or until then `vpm-env run {left_out} -- COMMAND`"
    pins = [f"'{step.label}=={step.before}'" for step in cures if step.plugin and step.before and step.after]
    back = f"`vpm-env rollback --to {found.good.number}` goes back"
    if pins and len(pins) == len(cures):
        return f"{back}; `vpm-env add {' '.join(pins)} --build` keeps the rest"
    added = [step.label for step in cures if step.before is None]
    if added and len(added) == len(cures):
        return f"{back}; `vpm-env disable {' '.join(added)} --build` keeps the rest"
    return back


def _names(names: Sequence[str]) -> str:
    return _joined([f"`{name}`" for name in names])


def _joined(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def _record(found: Bisected, asked: Question) -> dict[str, Any]:
    return {
        "command": asked.command,
        "good": _generation(found.good) if found.good else None,
        "bad": _generation(found.bad),
        "changes": [step._asdict() for step in found.steps],
        "tries": [_try(one) for one in found.tries],
        "causes": [
            {
                "changes": [step.name for step in culprit.steps],
                "exact": culprit.is_exact,
                "cure": [step.name for step in culprit.cure],
                "output": list(culprit.output),
            }
            for culprit in found.culprits
        ],
        "cured": found.is_cured,
        "way_forward": _way_forward(found),
    }


def _generation(one: Generation) -> dict[str, Any]:
    return {"number": one.number, "digest": one.digest}


def _try(one: Try) -> dict[str, Any]:
    steps = {"changes": [step.name for step in one.steps]}
    rest = {
        "digest": one.digest,
        "again": one.again,
        "outcome": one.outcome,
        "code": one.code,
        "seconds": round(one.seconds, 3),
    }
    return {"number": one.number, **steps, **rest, "output": list(one.output)}
