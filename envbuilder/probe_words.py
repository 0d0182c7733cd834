"""How it is said what entry points did when they were probed: in a line, in a table, as JSON."""

from __future__ import annotations

from envbuilder.manifest import HEAVY, SLOW
from envbuilder.planning import counted, size_text
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from envbuilder.completed import Completed
    from envbuilder.manifest import ProbeResult

_MOST = 3
"""Names of a kind that are told in a line."""


def noteworthy(result: ProbeResult) -> str:
    """Say in one line what somebody should know who lets this entry point into an engine; "" for nothing."""
    effects = result.effects
    words = [
        _listed("replaces", effects.get("patched"), "parts of the engine"),
        _listed("changes", effects.get("environment"), "variables", each="the variable "),
        _listed("leaves", effects.get("threads"), "threads", each="the thread "),
        _listed("leaves", effects.get("processes"), "processes", each="the process "),
        _listed("handles", effects.get("signals"), "signals"),
        f"changes the working directory to `{effects['cwd']}`" if effects.get("cwd") else "",
        "initialises CUDA, which forked processes then cannot" if effects.get("cuda") else "",
        f"adds {size_text(result.memory)}" if result.memory >= HEAVY else "",
        f"takes {own_seconds(result):.1f} s" if own_seconds(result) >= SLOW else "",
    ]
    said = ", ".join(filter(None, words))
    return f"{result.group}: {result.name} {said}" if said else ""


def _listed(verb: str, names: list[str] | None, kind: str, *, each: str = "") -> str:
    if not names:
        return ""
    if len(names) > _MOST:
        return f"{verb} {len(names)} {kind} (`{'`, `'.join(names[:_MOST])}`, …)"
    return f"{verb} {' and '.join(f'{each}`{name}`' for name in names)}"


def own_seconds(result: ProbeResult) -> float:
    """Return the seconds that an entry point took, the base's modules left out."""
    return result.seconds + result.call_seconds


def probed(result: ProbeResult | None, later: Completed | None) -> str:
    """Say in a table's cell how an entry point did, "" for one that was not probed."""
    if result is None:
        return ""
    if later is not None:
        return _later(later)
    memory = f", {size_text(result.memory)}" if result.memory >= HEAVY else ""
    said = f": {result.error}" if result.error else ""
    status = "imported" if result.status == "ok" and not result.called else result.status
    return f"{status}, {own_seconds(result):.1f} s{memory}{said}"


def _later(later: Completed) -> str:
    said = f": {later.error}" if later.error else ""
    return f"{later.status} on a machine with a device, {later.at.replace('T', ' ')[:16]}{said}"


def state(result: ProbeResult, later: Completed | None) -> str:
    """Say in a line how an entry point did that was not simply loaded."""
    if later is not None:
        return f"{result.name}: {_later(later)}"
    return f"{result.name}: {result.status}" + (f": {result.error}" if result.status == "failed" else "")


def untried(results: tuple[ProbeResult, ...]) -> str:
    """Say how many entry points were not tried for want of a device; "" for none."""
    count = sum(result.status == "needs-device" for result in results)
    return f"{counted(count, 'entry point')} not tried: no device" if count else ""


def named_record(result: ProbeResult, later: Completed | None = None) -> dict[str, Any]:
    """Return all that is known of an entry point and how it did, as plain data."""
    named = {"entry_point": f"{result.group}:{result.name}", "plugin": result.plugin}
    return {**named, **probe_record(result, later)}


def probe_record(result: ProbeResult, later: Completed | None = None) -> dict[str, Any]:
    """Return all that is known of how an entry point did, as plain data."""
    return {
        "status": result.status,
        "error": result.error,
        "called": result.called,
        "seconds": result.seconds,
        "call_seconds": result.call_seconds,
        "base_seconds": result.base_seconds,
        "bytes": result.memory,
        "peak_bytes": result.peak,
        "effects": result.effects,
        "completed": later._asdict() if later else None,
    }
