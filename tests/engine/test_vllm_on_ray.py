"""A real vLLM on a real Ray: its workers on two nodes have the set of the process that started them, or are ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kit
import pytest
from engine import marker, ray_nodes, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engine.ray_nodes import Cluster

pytestmark = pytest.mark.engine

PLUGIN = """
CALLS = []

def register():
    CALLS.append(__file__)

def platform():
    return "marker.on_ray.Platform"
"""
PLATFORM = """
from vllm.platforms.cpu import CpuPlatform

class Platform(CpuPlatform):
    ray_device_key = "GPU"
"""
"""vLLM asks Ray for devices, and says that a CPU is none; each of these nodes claims to have one."""
POINTS = {marker.GENERAL: {"marker": "marker:register"}, "vllm.platform_plugins": {"marker": "marker:platform"}}

ENGINE = """
from vllm import LLM, SamplingParams

def engine():
    return LLM(
        {model!r},
        load_format="dummy",
        dtype="float32",
        max_model_len=128,
        max_num_seqs=4,
        enforce_eager=True,
        tensor_parallel_size=2,
        distributed_executor_backend="ray",
        logits_processors=[{processor!r}],
    )

def seen(worker):
    import marker
    return {{**vpm.told(), "calls": marker.CALLS}}

init("other")
tell(ended=error_of(engine))
ray.shutdown()
llm = engine()
(answer,) = llm.generate("abc", SamplingParams(max_tokens=3, temperature=0))
tell(answer=answer.outputs[0].text, workers=llm.collective_rpc(seen), driver=vpm.told(), checked=vpm.check())
"""
VARIABLES = {
    **{name: value for name, value in serving.VARIABLES.items() if name != "VLLM_HOST_IP"},
    **serving.QUICK_VARIABLES,
    "GLOO_SOCKET_IFNAME": "eth0",  # else that of the host's name, which nobody knows
    "RAY_RUNTIME_ENV_HOOK": "_vpm_env.ray.share",
}


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, uv_cache: Path, request: pytest.FixtureRequest
) -> Iterator[Cluster]:
    """Start two nodes whose base has the real engine, which is not built where there is no Ray."""
    ray = ray_nodes.lender()
    vllm: kit.Base = request.getfixturevalue("vllm")
    if ray.parent.name != vllm.purelib.parent.name:
        pytest.skip(f"`{ray}` is for another Python than the engine")
    folder = tmp_path_factory.mktemp("ray")
    with ray_nodes.cluster(folder, uv_cache, count=2, engine=vllm, options=["--num-gpus=1"]) as made:
        yield made


def publish(cluster: Cluster, version: str, *, channel: str) -> str:
    """Push a set whose engine says nothing but the version; return its digest."""
    files = {
        "marker/__init__.py": PLUGIN,
        "marker/logits.py": marker.LOGITS,
        "marker/on_ray.py": PLATFORM,
        "marker/word.py": f"WORD = {version[0]!r}\n",
    }
    kit.wheel(cluster.index.folder, "marker", version, files=files, entry_points=POINTS)
    plugin = f"  - {{name: marker, source: pypi, package: marker, version: '{version}'}}\n"
    return cluster.push(f"index: {cluster.index.url}\nplugins:\n{plugin}", channel=channel)


def places(cluster: Cluster, answers: list[dict[str, Any]]) -> bool:
    """Tell whether there is an answer from each node."""
    named = sorted(answer["worker"].partition(",")[0] for answer in answers)
    return named == sorted(f"node {node.address} ({node.name})" for node in cluster.nodes)


def test_workers_on_every_node_have_the_set_of_their_engine_or_are_ended(cluster: Cluster, llama: Path) -> None:
    other, own = publish(cluster, "2.0", channel="other"), publish(cluster, "1.0", channel="prod")
    first, second = cluster.nodes
    cluster.vpm_env(first, "pull", cluster.url, "prod")
    assert cluster.sets(second) == set()

    code = ENGINE.format(model=str(llama), processor=marker.PROCESSOR)
    with cluster.driver(code, env=VARIABLES) as driver:
        ended, told = driver.told()["ended"], driver.told()

    assert f"vpm-env: this process has overlay {other[:12]}, and the process that it works for has {own[:12]}" in ended
    assert ended.endswith("(the job names a set for its workers)")
    assert told["answer"] == "111"
    assert told["driver"]["digest"] == own
    assert {answer["digest"] for answer in (*told["workers"], *told["checked"])} == {own}
    assert places(cluster, told["workers"])
    assert places(cluster, told["checked"])
    assert [len(answer["calls"]) for answer in told["workers"]] == [1, 1]
    assert all(f"/{own}/" in path for answer in told["workers"] for path in answer["calls"])
