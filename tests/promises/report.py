"""Put the promises under fire and print one table: what was tried, how often, and what was violated.

Usage: python tests/promises/report.py [--short] [--only R1]... [--save FILE]

Needs the development tools (`bash .ci/test` makes .venv with them). `--short` is what CI runs, in minutes; without it
everything runs at its full length, which takes an hour on two cores. What a machine cannot do (mounts,
namespaces, other users) is skipped, with its reason, and counted. Ends with 1 when anything was violated or missed, or
left out without a reason.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import offspring

HERE = Path(__file__).resolve().parent
PROMISES = {
    "R1": "kill points",
    "R2": "random kills",
    "R3": "power cuts",
    "R4": "errors of the system",
    "R5": "full disks",
    "R6": "everything at once",
    "R7": "races, made certain",
    "R8": "leases",
    "R9": "damage",
    "R10": "read-only",
    "R11": "clocks",
    "R12": "state machine",
    "R13": "start-up faults",
    "R14": "the base's own files",
    "S1": "hostile YAML",
    "S2": "hostile wheels",
    "S3": "start-up code",
    "S4": "shadowed names",
    "S6": "credentials",
    "S7": "dependency confusion",
    "S8": "typos",
    "S9": "artifacts and refs that change",
    "S10": "symlinks in the way",
    "S11": "owners and modes",
    "S12": "hostile URLs",
    "S13": "code at build time",
}
"""Every promise must have a figure, or a reason why not."""

_LONGEST = (
    *("test_kills", "test_power", "test_concurrency", "test_verify"),
    *("test_errors", "test_records", "test_wheels", "test_model"),
)
"""Files that take longest, longest first: begun first, they do not hold up the end."""

LIMIT = 8 * 60.0
"""Seconds that the short run may take on two cores."""

NOISE = 1.25
"""How many times that a run takes before it counts as a violation: a machine of CI has other work, too."""


def main() -> int:
    """Run, show, save; return 1 unless every promise was kept."""
    arguments = _parse()
    with tempfile.TemporaryDirectory(prefix="vpm-env-promises-", ignore_cleanup_errors=True) as folder:
        figures = Path(folder, "figures")
        started = time.monotonic()
        code = _run(arguments, figures, Path(folder, "tests"))
        seconds = time.monotonic() - started
        found = [json.loads(line) for line in figures.read_text().splitlines()] if figures.exists() else []
    if arguments.short and not arguments.only:
        found.append(own_time(seconds))
    text, is_green = table(found, arguments.only, short=arguments.short, seconds=seconds)
    print(text)
    if arguments.save:
        Path(arguments.save).write_text(text, encoding="utf-8")
    return 0 if is_green and code == 0 else 1


def table(found: list[dict[str, Any]], only: list[str], *, short: bool, seconds: float) -> tuple[str, bool]:
    """Set the figures as a Markdown table, with what was skipped and what failed below; tell whether all is well."""
    rows = sorted(_merged([row for row in found if "row" in row]), key=lambda row: (_order(row["row"]), row["title"]))
    others = [row for row in found if "outcome" in row]
    failed = sorted({row["test"] for row in others if row["outcome"] == "failed"})
    left_out = Counter((name, row["why"]) for row in others if row["outcome"] == "skipped" for name in row["rows"])
    skipped = Counter(row["why"] for row in others if row["outcome"] == "skipped")
    silent = set(only or PROMISES) - {row["row"] for row in rows} - {name for name, _ in left_out}
    violations = sum(len(row["violations"]) for row in rows)
    lines = [
        "# The promises under fire\n",
        f"{_machine()}, {'short' if short else 'long'} run of {seconds / 60:.1f} minutes\n",
        "| | what was tried | figure | violations | |",
        "|---|---|--:|--:|---|",
        *(_line(row) for row in rows),
        *(
            _line_of_skipped(*why, count)
            for why, count in sorted(left_out.items(), key=lambda item: _order(item[0][0]))
        ),
        f"\n{violations} violations in {len(rows)} rows.",
        *(f"\nskipped {_tests(count)}: {why}" for why, count in skipped.most_common()),
        *(f"\nwithout a figure here: {name}, {PROMISES[name]}" for name in sorted(silent, key=_order)),
        *(f"\nfailed: `{test}`" for test in failed),
    ]
    missed = [row for row in rows if row["count"] < row["wanted"]]
    return "\n".join(lines) + "\n", not (violations or missed or failed or silent)


def own_time(seconds: float) -> dict[str, Any]:
    """Say as a figure how long the short run took, and whether that is as long as it may."""
    too_long = [f"{seconds:.0f} s"] if seconds > LIMIT * NOISE else []
    note = f"at most {LIMIT:.0f}: {'kept' if seconds <= LIMIT else 'not kept'}"
    title = "seconds that the short run took"
    return {"row": "", "title": title, "count": round(seconds), "wanted": 0, "violations": too_long, "note": note}


def _merged(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add figures of one title up: they are of one test under several conditions, which the notes name."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for figure in found:
        row = rows.setdefault(
            (figure["row"], figure["title"]), {**figure, "count": 0, "wanted": 0, "violations": [], "note": ""}
        )
        row["count"] += figure["count"]
        row["wanted"] += figure["wanted"]
        row["violations"] += figure["violations"]
        row["note"] = ", ".join(dict.fromkeys(filter(None, (row["note"], figure["note"]))))
    return list(rows.values())


def _line(row: dict[str, Any]) -> str:
    count = f"{row['count']:,}" + (f" (of {row['wanted']:,})" if row["count"] < row["wanted"] else "")
    note = row["note"].replace("|", "\\|")
    what = f"{PROMISES[row['row']]}: {row['title']}" if row["row"] else row["title"]
    return f"| {row['row']} | {what} | {count} | {len(row['violations'])} | {note} |"


def _line_of_skipped(name: str, why: str, count: int) -> str:
    return f"| {name} | {PROMISES[name]}: not tried, {why} | {_tests(count)} | | skipped |"


def _tests(count: int) -> str:
    return f"{count} test{'s' * (count != 1)}"


def _order(name: str) -> tuple[str, int]:
    return (name[0], int(name[1:])) if name else ("~", 0)


def _by_order(one: tuple[str, str]) -> tuple[tuple[str, int], str]:
    return _order(one[0]), one[1]


def _run(arguments: argparse.Namespace, figures: Path, scratch: Path) -> int:
    """Run the tests; whatever way this ends, nothing that they started or mounted stays.

    They lie in `scratch`, so that they neither wait for what other runs left to be deleted, nor delete it.
    """
    files = _files_of(arguments.only or list(PROMISES))
    command = [sys.executable, "-m", "pytest", "-q", "-m", "promise", "-n", "2", "--dist", "loadfile", "--no-header"]
    command += ["--basetemp", str(scratch), *(() if arguments.short else ("--no-loadscope-reorder",))]
    own = {"VPM_ENV_TEST_FIGURES": str(figures), "VPM_ENV_TEST_SCALE": "short" if arguments.short else "long"}
    offspring.adopt()
    offspring.keep_mounts()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    tests = subprocess.Popen(
        [*command, *map(str, files)], cwd=HERE.parents[1], env={**os.environ, **own}, start_new_session=True
    )
    try:
        offspring.await_end(tests.pid)
        return tests.wait()
    finally:
        offspring.end()


def _interrupted(number: int, _: object) -> None:
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _files_of(only: list[str]) -> list[Path]:
    """Name the files whose tests take a figure of one of these promises down."""
    wanted = re.compile("|".join(rf'figure\(\s*"{re.escape(name)}"' for name in only))
    paths = [path for path in HERE.glob("test_*.py") if wanted.search(path.read_text(encoding="utf-8"))]
    rank = {name: at for at, name in enumerate(_LONGEST)}
    return sorted(paths, key=lambda path: (rank.get(path.stem, len(rank)), path.name))


def _machine() -> str:
    today = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    return (
        f"{today}: {platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="as much as CI does")
    parser.add_argument("--only", action="append", default=[], choices=PROMISES, metavar="NAME", help="such as R1")
    parser.add_argument("--save", metavar="FILE", help="write the table there too")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
