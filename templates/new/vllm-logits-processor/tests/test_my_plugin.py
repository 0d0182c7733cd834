"""The plugin by itself; with vLLM, where that is installed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from my_plugin.banned import ARGUMENT, banned

PROJECT = Path(__file__).resolve().parents[1]


def params(**extra: Any) -> Any:
    return SimpleNamespace(extra_args=extra or None)


def test_the_engine_finds_it_by_its_entry_point() -> None:
    lines = (PROJECT / "pyproject.toml").read_text().splitlines()

    group = lines.index('[project.entry-points."vllm.logits_processors"]')
    assert lines[group + 1] == 'my-plugin = "my_plugin.processor:MyPlugin"'
    assert "\nclass MyPlugin(" in (PROJECT / "src" / "my_plugin/processor.py").read_text()


def test_a_request_names_tokens_or_none() -> None:
    assert banned(params()) == []
    assert banned(params(another=1)) == []
    assert banned(params(**{ARGUMENT: [3, 4]})) == [3, 4]


@pytest.mark.parametrize("nonsense", ["3", [3.5], [-1], {"3": 4}])
def test_a_request_that_says_nonsense_is_refused(nonsense: Any) -> None:
    with pytest.raises(ValueError, match=ARGUMENT):
        banned(params(**{ARGUMENT: nonsense}))


@pytest.mark.parametrize("context", [None, [1, 0]], ids=["first model runner", "second model runner"])
def test_banned_tokens_are_never_said(context: list[int] | None) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    import torch

    from my_plugin.processor import MyPlugin

    processor = MyPlugin(None, None)
    assert processor.add_request(0, params(**{ARGUMENT: [2]}))
    assert not processor.add_request(1, params())
    layout = context and SimpleNamespace(expanded_idx_mapping=torch.tensor(context))
    logits = processor.apply(torch.zeros(2, 5), layout)

    row = 0 if context is None else 1
    assert logits[row].tolist() == [0.0, 0.0, float("-inf"), 0.0, 0.0]
    assert logits[1 - row].tolist() == [0.0] * 5
