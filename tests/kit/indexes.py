"""A package index on loopback: the simple API as HTML and as JSON, metadata files, and basic authentication."""

from __future__ import annotations

import base64
import email.parser
import hashlib
import html
import json
import re
import secrets
import threading
import time
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_JSON = "application/vnd.pypi.simple.v1+json"


class Request(NamedTuple):
    """One request that came in: `credentials` is `user:password` as sent, or None; `status` is what it got."""

    method: str
    path: str
    credentials: str | None
    status: int


@dataclass
class Index:
    """A running index over `folder`, which may change while it runs.

    `url` is the simple API. `answers` maps a file or project name to a status to answer with instead.
    """

    folder: Path
    url: str
    credentials: str | None
    requests: list[Request] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)

    def with_credentials(self, credentials: str | None = None) -> str:
        """Return the URL with `user:password@` in it."""
        return self.url.replace("://", f"://{credentials or self.credentials}@", 1)

    @property
    def files_served(self) -> list[str]:
        """Name the files that were fetched, in order."""
        wanted = (request for request in self.requests if request.method == "GET" and request.status == 200)
        return [request.path.rsplit("/", 1)[1] for request in wanted if "/files/" in request.path]


@contextmanager
def index(
    folder: Path, *, credentials: str | None = None, metadata: bool = True, pieces: bool = False
) -> Iterator[Index]:
    """Serve the wheels and sdists of `folder`.

    `credentials` (`user:password`) are demanded, `metadata` is PEP 658, `pieces` of files are served where asked for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Ports come again within one run, and installers remember an index by its URL.
    unique = secrets.token_hex(6)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    served = Index(folder, f"http://127.0.0.1:{server.server_port}/{unique}/simple", credentials)
    server.served = served  # type: ignore[attr-defined]
    server.has_metadata = metadata  # type: ignore[attr-defined]
    server.has_pieces = pieces  # type: ignore[attr-defined]
    with serving(server):
        yield served


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[None]:
    """Run a server in a thread of its own until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def credentials_of(header: str | None) -> str | None:
    """Return the `user:password` of an Authorization header."""
    if not header or not header.startswith("Basic "):
        return header
    return base64.b64decode(header[6:]).decode()


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        served: Index = self.server.served
        sent = credentials_of(self.headers.get("Authorization"))
        if served.credentials and sent != served.credentials:
            return self._answer(401, b"", sent, authenticate=True)
        parts = self.path.split("?")[0].strip("/").split("/")[1:]
        status, content, kind = self._found(parts)
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if asked and status == 200 and parts[0] == "files" and getattr(self.server, "has_pieces", False):
            return self._answer_piece(content, asked[1], asked[2], sent)
        for name in parts[1:]:
            status = served.answers.get(name, status)
        return self._answer(status, content if status == 200 else b"", sent, kind=kind)

    do_HEAD = do_GET  # noqa: N815 (the server calls it)

    def _found(self, parts: list[str]) -> tuple[int, bytes, str]:
        if parts == ["simple"]:
            return self._page("simple", sorted({_project(path.name) for path in self._files()}))
        if len(parts) == 2 and parts[0] == "simple":
            files = [path for path in self._files() if _project(path.name) == parts[1]]
            return self._project_page(parts[1], files) if files else (404, b"", "text/plain")
        if len(parts) == 2 and parts[0] == "files":
            return self._file(parts[1])
        return 404, b"", "text/plain"

    def _files(self) -> list[Path]:
        folder: Path = self.server.served.folder
        return sorted(path for path in folder.iterdir() if path.name.endswith((".whl", ".tar.gz", ".zip")))

    def _page(self, title: str, names: list[str]) -> tuple[int, bytes, str]:
        if _JSON in self.headers.get("Accept", ""):
            record = {"meta": {"api-version": "1.0"}, "projects": [{"name": name} for name in names]}
            return 200, json.dumps(record).encode(), _JSON
        links = "".join(f'<a href="{name}/">{name}</a>\n' for name in names)
        return 200, f"<!DOCTYPE html><html><title>{title}</title><body>{links}</body></html>".encode(), "text/html"

    def _project_page(self, name: str, files: list[Path]) -> tuple[int, bytes, str]:
        entries = [_entry(path, with_metadata=self.server.has_metadata) for path in files]
        if _JSON in self.headers.get("Accept", ""):
            record = {"meta": {"api-version": "1.0"}, "name": name, "files": entries}
            return 200, json.dumps(record).encode(), _JSON
        links = "".join(map(_link, entries))
        return 200, f"<!DOCTYPE html><html><title>{name}</title><body>{links}</body></html>".encode(), "text/html"

    def _file(self, name: str) -> tuple[int, bytes, str]:
        for path in self._files():
            if path.name == name:
                return 200, path.read_bytes(), "application/octet-stream"
            if path.suffix == ".whl" and f"{path.name}.metadata" == name and self.server.has_metadata:
                return 200, _metadata(path), "text/plain"
        return 404, b"", "text/plain"

    def _answer(
        self, status: int, content: bytes, sent: str | None, *, kind: str = "text/plain", authenticate: bool = False
    ) -> None:
        self.server.served.requests.append(Request(self.command, self.path, sent, status))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if authenticate:
            self.send_header("WWW-Authenticate", 'Basic realm="kit"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _answer_piece(self, content: bytes, first: str, last: str, sent: str | None) -> None:
        total = len(content)
        start = int(first) if first else max(0, total - int(last))
        piece = content[start : int(last) + 1] if first and last else content[start:]
        self.server.served.requests.append(Request(self.command, self.path, sent, 206))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{start + len(piece) - 1}/{total}")
        self.send_header("Content-Length", str(len(piece)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(piece)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the server's word)
        """Stay silent: `requests` has it."""


def _project(filename: str) -> str:
    stem = filename.split("-", 1)[0] if filename.endswith(".whl") else filename.rsplit("-", 1)[0]
    return re.sub(r"[-_.]+", "-", stem).lower()


def _entry(path: Path, *, with_metadata: bool) -> dict[str, Any]:
    """Describe a file; it was uploaded when it was last modified."""
    entry: dict[str, Any] = {
        "filename": path.name,
        "url": f"../../files/{path.name}",
        "hashes": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
        "size": path.stat().st_size,
        "upload-time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(path.stat().st_mtime)),
    }
    if path.suffix == ".whl":
        metadata = _metadata(path)
        if requires_python := email.parser.BytesParser().parsebytes(metadata).get("Requires-Python"):
            entry["requires-python"] = requires_python
        if with_metadata:
            entry["core-metadata"] = {"sha256": hashlib.sha256(metadata).hexdigest()}
    return entry


def _link(entry: dict[str, Any]) -> str:
    attributes = ""
    if "requires-python" in entry:
        attributes += f' data-requires-python="{html.escape(entry["requires-python"])}"'
    if "core-metadata" in entry:
        attributes += f' data-core-metadata="sha256={entry["core-metadata"]["sha256"]}"'
    href = f"{entry['url']}#sha256={entry['hashes']['sha256']}"
    return f'<a href="{href}"{attributes}>{entry["filename"]}</a>\n'


def _metadata(path: Path) -> bytes:
    """Return a wheel's METADATA; nothing of what is none, which an index may serve as well."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            return archive.read(name)
    except (zipfile.BadZipFile, UnicodeDecodeError, StopIteration, RuntimeError, NotImplementedError):
        return b""
