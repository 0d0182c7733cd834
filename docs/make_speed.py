"""Put a run of the benchmarks into its page: `python docs/make_speed.py RESULTS.json [fleet]`.

That is `docs/speed.md` with its charts, or for a run of `benchmarks/fleet.py` `docs/fleet-speed.md`, which has none.
A page says when and where it was; what stands outside the two marks is written by people.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent / "benchmarks")]

import chart  # noqa: E402
from table import Found, Row, table  # noqa: E402

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"


def found_in(record: dict[str, object]) -> Found:
    """Read what a run wrote."""
    rows = [
        Row(**{name: value for name, value in row.items() if name != "verdict"})
        for row in record["rows"]  # type: ignore[attr-defined]
    ]
    return Found(rows=rows, skipped=record["skipped"], failed=record["failed"])  # type: ignore[arg-type]


def main(results: str, what: str = "") -> None:
    record = json.loads(Path(results).read_text(encoding="utf-8"))
    found = found_in(record)
    page = DOCS / ("fleet-speed.md" if what == "fleet" else "speed.md")
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    measured = table(found, f"{record['time'][:10]}: {record['machine']}")
    page.write_text(f"{before}{BEGIN}\n{measured}{END}{after}", encoding="utf-8")
    if what != "fleet":
        (DOCS / "speed.svg").write_text(chart.bars(found.rows), encoding="utf-8")
        (DOCS / "growth.svg").write_text(chart.growth(found.rows), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
