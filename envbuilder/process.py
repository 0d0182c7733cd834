"""The one door to other processes."""

from __future__ import annotations

import errno
import os
import re
import signal
import time
from typing import NoReturn

from envbuilder.contexts import contextmanager, suppress
from envbuilder.errors import CommandFailed
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import ThreadPoolExecutor

_RUNNING: set[subprocess.Popen[str]] = set()
_NAMED = re.compile(r"\$\{\w+\}")
_VARIABLES = re.compile(r"(?:[\w.-]*:)?\$\{\w+\}@|\$\{\w+\}(?::\$\{\w+\})?@|git@")
_USERINFO = re.compile(r"(?<=://)(?:[^/\s'\"]*@|[^/\s'\"@:\[]*:(?!(?:\d*|\$\{\w+\})[/?#])[^\s'\"]*@)")
"""User info of a URL; also with a slash in it, which ends the host too early: what is behind a host's `:` is a port."""
_PARAMETER = re.compile(
    r"(?<=[?&;])([\w.%-]*(?:token|secret|passw|signature|credential|auth|key)[\w.%-]*|sig|jwt|pat)=([^&;#\s'\"<>`)]+)",
    re.IGNORECASE,
)
"""A parameter of a URL whose name says that its value is secret."""
_TELLING, _WHOLE = 4, 8
"""Characters of a secret: a shorter one cannot be told from words, and one that is not longer stands alone."""
_NOT_ITS_FAULT = (errno.EAGAIN, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS)
"""What the system lacks when a command cannot be started that is there."""
WROTE_TOO_MUCH = 125
_is_ending = False
_LOOK_AFTER = 0.05
"""Seconds: what unpacks writes less than 100 MB in that time."""
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
"""Of `prctl`."""


class Result(NamedTuple):
    """A finished process: exit code (negative: the signal that ended it) and its two streams as text.

    `writing` are the files that one which wrote too much had open when it was ended.
    """

    code: int
    stdout: str
    stderr: str
    writing: tuple[str, ...] = ()

    @property
    def output(self) -> str:
        return self.stderr + self.stdout


