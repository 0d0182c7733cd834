"""The table: its rows, what was skipped, and both as Markdown and as data."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VERSION = 3
"""Of the format of the numbers."""
HEAD = (
    "| row | measured | value | to reach | | physical limit | comes to | from it |",
    "|---|---|--:|--:|---|---|--:|--:|",
)
NEAR = 3
"""How many times the physical limit is near it."""
_UNITS = {"x": "\N{MULTIPLICATION SIGN}"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: `value` against `limit` (None: none to keep), `detail` are the numbers behind it.

    `floor` names what no way of doing it could do without, `least` is the value that this alone comes to in the same
    run, and `above` is how many times that ours took. `points` are what was measured, size → value, where it is about
    growth.
    """

    name: str
    what: str
    value: float
    unit: str
    limit: float | None = None
    floor: str = ""
    least: float | None = None
    above: float | None = None
    points: tuple[tuple[float, float], ...] = ()
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def reached(self) -> bool | None:
        return None if self.limit is None else self.value <= self.limit

    @property
    def verdict(self) -> str:
        """Say whether the limit is kept, "" where there is none.

        Out of reach is what not even the floor keeps in the same run, if ours is near it.
        """
        if self.limit is None:
            return ""
        if self.reached:
            return "reached"
        least = self.least or 0.0
        return "out of reach" if least > self.limit and self.value <= NEAR * least else "missed"


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A row that cannot be measured here, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """All that a run came to: rows, and what was skipped or failed, name → why."""

    rows: Sequence[Row] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Tell whether nothing failed and no limit is missed; what was skipped or cannot be reached is neither."""
        return not self.failed and all(row.verdict != "missed" for row in self.rows)


def table(found: Found, machine: str) -> str:
    """Set the rows as a Markdown table, how many there are of which kind, and what was skipped and failed."""
    lines = [f"{machine}\n", *HEAD, *map(_line, found.rows), f"\n{tally(found)}"]
    lines += [f"\nskipped {name}: {reason}" for name, reason in found.skipped.items()]
    lines += [f"\nfailed {name}:\n\n```\n{text}```" for name, text in found.failed.items()]
    return "\n".join(lines) + "\n"


def tally(found: Found) -> str:
    """Count the rows by their verdict, and what was skipped and failed."""
    counts = Counter(row.verdict or "without a limit" for row in found.rows)
    counts.update({"skipped": len(found.skipped), "failed": len(found.failed)})
    kinds = ("reached", "missed", "out of reach", "without a limit", "skipped", "failed")
    return ", ".join(f"{counts[kind]} {kind}" for kind in kinds)


def record(found: Found, machine: str, moment: str) -> dict[str, Any]:
    """Return everything as plain data."""
    rows = [{**asdict(row), "verdict": row.verdict} for row in found.rows]
    outside = {"skipped": dict(found.skipped), "failed": dict(found.failed)}
    return {"version": VERSION, "time": moment, "machine": machine, "rows": rows, **outside}


def amount(value: float, unit: str) -> str:
    """Write a value with its unit: three digits that count."""
    digits = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return f"{digits} {_UNITS.get(unit, unit)}".rstrip()


def _line(row: Row) -> str:
    limit = "" if row.limit is None else amount(row.limit, row.unit)
    verdict = f"**{row.verdict}**" if row.verdict == "missed" else row.verdict
    least = "" if row.least is None else amount(row.least, row.unit)
    above = "" if row.above is None else amount(row.above, "x")
    cells = (row.name, row.what, amount(row.value, row.unit), limit, verdict, row.floor, least, above)
    return f"| {' | '.join(cells)} |"
