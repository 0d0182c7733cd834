"""Load entry points, call some, and tell how it went; runs in an overlay's python, with the standard library only.

Started as a file of its own: `python _probe.py FOLDER TIMEOUT`, with `{"engine": its import name, "entries": [[group,
name, value, returns, derives], ...]}` as JSON on standard input; what must return something (one of RETURNS) is called,
and what must be a class says from which one (`class` for any). Into FOLDER it writes `results` (a JSON line before and
after each entry point, one before it is called, and one when the loading process has ended), `output` (what plugins
print) and `hang` (where the one was that took longer than TIMEOUT seconds).

The first process only waits: it can tell how the second one died, and ends whatever plugins have left running.
"""

from __future__ import annotations

import importlib
import os
import sys

if __name__ == "__main__":
    # It lies beside this file. Children that multiprocessing spawns run this file too, by another name.
    _watch = importlib.import_module("_watch")
    del sys.modules["_watch"]
# Python puts the folder of this file first, where the modules of vpm-env would pass for top-level ones.
_HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:] = [path for path in sys.path if os.path.realpath(path or ".") != _HERE]

import contextlib  # noqa: E402
import faulthandler  # noqa: E402
import importlib.metadata  # noqa: E402
import json  # noqa: E402
import signal  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402
import types  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 2000
SECONDS_TO_END = 10.0
SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER: what loses its parent becomes a child of this process."""
# What the probe itself needs is taken before any plugin can replace it.
encode, write, getpid, monotonic = json.JSONEncoder().encode, os.write, os.getpid, time.monotonic
RETURNS = ("anything", "class", "path", "platform")
"""What an engine takes from a function: nothing, a class, or the path of one or None, which it may follow at once."""


def main(folder: str, timeout: float) -> None:
    request = json.load(sys.stdin)
    sys.argv = ["python"]
    results = open_to_append(os.path.join(folder, "results"))
    hang = open_to_append(os.path.join(folder, "hang"))
    redirect(os.path.join(folder, "output"))
    adopt()
    child = os.fork()
    if not child:
        load_all(request, results, hang, timeout)
    tell(results, {"ended": ended(child)})
    end_all()
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)


def adopt() -> None:
    """Have what leaves its parent and its session, as daemons do, become a child of this process."""
    try:
        import ctypes  # not every Python has it

        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass  # no Linux, or a Python without ctypes: there the group has to do


def ended(child: int) -> int:
    """Wait for a process, and return its exit code, or the signal that ended or stopped it, negative."""
    _, status = os.waitpid(child, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return -os.WSTOPSIG(status)
    return os.waitstatus_to_exitcode(status)


def end_all() -> None:
    """End every process below this one: the children of those that end become its own, until there are none."""
    latest = time.monotonic() + SECONDS_TO_END
    while time.monotonic() < latest:
        for child in _watch.children():
            with contextlib.suppress(OSError):  # it has ended, or belongs to another user
                os.kill(int(child), signal.SIGKILL)
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            time.sleep(0.001)


def open_to_append(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def redirect(output: str) -> None:
    """Close standard input, and send both outputs to a file, lest a grandchild that holds a pipe is waited for."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    printed = open_to_append(output)
    os.dup2(nothing, 0)
    os.dup2(printed, 1)
    os.dup2(printed, 2)


def load_all(request: dict[str, Any], results: int, hang: int, timeout: float) -> None:
    """Load every entry point, then end at once: what plugins want to do at exit, and their threads, have no say."""
    code = 1
    try:
        watch = _watch.Watch(request["engine"])
        for index, entry in enumerate(request["entries"]):
            faulthandler.dump_traceback_later(timeout, exit=True, file=hang)
            attempt(index, entry, watch, results, by_dots=not request["engine"])
            faulthandler.cancel_dump_traceback_later()
        code = 0
    finally:
        os._exit(code)


def attempt(index: int, entry: list[str], watch: Any, results: int, *, by_dots: bool) -> None:
    """Load one entry point, and tell what came of it."""
    loading: list[float] = []  # the seconds until it was called, if it is

    def calls() -> None:
        loading.append(watch.seconds())
        tell(results, {"call": index})

    tell(results, {"start": index})
    watch.begin()
    errors = load(*entry, by_dots=by_dots, calls=calls)
    seconds = watch.seconds()
    took = [*loading, seconds - loading[0]] if loading else [seconds]
    tell(results, {"end": index, "errors": errors, "seconds": took, **watch.told()})


def load(
    group: str, name: str, value: str, returns: str, derives: str, *, by_dots: bool, calls: Callable[[], None]
) -> list[str]:
    """Load one entry point, and call it if it is to return something, which `calls` is told before.

    With `by_dots` it may be `module.attribute` too, as programs have it that read a group of theirs by themselves.
    Return the error and the errors behind it, each in one line; none if all is well.
    """
    errors: list[str] = []
    process = getpid()
    try:
        point = importlib.metadata.EntryPoint(name=name, value=value, group=group)
        loaded = dotted(point) if by_dots and ":" not in value else point.load()
        if derives:
            check_class(loaded, derives)
        if returns:
            calls()
            check(loaded(), returns)
    except BaseException as error:  # noqa: BLE001 (plugins may raise SystemExit too)
        errors = [one_line(each) for each in chain(error)]
    if getpid() != process:
        os._exit(0)  # a plugin has forked, and this is its child
    return errors


def dotted(point: importlib.metadata.EntryPoint) -> Any:
    """Load a module, or what stands in one: `package.Class`."""
    try:
        return point.load()
    except ModuleNotFoundError as error:
        module, _, attribute = point.value.strip().rpartition(".")
        if not module or error.name != point.value.strip():
            raise
        return getattr(importlib.import_module(module), attribute)


def check(returned: object, returns: str) -> None:
    """Raise `TypeError` for what the engine could not use; follow a platform's path, as the engine does at once."""
    if isinstance(returned, types.CoroutineType):
        returned.close()
        raise TypeError("it is an `async` function: the engine calls it and does not wait, so nothing in it runs")
    if returns == "class" and not callable(returned):
        raise TypeError(f"it returned {returned!r:.100}, not a class")
    if returns in ("path", "platform") and not (returned is None or isinstance(returned, str)):
        raise TypeError(f"it returned {returned!r:.100}, neither the path of a class nor None")
    if returns == "platform" and isinstance(returned, str):
        _watch.resolve(returned)


def check_class(loaded: object, derives: str) -> None:
    """Raise `TypeError` for what is no class that the engine would take; an interface that it lacks demands nothing."""
    if not isinstance(loaded, type):
        raise TypeError(f"it is {loaded!r:.100}, not a class")
    try:
        interface = _watch.resolve(derives) if derives != "class" else object
    except Exception:  # noqa: BLE001 (another release of the engine, or one that needs its device to be imported)
        return
    if not issubclass(loaded, interface):
        raise TypeError(f"`{loaded.__name__}` is no subclass of `{derives}`, and the engine takes nothing else")


def chain(error: BaseException | None) -> list[BaseException]:
    """Return `error` and what it was raised from, as a traceback would show them."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found


def one_line(error: BaseException) -> str:
    lines = traceback.format_exception_only(type(error), error)
    if isinstance(error, SyntaxError):
        lines = [lines[-1], f"({error.filename}, line {error.lineno})"]
    return " ".join(" ".join(lines).split())[:LONGEST]


def tell(results: int, record: dict[str, object]) -> None:
    record["at"] = monotonic()
    write(results, encode(record).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
