"""A real Ray cluster on one machine: each node in a network, a host name and a view of the files of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kit
import pytest
from kit.machine import NO_NETWORK

from envbuilder.keys import read_secret
from envbuilder.notation import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

LENDER = "VPM_ENV_RAY_BASE"
"""Names a virtual environment that has `ray[default]`; it is only read."""
BRIDGE = "vpmray"
NETWORK = "10.231.7"
PORT = 6379
CACHE_PORT = 8480
PATIENCE = 180.0
"""Seconds: a node starts in ten on an idle machine of two cores."""
ENGINE = {"torch": "2.11.0", "transformers": "4.57.0", "numpy": "2.3.0"}
"""What a vLLM 0.33 brings along, as metadata."""
HEALTH = {"initial_delay_ms": 2000, "period_ms": 1000, "timeout_ms": 3000, "failure_threshold": 3}
"""How soon a cluster takes a node for lost that says nothing: in about ten seconds."""
PLUGINS = '[{"class": "_vpm_env.ray.VpmEnv"}]'

SERVER = '''
import http.server, json, os, re, sys, time
folder, address, port, log, faults = sys.argv[1:]

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        asked = re.fullmatch("bytes=([0-9]+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        with open(log, "a") as stream:
            stream.write(f"{self.client_address[0]} {self.path} {start}\\n")
        fault = self.fault()
        if "status" in fault or not os.path.isfile(folder + self.path):
            return self.send_error(fault.get("status", 404))
        with open(folder + self.path, "rb") as stream:
            content = bytearray(stream.read())[:fault.get("truncated_to")]
        if start > len(content):
            return self.send_error(416)
        if "flip_at" in fault:
            content[fault["flip_at"]] ^= 1
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.send(memoryview(content)[start:])

    def send(self, content):
        while len(content) and (drip := self.fault().get("drip")):
            self.wfile.write(content[:drip])
            content = content[drip:]
            time.sleep(0.1)
        self.wfile.write(content)

    def fault(self):
        """Return what goes wrong at this moment with what is asked for."""
        with open(faults) as stream:
            return next((fault for path, fault in json.load(stream).items() if self.path.endswith(path)), {})

    def log_message(self, *words):
        pass

class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

Server((address, int(port)), Handler).serve_forever()
'''
"""A web server over a cache that notes who gets what from which byte on; `faults` is a file that says what goes wrong.

It is an object, end of a path → fault: a `status` instead of the file, a bit flipped in the byte `flip_at`, a file
`truncated_to` so many bytes, or `drip` bytes ten times a second, for as long as the file says so.
"""

PRELUDE = """
import json, os, sys, time
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from _vpm_env import ray as vpm

def tell(**told):
    print("TOLD " + json.dumps(told), flush=True)

def wait():
    input()

def init(field=None, **others):
    env = {**others, **({} if field is None else {"vpm_env": field})}
    ray.init(log_to_driver=False, runtime_env=env)

def told():
    import marker
    return {**vpm.told(), "version": marker.VERSION, "file": marker.__file__, "by": os.environ.get("VPM_ENV_PIN_BY")}

@ray.remote(num_cpus=0)
def ask():
    return told()

def got(asked):
    try:
        return ray.get(asked)
    except Exception as error:
        return {"error": type(error).__name__ + ": " + str(error)}

def there(address, soft=False):
    (node,) = [node for node in ray.nodes() if node["NodeManagerAddress"] == address and node["Alive"]]
    return NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=soft)

def asking(digest, address, soft=False, **others):
    # Ray remembers by its text what failed, and nobody resolves what a task asks for.
    env = {"vpm_env": {"digest": digest, "job": os.urandom(4).hex()}, **others}
    return ask.options(runtime_env=env, scheduling_strategy=there(address, soft)).remote()

def left(count):
    ends = time.monotonic() + 180
    while len(alive()) != count:
        assert time.monotonic() < ends, f"there are {len(alive())} nodes, and not {count}"
        time.sleep(0.05)

@ray.remote(num_cpus=0)
class Actor:
    def ask(self):
        return told()

    def nested(self):
        return ray.get(ask.remote())

    def grandchild(self):
        self.child = Actor.options(runtime_env={"env_vars": {"A": "1"}}).remote()
        return ray.get(self.child.ask.remote())

    def pid(self):
        return os.getpid()

