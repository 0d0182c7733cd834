"""A cluster of Ray to measure: sets of some plugins, and a job that starts actors of one kind on all nodes at once."""

from __future__ import annotations

import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from engine import ray_nodes
from measure import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from engine.ray_nodes import Cluster, Driver

NODES, EACH = 4, 8
"""Nodes, and actors that start at once on each of them."""
_ONE_AT_A_TIME = ("--num-cpus=1",)
"""Ray begins as many workers of a node at the same time as it has processors: four nodes share two."""
_JOB = """
import importlib, time

init()
nodes = alive()

@ray.remote(num_cpus=0)
class Crowd:
    def ask(self, modules):
        for name in modules:
            importlib.import_module(name)
        return (os.environ.get("VPM_ENV_PIN") or ":").partition(":")[2]

def start(env, each, width):
    actors = {}
    for _ in range(each):
        for place, node in enumerate(nodes[:width]):
            here = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            actors[Crowd.options(scheduling_strategy=here, runtime_env=env).remote()] = place
    return actors

def answers(actors, modules, started, whole):
    asked = {actor.ask.remote(modules): place for actor, place in actors.items()}
    waiting, silent = list(asked), set(asked.values())
    while waiting if whole else silent:
        ready, waiting = ray.wait(waiting)
        for answer in ready:
            silent.discard(asked[answer])
            yield asked[answer], time.perf_counter() - started, ray.get(answer)

for line in sys.stdin:
    order = json.loads(line)
    env, started = order["env"], time.perf_counter()
    if order["named"]:
        env = vpm.runtime_env(order["named"])
    actors = start(env, order["each"], order["width"])
    tell(answers=list(answers(actors, order["modules"], started, order["whole"])))
    for actor in actors:
        ray.kill(actor)
"""


@dataclass(frozen=True)
class Crowd:
    """What actors that were started at once said: node, seconds until then, digest of the set."""

    answers: Sequence[tuple[int, float, str]]
    ended: float
    """When the last of that was known (`time.perf_counter()`)."""

    @property
    def first(self) -> float:
        """Return the seconds until the first actor of a node answered, the mean of the nodes.

        They share two processors, so what one waits longer another waits less: the median of four differs more.
        """
        found: dict[int, float] = {}
        for node, seconds, _ in self.answers:
            found[node] = min(seconds, found.get(node, seconds))
        return statistics.mean(found.values())

    @property
    def digests(self) -> set[str]:
        return {digest for _, _, digest in self.answers}


@dataclass(frozen=True)
class Job:
    """A job that runs and starts crowds."""

    cluster: Cluster
    driver: Driver

    def crowd(
        self,
        env: Mapping[str, Any] | None = None,
        *,
        named: str = "",
        modules: Sequence[str] = (),
        each: int = EACH,
        width: int = NODES,
        whole: bool = True,
    ) -> Crowd:
        """Start so many actors on each of so many nodes in this runtime environment, or with the set that is named.

        They import the modules before they answer; when all have, or one of each node if not the `whole` crowd is
        waited for, they are ended.
        """
        order = {"env": env, "named": named, "modules": list(modules), "each": each, "width": width, "whole": whole}
        answers, ended = self.driver.go(order)["answers"], time.perf_counter()
        ray_nodes.wait_for("end of the actors", lambda: not self._is_any_left())
        return Crowd([(node, seconds, digest) for node, seconds, digest in answers], ended)

    def _is_any_left(self) -> bool:
        return any(node.named("ray::Crowd") for node in self.cluster.nodes)


@contextmanager
def job(cluster: Cluster) -> Iterator[Job]:
    """Begin a job of its own, which ends with the block."""
    with cluster.driver(_JOB) as driver:
        made = Job(cluster, driver)
        made.crowd({"env_vars": {"WARM": "up"}}, each=1)
        yield made


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """Start a cluster, and end it with the block."""
    for name in ("cluster", "uv-cache"):
        (folder / name).mkdir()
    try:
        with ray_nodes.cluster(folder / "cluster", folder / "uv-cache", count=NODES, options=_ONE_AT_A_TIME) as made:
            yield made
    except pytest.skip.Exception as reason:
        raise Unavailable(str(reason)) from None
