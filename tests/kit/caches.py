"""Caches on loopback: a web server over a folder, with faults to be switched on, and a store that speaks S3."""

from __future__ import annotations

import base64
import http.client
import re
import secrets
import ssl
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class CacheFault:
    """What goes wrong with a file, the first `times` times that it is asked for; always if that is not said.

    `status` answers with that status; `location` goes with it. `cut_after`, `stall_after` send so many bytes, and
    then close the connection or say nothing more. `drip` sends so many bytes at a time, a hundredth of a second apart.
    `flip_at` flips a bit of that byte. `truncated_to` serves a shorter file, `longer_by` a longer one.
    """

    times: int = sys.maxsize
    status: int = 0
    location: str = ""
    cut_after: int | None = None
    stall_after: int | None = None
    drip: int = 0
    flip_at: int | None = None
    truncated_to: int | None = None
    longer_by: int = 0


@dataclass
class WebCache:
    """A running web server over `folder`, which may change while it runs; `faults` is path → what goes wrong.

    `gets` counts GETs by path, `ranges` are the parts that were asked for, `logins` who asked, all in order.
    """

    folder: Path
    url: str
    credentials: str | None
    has_ranges: bool
    gets: Counter[str] = field(default_factory=Counter)
    ranges: list[str] = field(default_factory=list)
    logins: list[str | None] = field(default_factory=list)
    faults: dict[str, CacheFault] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)

    def with_credentials(self, credentials: str | None = None) -> str:
        """Return the URL with `user:password@` in it."""
        return self.url.replace("://", f"://{credentials or self.credentials}@", 1)


@contextmanager
def web_cache(
    folder: Path, *, credentials: str | None = None, ranges: bool = True, certificate: Path | None = None
) -> Iterator[WebCache]:
    """Serve the files of `folder`; `credentials` (`user:password`) are demanded, parts given if `ranges`.

    With a `certificate`, which `certificate` makes, it is served as `https:`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    server = _Server(("127.0.0.1", 0), _Handler)
    scheme = "https" if certificate else "http"
    served = WebCache(folder, f"{scheme}://127.0.0.1:{server.server_port}/cache", credentials, ranges)
    server.served = served
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        served.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def certificate(path: Path) -> Path:
    """Make a certificate of 127.0.0.1 that it signs itself, with its key in the same file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a cache on loopback")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(secret + made.public_bytes(pem))
    return path


@dataclass
class S3Cache:
    """A running store that speaks S3: the URL of an empty bucket in it, and the variables that lead there."""

    url: str
    env: dict[str, str]
    endpoint: str
    bucket: str


@contextmanager
def s3_cache() -> Iterator[S3Cache]:
    """Run a store that speaks S3, with a bucket of its own."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        bucket = f"caches-{secrets.token_hex(6)}"  # what moto has is one for all servers of a process
        _make_bucket(host, port, bucket)
        endpoint = f"http://{host}:{port}"
        env = {
            "AWS_ACCESS_KEY_ID": "AKIATESTING",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": endpoint,
        }
        yield S3Cache(url=f"s3://{bucket}/some/prefix", env=env, endpoint=endpoint, bucket=bucket)
    finally:
        server.stop()


def _make_bucket(host: str, port: int, bucket: str) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("PUT", f"/{bucket}")
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"no bucket: {answer.status}")
    finally:
        connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # closing waits for them, so that no socket is left open
    served: WebCache

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away: that is what many tests are about."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        served = self.server.served
        path = unquote(self.path).removeprefix("/cache/")
        served.gets[path] += 1
        served.logins.append(_login(self.headers.get("Authorization")))
        if served.credentials and served.logins[-1] != served.credentials:
            return self._refuse(401)
        fault = self._fault(path)
        if fault.status:
            return self._refuse(fault.status, fault.location)
        file = served.folder / path
        if not self.path.startswith("/cache/") or ".." in path or not file.is_file():
            return self._refuse(404)
        return self._serve(_spoilt(file.read_bytes(), fault), fault)

    def _fault(self, path: str) -> CacheFault:
        fault = self.server.served.faults.get(path)
        if fault is None or fault.times < 1:
            return CacheFault()
        fault.times -= 1
        return fault

    def _refuse(self, status: int, location: str = "") -> None:
        body = b"<Error>\x1b[31mno\x1b[0m secret-of-the-server</Error>"
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _serve(self, content: bytes, fault: CacheFault) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked and self.server.served.has_ranges else 0
        if asked:
            self.server.served.ranges.append(self.headers["Range"])
        if start and start >= len(content):
            return self._refuse(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        return self._send(content[start:], fault)

    def _send(self, content: bytes, fault: CacheFault) -> None:
        ends = [each for each in (fault.cut_after, fault.stall_after) if each is not None]
        sent = content[: min(ends, default=len(content))]
        step = fault.drip or len(sent) or 1
        for at in range(0, len(sent), step):
            self.wfile.write(sent[at : at + step])
            if fault.drip:
                self.server.served.ended.wait(0.01)
        if fault.stall_after is not None:
            self.server.served.ended.wait(20)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the server's word)
        """Stay silent: `gets` has it."""


def _spoilt(content: bytes, fault: CacheFault) -> bytes:
    changed = bytearray(content[: fault.truncated_to] + b"x" * fault.longer_by)
    if fault.flip_at is not None:
        changed[fault.flip_at] ^= 1
    return bytes(changed)


def _login(header: str | None) -> str | None:
    """Return the `user:password` of an Authorization header."""
    if not header or not header.startswith("Basic "):
        return header
    return base64.b64decode(header[6:]).decode()
