"""What happens to a supervised server: as records for programs, and as sentences for people."""

from __future__ import annotations

import json
import time
from typing import Any

from envbuilder.contexts import suppress
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = 1
STARTED, HEALTHY, GOOD, FAILED, BAD, ROLLED_BACK, UNJUDGED, RESTARTING, STOPPED, GAVE_UP = KINDS = (
    "started",
    "healthy",
    "good",
    "failed",
    "bad",
    "rolled-back",
    "unjudged",
    "restarting",
    "stopped",
    "gave-up",
)
LOUD = frozenset({FAILED, BAD, ROLLED_BACK, UNJUDGED, GAVE_UP})
"""What nobody should miss."""


class Event(NamedTuple):
    """Something that happened under generation `generation`; `details` are those fields that its kind has."""

    kind: str
    generation: int
    digest: str
    details: dict[str, Any]

    def record(self, profile: str, base_key: str) -> dict[str, Any]:
        """Return the fields of its record, with the moment that this is called at."""
        now = time.time()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
        head = {"version": VERSION, "time": moment, "event": self.kind, "profile": profile, "base": base_key}
        return {**head, "generation": self.generation, "digest": self.digest, **self.details}

    @property
    def sentence(self) -> str:
        """Say it in one line, and below that the end of a log if there is one."""
        name = f"generation {self.generation} ({self.digest[:12]})"
        log = "".join(f"\n  {line}" for line in self.details.get("log", ()))
        return f"{name} {_SENTENCES[self.kind](self.details)}" + (f"; the last lines of its log:{log}" if log else "")


_SENTENCES: dict[str, Callable[[dict[str, Any]], str]] = {
    STARTED: lambda of: f"starts as process {of['pid']}",
    HEALTHY: lambda of: f"is healthy, {of['seconds']:.1f} s after its start",
    GOOD: lambda of: f"is good: it was healthy for {of['seconds']:g} s",
    FAILED: lambda of: f"failed: {of['reason']}",
    BAD: lambda _: "is marked bad",
    ROLLED_BACK: lambda of: f"is current no more: rolled back to generation {of['to']}, and the profile is held there",
    UNJUDGED: lambda of: f"is not found bad: {of['reason']}",
    RESTARTING: lambda of: f"is started again in {of['delay']:g} s (restart {of['attempt']} of {of['retries']})",
    STOPPED: lambda of: f"has stopped ({how_it_ended(of['code'])})",
    GAVE_UP: lambda of: f"is not started again: {of['reason']}",
}


def how_it_ended(code: int) -> str:
    """Say how a process ended: `exit 1`, or for a negative code `signal 9`."""
    return f"signal {-code}" if code < 0 else f"exit {code}"


class Journal:
    """Where events go: `say(text, is_loud)` for people, `write(line)` for programs, if any listen.

    `is_beside_output` says that the latter are between what the server says.
    """

    def __init__(
        self,
        profile: str,
        base_key: str,
        *,
        say: Callable[[str, bool], None],
        write: Callable[[str], None] | None = None,
        is_beside_output: bool = False,
    ) -> None:
        self._profile, self._base_key = profile, base_key
        self._is_beside_output = is_beside_output
        self._say, self._write = say, write

    def record(self, event: Event, *, is_mid_line: bool = False) -> None:
        """Tell programs; `is_mid_line` says that the server's output has not come to the end of a line."""
        if not self._write:
            return
        ahead = "\n" if is_mid_line and self._is_beside_output else ""
        with suppress(OSError):  # a full disk, or nobody who reads it, is no reason to leave a server alone
            self._write(ahead + json.dumps(event.record(self._profile, self._base_key)))

    def tell(self, event: Event) -> None:
        """Tell people."""
        with suppress(OSError):
            self._say(event.sentence, event.kind in LOUD)
