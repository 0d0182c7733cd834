"""A job of Ray names its set, and all of its workers have it: on a real cluster of four nodes, under kills."""

from __future__ import annotations

import os
import signal

import pytest
from engine import ray_nodes
from engine.ray_nodes import Cluster, wait_for

pytestmark = pytest.mark.engine


EVERYWHERE = """
init("prod")
actors = [on(node) for node in alive() for _ in range(2)]
answers = ray.get([actor.ask.remote() for actor in actors])
nested = ray.get([actor.nested.remote() for actor in actors])
grandchildren = ray.get([actor.grandchild.remote() for actor in actors])
tell(answers=answers, nested=nested, grandchildren=grandchildren, checked=vpm.check(), actors=vpm.check(*actors))
"""
"""Whoever may be a worker of a job: actors, tasks that they start, and actors with variables of their own."""
TWICE = """
init("prod")
tell(answers=ray.get([on(node).ask.remote() for node in alive()]), checked=vpm.check())
left(json.loads(input()))
tell(answers=ray.get([on(node).ask.remote() for node in alive()]), checked=vpm.check())
"""
"""A job that starts workers on every node, and again when so many nodes are left."""
CHECKED = "init('prod'); tell(checked=vpm.check())"

REAL = ("raif-vllm", "hotwire-vllm", "ablated-vllm-plugin", "vllm-ipc-cache")
ANNOUNCED = """
init("real")

@ray.remote(num_cpus=0)
def announced():
    from importlib.metadata import distributions
    found = [(dist.metadata["Name"], point.group) for dist in distributions() for point in dist.entry_points]
    return sorted({name for name, group in found if group.startswith("vllm.")})

here = [NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False) for node in alive()]
names = ray.get([announced.options(scheduling_strategy=strategy).remote() for strategy in here])
tell(names=names, checked=vpm.check())
"""


def digests(*answers: list[dict[str, str]]) -> set[str]:
    return {answer["digest"] for told in answers for answer in told}


def test_each_node_makes_the_set_once_and_every_worker_has_it(cluster: Cluster) -> None:
    digest = cluster.publish("1.0")
    told = cluster.drive(EVERYWHERE)

    assert len(told["answers"]) == 8
    assert digests(*told.values()) == {digest}
    assert {answer["version"] for answer in told["answers"]} == {"1.0"}
    assert {answer["worker"].split(",")[0] for answer in told["checked"]} == {
        f"node {node.address} ({node.name})" for node in cluster.nodes
    }
    assert sorted(who for who, _ in cluster.gets) == sorted(node.address for node in cluster.nodes)


def test_real_plugins_are_there_on_every_node(cluster: Cluster) -> None:
    entries = "".join(f"  - {{name: {name}, source: pypi, package: {name}}}\n" for name in REAL)
    digest = cluster.push(f"probe: import\nplugins:\n{entries}", channel="real", network=True)
    cluster.forget_gets()
    told = cluster.drive(ANNOUNCED)

    assert digests(told["checked"]) == {digest}
    assert [set(REAL) <= set(names) for names in told["names"]] == [True] * 4
    assert all(cluster.gets.count(get) == 1 for get in cluster.gets)
    assert {who for who, _ in cluster.gets} == {node.address for node in cluster.nodes}


def test_two_jobs_run_two_sets_side_by_side_and_a_switch_reaches_new_jobs_only(cluster: Cluster) -> None:
    old = cluster.publish("2.0")
    with cluster.driver(TWICE) as first:
        assert digests(*first.told().values()) == {old}
        new = cluster.publish("3.0")

        with cluster.driver(TWICE) as second:
            assert digests(*second.told().values()) == {new}
            assert digests(*first.go(4).values()) == {old}
            cluster.builder("cache", "channel", cluster.cache, "prod", "--rollback", "--key", cluster.folder / "key")
            assert digests(*second.go(4).values()) == {new}
        assert digests(*cluster.drive(CHECKED).values()) == {old}


def test_a_set_that_nobody_has_fails_its_job_alone(cluster: Cluster) -> None:
    cluster.publish("4.0")
    code = """
init("prod")
missing = {"vpm_env": {"digest": "0123456789abcdef" * 4}}
failed = error_of(lambda: ray.get(ask.options(runtime_env=missing).remote()))
channel = error_of(lambda: ray.get(ask.options(runtime_env={"vpm_env": "prod"}).remote()))
tell(failed=failed, channel=channel, checked=vpm.check())
"""
    told = cluster.drive(code)

    assert told["failed"].startswith("RuntimeEnvSetupError")
    assert f"error: the cache `{cluster.url}`" in told["failed"]
    assert "0123456789ab" in told["failed"].partition("error: the cache")[2]
    assert "RAY_RUNTIME_ENV_HOOK=_vpm_env.ray.resolve" in told["channel"]
    assert len(told["checked"]) == 4


