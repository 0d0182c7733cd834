"""A profile with three sets, a tiny server that dies as it is told to, and its supervisor as a child."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

GROUP = "vllm.general_plugins"
PATIENCE = 60.0

SERVER = '''
"""Serve, or die, as PLAN says for the version of `plug` that is there: its first word at the first start, and so on.

An exclusive flock that the whole family inherits tells whether another family lives.
"""

import fcntl
import json
import os
import signal
import socket
import sys
import time

import plug

FOLDER, PORT = sys.argv[1], int(sys.argv[2])


def write(name, text):
    with open(os.path.join(FOLDER, name), "a", buffering=1) as stream:
        stream.write(text + "\\n")


def step():
    with open(os.path.join(FOLDER, "starts")) as stream:
        started = stream.read().split().count(plug.VERSION)
    steps = json.loads(os.environ["PLAN"]).get(plug.VERSION, ["serve"])
    return steps[min(started, len(steps)) - 1].split()


def answer(listening, good):
    connection, _ = listening.accept()
    connection.recv(1000)
    status = b"200 OK" if good() else b"503 Not Now"
    connection.sendall(b"HTTP/1.0 " + status + b"\\r\\nContent-Length: 0\\r\\n\\r\\n")
    connection.close()


def serve(good=lambda: True, until=float("inf")):
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", PORT))
    listening.listen()
    listening.settimeout(0.02)
    began = time.monotonic()
    while time.monotonic() < began + until:
        try:
            answer(listening, good)
        except (TimeoutError, ConnectionError):
            pass
    return listening


def child(*, own_session=False):
    """Leave a process that lives until it is killed."""
    pid = os.fork()
    if pid == 0:
        if own_session:
            os.setsid()
            if os.fork():
                os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        write("children", str(os.getpid()))
        time.sleep(600)
        os._exit(0)
    if own_session:
        os.waitpid(pid, 0)
    return pid


def report(number, frame):
    write("signals", signal.Signals(number).name)


lock = os.open(os.path.join(FOLDER, "lock"), os.O_RDWR | os.O_CREAT)
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    write("violations", f"{os.getpid()} of {plug.VERSION} is not alone")
write("starts", plug.VERSION)
words = step()
what, number = words[0], float(words[1]) if words[1:] else 0
print(f"this is {plug.VERSION}, about to {what}", flush=True)
if "children" in words:
    child()
    child(own_session=True)
if what == "exit":
    print("TOKEN is", os.environ.get("API_TOKEN"), file=sys.stderr, flush=True)
    os._exit(int(number))
if what == "signal":
    os.kill(os.getpid(), int(number))
if what == "silent":
    time.sleep(600)
if what == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve(good=lambda: False)
if what == "ill":
    serve(good=lambda: False)
if what == "dies":
    serve(until=number)
    os._exit(7)
if what == "killed":
    serve(until=number)
    os.kill(os.getpid(), signal.SIGKILL)
if what == "stops":
    serve(until=number)
    os._exit(0)
if what == "hangs":
    listening = serve(until=number)  # which goes on taking connections, and answers none
    time.sleep(600)
if what == "freezes":
    serve(until=number)
    os.kill(os.getpid(), signal.SIGSTOP)
if what == "blinks":
    times = iter(range(10**9))
    serve(good=lambda: next(times) % 3 == 0)
if what == "lingers":

    def tidy(*_):
        time.sleep(number)
        write("signals", "tidy")
        os._exit(0)

    signal.signal(signal.SIGTERM, tidy)
    serve()
if what == "worker":
    worker = child()
    began = time.monotonic()

    def has_worker():
        """Kill it when its time is over, and from then on be ill."""
        global worker
        if worker and time.monotonic() > began + number:
            os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)
            worker = 0
        return worker > 0

    serve(good=has_worker)
if what == "reports":
    for name in ("SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"):
        signal.signal(getattr(signal, name), report)

    def leave(number, frame):
        report(number, frame)
        os._exit(words[1:] and int(words[1]) or 0)

    signal.signal(signal.SIGTERM, leave)
    serve()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
serve()
'''

DRIVER = """
import json, sys
sys.path.insert(0, {root!r})
from envbuilder import process
from envbuilder.console import Console
from envbuilder.events import Journal
from envbuilder.heartbeat import Pace, Target
from envbuilder.paths import environment
from envbuilder.rebuilding import rebuild
from envbuilder.scope import Options, profile_of, scope
from envbuilder.supervise import Supervisor
from envbuilder.trial import Watch

