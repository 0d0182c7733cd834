"""The plugin by itself; with FastDeploy, where that is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

import my_plugin
from my_plugin.steps import Steps

PROJECT = Path(__file__).resolve().parents[1]
HAS_ENGINE = find_spec("fastdeploy") is not None and find_spec("fastdeploy.worker") is not None


def test_the_engine_finds_it_by_its_entry_point() -> None:
    lines = (PROJECT / "pyproject.toml").read_text().splitlines()

    group = lines.index('[project.entry-points."fastdeploy.model_runner_plugins"]')
    assert lines[group + 1] == 'my-plugin = "my_plugin:get_runner"'
    assert callable(my_plugin.get_runner)


def test_it_logs_every_so_many_steps(caplog: pytest.LogCaptureFixture) -> None:
    steps = Steps(every=2)
    with caplog.at_level("INFO"):
        for _ in range(5):
            steps.count()

    assert caplog.messages == ["my-plugin: 2 steps", "my-plugin: 4 steps"]


@pytest.mark.skipif(not HAS_ENGINE, reason="FastDeploy is not installed")
def test_fastdeploy_gets_a_runner() -> None:
    from fastdeploy.worker.gpu_model_runner import GPUModelRunner

    assert issubclass(my_plugin.get_runner(), GPUModelRunner)
