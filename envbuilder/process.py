"""The one door to other processes."""

from __future__ import annotations

import os
import re
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from envbuilder.errors import CommandFailed

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import ThreadPoolExecutor

_RUNNING: set[subprocess.Popen[str]] = set()
_VARIABLES = re.compile(r"(?:[\w.-]*:)?\$\{\w+\}@|\$\{\w+\}(?::\$\{\w+\})?@|git@")
_USERINFO = re.compile(r"(?<=://)[^/\s@'\"]+@")


class Result(NamedTuple):
    """A finished process: exit code (negative: the signal that ended it) and its two streams as text."""

    code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stderr + self.stdout


def redact(text: str, *, secrets: Sequence[str] = ()) -> str:
    """Strike out what must not be shown: the user info of URLs, and every one of `secrets`."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "****")
    return _USERINFO.sub("****@", text)


def without_credentials(text: str) -> str:
    """Strike the user info out of URLs, but for names of variables: `${NAME}` says nothing."""
    return _USERINFO.sub(lambda found: found[0] if _VARIABLES.fullmatch(found[0]) else "****@", text)


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
    secrets: Sequence[str] = (),
) -> Result:
    """Run `command` to its end and return what it said, redacted.

    The child gets `env` and nothing else, a process group of its own, and is killed with all its children when
    `timeout` (seconds) is over or this process is interrupted. A command that cannot be started ends with code 127,
    one that ran out of time with code 124.
    """
    import subprocess  # many a build starts no process

    try:
        child = subprocess.Popen(
            list(command),
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return Result(code=127, stdout="", stderr=f"{command[0]}: {error.strerror}\n")
    _RUNNING.add(child)
    try:
        stdout, stderr = child.communicate(stdin, timeout=timeout)
        code = child.returncode
    except subprocess.TimeoutExpired:
        _end(child)
        stdout, stderr = child.communicate()
        code, stderr = 124, stderr + f"\nended after {timeout:g} s\n"
    except BaseException:
        _end(child)
        raise
    finally:
        _RUNNING.discard(child)
    return Result(code=code, stdout=redact(stdout, secrets=secrets), stderr=redact(stderr, secrets=secrets))


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

    with ThreadPoolExecutor(count) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in list(_RUNNING):
                _end(child)
            raise


def become(command: Sequence[str], *, env: Mapping[str, str]) -> NoReturn:
    """Replace this process by `command`, found on the PATH of `env`; raise `OSError` when that cannot be."""
    os.execvpe(command[0], list(command), dict(env))


def _end(child: subprocess.Popen[str]) -> None:
    """Kill the child's whole process group; it leads one, so nobody else's process is in it."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