settings = json.loads(sys.argv[1])
console = Console(environment())
found = scope(Options(), environment())
profile = profile_of(found)
def write(line):
    with open(settings["events"], "a") as stream:
        stream.write(line + "\\n")
def say(text, is_loud):
    (console.warn if is_loud else console.say)(text)
pace = Pace(interval=0.02, patience=0.3, misses=3)
watch = Watch(Target.of(settings["url"]), pace=pace, **settings["watch"])
journal = Journal(profile.name, profile.base_key, say=say, write=write)
report = console.reporter()
code = Supervisor(found, sys.argv[2:], watch, journal, rebuild(found, report), report).run()
sys.exit(code) if code >= 0 else process.die_of(-code)
"""
"""`vpm-env run` with fractions of seconds."""

QUICK = {"health_timeout": 20.0, "good_after": 0.2, "retries": 0, "first_delay": 0.01, "grace": 0.3}


@dataclass
class Ended:
    """A supervisor that has ended, what it wrote, and what its servers did."""

    code: int
    stdout: str
    stderr: str
    run: Run

    @property
    def kinds(self) -> list[tuple[str, int]]:
        return [(event["event"], event["generation"]) for event in self.run.events]


@dataclass
class Run:
    """One call of the supervisor; `folder` has what its servers leave behind."""

    stand: Stand
    folder: Path
    port: int
    process: subprocess.Popen[str]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines("events")]

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def wait(self, what: str, reached: Callable[[], Any]) -> Any:
        """Wait until something is told that comes by itself."""
        deadline = time.monotonic() + PATIENCE
        while not (found := reached()):
            assert time.monotonic() < deadline, f"no {what}: {self.events}"
            assert self.process.poll() is None or reached(), f"ended before {what}: {self.events}"
            time.sleep(0.005)
        return found

    def until(self, kind: str, generation: int | None = None) -> dict[str, Any]:
        """Wait for an event."""
        return dict(
            self.wait(
                kind,
                lambda: next(
                    (e for e in self.events if e["event"] == kind and generation in (None, e["generation"])), None
                ),
            )
        )

    def ended(self, *, check: bool = True) -> Ended:
        """Wait for its end, and look that nothing is left of it and never two families lived."""
        stdout, stderr = self.process.communicate(timeout=PATIENCE)
        assert not check or "Traceback" not in stderr, stderr
        assert self.lines("violations") == []
        assert self.orphans() == []
        return Ended(self.process.returncode, stdout, stderr, self)

    def orphans(self) -> list[int]:
        """List what servers started and is still there, wherever it hides."""
        mark = os.fsencode(self.folder)
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if mark in words and int(path.parent.name) != self.process.pid:
                    found.append(int(path.parent.name))
        return found


@dataclass
class Stand:
    """Generations 1 to 3, of `plug` 1.0, 2.0 and 3.0; each test has its own profile, as it was built."""

    folder: Path
    base: kit.Base
    vpm_env: kit.VpmEnv
    runs: list[Run] = field(default_factory=list)

    @classmethod
    def make(cls, folder: Path, uv_cache: Path) -> Stand:
        """Build everything once."""
        base = kit.base(folder / "base")
        kit.fake_vllm(base)
        env = kit.clean_environment(folder) | {"VPM_ENV_HOME": str(folder / "home"), "UV_CACHE_DIR": str(uv_cache)}
        (folder / "work").mkdir()
        vpm_env = kit.VpmEnv(home=folder / "home", folder=folder / "work", env=env).use(base)
        for version in ("1.0", "2.0", "3.0"):
            kit.wheel(folder / "links", "plug", version, files={"plug.py": f"VERSION = {version!r}\n"})
            vpm_env.config(
                f"find_links: {folder / 'links'}\nindex: http://127.0.0.1:9/none\nprobe: none\n"
                f"plugins:\n  - {{name: plug, source: pypi, version: =={version}}}\n"
            )
            vpm_env("build", "--offline", check=True)
        (folder / "server.py").write_text(SERVER)
        shutil.copytree(vpm_env.home / "profiles", folder / "profiles", symlinks=True)
        return cls(folder, base, vpm_env)

    def renew(self, *, current: int = 3, good: Sequence[int] = ()) -> None:
        """Let the profile be as it was built, but for what is current and what is good."""
        shutil.rmtree(self.vpm_env.home / "profiles")
        shutil.copytree(self.folder / "profiles", self.vpm_env.home / "profiles", symlinks=True)
        for number in good:
            path = self.profile / "generations" / f"{number}.json"
            record = {**json.loads(path.read_text()), "state": "good"}
            del record["checksum"]
            path.write_text(json.dumps(record))
        if current != 3:
            self.vpm_env("switch", str(current), check=True)

    @property
    def profile(self) -> Path:
        (found,) = self.vpm_env.home.glob("profiles/default/*")
        return found

    @property
    def current(self) -> int:
        return int(os.readlink(self.profile / "current").rpartition("/")[2])

    def states(self) -> dict[int, str]:
        paths = (self.profile / "generations").glob("*.json")
        return {int(path.stem): json.loads(path.read_text())["state"] for path in sorted(paths)}

    def record(self, number: int) -> dict[str, Any]:
        return dict(json.loads((self.profile / "generations" / f"{number}.json").read_text()))

    def order(self) -> dict[str, Any]:
        return dict(json.loads((self.profile / "order.json").read_text()))

    @contextlib.contextmanager
    def running(
        self,
        folder: Path,
        plan: Mapping[str, Sequence[str]] | None = None,
        *,
        words: Sequence[str] | None = None,
        command: Sequence[str] | None = None,
        prefix: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        port: int | None = None,
        **watch: Any,
    ) -> Iterator[Run]:
        """Start the supervisor: with `words`, `vpm-env run` with these options; else one with fractions of seconds."""
        folder.mkdir(parents=True, exist_ok=True)
        port = port or free_port()
        url = f"http://127.0.0.1:{port}/health"
        served = list(command or ("python", str(self.folder / "server.py"), str(folder), str(port)))
        if words is not None:
            options = ("run", "--health", url, "--events", str(folder / "events"), *words, "--")
            start = [*self.vpm_env.command, *options]
        else:
            settings = {"url": url, "events": str(folder / "events"), "watch": {**QUICK, **watch}}
            start = [sys.executable, "-c", DRIVER.format(root=str(kit.ROOT)), json.dumps(settings)]
        process = subprocess.Popen(
            [*prefix, *start, *served],
            env={**self.vpm_env.env, "PLAN": json.dumps(plan or {}), "PORT": str(port), **(env or {})},
            cwd=self.vpm_env.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        run = Run(self, folder, port, process)
        try:
            yield run
        finally:
            for pid in (*([process.pid] if process.poll() is None else []), *run.orphans()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if process.stdout and not process.stdout.closed:
                process.communicate(timeout=PATIENCE)

    def run(
        self, folder: Path, plan: Mapping[str, Sequence[str]] | None = None, *, check: bool = True, **options: Any
    ) -> Ended:
        """Run the supervisor to its end; unless `check`, it may raise what the command line would show."""
        with self.running(folder, plan, **options) as run:
            return run.ended(check=check)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
