"""The plugin by itself; with vLLM, where that is installed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from my_plugin.totals import Totals

PROJECT = Path(__file__).resolve().parents[1]
STEP = SimpleNamespace(finished_requests=["one"], num_prompt_tokens=5, num_generation_tokens=2)


def test_the_engine_finds_it_by_its_entry_point() -> None:
    lines = (PROJECT / "pyproject.toml").read_text().splitlines()

    group = lines.index('[project.entry-points."vllm.stat_logger_plugins"]')
    assert lines[group + 1] == 'my-plugin = "my_plugin.logger:MyPlugin"'
    assert "\nclass MyPlugin(" in (PROJECT / "src" / "my_plugin/logger.py").read_text()


def test_it_counts() -> None:
    totals = Totals()
    totals.add(STEP)
    totals.add(STEP)

    assert str(totals) == "2 requests, 10 tokens read, 4 tokens written"


def test_it_logs_what_is_new_and_only_that(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    from vllm.v1.metrics.loggers import StatLoggerBase

    from my_plugin import logger as module

    said: list[str] = []
    monkeypatch.setattr(module.logger, "info", lambda text, *values: said.append(text % values))
    made = module.MyPlugin(None, 1)
    made.log()
    made.record(None, STEP, None, engine_idx=1)
    made.record(None, None)
    made.log()
    made.log()

    assert isinstance(made, StatLoggerBase)
    assert said == ["my-plugin: engine 1: 1 requests, 5 tokens read, 2 tokens written"]
