"""Where a credential may be put, servers that want it, and everything that must not hold it afterwards."""

from __future__ import annotations

import base64
import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import kit
from kit.indexes import serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CANARY = "cAnArY7Q9zX"
USER = "someone"


def spellings(secret: str) -> list[bytes]:
    """Return how a secret may be written: plain, percent-encoded, as JSON, in a basic authorization."""
    pair = base64.b64encode(f"{USER}:{secret}".encode()).rstrip(b"=")
    escaped = secret.encode("unicode_escape")
    return list(dict.fromkeys([secret.encode(), quote(secret, safe="").encode(), pair, escaped]))


@dataclass
class Watch:
    """What was seen of living processes whenever a server was asked: `argv` and `environ` of each that is ours."""

    below: str
    argv: set[str] = field(default_factory=set)
    environ: set[tuple[str, str]] = field(default_factory=set)

    def look(self) -> None:
        """Read the command lines and the variables of all processes that run for `below`."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                variables = (entry / "environ").read_bytes()
                if self.below.encode() not in variables:
                    continue
                argv = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                self.argv.add(argv)
                name = os.path.basename(argv.split(" ")[0])
                self.environ |= {(name, word.decode(errors="replace")) for word in variables.split(b"\0") if word}
            except OSError:
                continue


class _Server(ThreadingHTTPServer):
    watch: Watch
    folder: Path
    repository: kit.Repository
    accepted: set[str]
    status: int
    names: str


@dataclass
class Private:
    """A server that wants a credential and tells it back where it can: in errors and in redirects.

    `accepted` are the words that let somebody in: `user:password`, or what stands in the path or the query. `status`
    is what an error page is sent with; `requests` are the paths that were asked for, with what was sent.
    """

    server: _Server

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"


@contextmanager
def private(folder: Path, repository: kit.Repository, watch: Watch) -> Iterator[Private]:
    """Serve the wheels of `folder` at `/simple`, and a repository at `/repo.git`."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.watch, server.folder, server.repository = watch, folder, repository
    server.accepted, server.status = set(), 401
    with serving(server):
        yield Private(server)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.watch.look()
        path, _, query = self.path.partition("?")
        sent = self._sent()
        allowed = sent in self.server.accepted or any(word in self.path for word in self.server.accepted)
        steps = [step for step in path.split("/") if step]
        if "echo" in steps or not allowed:
            return self._echo(sent)
        if "moved" in steps:
            # Some proxies write what they know into the place they send one to.
            return self._say(302, b"", Location=f"http://{sent}@{self.headers['Host']}{path.replace('/moved', '')}")
        if "repo.git" in steps:
            return self._git(path.partition("/repo.git")[2], query)
        return self._index(steps)

    do_POST = do_GET  # noqa: N815
    do_HEAD = do_GET  # noqa: N815

    def _sent(self) -> str:
        header = self.headers.get("Authorization") or ""
        kind, _, value = header.partition(" ")
        return base64.b64decode(value).decode() if kind == "Basic" else value

    def _echo(self, sent: str) -> None:
        """Answer with an error that holds all that came in."""
        told = f"no {self.path} for {sent} ({self.headers.get('Authorization')})\n"
        self._say(self.server.status, told.encode(), WWW_Authenticate='Basic realm="kit"')

    def _index(self, steps: list[str]) -> None:
        name = steps[-1] if steps else ""
        files = sorted(self.server.folder.iterdir())
        if name.endswith((".whl", ".metadata", ".tar.gz")):
            found = next((file for file in files if file.name == name), None)
            return self._say(200, found.read_bytes()) if found else self._say(404, b"")
        links = "".join(
            f'<a href="/{"/".join(steps)}/{file.name}">{file.name}</a>\n'
            for file in files
            if "links" in steps or file.name.split("-")[0] == name
        )
        return self._say(200 if links else 404, links.encode(), Content_Type="text/html")

    def _git(self, path: str, query: str) -> None:
        backend = kit.repositories.git_http_backend()
        assert backend is not None
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        env = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.server.repository.folder / ".git"),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "user",
        }
        done = subprocess.run([backend], input=body, env=env, capture_output=True, timeout=60, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        status = int(headers.pop("Status", "200").split(" ")[0])
        self._say(status, content, **{name.replace("-", "_"): value for name, value in headers.items()})

    def _say(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""


def found_in(folder: Path, secret: str, *, besides: Mapping[str, Any] | None = None) -> list[str]:
    """Name the files below `folder` that hold a secret in any spelling, in their content, name or link."""
    wanted = spellings(secret)
    found = []
    for path in folder.rglob("*"):
        if any(path.is_relative_to(other) for other in besides or ()):
            continue
        text = os.fsencode(path)
        if path.is_symlink():
            text += os.fsencode(os.readlink(path))
        elif path.is_file():
            text += path.read_bytes()
        if any(word in text for word in wanted):
            found.append(str(path))
    return found
