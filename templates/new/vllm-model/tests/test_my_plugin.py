"""The plugin by itself; with vLLM, where that is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

import my_plugin

PROJECT = Path(__file__).resolve().parents[1]


def test_the_engine_finds_it_by_its_entry_point() -> None:
    lines = (PROJECT / "pyproject.toml").read_text().splitlines()

    group = lines.index('[project.entry-points."vllm.general_plugins"]')
    assert lines[group + 1] == 'my-plugin = "my_plugin:register"'
    assert callable(my_plugin.register)


def test_vllm_knows_the_model() -> None:
    registry = pytest.importorskip("vllm", reason="vLLM is not installed").ModelRegistry

    my_plugin.register()
    my_plugin.register()
    assert my_plugin.ARCHITECTURE in registry.get_supported_archs()


def test_the_model_is_one_of_vllms() -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    from vllm.model_executor.models.interfaces_base import is_text_generation_model

    from my_plugin.model import MyPluginForCausalLM

    assert is_text_generation_model(MyPluginForCausalLM)
