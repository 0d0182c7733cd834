"""The plugin by itself; with FastDeploy, where that is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

import my_plugin

PROJECT = Path(__file__).resolve().parents[1]
HAS_ENGINE = find_spec("fastdeploy") is not None and find_spec("fastdeploy.model_executor") is not None


def test_the_engine_finds_it_by_its_entry_point() -> None:
    lines = (PROJECT / "pyproject.toml").read_text().splitlines()

    group = lines.index('[project.entry-points."fastdeploy.model_register_plugins"]')
    assert lines[group + 1] == 'my-plugin = "my_plugin:register"'
    assert callable(my_plugin.register)


@pytest.mark.skipif(not HAS_ENGINE, reason="FastDeploy is not installed")
def test_fastdeploy_knows_the_model() -> None:
    from fastdeploy.model_executor.models.model_base import ModelRegistry

    my_plugin.register()
    my_plugin.register()
    assert ModelRegistry.get_supported_archs().count(my_plugin.ARCHITECTURE) >= 1
    assert ModelRegistry.get_class(my_plugin.ARCHITECTURE).__name__ == "MyPluginForCausalLM"
