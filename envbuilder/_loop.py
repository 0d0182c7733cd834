# vpm-env: notices sets under which an engine ends again and again; remove it with `vpm-env hook uninstall`
"""Count the starts of an engine under a set that nobody found good yet, and go back after too many that failed.

Copied into a base's site-packages as `_vpm_env/loop.py`, with the constants below filled in; `_vpm_env.activate`, which
the functions here get as their `host`, calls `count` where `hook install --rollback-after` asked for it. A start is a
file with an exclusive flock, which its process holds as long as it lives: so replicas that start together are not
taken for a loop, and it does not matter how a process ends. The file's name has how many starts had failed, one after
the other, before this one. Where nothing can be written, nothing is counted. Standard library only.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # it would take `typing` to import that
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# filled in from here
PYTHON = ""
ROLLBACK_AFTER = 0
GOOD_AFTER = 0.0
# filled in to here

PAUSE = 300.0
"""Seconds that may lie between two starts of a loop: who restarts waits longer each time, but no longer than this."""
PATIENCE = 600.0
"""Seconds that a rollback may take: a set that was collected has to be made again."""

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
        if state_of(f"{folder}/generations/{host.generation}.json") != "untried":
            return
        failed = failures(f"{folder}/attempts", host.generation)
        if failed < ROLLBACK_AFTER:
            note(f"{folder}/attempts", host.generation, failed)
            find_good_later(host)
            return
    except Exception:  # noqa: BLE001 (Python starts, whatever is wrong)
        return
    times = "once" if failed == 1 else f"{failed} times in a row"
    why = f"its engine ended {times} before it had run for {GOOD_AFTER:g} s"
    failing = host.generation
    judge(host, failing, "bad", why)
    environment.pop("built", None)
    host.choose(environment)
    if host.generation != failing:
        count(host, module, environment)  # this start is one under the set that it gets now


def state_of(record: str) -> str:
    """Return what is known of a generation."""
    import json

    with open(record, encoding="utf-8") as stream:
        try:
            return str(json.load(stream)["state"])
        except (ValueError, KeyError, TypeError):
            return ""


def failures(folder: str, generation: int) -> int:
    """Say how many starts failed one after the other; forget those of other generations, and of long ago."""
    import fcntl

    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return 0
    longest = (ROLLBACK_AFTER + 1) * (GOOD_AFTER + PAUSE)
    most = 0
    for path, number, before in known(folder, names):
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: others may look at the same time
            if number != generation or time.time() - os.fstat(file).st_mtime > longest:
                os.unlink(path)
            else:
                most = max(most, before + 1)
        except BlockingIOError:
            pass  # its process lives
        finally:
            os.close(file)
    return most


def known(folder: str, names: list[str]) -> Iterator[tuple[str, int, int]]:
    """Yield path, generation and earlier failures of every start."""
    for name in names:
        parts = name.split("-")
        if len(parts) == 3 and parts[0].isdigit() and parts[1].isdigit():
            yield f"{folder}/{name}", int(parts[0]), int(parts[1])


def note(folder: str, generation: int, failed: int) -> None:
    """Write this start down, under its name only once it is held: others would take it for one that has ended."""
    import fcntl

    os.makedirs(folder, mode=0o755, exist_ok=True)
    name = f"{generation}-{failed}-{os.urandom(8).hex()}"
    file = os.open(f"{folder}/.{name}", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(f"{folder}/.{name}", f"{folder}/{name}")
    except OSError:
        os.close(file)
        raise
    os.set_inheritable(file, True)  # what this process becomes by `exec` is the same start
    held.append(file)


def find_good_later(host: Any) -> None:
    """Mark the set good when this process has lived for long enough; its children have no such thread."""
    import threading

    words = (host, host.generation, "good", f"its engine ran for {GOOD_AFTER:g} s")
    timer = threading.Timer(GOOD_AFTER, judge, words)
    timer.daemon = True
    timer.start()


def judge(host: Any, generation: int, state: str, why: str) -> None:
    """Let vpm-env mark a generation, and go back from a bad one; pass on what it says."""
    import subprocess

    scope = ("--base", PYTHON, "--home", host.HOME, "--profile", host.profile)
    words = [*host.COMMAND, "rollback", "--judge", state, str(generation), why, *scope]
    try:
        done = subprocess.run(
            words,
            env=__import__("_vpm_env.auto").auto.variables(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
        said = done.stderr.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError) as error:
        said = f"ERROR: generation {generation} cannot be marked {state}: {error}"
    for line in said.splitlines():
        host.tell(line)
