"""What a server says: passed on unchanged and at once, and the end of it kept.

What of ours is a terminal is one for the server too, with its size; anything else is a pipe. Where both streams are
the same file, they are one for the server too, so nothing changes its place.
"""

from __future__ import annotations

import fcntl
import os
import select
import termios
import threading
import tty
from typing import TYPE_CHECKING

from envbuilder.contexts import suppress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_KEPT_BYTES = 1 << 16
_LONGEST_LINE = 500
_CHUNK = 1 << 16


class Tee:
    """The streams of one server, standard output and standard error."""

    def __init__(self) -> None:
        self._is_mid_line = False
        self._end = bytearray()
        self._is_cut = False
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._ours: dict[int, int] = {}
        """our descriptor that is written to -> the end that is read from"""
        self._servers: dict[int, int] = {}

    def open(self) -> tuple[int, int]:
        """Return the server's ends of both streams."""
        both = os.path.samestat(os.fstat(1), os.fstat(2))
        for descriptor in (1,) if both else (1, 2):
            self._ours[descriptor], self._servers[descriptor] = _pair(descriptor)
        return self._servers[1], self._servers[1 if both else 2]

    def start(self) -> None:
        """Begin to pass on; to be called when the server has its ends."""
        self.leave()
        for descriptor, reading in self._ours.items():
            thread = threading.Thread(target=self._pass_on, args=(reading, descriptor), daemon=True)
            thread.start()
            self._threads.append(thread)

    def leave(self) -> None:
        """Close the server's ends here."""
        for end in self._servers.values():
            os.close(end)
        self._servers = {}

    def resize(self) -> None:
        """Give terminals the size of ours."""
        for descriptor, reading in self._ours.items():
            if os.isatty(descriptor):
                _copy_size(descriptor, reading)

    def finish(self, seconds: float) -> None:
        """Wait until all was passed on, but no longer than that: others may keep a stream open."""
        for thread in self._threads:
            thread.join(seconds)

    def begin_line(self) -> bool:
        """Tell whether standard output stands in the middle of a line, which the caller ends."""
        was_mid_line, self._is_mid_line = self._is_mid_line, False
        return was_mid_line

    def last_lines(self, count: int, struck_out: Callable[[str], str]) -> tuple[str, ...]:
        """Return the last lines that it said, without what `struck_out` takes out: whole lines, and then their ends."""
        with self._lock:
            text = self._end.decode("utf-8", "replace")
        lines = [line.rstrip("\r") for line in text.split("\n")]
        known = lines[1:] if self._is_cut and lines[1:] else lines  # half a credential would not be recognized
        return tuple(struck_out(line)[-_LONGEST_LINE:] for line in [line for line in known if line.strip()][-count:])

    def _pass_on(self, reading: int, writing: int) -> None:
        for chunk in _chunks(reading):
            with self._lock:
                self._end += chunk
                self._is_cut = self._is_cut or len(self._end) > _KEPT_BYTES
                del self._end[:-_KEPT_BYTES]
            if writing == 1:
                self._is_mid_line = not chunk.endswith(b"\n")
            with suppress(OSError):  # nobody reads it any more: that is no reason to stop the server
                _write(writing, chunk)
        os.close(reading)


def _chunks(reading: int) -> Iterator[bytes]:
    with suppress(OSError):  # the end of a terminal
        while chunk := os.read(reading, _CHUNK):
            yield chunk


def _write(descriptor: int, chunk: bytes) -> None:
    left = memoryview(chunk)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # somebody who has it too made it so
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()


def _pair(descriptor: int) -> tuple[int, int]:
    """Return two ends, of which the second is for the server: of a terminal as `descriptor` is one, or of a pipe."""
    if not os.isatty(descriptor):
        return os.pipe()
    ours, servers = os.openpty()
    tty.setraw(servers)  # ours does with line ends and keys what is to be done
    _copy_size(descriptor, servers)
    return ours, servers


def _copy_size(source: int, target: int) -> None:
    with suppress(OSError):
        fcntl.ioctl(target, termios.TIOCSWINSZ, fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8)))
