"""Measure what the project promises, as whole processes, and say for each figure whether it is reached.

Usage: python benchmarks/run.py [--only NAME]... [--runs N] [--save DIR]

Needs the development tools (`bash .ci/test` makes .venv with them) and, for what is counted in instructions, valgrind.
Prints a Markdown table and writes it, with all numbers as JSON, to `benchmarks/results/`; ends with 1 when a figure
is missed. A row that cannot be measured here is skipped, with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import traceback
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from measure import Row, Unavailable  # noqa: E402
from rows import ROWS  # noqa: E402


def main() -> int:
    """Measure, show, save; return 1 when a figure is missed or a row failed."""
    arguments = _parse()
    found: list[Row] = []
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    for name in arguments.only or ROWS:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        try:
            with tempfile.TemporaryDirectory(prefix="vpm-env-benchmark-", dir=arguments.scratch) as folder:
                found += ROWS[name](Path(folder), arguments.runs)
        except Unavailable as reason:
            skipped[name] = str(reason)
        except Exception:  # noqa: BLE001 (one row that fails is no reason to lose the others)
            failed[name] = traceback.format_exc()
    text = table(found, skipped, failed)
    print(text)
    save(arguments.save, text, found, skipped, failed)
    return 1 if failed or any(row.reached is False for row in found) else 0


def table(found: list[Row], skipped: dict[str, str], failed: dict[str, str]) -> str:
    """Set the rows as a Markdown table, with what was skipped and what failed below."""
    lines = [f"{_machine()}\n", "| row | measured | value | limit | |", "|---|---|--:|--:|---|"]
    for row in found:
        limit = "" if row.limit is None else f"{row.limit:g} {row.unit}"
        verdict = {None: "", True: "reached", False: "**missed**"}[row.reached]
        lines.append(f"| {row.name} | {row.what} | {row.value:.3g} {row.unit} | {limit} | {verdict} |")
    lines += [f"\nskipped {name}: {reason}" for name, reason in skipped.items()]
    lines += [f"\nfailed {name}:\n\n```\n{text}```" for name, text in failed.items()]
    return "\n".join(lines) + "\n"


def save(folder: Path, text: str, found: list[Row], skipped: dict[str, str], failed: dict[str, str]) -> None:
    """Write the table and all numbers, named by the time."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(timezone.utc)
    stem = folder / now.strftime("%Y%m%d-%H%M%S")
    rows = [{**asdict(row), "reached": row.reached} for row in found]
    record = {"version": 1, "time": now.isoformat(timespec="seconds"), "machine": _machine(), "rows": rows}
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    stem.with_suffix(".json").write_text(
        json.dumps({**record, "skipped": skipped, "failed": failed}, indent=2) + "\n", encoding="utf-8"
    )


def _machine() -> str:
    load = os.getloadavg()[0]
    return f"CPython {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, load {load:.1f}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=tuple(ROWS), action="append", help="measure this row only; may come again")
    parser.add_argument("--runs", type=int, default=15, metavar="N", help="pairs a row (builds: a third; default: 15)")
    default = ROOT / "benchmarks" / "results"
    parser.add_argument("--save", type=Path, default=default, metavar="DIR", help="where to write table and numbers")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where to work: the file system that is measured")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