def alive():
    return [node for node in ray.nodes() if node["Alive"]]

def on(node, **others):
    here = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
    return Actor.options(scheduling_strategy=here, **others).remote()

def error_of(make):
    try:
        make()
    except Exception as error:
        return type(error).__name__ + ": " + str(error)
    return ""
"""


@dataclass
class Node:
    """One node: `process` is its `ray start`, and all that this starts lives in its network."""

    number: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return f"{BRIDGE}{self.number}"

    @property
    def address(self) -> str:
        return f"{NETWORK}.{self.number + 10}"

    @property
    def log(self) -> Path:
        return self.folder / "ray.log"

    def pids(self) -> list[int]:
        """Name the processes that live in this node's network: nobody else does."""
        told = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False)
        return [int(line) for line in told.stdout.split()]

    def named(self, word: str) -> list[int]:
        """Name those whose command line has this word."""
        found = []
        for pid in self.pids():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            found += [pid] if word in line else []
        return found

    def inside(self, *words: str | Path) -> list[str]:
        """Return a command that runs where this node's processes do."""
        assert self.process is not None
        return ["nsenter", "-t", str(self.process.pid), "-m", "-n", "-u", "--", *map(str, words)]

    def sees(self, path: Path) -> Path:
        """Return what this node, whose view of the files is its own, sees at a path."""
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/root{path}")

    @contextmanager
    def mounted(self, *words: str | Path, at: Path) -> Iterator[None]:
        """Let this node alone see something else at a path for a while: what `mount` makes of these words."""
        _run(*self.inside("mount", *words, at))
        try:
            yield
        finally:
            _run(*self.inside("umount", "--lazy", at))

    def cut(self) -> None:
        """Take its link down: nothing goes in or out, and nobody is told."""
        _ip("link", "set", self.name, "down")

    def join(self) -> None:
        """Put its link up again."""
        _ip("link", "set", self.name, "up")

    @contextmanager
    def without_route(self, address: str) -> Iterator[None]:
        """Let an address be out of its reach for a while."""
        _ip("-n", self.name, "route", "add", "unreachable", address)
        try:
            yield
        finally:
            _ip("-n", self.name, "route", "del", "unreachable", address)

    def end(self) -> None:
        """End all of it at once, as a power cut would."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.process is not None:
            self.process.wait()
        wait_for(f"the end of {self.name}", lambda: not self.pids())


@dataclass
class Driver:
    """A job's driver that runs: it tells something, and waits until it may go on."""

    process: subprocess.Popen[str]
    errors: Path

    def told(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("TOLD "):
                return dict(json.loads(line[5:]))
        raise AssertionError(self.errors.read_text()[-5000:])

    def go(self, words: object = None) -> dict[str, Any]:
        """Let it go on with these words, and return what it tells next."""
        self.say(words)
        return self.told()

    def say(self, words: object = None) -> None:
        """Let it go on with these words."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()


@dataclass
class Cluster:
    """Nodes, the cache that they pull from, and a machine that builds."""

    folder: Path
    temporary: Path
    base: kit.Base
    builder: kit.VpmEnv
    index: kit.Index
    env: dict[str, str] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    server: subprocess.Popen[bytes] | None = None
    options: Sequence[str] = ()

    @property
    def home(self) -> Path:
        """Return the home that the hook names; each node sees its own there."""
        return self.folder / "home"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def url(self) -> str:
        return f"http://{NETWORK}.1:{CACHE_PORT}"

    @property
    def gets(self) -> list[list[str]]:
        """Return who got which package: address and path."""
        return [[who, path] for who, path, _ in self._asked()]

    @property
    def resumed(self) -> list[list[str]]:
        """Return who went on with which package that had come in part."""
        return [[who, path] for who, path, start in self._asked() if start != "0"]

    def _asked(self) -> list[list[str]]:
        path = self.folder / "gets"
        lines = path.read_text().splitlines() if path.exists() else []
        return [words for line in lines if (words := line.split())[1].endswith(".zst")]

    def forget_gets(self) -> None:
        (self.folder / "gets").unlink(missing_ok=True)

    @contextmanager
    def faults(self, faults: Mapping[str, Mapping[str, int]]) -> Iterator[None]:
        """Let these go wrong with the web server for a while; see `SERVER`."""
        self._go_wrong(faults)
        try:
            yield
        finally:
            self._go_wrong({})

    def _go_wrong(self, faults: Mapping[str, Mapping[str, int]]) -> None:
        (self.folder / "faults.new").write_text(json.dumps(faults))
        (self.folder / "faults.new").replace(self.folder / "faults")

    def publish(self, version: str, *, channel: str = "prod", size: int = 0, requires: Sequence[str] = ()) -> str:
        """Build a set with this version of the plugin, push it, and let a channel name it; return its digest."""
        files = {"marker/__init__.py": f"VERSION = {version!r}\n\ndef register(): pass\n"}
        if size:
            files["marker/ballast.bin"] = os.urandom(size // 2).hex()
        points = {"vllm.general_plugins": {"marker": "marker:register"}}
        kit.wheel(self.index.folder, "marker", version, files=files, entry_points=points, requires=requires)
        plugin = f"  - {{name: marker, source: pypi, package: marker, version: '{version}'}}\n"
        return self.push(f"index: {self.index.url}\nplugins:\n{plugin}", channel=channel)

    def push(self, config: str, *, channel: str = "prod", network: bool = False) -> str:
        """Build what a config asks for, push it, and let a channel name it; return its digest."""
        self.builder.config(config)
        real = {**dict.fromkeys(NO_NETWORK), **kit.network_settings()} if network else {}
        self.builder("build", env=real, check=True)
        words = ("--key", self.folder / "key", "--channel", channel, "--json")
        return str(self.builder("push", self.cache, *words, check=True).json["digest"])

    def serve(self) -> None:
        """Start the web server over the cache."""
        self._go_wrong({})
        files = (self.cache, f"{NETWORK}.1", str(CACHE_PORT), self.folder / "gets", self.folder / "faults")
        self.server = subprocess.Popen([sys.executable, "-c", SERVER, *map(str, files)])
        wait_for("web server", self._is_served)

    def _is_served(self) -> bool:
        try:
            with socket.create_connection((f"{NETWORK}.1", CACHE_PORT), timeout=1):
                return True
        except OSError:
            return False

    def stop_serving(self) -> None:
        """Kill the web server."""
        if self.server is not None:
            self.server.kill()
            self.server.wait()
            self.server = None

    def start(self, *nodes: Node) -> None:
        """Start nodes and wait until the cluster has them."""
        for node in nodes:
            self._begin(node)
        for node in nodes:
            wait_for(f"{node.name}", lambda node=node: self._is_started(node))

    def _begin(self, node: Node) -> None:
        own = "; ".join(
            (
                f"hostname {node.name}",
                f"mount --bind {node.folder / 'home'} {self.home}",
                f"mount --bind {node.folder / 'tmp'} {self.temporary}",
                'exec "$@"',
            )
        )
        # Nothing of it is to be taken for this Python's, and the cluster's own words are not logged to the terminal.
        with node.log.open("wb") as log:
            node.process = subprocess.Popen(
                ["ip", "netns", "exec", node.name, "unshare", "--uts", "sh", "-ec", own, "sh", *self._ray(node)],
                env=self.env,
                cwd=node.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _ray(self, node: Node) -> list[str]:
        head = f"{self.nodes[0].address}:{PORT}"
        role = (
            ["--head", f"--port={PORT}", f"--temp-dir={self.temporary}"]
            if node is self.nodes[0]
            else [f"--address={head}"]
        )
        options = ("--num-cpus=4", "--object-store-memory=80000000", "--disable-usage-stats", "--block")
        ray = [str(self.base.python), "-m", "ray.scripts.scripts", "start", *role]
        no_page = ["--include-dashboard=false"] if node is self.nodes[0] else []
        return [*ray, *no_page, f"--node-ip-address={node.address}", *options, *self.options]

    @staticmethod
    def _is_started(node: Node) -> bool:
        assert node.process is not None
        said = node.log.read_text(errors="replace")
        assert node.process.poll() is None, said
        return "Ray runtime started" in said

    @contextmanager
    def driver(self, code: str, *, env: Mapping[str, str] | None = None, node: int = 0) -> Iterator[Driver]:
        """Run a driver beside a node; it is ended with the context."""
        place = self.nodes[node]
        errors = self.folder / f"driver-{time.monotonic_ns()}.log"
        address = f"{self.nodes[0].address}:{PORT}"
        with errors.open("wb") as log:
            process = subprocess.Popen(
                place.inside(self.base.python, "-c", PRELUDE + code),
                env={**self.env, "RAY_ADDRESS": address, "RAY_RUNTIME_ENV_HOOK": "_vpm_env.ray.resolve", **(env or {})},
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        with process:
            try:
                yield Driver(process, errors)
            finally:
                process.kill()

    def drive(self, code: str, *, env: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Run a driver to its first word."""
        with self.driver(code, env=env) as driver:
            return driver.told()

    def vpm_env(self, node: Node, *words: str) -> dict[str, Any]:
        """Run vpm-env on a node, and return the JSON that it printed."""
        command = node.inside(*self.builder.command, *words, "--json", "--base", self.base.python, "--home", self.home)
        done = subprocess.run(command, env=self.env, cwd="/", capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def sets(self, node: Node) -> set[str]:
        """Name the sets that a node has."""
        return {path.parent.name for path in (node.folder / "home").glob("overlays/*/*/overlay.json")}

    def waybill(self, digest: str) -> dict[str, Any]:
        return dict(json.loads((self.cache / "overlays" / f"{digest}.json").read_bytes()))

    def parcel(self, digest: str) -> str:
        """Say where the one parcel of a set lies in the cache."""
        (card,) = self.waybill(digest)["packages"]
        return f"packages/{card['key']}.tar.zst"

    def remains(self, node: Node, digest: str) -> list[str]:
        """Name what there is of a set on a node; what a download that is gone on with has of it does not count."""
        home = node.sees(self.home)
        packages = (f"store/{card['key']}*" for card in self.waybill(digest)["packages"])
        patterns = (f"overlays/*/{digest}*", "tmp/*", *packages)
        parcels = (path for path in home.glob("cache/parcels/*") if path.suffix != ".part")
        found = (*parcels, *(path for pattern in patterns for path in home.glob(pattern)))
        return [str(path.relative_to(home)) for path in found] + [f"pid {pid}" for pid in node.named(" pull ")]

    @contextmanager
    def signed_by(self, key: Path | None, digest: str) -> Iterator[None]:
        """Let nobody have signed what a set consists of but the owner of a key, or nobody at all, for a while."""
        path = self.cache / "overlays" / f"{digest}.json"
        before = path.read_bytes()
        record = json.loads(before)
        del record["signatures"]
        path.write_bytes(bytes(canonical(read_secret(str(key)).sign(record) if key else record)))
        try:
            yield
        finally:
            path.write_bytes(before)


def wait_for(what: str, reached: Callable[[], Any]) -> Any:
    """Wait until `reached` tells something, and return that."""
    deadline = time.monotonic() + PATIENCE
    while not (found := reached()):
        assert time.monotonic() < deadline, f"no {what} after {PATIENCE:g} s"
        time.sleep(0.05)
    return found


@contextmanager
def cluster(
    folder: Path, uv_cache: Path, *, count: int = 4, engine: kit.Base | None = None, options: Sequence[str] = ()
) -> Iterator[Cluster]:
    """Start a cluster with a hook in its base; skip where there is no Ray, or no root.

    The base has a tiny engine, or what is in the base `engine`; `options` are more words for `ray start`.
    """
    lent = lender()
    with ExitStack() as stack:
        temporary = Path(tempfile.mkdtemp(prefix="vr", dir="/tmp"))  # sockets lie in it: a path of 107 characters
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        index = stack.enter_context(kit.index(folder / "index"))
        base = _base(folder / "base", lent, engine)
        made = _prepared(folder, temporary, base, uv_cache, index)
        made.options = options
        made.nodes = [Node(number, folder / f"node{number}") for number in range(count)]
        stack.enter_context(_networks(made.nodes))
        stack.callback(made.stop_serving)
        made.serve()
        for node in made.nodes:
            for name in ("home", "tmp"):
                (node.folder / name).mkdir(parents=True)
            stack.callback(node.end)
        head, *others = made.nodes
        made.start(head)
        made.start(*others)
        yield made


def lender() -> Path:
    """Return the site directory of Ray."""
    prefix = Path(kit.MACHINE.get(LENDER) or "/nonexistent")
    found = sorted(prefix.glob("lib/python3.*/site-packages/ray"))
    if not found:
        pytest.skip(f"{LENDER} names no virtual environment with `ray[default]`")
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("nodes with a network of their own need root and `ip`")
    own = subprocess.run(
        ["unshare", "--net", "--mount", "--uts", "ip", "link", "add", "probe", "type", "bridge"],
        capture_output=True,
        text=True,
        check=False,
    )
    if own.returncode:
        pytest.skip(f"nodes with a network of their own cannot be made here: {own.stderr.strip()}")
    return found[0].parent


def _base(folder: Path, lent: Path, engine: kit.Base | None) -> kit.Base:
    """Make a base in which Ray is installed beside a tiny engine, or one that has it behind a real engine."""
    if engine:
        base = kit.base(folder, python=lent.parents[2] / "bin" / "python")
        (base.purelib / "ray.pth").write_text(f"{engine.purelib}\n{lent}\n")
        return base
    shutil.copytree(lent.parents[2], folder, symlinks=True, copy_function=linked)
    base = kit.describe(folder / "bin" / "python", kind="venv")
    kit.fake_vllm(base)
    for name, version in ENGINE.items():
        if not list(base.purelib.glob(f"{name}-*.dist-info")):
            kit.dist_info(base, name, version)
    return base


def linked(source: str, target: str) -> None:
    """Copy a file that nobody writes to, as a link where that can be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _prepared(folder: Path, temporary: Path, base: kit.Base, uv_cache: Path, index: kit.Index) -> Cluster:
    """Put the hook into the base, and make a home that builds and signs."""
    for name in ("work", "home", "builder", "user", "cache"):
        (folder / name).mkdir()
    env = kit.clean_environment(folder / "user") | {"UV_CACHE_DIR": str(uv_cache)}
    builder = kit.VpmEnv(home=folder / "builder", folder=folder / "work", env=dict(env)).use(base)
    builder.env["VPM_ENV_HOME"] = str(folder / "builder")
    public = builder("cache", "keygen", "test", folder / "key", "--json", check=True).json["public"]
    made = Cluster(folder, temporary, base, builder, index)
    builder("hook", "install", "--home", made.home, check=True)
    made.env = env | {
        "PATH": f"{base.scripts}:{env['PATH']}",
        "NO_PROXY": "*",
        "RAY_RUNTIME_ENV_PLUGINS": PLUGINS,
        "RAY_raylet_start_wait_time_s": "120",
        **{f"RAY_health_check_{name}": str(value) for name, value in HEALTH.items()},
        "RES_OPTIONS": "timeout:1 attempts:1",  # nobody answers to a question for a name
        "RAY_USAGE_STATS_ENABLED": "0",
        "VPM_ENV_CACHES": made.url,
        "VPM_ENV_TRUSTED_KEYS": public,
    }
    return made


@contextmanager
def _networks(nodes: list[Node]) -> Iterator[None]:
    """Give each node a network of its own, on one bridge."""
    _forget_networks()
    with ExitStack() as stack:
        _ip("link", "add", BRIDGE, "type", "bridge")
        stack.callback(_ip, "link", "del", BRIDGE)
        _ip("addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        for node in nodes:
            _ip("netns", "add", node.name)
            stack.callback(_ip, "netns", "del", node.name)
            _ip("link", "add", node.name, "type", "veth", "peer", "name", "eth0", "netns", node.name)
            stack.callback(_ip, "link", "del", node.name)  # by itself it would go some time after the network
            _ip("link", "set", node.name, "master", BRIDGE, "up")
            inside = ("-n", node.name)
            _ip(*inside, "addr", "add", f"{node.address}/24", "dev", "eth0")
            _ip(*inside, "link", "set", "lo", "up")
            _ip(*inside, "link", "set", "eth0", "up")
            _ip(*inside, "route", "add", "default", "via", f"{NETWORK}.1")
        yield


def _forget_networks() -> None:
    """End what a run that was killed has left in networks of these names, and the networks."""
    listed = _run("ip", "netns", "list").split()
    for name in (word for word in listed if word.startswith(BRIDGE)):
        for pid in _run("ip", "netns", "pids", name).split():
            os.kill(int(pid), signal.SIGKILL)
        _ip("netns", "del", name)
    for link in Path("/sys/class/net").glob(f"{BRIDGE}*"):
        subprocess.run(["ip", "link", "del", link.name], capture_output=True, check=False)  # it may be going already


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout
