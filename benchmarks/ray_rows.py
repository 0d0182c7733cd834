"""Rows of a cluster: Ray on four nodes, each in a network of its own, and how long a job waits for its plugin set."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kit
import ray_rig
import uv
from fleet_rig import CHANNEL
from measure import spread
from ray_rig import EACH, NODES
from table import Row
from unpacking import LITERAL, packages, unpacked
from uv import find_uv_bin

from envbuilder.bucket import open_bucket
from envbuilder.channels import move, move_back
from envbuilder.depot import Depot, Trust
from envbuilder.keys import parse_public, read_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from engine.ray_nodes import Cluster
    from measure import Command
    from ray_rig import Crowd, Job

PLUGINS = 10
MODULES = 20
"""Of each plugin."""
JOBS, AT_A_TIME = 8, 2
AT_ONCE = f"{NODES} nodes with {EACH} actors at once"
REST = 3.0
"""Seconds until what Ray does for the actors before is done; after one second turns differ by half as much again."""
WHOLE = 4
"""Each so many turns a crowd is waited for to its last actor, and not until each node has answered."""
BETWEEN = 0.5
"""Seconds between two moves of the channel while jobs begin."""
PLAIN, OURS, FIELDS = "env_vars", "vpm_env", ("uv", "pip")
_OPTIONS = {"uv": ["--no-cache"], "pip": ["--disable-pip-version-check", "--no-cache-dir"]}
"""What Ray gives its tools unless it is told something else."""
_LOADED = """
init("prod")
actors = [on(node) for node in alive() for _ in range(2)]
answers = [ray.get([actor.ask.remote() for actor in actors])]
answers.append(ray.get([actor.nested.remote() for actor in actors]))
answers.append(ray.get([on(node).ask.remote() for node in alive()]))
tell(digests=sorted({each["digest"] for some in answers for each in some}))
"""


def on_ray(folder: Path, runs: int) -> Iterator[Row]:
    """All that is asked of a cluster, on one that is started once."""
    with ray_rig.running(folder) as cluster:
        wheel_of_uv(cluster.index.folder)
        yield from _firsts(cluster, folder / "unpacked", runs)
        yield _going_back(cluster, min(runs, 10))
        yield _under_load(cluster)


def wheel_of_uv(folder: Path) -> None:
    """Make a wheel of the uv that is installed here: `ray[default]` has none, so Ray installs it first."""
    own = Path(find_uv_bin())
    package = Path(uv.__file__).parent
    files = {f"uv/{path.name}": path.read_bytes() for path in package.glob("*.py")}
    kit.wheel(folder, "uv", metadata.version("uv"), files=files, scripts={"uv": own.read_bytes()})


@dataclass
class Sets:
    """Sets of so many plugins; each is a version that nobody has had before."""

    cluster: Cluster
    count: int
    numbers: Iterator[int]

    @property
    def modules(self) -> list[str]:
        return [f"plugin_{number:02}" for number in range(self.count)]

    def publish(self) -> dict[str, str]:
        """Make wheels of a new version; return name → version."""
        version = f"{self.count}.{next(self.numbers)}"
        lines = "".join(f"value_{at} = {at}\n" for at in range(28))
        for module in self.modules:
            files = {f"{module}/part{at}.py": lines for at in range(MODULES)}
            files[f"{module}/__init__.py"] = f"VERSION = {version!r}\n\ndef register(): pass\n"
            points = {"vllm.general_plugins": {module: f"{module}:register"}}
            kit.wheel(self.cluster.index.folder, module, version, files=files, entry_points=points)
        return {module.replace("_", "-"): version for module in self.modules}

    def push(self) -> tuple[str, dict[str, str]]:
        """Publish, build and push a set; return its digest, and what is in it."""
        asked = self.publish()
        entries = (
            f"  - {{name: {name}, source: pypi, package: {name}, version: '{at}'}}\n" for name, at in asked.items()
        )
        return self.cluster.push(f"index: {self.cluster.index.url}\nplugins:\n{''.join(entries)}"), asked

    def field(self, name: str) -> dict[str, Any]:
        """Return Ray's own field for a set that nobody has had; its wheels lie on the node's own disk."""
        where = str(self.cluster.index.folder)
        options = [*_OPTIONS[name], "--no-index", "--find-links", where]
        packages = [f"{package}=={version}" for package, version in self.publish().items()]
        how = {"packages": packages, f"{'uv_' if name == 'uv' else ''}pip_install_options": options}
        return {name: how, "env_vars": {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": where}}


@dataclass
class Firsts:
    """Crowds in turns: by what they had, and beside them what `LITERAL` takes on as many nodes at once."""

    job: Job
    sets: Sets
    each: int
    width: int
    crowds: dict[str, list[Crowd]] = field(default_factory=dict)
    unpacking: list[float] = field(default_factory=list)
    wrong: int = 0

    def take(self, folder: Path) -> None:
        """Let plain variables, and a set that no node has, be measured; from turn to turn the other begins."""
        digest, asked = self.sets.push()
        turn: list[Callable[[], object]] = [
            partial(self._go, PLAIN, {"env_vars": {"TURN": digest}}),
            partial(self._ours, digest),
        ]
        if len(self.unpacking) % 2:
            turn.reverse()
        for measure in turn:
            measure()
        time.sleep(REST)
        self.unpacking.append(self._literal(asked, folder / digest).seconds())

    def _ours(self, digest: str) -> None:
        self.job.cluster.forget_gets()
        crowd = self._go(OURS, named=digest)
        assert crowd.digests == {digest}, crowd
        self.wrong += self._not_once()

    def take_fields(self) -> None:
        """Let Ray's own fields have what no node has; last, for the disk is slower for half a minute after them.

        On each node they write and delete copies of the base.
        """
        for name in FIELDS:
            self._go(name, self.sets.field(name))

    def _go(self, name: str, env: dict[str, Any] | None = None, *, named: str = "") -> Crowd:
        modules = [] if name == PLAIN else self.sets.modules
        time.sleep(REST)
        whole = len(self.crowds.get(name, ())) % WHOLE == 0  # to see that all of them have the set
        crowd = self.job.crowd(env, named=named, modules=modules, each=self.each, width=self.width, whole=whole)
        self.crowds.setdefault(name, []).append(crowd)
        return crowd

    def _not_once(self) -> int:
        """Count the parcels that a node has not fetched exactly once."""
        counts = Counter((who, path) for who, path in self.job.cluster.gets)
        return sum(count != 1 for count in counts.values()) + self.sets.count * self.width - len(counts)

    def _literal(self, asked: dict[str, str], folder: Path) -> Command:
        cluster = self.job.cluster
        store = cluster.folder / "builder" / "store"
        parts = [part for name, version in asked.items() for part in packages(store, f"*-{name}-{version}")]
        archives = {f"node-{number}": parts for number in range(self.width)}
        return unpacked(store, archives, folder, python=cluster.base.python, env=cluster.env)

    def rows(self) -> Iterator[Row]:
        """Compare the first actors."""
        yield Row(
            name=f"first actor, {self.title}",
            what=f"what a set that no node has adds to plain `env_vars` and {LITERAL}",
            value=self.added,
            unit="s",
            limit=0.3,
            floor=f"`env_vars`, and {LITERAL}",
            above=self.median(OURS) / (self.median(PLAIN) + statistics.median(self.unpacking)),
            detail=self.detail,
        )
        for name in FIELDS:
            yield Row(
                name=f"first actor, {self.title}",
                what=f"time / Ray's own `{name}` with the same wheels",
                value=self.median(OURS) / self.median(name),
                unit="x",
                limit=0.25,
                floor="`env_vars`",
                least=self.median(PLAIN) / self.median(name),
                above=self.median(OURS) / self.median(PLAIN),
            )

    @property
    def title(self) -> str:
        plugins = f"{self.sets.count} plugin{'' if self.sets.count == 1 else 's'}"
        return f"{plugins}, {AT_ONCE}" if self.width > 1 else f"{plugins}, one node"

    @property
    def added(self) -> float:
        """Return the seconds that a set adds to plain variables and unpacking, the median of the turns."""
        return statistics.median(
            ours.first - plain.first - literal
            for ours, plain, literal in zip(self.crowds[OURS], self.crowds[PLAIN], self.unpacking, strict=True)
        )

    def median(self, name: str) -> float:
        return statistics.median(crowd.first for crowd in self.crowds[name])

    @property
    def detail(self) -> dict[str, Any]:
        found = {f"{name}, first, s": spread([crowd.first for crowd in of]) for name, of in self.crowds.items()}
        return {**found, f"{LITERAL}, s": spread(self.unpacking), "turns": len(self.unpacking)}


def _firsts(cluster: Cluster, folder: Path, runs: int) -> Iterator[Row]:
    """First actors of one node alone, and of all nodes with many at once: with one plugin, and with ten."""
    numbers, wrong, turns = itertools.count(1), 0, 0
    with ray_rig.job(cluster) as job:
        for count, (each, width) in itertools.product((1, PLUGINS), ((1, 1), (EACH, NODES))):
            firsts = Firsts(job, Sets(cluster, count, numbers), each, width)
            for _ in range(min(runs, 20 if width > 1 else 9)):
                firsts.take(folder)
            for _ in range(min(runs, 4)):
                firsts.take_fields()
            yield from firsts.rows()
            if width > 1:
                wrong, turns = wrong + firsts.wrong, turns + len(firsts.unpacking)
    yield Row(
        name=f"a set that no node has, {AT_ONCE}",
        what=f"parcels that a node does not fetch exactly once, in {turns} turns, each {WHOLE}th to the last actor",
        value=wrong,
        unit="",
        limit=0,
    )


def _going_back(cluster: Cluster, runs: int) -> Row:
    """Move a channel back by one write, until new actors on all nodes have the set before."""
    first, second = cluster.publish("1.0"), cluster.publish("2.0")
    depot, secret = _depot(cluster), read_secret(str(cluster.folder / "key"))
    took = []
    with ray_rig.job(cluster) as job:
        for _ in range(runs + 1):
            move(depot, CHANNEL, second, secret)
            assert job.crowd(named=CHANNEL, each=1).digests == {second}
            started = time.perf_counter()
            move_back(depot, CHANNEL, secret)
            back = job.crowd(named=CHANNEL, each=1)
            took.append(back.ended - started)
            assert back.digests == {first}, back
    took = took[1:]  # in the first turn the nodes have not got the set before
    return Row(
        name="rollback of a cluster by one write",
        what=f"seconds until new actors on all {NODES} nodes answer with the set before, the slowest of {runs} turns",
        value=max(took),
        unit="s",
        limit=2.0,
        detail={"s": spread(took)},
    )


def _under_load(cluster: Cluster) -> Row:
    """Move a channel to and fro while jobs begin, and see what sets the actors and tasks of each of them have."""
    sets = [cluster.publish("3.0"), cluster.publish("4.0")]
    over = threading.Event()
    with ThreadPoolExecutor(AT_A_TIME + 1) as pool:
        moves = pool.submit(_moving, cluster, sets, over)
        try:
            found = [each["digests"] for each in pool.map(lambda _: cluster.drive(_LOADED), range(JOBS))]
        finally:
            over.set()
    both = {digest for digests in found for digest in digests}
    assert both == set(sets), f"the jobs have seen {both}"
    return Row(
        name="a switch while jobs begin",
        what=f"jobs of {JOBS} with two sets; the channel moved {moves.result()} times",
        value=sum(len(digests) != 1 for digests in found),
        unit="",
        limit=0,
        detail={"sets of the jobs": [[digest[:12] for digest in digests] for digests in found]},
    )


def _moving(cluster: Cluster, sets: Sequence[str], over: threading.Event) -> int:
    depot, secret = _depot(cluster), read_secret(str(cluster.folder / "key"))
    for number in itertools.count():
        if over.wait(BETWEEN):
            return number
        move(depot, CHANNEL, sets[number % 2], secret)
    raise AssertionError


def _depot(cluster: Cluster) -> Depot:
    key = parse_public(cluster.env["VPM_ENV_TRUSTED_KEYS"])
    return Depot(open_bucket(str(cluster.cache), env={}), Trust(keys=(key,)))
