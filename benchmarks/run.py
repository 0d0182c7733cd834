"""Measure what the project promises, as whole processes, and say for each figure whether it is reached.

Usage: python benchmarks/run.py [--only NAME]... [--runs N] [--scratch DIR] [--save DIR]

Needs the development tools (`bash .ci/test` makes .venv with them) and, on Debian, `apt-get install nix-bin valgrind`:
Nix is measured beside ours, valgrind counts instructions. `real-build` and `engine-start` take real packages from the
index. A row that cannot be measured here is skipped, with the reason.

Prints a Markdown table and writes it, all numbers as JSON, and charts as SVG to `benchmarks/results/`; ends with 1 when
a figure is missed or a row fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import traceback
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import chart  # noqa: E402
from measure import Unavailable  # noqa: E402
from rows import ROWS  # noqa: E402
from table import Found, Row, Skipped, record, table  # noqa: E402


def main() -> int:
    """Measure, show, save; return 1 when a figure is missed or a row failed."""
    arguments = _parse()
    found = measured(arguments.only or tuple(ROWS), arguments.runs, arguments.scratch)
    machine = _machine()
    print(table(found, machine))
    save(arguments.save, found, machine)
    return 0 if found.is_good else 1


def measured(names: tuple[str, ...], runs: int, scratch: Path | None) -> Found:
    """Measure one row after the other; what fails or cannot be had leaves the others as they are, as does Ctrl-C."""
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    for name in names:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        try:
            _measure(name, runs, scratch, rows, skipped)
        except Unavailable as reason:
            skipped[name] = str(reason)
        except KeyboardInterrupt:
            failed[name] = "interrupted\n"
            break
        except Exception:  # noqa: BLE001 (one row that fails is no reason to lose the others)
            failed[name] = traceback.format_exc()
    return Found(rows=rows, skipped=skipped, failed=failed)


def _measure(name: str, runs: int, scratch: Path | None, rows: list[Row], skipped: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="vpm-env-benchmark-", dir=scratch) as folder:
        for found in ROWS[name](Path(folder), runs):
            if isinstance(found, Skipped):
                skipped[found.name] = found.reason
            else:
                rows.append(found)


def save(folder: Path, found: Found, machine: str) -> None:
    """Write the table, all numbers and the charts, named by the time."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(timezone.utc)
    files = {
        ".md": table(found, machine),
        ".json": json.dumps(record(found, machine, now.isoformat(timespec="seconds")), indent=2) + "\n",
        ".svg": chart.bars(found.rows),
        "-growth.svg": chart.growth(found.rows),
    }
    for end, text in files.items():
        (folder / f"{now:%Y%m%d-%H%M%S}{end}").write_text(text, encoding="utf-8")


def _machine() -> str:
    load = os.getloadavg()[0]
    return f"CPython {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, load {load:.1f}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=tuple(ROWS), action="append", help="measure this row only; may come again")
    parser.add_argument(
        "--runs", type=int, default=15, metavar="N", help="turns a row, fewer of long ones (default: 15)"
    )
    default = ROOT / "benchmarks" / "results"
    parser.add_argument("--save", type=Path, default=default, metavar="DIR", help="where to write what was found")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where to work: the file system that is measured")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
