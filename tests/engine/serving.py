"""Start the real engine on loopback, talk to it, and end every process of it, whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

NAME = "tiny"
OPTIONS = (
    *("--host", "127.0.0.1", "--served-model-name", NAME, "--load-format", "dummy", "--dtype", "float32"),
    *("--max-model-len", "128", "--max-num-seqs", "4", "--enforce-eager"),
)
VARIABLES = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_NO_USAGE_STATS": "1",
}
QUICK = ("--distributed-executor-backend", "uni")
QUICK_VARIABLES = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
"""Let the engine core work itself, where it does not matter that its worker is a process of its own."""
PATIENCE = 300.0
"""Seconds: a start takes 20 to 30 on an idle machine of two cores, and four times that on a busy one."""
GRACE = 5.0
"""Seconds that a server has to end: one that serves takes less than one, one that starts may not listen at all."""

_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


@dataclass
class Server:
    """A process that leads a session of its own, in which all that it starts stays; `log` has what they say."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, what: str, reached: Callable[[], Any]) -> Any:
        """Wait until `reached` tells something, and return that; fail with the log where the server ends before."""
        deadline = time.monotonic() + PATIENCE
        while not (found := reached()):
            assert self.process.poll() is None, f"ended with {self.process.returncode} before {what}"
            assert time.monotonic() < deadline, f"no {what} after {PATIENCE:g} s"
            time.sleep(0.05)
        return found

    def ready(self) -> Server:
        """Wait until it serves."""
        self.wait("it served", self._is_healthy)
        return self

    def complete(self) -> str:
        """Ask for three tokens, and return the text."""
        asked = json.dumps({"model": NAME, "prompt": "abc", "max_tokens": 3, "temperature": 0}).encode()
        request = urllib.request.Request(f"{self.url}/v1/completions", asked, {"Content-Type": "application/json"})
        with _open(request, timeout=60) as answer:
            return str(json.load(answer)["choices"][0]["text"])

    def get(self, path: str) -> str:
        with _open(f"{self.url}{path}", timeout=60) as answer:
            return bytes(answer.read()).decode()

    def family(self) -> list[int]:
        """List the processes that there are of it now."""
        return [pid for pid, session in _sessions() if session == self.process.pid]

    def commands(self) -> list[list[str]]:
        """Return the command lines of its processes."""
        return [_words(pid) for pid in self.family()]

    def engine_processes(self) -> list[int]:
        """List its processes but the one that only tidies up after them."""
        return [pid for pid in self.family() if "multiprocessing.resource_tracker" not in " ".join(_words(pid))]

    def ended(self) -> int:
        """Wait until it ends by itself, and return its exit code."""
        return self.process.wait(PATIENCE)

    def end(self) -> None:
        """Ask it to end, and kill what is left of it; last the process that gives back what they shared."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        for left in (self.engine_processes, self.family):
            deadline = time.monotonic() + GRACE
            while left() and time.monotonic() < deadline:
                time.sleep(0.05)
            for pid in left():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.process.wait(GRACE)

    def _is_healthy(self) -> bool:
        try:
            with _open(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def started(
    words: Sequence[str | Path], *, env: Mapping[str, str], folder: Path, quick: bool = False
) -> Iterator[Server]:
    """Run a command that may serve, with a port of its own at the end of its words; end it with the block.

    What it said is printed if the block fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log, port = folder / f"server-{time.time_ns()}.log", _free_port()
    more, variables = (QUICK, QUICK_VARIABLES) if quick else ((), {})
    sockets = tempfile.mkdtemp(prefix="vllm-")  # their paths must be short
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*map(str, words), *more, "--port", str(port)],
            env={**VARIABLES, **variables, **env, "TMPDIR": sockets},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(process, f"http://127.0.0.1:{port}", log)
    try:
        yield server
    except BaseException:
        print(f"$ {' '.join(map(str, words))}\n{server.said[-20_000:]}")
        raise
    finally:
        server.end()
        shutil.rmtree(sockets, ignore_errors=True)


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
    except OSError:
        return []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _sessions() -> Iterator[tuple[int, int]]:
    """Yield every process of this machine that has not ended, with its session."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if state not in "ZX":
            yield int(folder.name), int(session)