def test_a_worker_that_differs_is_named_with_its_node(cluster: Cluster) -> None:
    one, other = cluster.publish("5.0"), cluster.publish("5.1")
    code = f"""
init({one!r})
nodes = alive()
actors = [on(nodes[0]), on(nodes[1], runtime_env={{"vpm_env": {other!r}}})]

@ray.remote(num_cpus=0, max_calls=1)
def guarded(driver):
    # as vLLM hands the driver's environment on, after the start of the worker
    os.environ["VPM_ENV_PIN"] = os.environ["VPM_ENV_PIN"].partition(":")[0] + ":" + driver
    import _vpm_env.guard
    return error_of(_vpm_env.guard.register)

tell(
    differs=error_of(lambda: vpm.check(*actors)),
    same=ray.get(guarded.remote({one!r})),
    guarded=ray.get(guarded.remote({other!r})),
    node=nodes[1]["NodeManagerAddress"],
)
"""
    told = cluster.drive(code)

    assert told["differs"].splitlines()[0] == f"DiffersError: 1 of 2 workers have not the set {one[:12]}:"
    assert f"node {told['node']} (" in told["differs"]
    assert told["differs"].endswith(f": {other[:12]}")
    assert told["same"] == ""
    assert f"and the process that it works for has {other[:12]}, on node {ray_nodes.NETWORK}." in told["guarded"]


def test_gc_spares_the_set_of_a_job_that_lives(cluster: Cluster) -> None:
    digest = cluster.publish("6.0")
    node = cluster.nodes[1]
    # No nested tasks: of those that end with their job, Ray does not always tell its agents, which then hold the set.
    code = "init('prod'); actors = [on(node) for node in alive()]; tell(answers=vpm.check(*actors)); wait()"
    with cluster.driver(code) as job:
        assert digests(*job.told().values()) == {digest}
        cluster.vpm_env(node, "gc")
        assert digest in cluster.sets(node)
    wait_for("the job's end", lambda: cluster.vpm_env(node, "gc") and digest not in cluster.sets(node))


def test_a_cache_that_dies_in_the_middle_is_one_clear_error_and_the_next_job_is_well(cluster: Cluster) -> None:
    digest = cluster.publish("7.0", size=300_000)
    cluster.forget_gets()
    code = "init('prod'); failed = error_of(lambda: ray.get(ask.remote())); tell(failed=failed)"
    try:
        with cluster.faults({".zst": {"drip": 16}}), cluster.driver(code) as job:
            wait_for("download", lambda: cluster.gets)
            cluster.stop_serving()
            failed = job.told()["failed"]
    finally:
        cluster.serve()

    assert failed.startswith("RuntimeEnvSetupError")
    assert cluster.url in failed
    assert digests(*cluster.drive(CHECKED).values()) == {digest}


def test_a_node_that_dies_leaves_the_others_and_comes_back_with_its_sets(cluster: Cluster) -> None:
    digest = cluster.publish("8.0")
    node = cluster.nodes[3]
    with cluster.driver(TWICE) as job:
        job.told()
        for pid in node.named("raylet/raylet"):
            os.kill(pid, signal.SIGKILL)
        wait_for("the end of its workers", lambda: not node.named("default_worker"))
        assert digests(*job.go(3).values()) == {digest}
    node.end()
    cluster.start(node)
    cluster.forget_gets()
    told = cluster.drive(CHECKED)

    assert digests(*told.values()) == {digest}
    assert len(told["checked"]) == 4
    assert cluster.gets == []


def test_an_agent_that_dies_takes_its_node_and_nothing_else(cluster: Cluster) -> None:
    digest = cluster.publish("9.0")
    node = cluster.nodes[2]
    with cluster.driver(TWICE) as job:
        job.told()
        for pid in node.named("runtime_env/agent"):
            os.kill(pid, signal.SIGKILL)
        wait_for("the end of its raylet", lambda: not node.named("raylet/raylet"))
        assert digests(*job.go(3).values()) == {digest}
    node.end()
    cluster.start(node)

    assert digests(*cluster.drive(CHECKED).values()) == {digest}
