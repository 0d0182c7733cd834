"""What the guard found out on a machine with a device, of entry points that the probe could not load without one.

`completed.jsonl` lies beside an overlay's manifest; engines add to it, a JSON object a line, and of two lines about one
entry point the later one holds. What cannot be read is skipped: a line may be torn.
"""

from __future__ import annotations

import json
from os.path import join

from envbuilder import process
from envbuilder.contents import start_of
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envbuilder.manifest import ProbeResult

FILE = "completed.jsonl"
LONGEST = 16 << 20
"""Bytes that are read of it: the guard writes a line for each entry point that it watched."""
_STATUSES = ("ok", "failed")


class Completed(NamedTuple):
    """How an entry point did where there is a device: `ok` or `failed`; `at` is an ISO 8601 time in UTC."""

    status: str
    error: str
    at: str


def completed(overlay: str) -> dict[tuple[str, str], Completed]:
    """Return what is known of an overlay's entry points: (group, name) → how they did."""
    found: dict[tuple[str, str], Completed] = {}
    try:
        texts = start_of(join(overlay, FILE), LONGEST, regular=True).decode("utf-8", "replace").splitlines()
    except OSError:
        return found
    for text in texts:
        try:
            line = json.loads(text)
            status, error, at = (str(line[name]) for name in ("status", "error", "at"))
            key = str(line["group"]), str(line["name"])
        except (ValueError, KeyError, TypeError):
            continue
        if status in _STATUSES:
            found[key] = Completed(status, process.redact(error), at)
    return found


def completion(result: ProbeResult, known: Mapping[tuple[str, str], Completed]) -> Completed | None:
    """Return how an entry point did later; None for one that was probed, or is not known of yet."""
    return known.get((result.group, result.name)) if result.status == "needs-device" else None
