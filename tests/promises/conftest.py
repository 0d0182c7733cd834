"""What the promises' tests have in common: how much to do, and where a figure is written that the report shows."""

from __future__ import annotations

import inspect
import json
import os
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import kit
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FIGURES = "VPM_ENV_TEST_FIGURES"
"""Names the file that gets a line for each figure."""

SCALE = "VPM_ENV_TEST_SCALE"
"""`short` (what CI runs) or `long`."""

_TAKES = re.compile(r'figure\(\s*"([RS]\d+)"')
_TAKEN = {name: os.environ.get(name, "") for name in (FIGURES, SCALE)}


@dataclass(frozen=True)
class Figure:
    """One row of the report: which promise, what was done, how often, and what violated it."""

    row: str
    title: str
    count: int
    wanted: int
    violations: tuple[str, ...]
    note: str = ""


class Scale:
    """How much a test does: `scale(50, 500)` is 50 in CI and 500 in the long run."""

    def __init__(self, name: str) -> None:
        self.is_long = name == "long"

    def __call__(self, short: int, long: int) -> int:
        return long if self.is_long else short


@pytest.fixture(scope="session")
def scale() -> Scale:
    """Tell how much to do."""
    return Scale(_TAKEN[SCALE])


class Figures:
    """Takes figures down and fails the test that a violation, or a number too low, speaks against."""

    def __call__(
        self,
        row: str,
        title: str,
        *,
        count: int,
        wanted: int = 1,
        violations: Sequence[str] = (),
        note: str = "",
    ) -> None:
        """Note a figure: `row` is the promise's (`R1`), `count` what was done, `wanted` the least that counts."""
        found = Figure(row, title, count, wanted, tuple(violations), note)
        if _TAKEN[FIGURES]:
            _take(asdict(found))
        assert not found.violations, "\n".join(found.violations[:20])
        assert count >= wanted, f"{title}: {count}, not {wanted}"


@pytest.fixture(scope="session")
def figure() -> Figures:
    """Give what takes figures down."""
    return Figures()


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Workshop]:
    """Open a workshop: verbs with faults in them."""
    with kit.workshop(tmp_path_factory.mktemp("said")) as opened:
        yield opened


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies beside this file: it runs by the report's command only."""
    for item in items:
        if "promises" in item.path.parts:
            item.add_marker(pytest.mark.promise)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Take down what was skipped and why, and what failed without a figure."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if not _TAKEN[FIGURES] or "promises" not in item.path.parts or report.outcome == "passed":
        return
    why = str(report.longrepr[2]) if report.skipped and isinstance(report.longrepr, tuple) else ""
    why = why.removeprefix("Skipped: ")
    _take({"test": item.nodeid, "outcome": report.outcome, "why": why, "rows": _rows(item)})


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Take down what could not even be collected."""
    if _TAKEN[FIGURES] and report.failed:
        _take({"test": report.nodeid, "outcome": "failed", "why": "", "rows": []})


def _take(row: dict[str, object]) -> None:
    with open(_TAKEN[FIGURES], "a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


def _rows(item: pytest.Item) -> list[str]:
    """Name the promises that a test would have given a figure of."""
    function = getattr(item, "function", None)
    return sorted(set(_TAKES.findall(inspect.getsource(function)))) if function else []
