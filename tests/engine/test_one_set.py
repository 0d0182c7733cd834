"""One set in every process of a server, and in a script and its children, whenever somebody switches."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from engine import marker, serving

if TYPE_CHECKING:
    from pathlib import Path

    from stands import Stand

pytestmark = pytest.mark.engine

OFFLINE = f"""
import sys
from vllm import LLM, SamplingParams

if __name__ == "__main__":
    llm = LLM(
        sys.argv[1],
        load_format="dummy",
        dtype="float32",
        max_model_len=128,
        max_num_seqs=4,
        enforce_eager=True,
        logits_processors=[{marker.PROCESSOR!r}],
    )
    (answer,) = llm.generate("abc", SamplingParams(max_tokens=3, temperature=0))
    print("answer:", answer.outputs[0].text)
"""
FAMILIES = {
    1: {"serve", "registry", "EngineCore", "VllmWorker-0"},
    2: {"serve", "ApiServer_0", "ApiServer_1", "EngineCore", "VllmWorker-0"},
}


@pytest.fixture(scope="module")
def pins(stand: Stand) -> list[str]:
    """Make two sets, generations 1 and 2, and install the hook; return their pins."""
    for version in ("1.0", "2.0"):
        marker.publish(stand.index.folder, version)
        marker.build(stand, version)
    stand("hook", "install")
    key = stand("status", "--json").json["base"]["key"]
    return [f"{key}:{entry['digest']}" for entry in stand("history", "--json").json["generations"]]


@pytest.mark.parametrize("api_servers", [1, 2])
def test_a_switch_while_a_server_starts_reaches_none_of_its_processes(
    stand: Stand, pins: list[str], llama: Path, engine_cache: Path, tmp_path: Path, api_servers: int
) -> None:
    stand("switch", "1")
    records = marker.Records(tmp_path, gated=True)
    # With nothing remembered of models, the engine starts one more process, to look at this one.
    cache = tmp_path / "cold" if api_servers == 1 else engine_cache
    words = [*marker.serve(stand, llama), "--api-server-count", str(api_servers)]
    env = {**stand.env, **records.env, "VLLM_CACHE_ROOT": str(cache)}
    with serving.started(words, env=env, folder=tmp_path) as server:
        gate = records.stopped(server)
        stand("switch", "2")
        os.close(gate)
        server.ready()

        assert {server.complete() for _ in range(8)} == {"111"}
        assert FAMILIES[api_servers] <= records.kinds
        assert records.versions == {"1.0"}
        assert records.pins == records.overlays == {pins[0]}
        assert {pin_of(stand, pid) for pid in server.engine_processes()} == {pins[0]}
        assert f'vpm_env_info{{digest="{pins[0].partition(":")[2]}",generation="1"}} 1.0' in server.get("/metrics")
    assert stand("status", "--json").json["current"]["number"] == 2
    assert server.family() == []


def pin_of(stand: Stand, pid: int) -> str:
    """Ask which set a process has, as somebody who finds it running would."""
    told = stand("status", "--pid", str(pid), "--json").json
    return f"{told['base']}:{told['digest']}"


def test_a_script_that_makes_an_engine_agrees_with_its_children(
    stand: Stand, pins: list[str], llama: Path, tmp_path: Path
) -> None:
    stand("switch", "1")
    records = marker.Records(tmp_path, gated=True)
    script = tmp_path / "offline.py"
    script.write_text(OFFLINE)
    with serving.started([stand.base.python, script, llama], env={**stand.env, **records.env}, folder=tmp_path) as made:
        gate = records.stopped(made)
        stand("switch", "2")
        os.close(gate)

        assert made.ended() == 0
        assert "answer: 111\n" in made.said
    assert "EngineCore" in records.kinds
    assert records.versions == {"1.0"}
    assert records.overlays == {pins[0]}
