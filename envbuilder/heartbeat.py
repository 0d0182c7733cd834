"""Ask a server's health URL: any answer of 200 to 299 says that it is healthy.

No proxy is asked, no redirect followed and no certificate checked, as those do who look after servers from beside
them: what answers is on the same machine, and nothing is sent.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from urllib.parse import unquote, urlsplit

from envbuilder.errors import UsageError
from envbuilder.process import redact
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_SCHEMES = ("http", "https", "http+unix")
_EAGER = 0.25
"""Seconds between two questions until the first good answer."""
_LONGEST_HEAD = 1 << 16
_PORTS = {"http": 80, "https": 443, "http+unix": 0}


class Pace(NamedTuple):
    """How often is asked (seconds), how long an answer may take, and how many bad ones in a row mean illness."""

    interval: float = 10.0
    patience: float = 5.0
    misses: int = 3


class Target(NamedTuple):
    """Whom to ask for what; `socket_path` is "" but for `http+unix`."""

    url: str
    is_secret: bool
    host: str
    port: int
    socket_path: str
    path: str

    @classmethod
    def of(cls, url: str) -> Target:
        """Read a URL (`http+unix` names a percent-encoded socket as its host); raise `UsageError` for any other."""
        if not url.isascii() or any(letter <= " " or letter == "\x7f" for letter in url):
            raise UsageError(f"`{redact(url)}` is no URL that can be asked", hint="write other characters as `%20`")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise UsageError(f"`{redact(url)}` is no URL: {error}") from None
        if parts.scheme not in _SCHEMES or not parts.hostname:
            hint = "as in `http://127.0.0.1:8000/health` or `http+unix://%2Frun%2Fvllm.sock/health`"
            raise UsageError(f"`{redact(url)}` is no URL that can be asked", hint=hint)
        if "@" in parts.netloc:
            raise UsageError("a health URL takes no user and password", hint="ask a page that needs none")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        local = unquote(parts.netloc) if parts.scheme == "http+unix" else ""
        return cls(url, parts.scheme == "https", parts.hostname, port or _PORTS[parts.scheme], local, path)

    @property
    def question(self) -> bytes:
        """Return what is sent."""
        host = "localhost" if self.socket_path else urlsplit(self.url).netloc
        lines = (
            f"GET {self.path} HTTP/1.1",
            f"Host: {host}",
            "User-Agent: vpm-env",
            "Accept: */*",
            "Connection: close",
        )
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


def illness(target: Target, patience: float) -> str:
    """Ask once; return "" for a healthy server, else what is wrong. The answer may take `patience` seconds in all."""
    deadline = time.monotonic() + patience
    try:
        with _connected(target, deadline) as stream:
            stream.sendall(target.question)
            status = _status(_head(stream, deadline))
    except (OSError, ValueError) as error:
        return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
    return "" if 200 <= status < 300 else f"status {status}"


def is_taken(target: Target, patience: float) -> bool:
    """Tell whether somebody listens there, whatever the answers would be."""
    try:
        with _plain(target, time.monotonic() + patience) as stream:
            return stream.getsockname() != stream.getpeername() or bool(target.socket_path)
    except (OSError, ValueError):
        return False


def _connected(target: Target, deadline: float) -> socket.socket:
    stream = _plain(target, deadline)
    if not target.is_secret:
        return stream
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        stream.settimeout(_left(deadline))
        return context.wrap_socket(stream, server_hostname=target.host)
    except BaseException:
        stream.close()
        raise


def _plain(target: Target, deadline: float) -> socket.socket:
    if not target.socket_path:
        return socket.create_connection((target.host, target.port), timeout=_left(deadline))
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        stream.settimeout(_left(deadline))
        stream.connect(target.socket_path)
    except BaseException:
        stream.close()
        raise
    return stream


def _head(stream: socket.socket, deadline: float) -> bytes:
    """Read an answer up to its first empty line, or to its end."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEAD:
        stream.settimeout(_left(deadline))
        chunk = stream.recv(4096)
        if not chunk:
            break
        head += chunk
    return head


def _status(head: bytes) -> int:
    """Return the status of an answer; raise `ValueError` for what is none."""
    words = head.partition(b"\r\n")[0].split(None, 2)
    if not head:
        raise ValueError("it closed the connection without an answer")
    if not words[1:] or not words[0].startswith(b"HTTP/") or not (len(words[1]) == 3 and words[1].isdigit()):
        raise ValueError("what answers does not speak HTTP")
    return int(words[1])


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


class Pulse:
    """Ask again and again, in a thread; `wake` is called after each answer.

    `healthy` is None until the first good answer; `missed` counts the bad ones since the last good one, `why` is the
    last of those. `good_at` and `first_good_at` are when the last and the first good answer were asked for, on the
    monotonic clock.
    """

    def __init__(self, target: Target, pace: Pace, wake: Callable[[], None]) -> None:
        self.healthy: bool | None = None
        self.missed = 0
        self.good_at = self.first_good_at = 0.0
        self.why = "it was not asked yet"
        self._target, self._pace, self._wake = target, pace, wake
        self._heard_at = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vpm-env health", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more, and wait for the answer to the last question, but no longer than that may take."""
        self._over.set()
        self._thread.join(2 * self._pace.patience)

    @property
    def overdue(self) -> int:
        """Count the answers that should be there by now: to find out an address has no time limit of its own."""
        longest = self._pause + 2 * self._pace.patience
        return int((time.monotonic() - self._heard_at) / longest)

    def _run(self) -> None:
        while not self._over.wait(self._pause):
            asked = time.monotonic()
            self.why = illness(self._target, self._pace.patience)
            self._heard_at = time.monotonic()
            self.missed = self.missed + 1 if self.why else 0
            if not self.why:
                self.good_at, self.first_good_at = asked, self.first_good_at or asked
            if self.healthy is not None or not self.why:
                self.healthy = not self.why
            self._wake()

    @property
    def _pause(self) -> float:
        return min(_EAGER, self._pace.interval) if self.healthy is None else self._pace.interval
