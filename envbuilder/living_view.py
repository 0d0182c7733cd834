"""How the set of a living process is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envbuilder.console import Console
    from envbuilder.living import Living, Place

_EVIDENCE = {
    "lease": "the lease that it holds open",
    "map": "the files that it has mapped",
    "pin": "the variables that it was started with",
}


def show_living(found: Living, as_json: bool, console: Console) -> None:
    """Show which set a process has, or why that is not known."""
    if as_json:
        console.json(_record(found))
        return
    if found.digest:
        console.data(console.mark("good", f"process {found.pid} has {_set(found)}"))
    elif found.evidence:
        console.data(console.mark("error", f"process {found.pid} has no set: {found.why}"))
    else:
        console.data(console.mark("error", f"which set process {found.pid} has is not known: {found.why}"))
    console.data("")
    for name, value in _lines(found):
        console.data(f"{name + ':':<10} {value}")


def _set(found: Living) -> str:
    if not found.places:
        return f"the set {found.digest[:12]}, which is no generation of this home"
    return " and ".join(_place(place, found) for place in found.places)


def _place(place: Place, found: Living) -> str:
    is_current = "which is current" if place.is_current else "which is not current"
    named = f"generation {place.number} ({found.digest[:12]}) of profile {place.profile}, {is_current}"
    lacking = ", ".join(f"`{name}`" for name in found.without)
    return f"what is left of {named}, without {lacking}" if lacking else named


def _lines(found: Living) -> list[tuple[str, str]]:
    lines = [("command", found.command)]
    lines += [("known by", _EVIDENCE[found.evidence])] if found.evidence else []
    lines += [("base", found.base_key)] if found.base_key else []
    return lines + ([("home", found.home)] if found.home else [])


def _record(found: Living) -> dict[str, Any]:
    return {
        "pid": found.pid,
        "command": found.command,
        "known": bool(found.evidence),
        "evidence": found.evidence,
        "why": found.why,
        "base": found.base_key,
        "digest": found.digest,
        "home": found.home,
        "without": list(found.without),
        "generations": [place._asdict() for place in found.places],
    }
