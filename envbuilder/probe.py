"""The probe: load every entry point in a fresh process of the overlay, call some, and survive whatever that does.

One process loads them all, as an engine would. If it dies, the entry point at work has failed, and another process
goes on with the rest.
"""

from __future__ import annotations

import json
import re
import signal
from os.path import dirname, join
from typing import Any

from envbuilder import fs, process
from envbuilder.classes import dataclass
from envbuilder.devices import missing_device
from envbuilder.manifest import ProbeResult
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envbuilder.paths import Environment

OK = "ok"
FAILED = "failed"
NEEDS_DEVICE = "needs-device"
TIMEOUT = 120.0
"""Seconds for one entry point; the first one pays for importing the engine."""

_PROBE = join(dirname(__file__), "_probe.py")
_START = 60.0
"""Seconds for an interpreter to start, over a slow file system."""
_LONGEST = 500
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One entry point to probe, with the package that has it and the plugin that brings that in.

    `returns` is what the engine takes from it when it calls it, "" for one that is not to be called; `derives` says
    what it must be: the path of the class from which it derives, `class` for any class, "" for whatever it is.
    """

    group: str
    name: str
    value: str
    package: str
    plugin: str
    returns: str = ""
    derives: str = ""


class _Told(NamedTuple):
    """What one process has told: its records, what plugins printed, where one hung, and how the process ended."""

    records: list[dict[str, Any]]
    output: str
    hang: str
    end: process.Result


def probe(
    python: str,
    entries: Sequence[Entry],
    *,
    env: Environment,
    cwd: str,
    engine: str = "",
    timeout: float = TIMEOUT,
) -> tuple[ProbeResult, ...]:
    """Load `entries` with an overlay's `python`, call those that are, and return a result for each, in their order.

    `cwd` is an empty folder for the process to run in, `engine` the import name of what plugins may patch; `timeout`
    (seconds) is for each entry point. Nothing that a plugin does raises here: exits, crashes and hangs are results too.
    """
    results: list[ProbeResult] = []
    while rest := entries[len(results) :]:
        told = _tell(python, rest, env=env, cwd=cwd, engine=engine, timeout=timeout)
        results += _results(rest, told, timeout)
    return tuple(results)


def _tell(python: str, entries: Sequence[Entry], *, env: Environment, cwd: str, engine: str, timeout: float) -> _Told:
    """Run one process over `entries`, as far as it comes."""
    rows = [[entry.group, entry.name, entry.value, entry.returns, entry.derives] for entry in entries]
    request = json.dumps({"engine": engine, "entries": rows})
    with fs.staging(cwd) as folder:
        end = process.run(
            [python, _PROBE, folder, str(timeout)],
            env=_variables(env),
            cwd=cwd,
            stdin=request,
            timeout=_START + timeout * len(entries),
        )
        return _Told(
            records=_records(_read(folder, "results")),
            output=_read(folder, "output") or end.output,
            hang=_read(folder, "hang"),
            end=end,
        )


def _records(text: str) -> list[dict[str, Any]]:
    """Read what was told; a plugin may have written between the lines."""
    found = []
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "at" in record:
            found.append(record)
    return found


def _variables(env: Environment) -> dict[str, str]:
    # PYTHONPATH and friends belong to whoever runs vpm-env, not to the engine.
    own = {name: value for name, value in env.variables.items() if not name.startswith("PYTHON")}
    own.pop("VPM_ENV_PIN", None)
    return {**own, "PYTHONDONTWRITEBYTECODE": "1", "VPM_ENV_DISABLE": "1", "VPM_ENV_PROBE": "1"}


def _read(folder: str, name: str) -> str:
    try:
        with open(join(folder, name), encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def _results(entries: Sequence[Entry], told: _Told, timeout: float) -> list[ProbeResult]:
    """Make results of what was told: at least one, so that another round gets further."""
    starts = [record for record in told.records if "start" in record]
    ends = [record for record in told.records if "end" in record]
    results = [_loaded(entries[end["end"]], end) for end in ends]
    if len(starts) > len(ends):
        at = len(results)
        called = any(record.get("call") == at for record in told.records)
        seconds = round(told.records[-1]["at"] - starts[-1]["at"], 3)
        died = _result(entries[at], FAILED, _how_it_died(told, timeout))
        return [*results, died._replace(seconds=seconds, called=called)]
    # Without a single start it is not a plugin that is at fault, and another round would do no better.
    return results or [_result(entry, FAILED, _how_it_died(told, timeout)) for entry in entries]


def _loaded(entry: Entry, end: dict[str, Any]) -> ProbeResult:
    errors, (seconds, *calling) = end["errors"], end["seconds"]
    device = missing_device("\n".join(errors)) if errors else None
    status = NEEDS_DEVICE if device else FAILED if errors else OK
    return _result(entry, status, "".join(errors[:1]))._replace(
        seconds=round(seconds, 3),
        called=bool(calling),
        call_seconds=round(sum(calling, 0.0), 3),
        base_seconds=round(end["base_seconds"], 3),
        memory=end["memory"],
        peak=end["peak"],
        effects=_redacted(end["effects"]),
        nodes=list(device.nodes) if device else [],
    )


def _redacted(effects: dict[str, Any]) -> dict[str, Any]:
    """Strike credentials out of names that plugins gave."""
    lists = {kind: [process.redact(name) for name in names] for kind, names in effects.items() if type(names) is list}
    return {**effects, **lists}


def _result(entry: Entry, status: str, error: str) -> ProbeResult:
    return ProbeResult(
        group=entry.group,
        name=entry.name,
        value=entry.value,
        package=entry.package,
        plugin=entry.plugin,
        status=status,
        error=process.redact(error)[:_LONGEST],
    )


def _how_it_died(told: _Told, timeout: float) -> str:
    """Say how the process ended while an entry point was at work, and what was printed last."""
    code = next((int(record["ended"]) for record in told.records if "ended" in record), told.end.code)
    if told.hang or told.end.code == 124:
        return f"it did not end within {timeout:g} s{_where(told.hang)}"
    how = f"the process was ended by {_signal(-code)}" if code < 0 else f"the process ended with exit code {code}"
    printed = told.output.strip().splitlines()[-1:]
    return f"{how}; its last words: {printed[0].strip()}" if printed else how


def _where(hang: str) -> str:
    """Name the line that the main thread is at, which a dump lists last."""
    frames = [_FRAME.search(part) for part in hang.split("(most recent call first)")]
    last = frames[-1] if frames else None
    return f", at `{last['file']}`, line {last['line']}" if last else ""


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
