# vpm-env: notices sets under which an engine ends again and again; remove it with `vpm-env hook uninstall`
"""Count the starts of an engine under a set that nobody found good yet, and go back after too many that failed.

Copied into a base's site-packages as `_vpm_env/loop.py`, with the constants below filled in; `_vpm_env.activate`, which
the functions here get as their `host`, calls `count` where `hook install --rollback-after` asked for it. A start is a
file with an exclusive flock, which its process holds as long as it lives: so replicas that start together are not
taken for a loop, and of one that was killed the file is left. One that ends as somebody wanted takes its file away. The
file's name has the generation, how many starts had failed, one after the other, before this one, and which command it
was. Where nothing can be written, nothing is counted. Standard library only.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # it would take `typing` to import that
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

# filled in from here
PYTHON = ""
ROLLBACK_AFTER = 0
GOOD_AFTER = 0.0
# filled in to here

PAUSE = 300.0
"""Seconds that may lie between two starts of a loop: who restarts waits longer each time, but no longer than this."""
PATIENCE = 600.0
"""Seconds that a rollback may take: a set that was collected has to be made again."""
LOCK_PATIENCE = 60
"""Seconds that an engine waits for whoever else is changing the profile."""
WANTED = (None, 0, 2, 130, 143)
"""Exit codes of no failure: done, a command line that the engine does not take, and the ends that signals ask for."""

held: list[int] = []
"""The descriptor of this start, open as long as this process lives."""


def count(host: Any, module: str, environment: dict[str, str]) -> None:
    """Note this start if the process is going to serve, or go back if too many failed before it.

    `module` is what `-m` names, "" for a script.
    """
    auto = __import__("_vpm_env.auto").auto
    if host.generation is None or not auto.is_serving(module, sys.argv[1:]):
        return
    folder = f"{host.HOME}/profiles/{host.profile}/{host.BASE_KEY}"
    try:
        failed = noted(host, folder, digest_of([module, *sys.argv[1:]]))
    except Exception:  # noqa: BLE001 (Python starts, whatever is wrong)
        return
    if failed < ROLLBACK_AFTER:
        return
    times = "once" if failed == 1 else f"{failed} times in a row"
    why = f"its engine ended {times} before it had run for {GOOD_AFTER:g} s"
    failing = host.generation
    judge(host, failing, "bad", why)
    environment.pop("built", None)
    host.choose(environment)
    if host.generation != failing:
        count(host, module, environment)  # this start is one under the set that it gets now


def noted(host: Any, folder: str, command: str) -> int:
    """Note this start, unless too many like it failed; return how many did, 0 for a set that was judged."""
    state, why = judgement(f"{folder}/generations/{host.generation}.json")
    failed = failures(folder, host.generation if state == "untried" else None, command)
    path = ""
    if state == "untried" and failed < ROLLBACK_AFTER:
        path = note(f"{folder}/attempts", f"{host.generation}-{failed}-{command}")
        forget_wanted_end(path)
    if path or (state == "bad" and why):  # what a machine found bad may turn out to be good; a person's word stands
        find_good_later(host, path)
    return failed


def judgement(record: str) -> tuple[str, str]:
    """Return what is known of a generation, and why; the latter is "" where a person said so."""
    import json

    with open(record, encoding="utf-8") as stream:
        try:
            known = json.load(stream)
            return str(known["state"]), str(known["why"])
        except (ValueError, KeyError, TypeError):
            return "", ""


def digest_of(words: list[str]) -> str:
    """Return a few digits that tell commands apart; too few to find out what the words were."""
    import hashlib

    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:8]


def failures(folder: str, generation: int | None, command: str) -> int:
    """Say how many starts of a command failed, one after the other; forget those that say nothing any more.

    These are starts of other generations, of long ago, and of before the last switch. While a start lives, those that
    began after it say nothing of the set: with it, one came further.
    """
    try:
        names = os.listdir(f"{folder}/attempts")
    except FileNotFoundError:
        return 0
    now = oldest = time.time()
    longest = (ROLLBACK_AFTER + 1) * (GOOD_AFTER + PAUSE)
    switched = os.lstat(f"{folder}/current").st_mtime
    begin = max(switched if switched <= now else 0.0, now - longest)  # a clock that was set back made it in the future
    failed = []
    for path, number, before, words in known(f"{folder}/attempts", names):
        began, lives = look(path)
        if lives:
            is_start = number == generation and now - began < GOOD_AFTER + PAUSE  # else only something it left lives
            oldest = min(oldest, began) if is_start else oldest
            continue
        if number != generation or began < begin:
            forget(path)
        elif words == command:
            failed.append((began, before + 1))
    return max((times for began, times in failed if began <= oldest), default=0)


def known(folder: str, names: list[str]) -> Iterator[tuple[str, int, int, str]]:
    """Yield path, generation, earlier failures and command of every start."""
    for name in names:
        parts = name.split("-")
        if len(parts) == 4 and parts[0].isdigit() and parts[1].isdigit():
            yield f"{folder}/{name}", int(parts[0]), int(parts[1]), parts[2]


def look(path: str) -> tuple[float, bool]:
    """Say when a start began, in seconds since the epoch, and whether it lives; one that is forgotten never was."""
    import fcntl

    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return 0.0, False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: others may look at the same time
        return os.fstat(file).st_mtime, False
    except BlockingIOError:
        return os.fstat(file).st_mtime, True
    finally:
        os.close(file)


def note(folder: str, name: str) -> str:
    """Write this start down, under its name only once it is held: others would take it for one that has ended."""
    import fcntl

    os.makedirs(folder, mode=0o755, exist_ok=True)
    name = f"{name}-{os.urandom(8).hex()}"
    file = os.open(f"{folder}/.{name}", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(f"{folder}/.{name}", f"{folder}/{name}")
    except OSError:
        os.close(file)
        raise
    os.set_inheritable(file, True)  # what this process becomes by `exec` is the same start
    held.append(file)
    return f"{folder}/{name}"


def forget(path: str) -> None:
    """Take a start's file away; another process may have been faster."""
    try:
        os.unlink(path)
    except OSError:
        pass


