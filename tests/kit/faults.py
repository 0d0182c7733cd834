"""Faults at exact places: a verb that dies, is refused something, or halts at the n-th thing that it changes.

What a verb changes announces itself: Python by audit events, the commit protocol by its own (`vpm_env.step`,
`vpm_env.write`, `vpm_env.sync`). A `Workshop` has the rooms imported already and forks for every call, so that a fault
costs a fork and not an interpreter's start. What other programs do (uv, git) is no event of ours.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from kit.machine import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

STEP, WRITE, SYNC = "vpm_env.step", "vpm_env.write", "vpm_env.sync"
CHANGES = frozenset(
    [
        *("os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink"),
        *("os.truncate", "os.utime", "fcntl.flock", "subprocess.Popen"),
        *("shutil.copyfile", "shutil.move", "shutil.rmtree"),
        *(STEP, WRITE, SYNC, "open"),
    ]
)
"""Events that count: `open` only with the right to write."""

CUTS = {"cut": 2, "cut-logged": 1}
"""How a file system goes down: with or without the part of its journal that is in memory still; never with data."""

_GOINGDOWN = 0x8004587D
"""Linux's FS_IOC_GOINGDOWN."""

TAKING = frozenset({"open", "os.link", "os.mkdir", "os.rename", "os.symlink", WRITE, SYNC})
"""Events that want room: blocks, inodes, or names."""
_REFUSED_WITH = {"ENOSPC": TAKING, "EDQUOT": TAKING, "EMFILE": frozenset({"open", "subprocess.Popen"})}
REFUSED = "refused"
"""Begins the line of a trace that says what a fault refused."""
_NAMELESS = frozenset({"fcntl.flock", "os.truncate", WRITE, SYNC})
"""Events of calls that know a descriptor, whose errors name no path."""
_OF_TWO = frozenset({"os.link", "os.rename", "os.symlink"})
"""Events of calls whose errors name two."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Fault:
    """What happens where: at the `at`-th change (from 1), or at the `at`-th time that an event begins with `event`.

    `kind` is `kill` (SIGKILL), `tear` (SIGKILL with half of the content in a file: at a `vpm_env.write`), `halt`
    (wait until the file `gate` is there; `gate` + `.reached` says that it is being waited for), one of `CUTS`
    (power goes: the file system mounted at `gate` takes nothing more; then SIGKILL), `none` (only trace), or the
    name of an errno, with which the call fails. With `always`, every later one of these fails too. Only changes
    below `below` count, where that is given; steps always count.
    """

    kind: str = "none"
    at: int = 1
    event: str = ""
    gate: str = ""
    below: str = ""
    always: bool = False


@dataclass(frozen=True)
class Ended:
    """How a call ended: its exit code (negative: a signal's number), what it said, and the changes that it came to.

    A change is an event and its first argument: `os.rename /home/…`.
    """

    code: int
    stdout: str
    stderr: str
    changes: tuple[str, ...]


class Workshop:
    """Calls verbs with faults, each in a fork of a process that has imported the rooms."""

    def __init__(self, child: subprocess.Popen[str], scratch: Path) -> None:
        self._child = child
        self._scratch = scratch

    def start(
        self,
        *arguments: str | Path,
        env: Mapping[str, str],
        cwd: str | Path,
        fault: Fault | None = None,
        later: float = 0.0,
        unsynced: bool = False,
    ) -> int:
        """Begin a call in a session of its own, and return its id; `finish` waits for it.

        Its clock is `later` seconds ahead. One that is `unsynced` brings no tree to the disk, only the record that
        makes it count: a test's own test.
        """
        job = {
            "arguments": [str(argument) for argument in arguments],
            "env": dict(env),
            "cwd": str(cwd),
            "fault": asdict(fault or Fault()),
            "later": later,
            "unsynced": unsynced,
            "scratch": str(self._scratch),
        }
        return int(self._ask(["start", job]))

    def finish(self, pid: int) -> Ended:
        """Wait for a call's end."""
        code = int(self._ask(["finish", pid]))
        said = [(self._scratch / f"{pid}.{name}") for name in ("out", "err", "trace")]
        out, err, trace = (path.read_text(errors="replace") if path.exists() else "" for path in said)
        for path in said:
            path.unlink(missing_ok=True)
        return Ended(code, out, err, tuple(trace.splitlines()))

    def __call__(self, *arguments: str | Path, **options: Any) -> Ended:
        """Call a verb and wait for its end; `options` are those of `start`."""
        return self.finish(self.start(*arguments, **options))

    def _ask(self, question: Any) -> Any:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(question) + "\n")
        self._child.stdin.flush()
        return json.loads(self._child.stdout.readline())


