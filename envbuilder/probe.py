"""The probe: import every entry point in a fresh process of the overlay, and survive whatever that does.

One process loads them all, as an engine would. If it dies, the entry point at work has failed, and another process
goes on with the rest.
"""

from __future__ import annotations

import json
import re
import signal
from dataclasses import dataclass
from os.path import dirname, join
from typing import TYPE_CHECKING, Any, NamedTuple

from envbuilder import fs, process
from envbuilder.devices import missing_device
from envbuilder.manifest import ProbeResult

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
    """One entry point to probe, with the package that has it and the plugin that brings that in."""

    group: str
    name: str
    value: str
    package: str
    plugin: str


class _Told(NamedTuple):
    """What one process has told: its records, what plugins printed, where one hung, and how the process ended."""

    records: list[dict[str, Any]]
    output: str
    hang: str
    end: process.Result


def probe(
    python: str, entries: Sequence[Entry], *, env: Environment, cwd: str, timeout: float = TIMEOUT
) -> tuple[ProbeResult, ...]:
    """Import `entries` with an overlay's `python` and return a result for each, in their order.

    `cwd` is an empty folder for the process to run in; `timeout` (seconds) is for each entry point. Nothing that a
    plugin does raises here: exits, crashes and hangs are results too.
    """
    results: list[ProbeResult] = []
    while rest := entries[len(results) :]:
        results += _results(rest, _tell(python, rest, env=env, cwd=cwd, timeout=timeout), timeout)
    return tuple(results)


def _tell(python: str, entries: Sequence[Entry], *, env: Environment, cwd: str, timeout: float) -> _Told:
    """Run one process over `entries`, as far as it comes."""
    request = json.dumps([[entry.group, entry.name, entry.value] for entry in entries])
    with fs.staging(cwd) as folder:
        end = process.run(
            [python, _PROBE, folder, str(timeout)],
            env=_variables(env),
            cwd=cwd,
            stdin=request,
            timeout=_START + timeout * len(entries),
        )
        return _Told(
            records=[json.loads(line) for line in _read(folder, "results").splitlines()],
            output=_read(folder, "output") or end.output,
            hang=_read(folder, "hang"),
            end=end,
        )


def _variables(env: Environment) -> dict[str, str]:
    # PYTHONPATH and friends belong to whoever runs vpm-env, not to the engine.
    own = {name: value for name, value in env.variables.items() if not name.startswith("PYTHON")}
    own.pop("VPM_ENV_PIN", None)
    return {**own, "PYTHONDONTWRITEBYTECODE": "1", "VPM_ENV_DISABLE": "1"}


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
    results = [_loaded(entries[end["end"]], start, end) for start, end in zip(starts, ends, strict=False)]
    if len(starts) > len(ends):
        seconds = told.records[-1]["at"] - starts[-1]["at"]
        return [*results, _failed(entries[len(results)], _how_it_died(told, timeout), seconds)]
    # Without a single start it is not a plugin that is at fault, and another round would do no better.
    return results or [_failed(entry, _how_it_died(told, timeout), 0.0) for entry in entries]


def _loaded(entry: Entry, start: dict[str, Any], end: dict[str, Any]) -> ProbeResult:
    seconds, errors = end["at"] - start["at"], end["errors"]
    if not errors:
        return _result(entry, OK, "", seconds)
    status = NEEDS_DEVICE if missing_device("\n".join(errors)) else FAILED
    return _result(entry, status, errors[0], seconds)


def _failed(entry: Entry, error: str, seconds: float) -> ProbeResult:
    return _result(entry, FAILED, error, seconds)


def _result(entry: Entry, status: str, error: str, seconds: float) -> ProbeResult:
    return ProbeResult(
        group=entry.group,
        name=entry.name,
        value=entry.value,
        package=entry.package,
        plugin=entry.plugin,
        status=status,
        error=process.redact(error)[:_LONGEST],
        seconds=round(seconds, 3),
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