def forget_wanted_end(path: str) -> None:
    """Forget this start when its process ends as somebody wanted.

    Engines answer SIGTERM and SIGINT by ending in order, which runs what is registered here; death by a signal and
    `os._exit` do not. Python tells nobody what it ends with, so that is read off `sys.exit`, and off the error that it
    shows.
    """
    import atexit
    import threading

    process, leave = os.getpid(), sys.exit
    code: Any = None

    def leave_with(status: Any = None, /) -> NoReturn:
        nonlocal code
        if threading.current_thread() is threading.main_thread():  # another one ends nothing but itself
            code = status
        leave(status)

    def end() -> None:
        if os.getpid() == process and is_wanted(code, getattr(sys, "last_type", None)):
            forget(path)

    sys.exit = leave_with
    atexit.register(end)


def is_wanted(code: object, error: type[BaseException] | None) -> bool:
    """Tell whether an end is no failure: by the code, unless an error that nobody caught says more."""
    return issubclass(error, KeyboardInterrupt) if error else code in WANTED


def find_good_later(host: Any, path: str) -> None:
    """Mark the set good when this process has lived for long enough; its children have no such thread."""
    import threading

    generation = host.generation

    def find_good() -> None:
        judge(host, generation, "good", f"its engine ran for {GOOD_AFTER:g} s")
        forget(path)

    timer = threading.Timer(GOOD_AFTER, find_good)
    timer.daemon = True
    timer.start()


def judge(host: Any, generation: int, state: str, why: str) -> None:
    """Let vpm-env mark a generation, and go back from a bad one; pass on what it says, when it says it."""
    scope = ("--base", PYTHON, "--home", host.HOME, "--profile", host.profile)
    words = [*host.COMMAND, "rollback", "--judge", state, str(generation), why, *scope]
    variables = __import__("_vpm_env.auto").auto.variables()
    if variables["VPM_ENV_LOCK_TIMEOUT"] == "inf":  # which is what builds wait
        variables["VPM_ENV_LOCK_TIMEOUT"] = str(LOCK_PATIENCE)
    try:
        pass_on(words, variables, host.tell)
    except OSError as error:
        host.tell(f"ERROR: generation {generation} cannot be marked {state}: {error}")


def pass_on(words: list[str], variables: dict[str, str], tell: Callable[[str], None]) -> None:
    """Run a command to its end, and tell each line of what it says on standard error."""
    import signal
    import subprocess
    import threading

    nothing = subprocess.DEVNULL
    child = subprocess.Popen(
        words, env=variables, cwd="/", stdin=nothing, stdout=nothing, stderr=subprocess.PIPE, start_new_session=True
    )
    timer = threading.Timer(PATIENCE, os.killpg, (child.pid, signal.SIGKILL))
    timer.daemon = True
    timer.start()
    with child:
        for line in child.stderr or ():
            tell(line.decode("utf-8", "replace").rstrip())
    timer.cancel()
