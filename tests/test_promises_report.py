"""The report of the promises: what it counts, and when it ends well."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import kit
import pytest

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

FOLDER = kit.ROOT / "tests" / "promises"
ONE = {"row": "R1", "title": "kills", "count": 3, "wanted": 3, "violations": [], "note": "a"}


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    import report

    return report


def shown(report: ModuleType, *found: dict[str, Any], only: tuple[str, ...] = ("R1",)) -> tuple[list[str], bool]:
    text, is_green = report.table(list(found), list(only), short=True, seconds=60.0)
    return text.splitlines(), is_green


def test_figures_of_one_title_are_one_row(report: ModuleType) -> None:
    lines, is_green = shown(report, ONE, ONE | {"note": "b"})

    assert is_green
    assert "| R1 | kill points: kills | 6 | 0 | a, b |" in lines
    assert "0 violations in 1 rows." in lines


@pytest.mark.parametrize(
    "bad",
    [
        ONE | {"violations": ["lost"]},
        ONE | {"count": 2},
        {"outcome": "failed", "test": "test_kills.py", "why": "", "rows": []},
    ],
    ids=["a violation", "too few", "a failure"],
)
def test_what_is_wrong_is_not_green(report: ModuleType, bad: dict[str, Any]) -> None:
    assert not shown(report, ONE, bad)[1]


def test_a_promise_without_a_figure_needs_a_reason(report: ModuleType) -> None:
    skipped = {"outcome": "skipped", "test": "a", "why": "only root may mount", "rows": ["R3"]}

    lines, is_green = shown(report, ONE, skipped, skipped, only=("R1", "R3"))

    assert is_green
    assert "| R3 | power cuts: not tried, only root may mount | 2 tests | | skipped |" in lines
    assert not shown(report, ONE, only=("R1", "R3"))[1]


@pytest.mark.parametrize(
    ("seconds", "kept", "is_green"), [(479, "kept", True), (500, "not kept", True), (601, "", False)]
)
def test_the_short_run_says_whether_it_was_short(report: ModuleType, seconds: int, kept: str, is_green: bool) -> None:
    lines, told = shown(report, ONE, report.own_time(seconds))

    assert told == is_green
    assert any(
        line.startswith(f"|  | seconds that the short run took | {seconds} |") and kept in line for line in lines
    )


def test_an_unknown_promise_is_refused_at_once() -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "report.py"), "--only", "R99"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "R99" in done.stderr
    assert "'S13'" in done.stderr


def test_every_promise_has_a_file(report: ModuleType) -> None:
    assert all(report._files_of([name]) for name in report.PROMISES)


def test_no_offspring_outlives_its_parent(tmp_path: Path) -> None:
    """Not even in a session of its own, after its own parent has ended."""
    code = f"""
import os, subprocess, sys
sys.path.insert(0, {str(FOLDER)!r})
import offspring
offspring.adopt()
inner = "import subprocess, sys; subprocess.Popen(['sleep', '600'], start_new_session=True)"
subprocess.run([sys.executable, '-c', inner])
print(*offspring._offspring(), flush=True)
offspring.end()
print(*offspring._offspring())
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    before, after = said.split("\n")[:2]
    assert len(before.split()) == 1
    assert after == ""