@contextmanager
def workshop(scratch: Path) -> Iterator[Workshop]:
    """Open a workshop; `scratch` is a folder for what calls say."""
    scratch.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    child = subprocess.Popen(
        [sys.executable, "-c", "from kit.faults import serve; serve()"],
        env=env,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        try:
            yield Workshop(child, scratch)
        finally:
            assert child.stdin is not None
            child.stdin.close()


def install(fault: Fault, trace: str) -> None:
    """Let `fault` happen in this process, and write every change to the file `trace`."""
    record = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    seen = 0
    is_busy = False
    torn = ""
    own = os.getpid()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen, is_busy, torn
        if is_busy or event not in CHANGES or os.getpid() != own:
            return
        if torn and event != "open":
            is_busy = True
            os.truncate(torn, os.path.getsize(torn) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        if event == "open" and not _opens_to_write(*arguments):
            return
        what = os.fsdecode(arguments[0]) if arguments and isinstance(arguments[0], (str, bytes)) else "-"
        if event != STEP and (what == os.devnull or (fault.below and os.path.isabs(what) and fault.below not in what)):
            return
        is_busy = True
        try:
            os.write(record, f"{event} {what}\n".encode(errors="replace"))
            if f"{event} {what}".startswith(fault.event) and can_fail(fault.kind, event):
                seen += 1
                if seen == fault.at and fault.kind == "tear":
                    torn = what
                elif seen == fault.at or (fault.always and seen > fault.at):
                    if hasattr(errno, fault.kind):
                        os.write(record, f"{REFUSED} {event} {what}\n".encode(errors="replace"))
                    _happen(fault, event, arguments)
        finally:
            is_busy = False

    sys.addaudithook(hook)


def cut(mount: str, kind: str = "cut") -> None:
    """Take the power from the file system mounted at `mount`: what is not on its disk is lost."""
    import fcntl

    folder = os.open(mount, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(folder, _GOINGDOWN, struct.pack("I", CUTS[kind]))
    finally:
        os.close(folder)


def can_fail(kind: str, event: str) -> bool:
    """Tell whether a fault of this kind can happen to such an event."""
    return not hasattr(errno, kind) or (event != STEP and event in _REFUSED_WITH.get(kind, CHANGES))


def _opens_to_write(path: Any, _: Any, flags: Any) -> bool:
    """Tell whether a file is opened for writing; a descriptor that gets a stream asks the system for nothing."""
    return not isinstance(path, int) and isinstance(flags, int) and bool(flags & _WRITING)


def _happen(fault: Fault, event: str, arguments: tuple[Any, ...]) -> None:
    if fault.kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault.kind in CUTS:
        cut(fault.gate, fault.kind)
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault.kind == "halt":
        with open(f"{fault.gate}.reached", "w"):
            pass
        while not os.path.exists(fault.gate):
            time.sleep(0.005)
    elif fault.kind != "none":
        number = getattr(errno, fault.kind)
        names = () if event in _NAMELESS else (arguments[0], None, arguments[1]) if event in _OF_TWO else arguments[:1]
        raise OSError(number, os.strerror(number), *names)


def _begin(job: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setsid()
        base = os.path.join(job["scratch"], str(os.getpid()))
        for descriptor, suffix in ((1, "out"), (2, "err")):
            opened = os.open(f"{base}.{suffix}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(opened, descriptor)
            os.close(opened)
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, 0)
        os.close(nowhere)
        os.environ.clear()
        os.environ.update(job["env"])
        os.chdir(job["cwd"])
        install(Fault(**job["fault"]), f"{base}.trace")
        if job["later"]:
            true_time, ahead = time.time, float(job["later"])
            time.time = lambda: true_time() + ahead
        if job["unsynced"]:
            from envbuilder import fs

            fs.sync_tree = _sync_what_makes_it_count
        code = _run(job["arguments"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _sync_what_makes_it_count(path: str | os.PathLike[str]) -> None:
    """Bring to the disk what is about to get its name in a tree, and nothing else of it."""
    for entry in os.scandir(path):
        if entry.name.endswith(".new"):
            descriptor = os.open(entry.path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


def _run(arguments: list[str]) -> int:
    from envbuilder.cli import main

    try:
        return main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 (what a user would see as a traceback)
        import traceback

        traceback.print_exc()
        return 70


def serve() -> None:
    """Be the workshop's child: begin calls and tell how they ended, a line each."""
    import envbuilder.cli
    import envbuilder.pipeline
    import envbuilder.repair
    import envbuilder.sweep
    import envbuilder.verbs_keep
    import envbuilder.verify_view  # noqa: F401 (a fork has them then)

    for line in sys.stdin:
        kind, what = json.loads(line)
        if kind == "start":
            print(_begin(what), flush=True)
        else:
            print(os.waitstatus_to_exitcode(os.waitpid(what, 0)[1]), flush=True)
