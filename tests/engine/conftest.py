"""Fixtures of the tests with the real engine: one base and its models for a run, a home and a hook for each file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from engine import real_vllm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import kit
    from stands import Stand


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Base]:
    """Lend the base with the real engine."""
    with real_vllm.lent(tmp_path_factory.mktemp("vllm")) as base:
        yield base


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory, vllm: kit.Base) -> Path:
    """Make a model that the engine knows."""
    folder = tmp_path_factory.mktemp("models")
    return real_vllm.model(folder / "llama", vllm, kind="llama", architecture="LlamaForCausalLM")


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory, vllm: kit.Base) -> Path:
    """Make a model that the engine knows through a plugin only."""
    folder = tmp_path_factory.mktemp("models")
    rope = {"partial_rotary_factor": 1.0, "rope_theta": 10_000, "rope_type": "default"}
    return real_vllm.model(
        folder / "spark",
        vllm,
        kind="spark2_5",
        architecture="Spark2_5ForCausalLM",
        rope_parameters={"full_attention": rope, "sliding_attention": rope},
    )


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Let servers share what they find out about models; one that starts with nothing asks another process."""
    return tmp_path_factory.mktemp("engine-cache")


@pytest.fixture(scope="module")
def stand(
    tmp_path_factory: pytest.TempPathFactory, vllm: kit.Base, uv_cache: Path, engine_cache: Path
) -> Iterator[Stand]:
    """Give a home and an index to the base; its engine and hook are as before when the file's tests are over."""
    with real_vllm.stand(tmp_path_factory.mktemp("stand"), vllm, uv_cache, engine_cache) as made:
        yield made
