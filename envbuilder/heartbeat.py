"""Ask a server's health URL: any answer of 200 to 299 says that it is healthy.

No proxy is asked, no redirect followed and no certificate checked, as those do who look after servers from beside
them: what answers is on the same machine, and nothing is sent.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from envbuilder.errors import UsageError
from envbuilder.process import redact

if TYPE_CHECKING:
    from collections.abc import Callable

_SCHEMES = ("http", "https", "http+unix")
_EAGER = 0.25
"""Seconds between two questions until the first good answer."""


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
    port: int | None
    socket_path: str
    path: str

    @classmethod
    def of(cls, url: str) -> Target:
        """Read a URL (`http+unix` names a percent-encoded socket as its host); raise `UsageError` for any other."""
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
        return cls(url, parts.scheme == "https", parts.hostname, port, local, path)


class _LocalConnection(HTTPConnection):
    """HTTP through a socket that is a file."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._patience = timeout

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._patience)
        self.sock.connect(self._path)


def illness(target: Target, patience: float) -> str:
    """Ask once; return "" for a healthy server, else what is wrong. An answer may take `patience` seconds."""
    connection = _connection(target, patience)
    try:
        connection.request("GET", target.path, headers={"Connection": "close", "User-Agent": "vpm-env"})
        status = connection.getresponse().status
    except (OSError, HTTPException, ValueError) as error:
        return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
    finally:
        connection.close()
    return "" if 200 <= status < 300 else f"status {status}"


def _connection(target: Target, patience: float) -> HTTPConnection:
    if target.socket_path:
        return _LocalConnection(target.socket_path, patience)
    if target.is_secret:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return HTTPSConnection(target.host, target.port, timeout=patience, context=context)
    return HTTPConnection(target.host, target.port, timeout=patience)


class Pulse:
    """Ask again and again, in a thread; `wake` is called after each answer.

    `healthy` is None until the first good answer; `missed` counts the bad ones since the last good one, `why` is the
    last of those. `good_at` is when the last good answer was asked for, on the monotonic clock.
    """

    def __init__(self, target: Target, pace: Pace, wake: Callable[[], None]) -> None:
        self.healthy: bool | None = None
        self.missed = 0
        self.good_at = 0.0
        self.why = "it was not asked yet"
        self._target, self._pace, self._wake = target, pace, wake
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vpm-env health", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more, and wait for the answer to the last question."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._pause):
            asked = time.monotonic()
            self.why = illness(self._target, self._pace.patience)
            self.missed = self.missed + 1 if self.why else 0
            self.good_at = self.good_at if self.why else asked
            if self.healthy is not None or not self.why:
                self.healthy = not self.why
            self._wake()

    @property
    def _pause(self) -> float:
        return min(_EAGER, self._pace.interval) if self.healthy is None else self._pace.interval
