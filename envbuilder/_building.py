# vpm-env: runs `vpm-env build` before an engine starts; remove it with `vpm-env hook uninstall`
"""Run a build as a child of a process that waits for it: pass on what it says, and do not outlive a signal.

Copied into a base's site-packages as `_vpm_env/building.py`; `_vpm_env.auto` calls `run` where there may be something
to do. Standard library only.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time

TYPE_CHECKING = False  # it would take `typing` to import that
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

HEARTBEAT = 8.0
"""Seconds after which a build that says nothing is said to be still at work."""
TICK = 0.2
"""Seconds until a signal is seen."""
PATIENCE = 5.0
"""Seconds that an interrupted build has to clean up."""


def run(words: Sequence[str], variables: Mapping[str, str], tell: Callable[[str], None]) -> tuple[str, str]:
    """Run the build to its end and return what went wrong in one line, or "", and what it printed: a word or none.

    `tell` writes a line to standard error.

    A signal ends the build, and then this process.
    """
    with Signals() as caught:
        try:
            # Not in this directory, whose files Python would take for modules, and in no terminal's process group.
            child = subprocess.Popen(
                words,
                cwd="/",
                env=variables,
                umask=umask() | 0o022,  # the hook trusts no folder that others may write to
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            return f"`{words[0]}` cannot be started: {error.strerror}", ""
        problem = listen(child, caught, tell)
        if caught:
            end(child)
            die(caught[0], tell)
        printed: Any = child.stdout
        return problem, "" if problem else printed.read().decode("ascii", "replace").strip()


def umask() -> int:
    """Return this process's own, which can only be read by setting it."""
    now = os.umask(0o077)
    os.umask(now)
    return now


class Signals:
    """Note down, instead of dying of it, a signal that ends processes; one that is ignored goes on being ignored."""

    def __enter__(self) -> list[int]:
        caught: list[int] = []
        self.before = {}
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            handler = signal.getsignal(number)
            # Set even where it is ignored: a child would inherit that, and could not be interrupted. None is no
            # handler of Python's.
            if handler is not None:
                noted = skip if handler == signal.SIG_IGN else lambda got, _: caught.append(got)
                self.before[number] = signal.signal(number, noted)
        return caught

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def skip(*_: object) -> None:
    """Ignore a signal in this process, and in none that it starts."""


def listen(child: subprocess.Popen[bytes], caught: list[int], tell: Callable[[str], None]) -> str:
    """Pass on what the build says until it ends or a signal came; return what went wrong in one line, or ""."""
    stream: Any = child.stderr
    error, rest, poll = "", b"", select.poll()
    poll.register(stream, select.POLLIN)
    started = said = time.monotonic()
    while not caught:
        now = time.monotonic()
        if not poll.poll(TICK * 1000):
            if child.poll() is not None:
                break
            if now - said >= HEARTBEAT:
                tell(f"still building, {now - started:.0f} s so far")
                said = now
            continue
        said = now
        chunk = os.read(stream.fileno(), 1 << 16)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines if chunk else [rest]:
            error = error or pass_on(line, tell)
        if not chunk:
            break
    return outcome(child, caught, error)


def pass_on(line: bytes, tell: Callable[[str], None]) -> str:
    """Say a line of the build; return the error that it tells of, or ""."""
    text = line.decode("utf-8", "replace").rstrip()
    if text:
        tell(text)
    return text.removeprefix("error: ") if text.startswith("error: ") else ""


def outcome(child: subprocess.Popen[bytes], caught: list[int], error: str) -> str:
    """Wait for the end of a build that says nothing more, and say what went wrong, or ""."""
    while not caught:
        try:
            code = child.wait(TICK)
        except subprocess.TimeoutExpired:
            continue
        how = f"exit {code}" if code >= 0 else f"signal {-code}"
        return f"the plugins could not be built ({how}): {error or 'see above'}" if code or error else ""
    return ""


def end(child: subprocess.Popen[bytes]) -> None:
    """Interrupt the build, so that it ends what it started, and kill what is still there then."""
    try:
        os.killpg(child.pid, signal.SIGINT)
        child.wait(PATIENCE)
    except (subprocess.TimeoutExpired, ProcessLookupError):
        pass
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def die(number: int, tell: Callable[[str], None]) -> None:
    """End this process as the signal would have ended it."""
    tell("interrupted; the engine is not started")
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # the first process of a container does not die of signals
