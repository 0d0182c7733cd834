"""What goes wrong on one node, or with what a cache gives it, costs a job of Ray one clear error, and nobody else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import kit
import pytest
from engine import ray_nodes
from engine.ray_nodes import Cluster, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from engine.ray_nodes import Driver, Node

pytestmark = pytest.mark.engine

ASKING = """
init("prod")
tell(checked=vpm.check())
for line in sys.stdin:
    asked = [asking(**each) for each in json.loads(line)]
    tell(answers=[got(each) for each in asked])
"""
"""A job that is well everywhere, and then asks for what it is told: sets on nodes, all at once."""

LARGE = 300_000
"""Bytes of a plugin whose parcel takes so long on a bad line that something may happen meanwhile."""
NOT_PUSHED = "hint: it is not what was pushed, or a proxy on the way changes files"
TO_TRUST = (
    "hint: `--trusted-key NAME:KEY`, `VPM_ENV_TRUSTED_KEYS` or `trusted_keys:` say whom to believe; `--unsigned` "
    "takes what anybody put there"
)


def asked(job: Driver, *wishes: tuple[str, Node], **others: object) -> list[dict[str, Any]]:
    """Let a job ask for sets on nodes; return the answers."""
    return list(job.go([{"digest": digest, "address": node.address, **others} for digest, node in wishes])["answers"])


def reason(answer: dict[str, Any]) -> str:
    """Return the words of the node's vpm-env in an error of Ray's."""
    assert "error" in answer, answer
    assert answer["error"].startswith("RuntimeEnvSetupError"), answer
    return str(answer["error"]).partition("FailedError: ")[2].strip()


def require_well(cluster: Cluster, digest: str) -> None:
    """Fail unless the next job has this set on all nodes."""
    checked = cluster.drive(f"init({digest!r}); tell(checked=vpm.check())")["checked"]
    assert {answer["digest"] for answer in checked} == {digest}
    assert len(checked) == len(cluster.nodes)


PARCELS = {
    "forbidden": {"status": 403},
    "broken": {"status": 500},
    "cut short": {"truncated_to": 200},
    "flipped": {"flip_at": 200},
}
"""What goes wrong with a parcel."""
SAID = {
    "forbidden": "`PARCEL` is forbidden: credentials are lacking, or are not good for it (403)\n\n"
    "hint: credentials are given in the URL: `https://user:password@host/path`",
    "broken": "answers 500 (internal server error) for `PARCEL`",
    "cut short": f"`PARCEL` has 200 bytes, not SIZE\n\n{NOT_PUSHED}",
    "flipped": f"`PARCEL` has the sha256 OTHER, not ITS\n\n{NOT_PUSHED}",
    "stranger": f"`WAYBILL` is signed by `stranger`, whom nobody trusts here\n\n{TO_TRUST}",
    "unsigned": f"`WAYBILL` is not signed\n\n{TO_TRUST}",
    "out of reach": "cannot be reached",
}


def test_what_a_cache_does_not_give_or_nobody_trusted_signed_is_told_and_leaves_nothing(cluster: Cluster) -> None:
    sets = {name: cluster.publish(f"20.{number}", size=2000) for number, name in enumerate(SAID)}
    well = cluster.publish("20.99")
    wishes = [(sets[name], cluster.nodes[number % 3]) for number, name in enumerate(sets)]
    wishes[-1] = (sets["out of reach"], cluster.nodes[3])
    with cluster.driver(ASKING) as job:
        assert {answer["digest"] for answer in job.told()["checked"]} == {well}
        with faults(cluster, sets):
            answers = asked(job, *wishes)
        left = [remains for digest, node in wishes if (remains := cluster.remains(node, digest))]
        healed = asked(job, *wishes)

    said = {name: plain(cluster, reason(answer), sets[name]) for name, answer in zip(sets, answers, strict=True)}
    assert said == {name: f"error: the cache `URL`: {text}" for name, text in SAID.items()}
    assert left == []
    assert [answer["digest"] for answer in healed] == list(sets.values())
    require_well(cluster, well)


def faults(cluster: Cluster, sets: dict[str, str]) -> ExitStack:
    """Let all of it go wrong."""
    cluster.builder("cache", "keygen", "stranger", cluster.folder / "stranger", check=True)
    with ExitStack() as stack:
        parcels = {cluster.parcel(sets[name]): fault for name, fault in PARCELS.items()}
        stack.enter_context(cluster.faults(parcels))
        stack.enter_context(cluster.signed_by(cluster.folder / "stranger", sets["stranger"]))
        stack.enter_context(cluster.signed_by(None, sets["unsigned"]))
        stack.enter_context(cluster.nodes[3].without_route(f"{ray_nodes.NETWORK}.1"))
        return stack.pop_all()


def plain(cluster: Cluster, text: str, digest: str) -> str:
    """Put names in the place of what differs from run to run."""
    parcel = cluster.parcel(digest)
    size = (cluster.cache / parcel).stat().st_size
    names = {cluster.url: "URL", parcel: "PARCEL", f"overlays/{digest}.json": "WAYBILL", f"not {size}": "not SIZE"}
    for what, name in names.items():
        text = text.replace(what, name)
    return re.sub(r"[0-9a-f]{64}, not [0-9a-f]{64}", "OTHER, not ITS", text)


def test_a_cache_that_is_too_slow_for_a_job_is_given_up_and_gone_on_with(cluster: Cluster) -> None:
    digest, node = cluster.publish("21.0", size=LARGE), cluster.nodes[2]
    well = cluster.publish("21.99")
    with cluster.driver(ASKING) as job:
        job.told()
        cluster.forget_gets()
        with cluster.faults({".zst": {"drip": 1000}}):
            (answer,) = asked(job, (digest, node), config={"setup_timeout_seconds": 4})
        left = [path for path in cluster.remains(node, digest) if not path.startswith("tmp/")]
        cluster.forget_gets()
        (healed,) = asked(job, (digest, node))

    assert answer["error"].startswith("RuntimeEnvSetupError")
    assert "Failed to install runtime_env within the timeout of 4 seconds" in answer["error"]
    assert left == []
    assert healed["digest"] == digest
    assert cluster.resumed == [[node.address, f"/{cluster.parcel(digest)}"]]
    require_well(cluster, well)
    cluster.vpm_env(node, "gc")  # who is killed in the middle leaves its scratch folder
    assert list(node.sees(cluster.home).glob("tmp/*")) == []


def test_a_node_with_another_base_fetches_nothing_and_says_what_differs(cluster: Cluster, tmp_path: Path) -> None:
    digest, well = cluster.publish("22.0", requires=("transformers>=4",)), cluster.publish("22.99")
    _, *nodes = cluster.nodes
    wishes = [(digest, node) for node in nodes]
    with cluster.driver(ASKING) as job, ExitStack() as stack:
        job.told()
        cluster.forget_gets()
        python = kit.base(tmp_path / "base", python=another_python())
        for node, other, place in (
            (nodes[0], with_dist(cluster, tmp_path / "dist", "transformers", "4.58.0"), cluster.base.purelib),
            (nodes[1], with_dist(cluster, tmp_path / "engine", "vllm", "0.34.0"), cluster.base.purelib),
            (nodes[2], python.prefix, cluster.base.prefix),
        ):
            stack.enter_context(node.mounted("--bind", other, at=place))
        of_dist, of_engine, of_python = map(reason, asked(job, *wishes))
        left = [remains for node in nodes if (remains := cluster.remains(node, digest))]
        gets = cluster.gets
        stack.close()
        healed = asked(job, *wishes)

    begin = f"error: the set {digest[:12]} is not for the base `{cluster.base.prefix}`:\n"
    ending = "\n\nhint: push a set that was built on a base like this one, or bring this base to that"
    assert of_dist == f"{begin}  `transformers` is 4.58.0, and 4.57.0 where it was built{ending}"
    assert of_engine == f"{begin}  `vllm` is 0.34.0, and 0.33.0 where it was built{ending}"
    assert of_python.startswith(f"{begin}  the ABI is cpython-")
    assert f"  Python is {python.python_version}, and {cluster.base.python_version} where it was built\n" in of_python
    assert of_python.endswith(ending)
    assert (gets, left) == ([], [])
    assert [answer["digest"] for answer in healed] == [digest] * 3
    require_well(cluster, well)


def another_python() -> Path:
    """Return the Python that does not build."""
    own = "{}.{}".format(*sys.version_info)
    return next((path for version, path in kit.pythons().items() if version != own), None) or pytest.skip("one Python")


def with_dist(cluster: Cluster, copy: Path, name: str, version: str) -> Path:
    """Copy what is installed in the base, and give it a distribution in another version."""
    shutil.copytree(cluster.base.purelib, copy, symlinks=True, copy_function=ray_nodes.linked)
    for info in copy.glob(f"{name}-*.dist-info"):
        shutil.rmtree(info)
    kit.dist_info(cluster.base, name, version, into=copy)
    return copy


def test_a_node_whose_disk_is_full_says_so_and_has_the_set_when_there_is_room(cluster: Cluster) -> None:
    digest, node = cluster.publish("23.0", size=LARGE), cluster.nodes[1]
    large = cluster.publish("23.1", size=8_000_000)
    well = cluster.publish("23.99")
    with (
        cluster.driver(ASKING) as job,
        node.mounted("-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs", at=cluster.home),
    ):
        job.told()
        too_large = reason(*asked(job, (large, node)))
        left = cluster.remains(node, large)
        cluster.forget_gets()
        with cluster.faults({".zst": {"drip": 1000}}):
            job.say([{"digest": digest, "address": node.address}])
            wait_for("the download's begin", lambda: list(node.sees(cluster.home).glob("cache/parcels/*.part")))
            filled = fill(node, cluster.home / "others")
        full = reason(*job.told()["answers"])
        left += cluster.remains(node, digest)
        filled.unlink()
        (healed,) = asked(job, (digest, node))

    assert re.match(
        f"error: the file system `{cluster.home}` has too little room: the set needs about .* are missing\n", too_large
    )
    assert re.match(f"error: the file system `{cluster.home}` is full: the set needs about .* are missing\n", full)
    assert left == []
    assert healed["digest"] == digest
    require_well(cluster, well)


def fill(node: Node, path: Path) -> Path:
    """Write a file until its file system is full; return it."""
    subprocess.run(node.inside("dd", "if=/dev/zero", f"of={path}", "bs=64k"), capture_output=True, check=False)
    return node.sees(path)


ALERT = {"RAY_grpc_client_keepalive_time_ms": "10000", "RAY_grpc_client_keepalive_timeout_ms": "5000"}
"""A driver that hears nothing of a node for so long asks another for what it asked that one; Ray's own is 7 minutes."""
CUT = """
init("prod")
movers = [Actor.options(scheduling_strategy="SPREAD", max_restarts=1, max_task_retries=-1).remote() for _ in range(4)]
tell(movers=ray.get([mover.ask.remote() for mover in movers]), checked=vpm.check())
coming = asking(soft=True, **json.loads(input()))
wait()
left(3)
tell(movers=ray.get([mover.ask.remote() for mover in movers]), came=ray.get(coming), checked=vpm.check())
"""
"""A job whose actors, and a task whose set is just coming, may be anywhere when a node is cut off."""


