"""A fleet to measure: one machine that builds and pushes, a cache behind a web server of its own process, and nodes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from measure import Command
    from rig import Rig
    from shelf import Shelf

CHANNEL = "prod"
_SERVER = """
import asyncio, os, resource, sys

folder, log = sys.argv[1], open(sys.argv[2], "a", buffering=1)
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

known = {}  # file → when it was written, and what is in it: as a server's own cache of files

def content_of(path):
    written = os.stat(path).st_mtime_ns
    if known.get(path, (None,))[0] != written:
        with open(path, "rb") as stream:
            known[path] = written, stream.read()
    return known[path][1]

class Served(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.asked = transport, b""

    def data_received(self, data):
        self.asked += data
        while b"\\r\\n\\r\\n" in self.asked:
            head, _, self.asked = self.asked.partition(b"\\r\\n\\r\\n")
            self.answer(head.split(b" ", 2)[1].decode().lstrip("/"))

    def answer(self, path):
        client, _, inner = path.partition("/")
        try:
            status, content = b"200 OK", content_of(os.path.join(folder, inner))
        except OSError:
            status, content = b"404 Not Found", b""
        self.transport.write(b"HTTP/1.1 %s\\r\\nContent-Length: %d\\r\\n\\r\\n" % (status, len(content)) + content)
        log.write(f"{client} {inner} {len(content)}\\n")

async def main():
    server = await asyncio.get_running_loop().create_server(Served, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""
"""The first folder of a path says who asks; of each answer the log has that, the path behind it, and the bytes."""


@dataclass(frozen=True)
class Web:
    """A cache's folder, served read-only; clients differ by the first folder of their paths."""

    root: str
    log: Path

    def url(self, client: str = "any") -> str:
        """Return the URL of the cache for one of its clients."""
        return f"{self.root}/{client}"

    def answers(self) -> list[tuple[str, str, int]]:
        """Return who asked for what, and how many bytes went there."""
        lines = (line.split(" ") for line in self.log.read_text().splitlines())
        return [(client, path, int(size)) for client, path, size in lines]

    def forget(self) -> None:
        """Begin to count anew; the server goes on at the end of what is empty then."""
        self.log.write_text("")

    def parcels(self) -> Counter[tuple[str, str]]:
        """Count how often each client was given each parcel."""
        return Counter((client, path) for client, path, _ in self.answers() if path.endswith(".tar.zst"))


@contextmanager
def serving(folder: Path, log: Path) -> Iterator[Web]:
    """Serve a folder until the block ends, from a process of its own."""
    log.touch()
    words = [sys.executable, "-I", "-c", _SERVER, str(folder), str(log)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield Web(f"http://127.0.0.1:{server.stdout.readline().strip()}", log)
        finally:
            server.terminate()


@dataclass(frozen=True)
class Fleet:
    """What builds and pushes (`rig`), with what key, into which folder; nodes have homes beside it."""

    rig: Rig
    index: Shelf
    cache: Path
    key: Path
    public: str

    def push(self, *names: str, version: str = "1.0", changed: Sequence[str] = ()) -> str:
        """Build a set of packages, `changed` ones in the version given, push it and return its digest."""
        self.rig.config(*names, versions=dict.fromkeys(changed, version))
        digest = str(said(self.rig.vpm_env("build", "--json"))["digest"])
        self.rig.vpm_env("push", str(self.cache), "--key", str(self.key)).run()
        return digest

    def move(self, digest: str) -> None:
        """Let the channel name a set."""
        self.rig.vpm_env("cache", "channel", str(self.cache), CHANNEL, digest, "--key", str(self.key)).run()

    def node(self, name: str) -> Path:
        """Say where a node's home is."""
        return self.rig.folder / "nodes" / name

    def known_to(self, home: Path) -> None:
        """Give a node what every machine has from the second set on: facts of the base, and a skeleton."""
        home.mkdir(parents=True)
        (home / "format").write_text((self.rig.home / "format").read_text())
        for name in ("bases", "skeletons"):
            copied(self.rig.home / "cache" / name, home / "cache" / name)


def copied(source: Path, target: Path) -> None:
    """Copy a tree, as it is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def said(command: Command) -> Any:
    """Run a call with `--json` once, and return what it said."""
    done = subprocess.run(
        list(map(str, command.words)), env=command.env, cwd=command.cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command.words}\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def fleet_of(rig: Rig, index: Shelf) -> Fleet:
    """Make a key and an empty cache; every node of the rig trusts the key."""
    key, cache = rig.folder / "fleet.key", rig.folder / "cache"
    cache.mkdir()
    public = said(rig.vpm_env("cache", "keygen", "fleet-1", str(key), "--json"))["public"]
    rig.env["VPM_ENV_TRUSTED_KEYS"] = public
    return Fleet(rig, index, cache, key, public)
