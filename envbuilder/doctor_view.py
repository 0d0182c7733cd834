"""How the doctor's results are shown: a line a check, then what is wrong, why it hurts and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envbuilder.console import Table
from envbuilder.doctor import worst
from envbuilder.health import ERROR, OK, SKIPPED, STATUSES, WARNING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envbuilder.console import Console
    from envbuilder.doctor import Check, Result
    from envbuilder.health import Trouble

_STYLES = {OK: "good", SKIPPED: "dim", WARNING: "warning", ERROR: "error"}


def show_checks(checks: Sequence[Check], as_json: bool, console: Console) -> None:
    """Show which checks there are."""
    if as_json:
        console.json({"checks": [{"name": c.name, "looks_at": c.looks_at, "on_demand": c.on_demand} for c in checks]})
        return
    rows = [(check.name, check.looks_at + (" (when named)" if check.on_demand else "")) for check in checks]
    console.table(Table(("check", "looks at"), rows))


def show_health(results: Sequence[Result], detailed: bool, as_json: bool, console: Console) -> None:
    """Show what the checks came to; `detailed` adds the facts that each found."""
    if as_json:
        counts = {status: sum(1 for result in results if result.status == status) for status in STATUSES}
        console.json({"status": worst(results), "counts": counts, "checks": list(map(_record, results))})
        return
    rows = [(result.name, console.mark(_STYLES[result.status], result.status), result.said) for result in results]
    console.table(Table(("check", "status", "found"), rows))
    for result in results:
        if detailed and result.facts:
            console.data(f"\n{result.name}:")
        for fact in result.facts if detailed else ():
            console.data(f"  {fact}")
    for result in results:
        for trouble in result.troubles:
            _show_trouble(result.name, trouble, console)
    for result in results:
        for text in result.mended:
            console.say(f"mended: {result.name}: {text}")
    console.say(f"\n{_summary(results)}")


def _show_trouble(name: str, trouble: Trouble, console: Console) -> None:
    console.data("")
    console.data(f"{console.mark(_STYLES[trouble.severity], trouble.severity + ':')} {name}: {trouble.what}")
    console.data(f"  why: {trouble.why}")
    console.data(f"  do:  {trouble.way_forward}")


def _summary(results: Sequence[Result]) -> str:
    """Say in one line how it went: `14 checks: 1 error, 2 warnings; `--fix` mends 1`."""
    troubles = [trouble for result in results for trouble in result.troubles]
    found = [
        f"{number} {severity}{'' if number == 1 else 's'}"
        for severity in (ERROR, WARNING)
        if (number := sum(1 for trouble in troubles if trouble.severity == severity))
    ]
    mendable = sum(1 for trouble in troubles if trouble.mend)
    done = [result for result in results if result.status != SKIPPED]
    if not done:
        return "nothing was looked at"
    looked = f"{len(done)} check{'' if len(done) == 1 else 's'}"
    fix = f"; `vpm-env doctor --fix` mends {mendable} of them" if mendable else ""
    return f"{looked}: {', '.join(found)}{fix}" if found else f"{looked}: all is well"


def _record(result: Result) -> dict[str, Any]:
    return {
        "name": result.name,
        "status": result.status,
        "said": result.said,
        "facts": list(result.facts),
        "troubles": [
            {
                "severity": trouble.severity,
                "what": trouble.what,
                "why": trouble.why,
                "way_forward": trouble.way_forward,
                "mendable": trouble.mend is not None,
            }
            for trouble in result.troubles
        ],
        "mended": list(result.mended),
    }