def test_a_node_that_is_cut_off_is_lost_and_the_job_goes_on_elsewhere(cluster: Cluster) -> None:
    late, digest = cluster.publish("24.0", size=LARGE), cluster.publish("24.1")
    with cluster.driver(CUT, env=ALERT) as job:
        before = job.told()
        node = next(node for node in cluster.nodes[1:] if are_on(node, before["movers"]))
        with cluster.faults({cluster.parcel(late): {"drip": 1000}}):
            job.say({"digest": late, "address": node.address})
            wait_for("the download's begin", lambda: [node.address, f"/{cluster.parcel(late)}"] in cluster.gets)
            node.cut()
        try:
            after = job.go()
        finally:
            node.join()
    wait_for("the end of a raylet that is lost", lambda: not node.named("raylet/raylet"))
    node.end()
    cluster.start(node)
    cluster.forget_gets()

    assert not are_on(node, [*after["movers"], after["came"], *after["checked"]])
    assert after["came"]["digest"] == late
    assert [answer["digest"] for answer in (*after["movers"], *after["checked"])] == [digest] * 7
    require_well(cluster, digest)
    # Of other sets there may be some: a node that joins has those of jobs of which Ray thinks that they are there.
    assert [node.address, f"/{cluster.parcel(digest)}"] not in cluster.gets
    cluster.vpm_env(node, "gc")
    assert cluster.remains(node, late) == []


def are_on(node: Node, answers: list[dict[str, Any]]) -> bool:
    """Tell whether one of some workers is on a node."""
    return any(answer["worker"].startswith(f"node {node.address} ") for answer in answers)