def redact(text: str, *, secrets: Sequence[str] = ()) -> str:
    """Strike out what must not be shown: user info and secret parameters of URLs, and every one of `secrets`.

    A short secret is struck out where it stands alone, for it may be part of any word; one of less than four
    characters in URLs only.
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        if len(secret) >= _WHOLE:
            text = text.replace(secret, "****")
        elif len(secret) >= _TELLING:
            text = re.sub(rf"(?<![^\W_]){re.escape(secret)}(?![^\W_])", "****", text)
    return _PARAMETER.sub(r"\1=****", _USERINFO.sub("****@", text))


def without_credentials(text: str) -> str:
    """Strike user info and secret parameters out of URLs, but for names of variables: `${NAME}` says nothing."""
    text = _USERINFO.sub(lambda found: found[0] if _VARIABLES.fullmatch(found[0]) else "****@", text)
    return _PARAMETER.sub(lambda found: found[0] if _NAMED.fullmatch(found[2]) else f"{found[1]}=****", text)


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
    secrets: Sequence[str] = (),
    most_written: int | None = None,
) -> Result:
    """Run `command` to its end and return what it said, redacted.

    The child gets `env` and nothing else, a process group of its own, and is killed with all its children when
    `timeout` (seconds) is over, it has written more than `most_written` bytes (where the system counts), or this
    process is interrupted. A command that cannot be started ends with code 127, one that ran out of time with code
    124, one that wrote too much with 125.
    """
    import subprocess  # many a build starts no process

    try:
        child = _child(command, env, cwd, has_input=stdin is not None)
    except OSError as error:
        if error.errno in _NOT_ITS_FAULT:
            raise
        return Result(code=127, stdout="", stderr=f"{command[0]}: {error.strerror}\n")
    _RUNNING.add(child)
    writing: tuple[str, ...] = ()
    try:
        if most_written is None:
            stdout, stderr = child.communicate(stdin, timeout=timeout)
        else:
            stdout, stderr = _watched(child, stdin, timeout, most_written)
        code = child.returncode
    except subprocess.TimeoutExpired:
        _end(child)
        stdout, stderr = child.communicate()
        code, stderr = 124, stderr + f"\nended after {timeout:g} s\n"
    except _TooMuchWritten:
        writing = _open_files(child.pid)
        _end(child)
        stdout, stderr = child.communicate()
        code, stderr = WROTE_TOO_MUCH, stderr + f"\nended after {most_written} bytes\n"
    except BaseException:
        _end(child)
        raise
    finally:
        _RUNNING.discard(child)
    said = [redact(text, secrets=secrets) for text in (stdout, stderr)]
    return Result(code=code, stdout=said[0], stderr=said[1], writing=writing)


def _child(
    command: Sequence[str], env: Mapping[str, str], cwd: str | None, *, has_input: bool
) -> subprocess.Popen[str]:
    import subprocess

    return subprocess.Popen(
        list(command),
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )


class _TooMuchWritten(Exception):
    pass


def _watched(
    child: subprocess.Popen[str], stdin: str | None, timeout: float | None, most_written: int
) -> tuple[str, str]:
    """Wait for a child, and look now and then how much it has written."""
    import subprocess

    ending = time.monotonic() + (float("inf") if timeout is None else timeout)
    while True:
        left = ending - time.monotonic()
        try:
            return child.communicate(stdin, timeout=max(0.0, min(left, _LOOK_AFTER)))
        except subprocess.TimeoutExpired:
            if left <= _LOOK_AFTER:
                raise
        if _written(child.pid) > most_written:
            raise _TooMuchWritten


def _written(pid: int) -> int:
    """Return how many bytes a process has written, its threads included; 0 where the system does not count."""
    try:
        with open(f"/proc/{pid}/io", encoding="ascii") as stream:
            return next((int(line[7:]) for line in stream if line.startswith("wchar: ")), 0)
    except OSError:
        return 0


def _open_files(pid: int) -> tuple[str, ...]:
    folder = f"/proc/{pid}/fd"
    found = set()
    try:
        for name in os.listdir(folder):
            with suppress(OSError):
                found.add(os.readlink(os.path.join(folder, name)))
    except OSError:
        pass
    return tuple(sorted(found))


def check(
    command: Sequence[str], *, env: Mapping[str, str], cwd: str | None = None, timeout: float | None = None
) -> str:
    """Run `command` and return its standard output; raise `CommandFailed` when it does not end with 0."""
    result = run(command, env=env, cwd=cwd, timeout=timeout)
    if result.code:
        raise CommandFailed(command=tuple(command), code=result.code, output=result.output)
    return result.stdout


@contextmanager
def workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """Lend threads that run processes; an interrupt, which only the main thread sees, ends those too."""
    from concurrent.futures import ThreadPoolExecutor  # no hot verb needs threads

    global _is_ending  # noqa: PLW0603 (a process has one end)
    with ThreadPoolExecutor(count) as pool:
        try:
            yield pool
        except BaseException:
            _is_ending = True
            pool.shutdown(wait=False, cancel_futures=True)
            for child in list(_RUNNING):
                _end(child)
            raise
        finally:
            pool.shutdown()
            _is_ending = False


def is_ending() -> bool:
    """Tell whether what threads do is wanted no more: whoever moves bytes in one asks now and then."""
    return _is_ending


def start(command: Sequence[str], *, env: Mapping[str, str], stdout: int, stderr: int, stdin: int | None = None) -> int:
    """Start a command that leads a session of its own, and return its id; whoever calls waits for it, by `os.waitpid`.

    It is asked to end (SIGTERM) when this process dies, however that happens, where the system knows such. No thread
    may run. Raise `OSError` for one that cannot be started.
    """
    import subprocess

    child = subprocess.Popen(
        list(command),
        env=dict(env),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        close_fds=False,  # what we were given open it may be meant to have; what is ours closes itself
        start_new_session=True,
        preexec_fn=_ending_with(os.getpid()),  # noqa: PLW1509 (this is the only thread)
    )
    child.returncode = 0  # `subprocess` is not to wait for it
    return child.pid


def send(pid: int, number: int, *, to_group: bool = False) -> None:
    """Send a signal to a process, or to the group that it leads; one that is gone is fine."""
    try:
        (os.killpg if to_group else os.kill)(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # macOS refuses what is a zombie; what another user became is that one's to end


def end_with_parent() -> None:
    """Be interrupted when the process that started this one dies, where the system knows such: nobody waits then."""
    if call := _prctl():
        call(_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, where the system knows such."""
    if call := _prctl():
        call(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _ending_with(parent: int) -> Callable[[], None] | None:
    """Return what a child calls so that it is asked to end when `parent` dies; found before there is a child."""
    call = _prctl()
    if call is None:
        return None

    def set_death_signal() -> None:
        call(_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # it has died already
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    return set_death_signal


def _prctl() -> Callable[..., int] | None:
    import ctypes  # only a supervisor needs it

    return getattr(ctypes.CDLL(None), "prctl", None)


def become(command: Sequence[str], *, env: Mapping[str, str]) -> NoReturn:
    """Replace this process by `command`, found on the PATH of `env`; raise `OSError` when that cannot be."""
    os.execvpe(command[0], list(command), dict(env))


def die_of(number: int) -> NoReturn:
    """End as one that a signal ended; where that cannot be, as in a container's first process, with 128 and more."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # whose memory is of interest has ended already
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def _end(child: subprocess.Popen[str]) -> None:
    """Kill the child's whole process group; it leads one, so nobody else's process is in it."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
