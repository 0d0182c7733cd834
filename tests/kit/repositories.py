"""Real git repositories, as files and over HTTP with basic authentication."""

from __future__ import annotations

import os
import secrets
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.indexes import Request, credentials_of, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_IDENTITY = {
    "GIT_AUTHOR_NAME": "kit",
    "GIT_AUTHOR_EMAIL": "kit@example.com",
    "GIT_AUTHOR_DATE": "2020-01-01T00:00:00+0000",
    "GIT_COMMITTER_NAME": "kit",
    "GIT_COMMITTER_EMAIL": "kit@example.com",
    "GIT_COMMITTER_DATE": "2020-01-01T00:00:00+0000",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


@dataclass(frozen=True)
class Repository:
    """A working tree with its `.git`; `url` is a `file://` one."""

    folder: Path

    @property
    def url(self) -> str:
        return self.folder.as_uri()

    @property
    def head(self) -> str:
        """Return the commit, 40 hex digits."""
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        """Run git in the repository and return what it printed, stripped."""
        command = ["git", "-C", str(self.folder), *arguments]
        env = {**os.environ, **_IDENTITY}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise AssertionError(f"{command} ended with {done.returncode}\n{done.stderr}")
        return done.stdout.strip()

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Write files into the working tree."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, files: Mapping[str, str | bytes] | None = None, message: str = "a change") -> str:
        """Write `files`, commit everything, and return the commit."""
        self.write(files or {})
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.head

    def tag(self, name: str, *, annotated: bool = False) -> None:
        """Tag the current commit."""
        self.git("tag", *(["--annotate", "--message", name] if annotated else []), name)

    def branch(self, name: str) -> None:
        """Make a branch here and go on with it."""
        self.git("checkout", "--quiet", "-B", name)


def git_repository(folder: Path, files: Mapping[str, str | bytes] | None = None) -> Repository:
    """Make a repository with a first commit on `main`; what is in `folder` already is part of it."""
    folder.mkdir(parents=True, exist_ok=True)
    repository = Repository(folder)
    repository.git("init", "--quiet", "--initial-branch=main")
    repository.git("config", "uploadpack.allowAnySHA1InWant", "true")
    repository.commit(files, "the first commit")
    return repository


@dataclass
class GitServer:
    """A repository over HTTP: `url` without and `with_credentials` with the user and the password in it."""

    url: str
    credentials: str
    requests: list[Request] = field(default_factory=list)

    @property
    def with_credentials(self) -> str:
        return self.url.replace("://", f"://{self.credentials}@", 1)


def git_http_backend() -> Path | None:
    """Return the path of git's CGI program, if git was installed with it."""
    done = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, timeout=30, check=True)
    path = Path(done.stdout.strip()) / "git-http-backend"
    return path if os.access(path, os.X_OK) else None


@contextmanager
def git_http(repository: Repository, user: str = "user", password: str = "secret") -> Iterator[GitServer]:
    """Serve a repository through `git http-backend`; skip the test where that is not installed."""
    import pytest

    backend = git_http_backend()
    if backend is None:
        pytest.skip("git has no http-backend here")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    root = f"/{secrets.token_hex(6)}"
    url = f"http://127.0.0.1:{server.server_port}{root}/{repository.folder.name}.git"
    served = GitServer(url, f"{user}:{password}")
    server.served, server.backend, server.repository, server.root = (  # type: ignore[attr-defined]
        served,
        backend,
        repository,
        f"{root}/{repository.folder.name}.git",
    )
    with serving(server):
        yield served


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        sent = credentials_of(self.headers.get("Authorization"))
        path, _, query = self.path.partition("?")
        allowed = sent == self.server.served.credentials
        known = path.startswith(self.server.root)
        status = 401 if not allowed else 200 if known else 404
        self.server.served.requests.append(Request(self.command, self.path, sent, status))
        if status == 200:
            return self._through(path.removeprefix(self.server.root), query)
        self.send_response(status)
        self.send_header("WWW-Authenticate", 'Basic realm="kit"')
        self.send_header("Content-Length", "0")
        return self.end_headers()

    do_POST = do_GET  # noqa: N815 (the server calls it)

    def _through(self, path: str, query: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        env = {
            **os.environ,
            **_IDENTITY,
            "GIT_PROJECT_ROOT": str(self.server.repository.folder / ".git"),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(length),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_USER": "user",
        }
        body = self.rfile.read(length)
        done = subprocess.run([self.server.backend], input=body, env=env, capture_output=True, timeout=60, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = [line.split(": ", 1) for line in head.decode().splitlines()]
        status = next((value.split(" ")[0] for name, value in headers if name == "Status"), "200")
        self.send_response(int(status) if done.returncode == 0 else 500)
        for name, value in headers:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the server's word)
        """Stay silent: `requests` has it."""
