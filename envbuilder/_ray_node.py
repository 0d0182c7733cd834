# vpm-env on the nodes of Ray: has the set that a job asks for; remove it with `vpm-env hook uninstall`
"""Have a plugin set on a node of Ray, and pin the workers of a job to it: what Ray's agent calls.

Copied into a base that has Ray as `_vpm_env/ray_node.py`, with the constants below filled in; `_vpm_env.ray` makes of
it what Ray takes. Standard library only. A node ends with its agent, so whatever takes longer than a look at a file is
done by another process, which has a time to end.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping, Sequence

# filled in from here
HOME = ""
BASE_KEY = ""
PYTHON = ""
COMMAND: tuple[str, ...] = ()
# filled in to here

FIELD = "vpm_env"
URI = "vpm_env://"
CACHES, CACHE = "VPM_ENV_CACHES", "VPM_ENV_CACHE"
"""The caches of this node, and the one that a command is to ask: its URL may hold a password, and `ps` shows words."""
OURS = ("VPM_ENV_PIN", "VPM_ENV_PIN_BY", "VPM_ENV_PROFILE")
TIMEOUT = 600.0
"""Seconds that a node has for a set, as Ray's own setup has; a job's `setup_timeout_seconds` may ask for more."""
SIZE = 1 << 40
"""What a set is said to take: more than Ray keeps for later, so that it lets go of what no job uses, for gc to have.

What Ray lets go of costs it a lease, and no file.
"""
MOST_KINDS = 1000
"""Kinds of workers that are remembered: an agent lives for months, and each job may have variables of its own."""
LAST_LINES, MOST_LINES = 5, 40
"""How many of a command's last lines say why it failed, where none begins an error, and how many where one does."""
MARK = "vpm-env found:"
TRIAL = f"""
import os, sys
hook = sys.modules.get("_vpm_env_hook")
state, digest, reason = (getattr(hook, name, "") for name in ("state", "digest", "reason"))
found = {{}}
folders = [name for path in sys.path for name in next(os.walk(path), ("", ()))[1]]
for entry in (name for name in folders if name.endswith(".dist-info")):
    name, _, version = entry[:-10].lower().partition("-")
    found.setdefault(name.replace("_", "-"), version)
odd = [fact for fact in sys.argv[1:] if found.get(fact.partition("==")[0]) != fact.partition("==")[2].lower()]
if odd and state == "active" and (changes := __import__("_vpm_env.ray").ray.changes_of(odd)):
    state, reason = "base-changed", "the base changed: " + changes
os.write(1, chr(10).join(("", "{MARK}", state, digest, reason, "")).encode("utf-8", "backslashreplace"))
"""
"""What a worker would find. Folders' names say which versions are there, as a rule; to ask for each takes 50 ms."""


class FailedError(RuntimeError):
    """Why a set cannot be had, in a sentence."""


class Node:
    """The plugin, but for Ray's own class."""

    name = FIELD

    def __init__(self) -> None:
        self._leases: dict[str, int] = {}
        self._locks: dict[str, Any] = {}
        self._tried: set[tuple[Any, ...]] = set()

    @staticmethod
    def validate(runtime_env: Mapping[str, Any]) -> None:
        """Raise `ValueError` for what cannot be."""
        _field().require_resolved(_field().require_possible(runtime_env))

    def get_uris(self, runtime_env: Mapping[str, Any]) -> list[str]:
        """Name the set; Ray asks this of every runtime environment, and would have none at all if this raised."""
        try:
            digest = _field().parse(runtime_env.get(FIELD)).digest
        except Exception:  # noqa: BLE001 (`validate` says what is wrong)
            return []
        return [URI + digest] if digest else []

    async def create(self, uri: str | None, runtime_env: Mapping[str, Any], context: Any, logger: Any) -> int:  # noqa: ARG002 (Ray's)
        """Have the set on this node, and hold its lease until Ray lets go of it; raise `FailedError` otherwise."""
        import asyncio

        asked = _field().require_resolved(_field().require_possible(runtime_env))
        async with self._locks.setdefault(asked.digest, asyncio.Lock()):
            if asked.digest not in self._leases:
                self._leases[asked.digest] = await _had(asked, context, limit_of(runtime_env), self._tried)
        return SIZE

    def modify_context(self, uris: Sequence[str], runtime_env: Mapping[str, Any], context: Any, logger: Any) -> None:  # noqa: ARG002 (Ray's)
        """Pin the workers; their own start-up hook does the rest."""
        context.env_vars.update(_pin(_field().parse(runtime_env.get(FIELD)).digest))

    def delete_uri(self, uri: str, logger: Any) -> int:  # noqa: ARG002 (Ray's)
        """Give the lease back; what is on disk is gc's."""
        lease = self._leases.pop(uri.removeprefix(URI), None)
        if lease is not None:
            os.close(lease)
        return SIZE


def _field() -> Any:
    """Return what knows what a job may say."""
    return importlib.import_module("_vpm_env.ray")


def limit_of(runtime_env: Mapping[str, Any]) -> float | None:
    """Return how many seconds a node has; None where the job wants no limit."""
    seconds = (runtime_env.get("config") or {}).get("setup_timeout_seconds", TIMEOUT)
    return None if seconds == -1 else max(TIMEOUT, seconds)


async def _had(asked: Any, context: Any, limit: float | None, tried: set[tuple[Any, ...]]) -> int:
    """Let a thread have the set; what it started ends when nobody waits for that any more."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    calls, own = Calls(limit), ThreadPoolExecutor(1)  # a cache that is silent keeps only those waiting who need it
    work = asyncio.get_running_loop().run_in_executor(own, _have, calls, asked, context, tried)
    own.shutdown(wait=False)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        calls.end()
        work.add_done_callback(_give_back)
        raise


def _give_back(work: Any) -> None:
    if not work.exception():
        os.close(work.result())


def _have(calls: Calls, asked: Any, context: Any, tried: set[tuple[Any, ...]]) -> int:
    """Return the lease of a set that is here, or comes from a cache, and that a worker would get.

    Whether it would get it is tried, unless the set has just been made for this base, and a worker of this kind was
    `tried` before: Python's start takes a tenth of the time that a node needs for a new set.
    """
    path = f"{HOME}/overlays/{BASE_KEY}/{asked.digest}"
    kind, is_here = _kind_of(context), os.path.exists(f"{path}/overlay.json")
    damage = _damage(path) if is_here else ""
    is_new = bool(damage) or not is_here
    if is_new:
        _pull(calls, asked, damage)
    lease: int | None = importlib.import_module("_vpm_env.activate").leased(path)
    if lease is None:
        raise FailedError(f"nobody can hold `{path}/.lease`: gc has it, or the set is damaged")
    try:
        if not is_new or kind not in tried:
            _try(calls, path, context)
    except BaseException:
        os.close(lease)
        raise
    if len(tried) >= MOST_KINDS:
        tried.clear()
    tried.add(kind)
    return lease


def _kind_of(context: Any) -> tuple[Any, ...]:
    """Say what a worker is, but for its set: its Python, its variables, and the state of what the base has beside us.

    A folder is another as soon as a file of it comes, goes or is replaced: the hook's, or a distribution.
    """
    own = os.path.dirname(os.path.abspath(__file__))
    states = [os.path.exists(folder) and os.stat(folder).st_mtime_ns for folder in (own, os.path.dirname(own))]
    variables = sorted(one for one in context.env_vars.items() if one[0] not in OURS)
    return (context.py_executable, *variables, *states)


def _damage(path: str) -> str:
    """Say what is wrong with a set, "" for nothing: what it has in the store may be gone. A pull mends it."""
    try:
        _facts(path)
        folders = [f"{path}/lib", *filter(os.path.isdir, (f"{path}/override",))]
        lost = next((f"`{link}` leads nowhere" for folder in folders for link in _lost(folder)), "")
    except Exception as error:  # noqa: BLE001 (whatever it is, it is damage)
        lost = f"{type(error).__name__}: {error}"
    return f"the set in `{path}` is damaged: {lost}" if lost else ""


def _lost(folder: str) -> Iterator[str]:
    """Name the links in real folders that lead nowhere."""
    with os.scandir(folder) as found:
        entries = list(found)
    for entry in entries:
        if entry.is_symlink() and not os.path.exists(entry.path):
            yield entry.path
        elif entry.is_dir(follow_symlinks=False):
            yield from _lost(entry.path)


def _facts(path: str) -> list[str]:
    """Name the versions that a set relies on of the base, but for those in whose place it has its own."""
    with open(f"{path}/overlay.json", "rb") as stream:
        manifest = json.load(stream)
    shadowed = {member["name"] for member in manifest["members"] if member["override"]}
    return [f"{name}=={version}" for name, version in sorted(manifest["facts"].items()) if name not in shadowed]


def _pull(calls: Calls, asked: Any, damage: str) -> None:
    try:
        made = calls.first(asked, lambda url: ("pull", url, asked.digest, "--no-generation"))
    except FailedError as error:
        raise FailedError(f"{damage}\n{error}".strip()) from None
    key = made.get("base_key")
    if key != BASE_KEY:
        raise FailedError(f"the hook is for the base {BASE_KEY}, and this is {key}: run `vpm-env hook install` again")


def _try(calls: Calls, path: str, context: Any) -> None:
    """Start Python as a worker will be, and see whether its hook gives it the set over the base that it is for."""
    import shlex  # a profiler's plugin for Ray puts several words there

    digest = path.rpartition("/")[2]
    words = [*shlex.split(context.py_executable), "-c", TRIAL, *_facts(path)]
    said = calls.said(words, {**os.environ, **context.env_vars, **_pin(digest)})
    state, found, reason = (*said.rpartition(f"{MARK}\n")[2].split("\n"), "", "")[:3]
    if (state, found) != ("active", digest):
        raise FailedError(f"workers would not have the set {digest[:12]} here: {reason or 'there is no start-up hook'}")


def _pin(digest: str) -> dict[str, str]:
    return {"VPM_ENV_PIN": f"{BASE_KEY}:{digest}", "VPM_ENV_PIN_BY": "ray"}


def pinned_by() -> str:
    """Say who pinned this process to its set: `ray` for what `_pin` says."""
    return os.environ.get("VPM_ENV_PIN_BY", "")


class Calls:
    """Commands, one after another; whoever waits for them in another thread may `end` them."""

    def __init__(self, limit: float | None = TIMEOUT) -> None:
        self.limit = limit
        self.child: subprocess.Popen[bytes] | None = None
        self.is_over = False

    def first(self, asked: Any, words: Callable[[str], Sequence[str]]) -> dict[str, Any]:
        """Let vpm-env ask one cache after another, with these words, none of them a URL; return the first answer."""
        problems, scope = [], ("--json", "--base", PYTHON, "--home", HOME)
        command = [*COMMAND, *words(f"${{{CACHE}}}"), *scope]
        for url in (asked.cache,) if asked.cache else map(_filled, os.environ.get(CACHES, "").split()):
            try:
                return dict(json.loads(self.said(command, {**variables(), CACHE: url})))
            except (FailedError, TypeError, ValueError) as error:
                problems.append(str(error))
        raise FailedError("\n".join(problems) or f"`{FIELD}` names no `cache`, and there is none in {CACHES}")

    def said(self, words: Sequence[str], env: Mapping[str, str]) -> str:
        """Run a command to its end and return what it printed; raise `FailedError` with its last words."""
        import subprocess

        with self._begin(words, env) as child:
            try:
                printed, told = child.communicate(timeout=self.limit)
            except subprocess.TimeoutExpired:
                raise FailedError(f"`{words[0]}` takes longer than {self.limit:g} s") from None
            finally:
                end(child)
        if child.returncode:
            why = _why(told.decode("utf-8", "replace").strip().splitlines())
            raise FailedError(why or f"`{words[0]}` ended with {child.returncode}")
        return printed.decode("utf-8", "replace").strip()

    def end(self) -> None:
        """End what runs, and let nothing more begin."""
        self.is_over = True
        if self.child is not None:
            end(self.child)

    def _begin(self, words: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        import subprocess

        pipe = subprocess.PIPE
        try:
            # Not in this directory, whose files Python would take for modules, and in a group that can be ended.
            self.child = subprocess.Popen(
                words,
                cwd="/",
                env=env,
                umask=umask() | 0o022,  # the hook trusts no folder that others may write to
                stdin=subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
                start_new_session=True,
            )
        except OSError as error:
            raise FailedError(f"`{words[0]}` cannot be started: {error.strerror}") from None
        if self.is_over:
            end(self.child)
        return self.child


def _why(lines: list[str]) -> str:
    """Return the error among what a command said, with all that belongs to it, or its last words."""
    begins = [at for at, line in enumerate(lines) if line.startswith("error:")]
    return "\n".join(lines[begins[-1] :][:MOST_LINES] if begins else lines[-LAST_LINES:])


def _filled(url: str) -> str:
    """Fill in the variables that a URL of this node names: vpm-env leaves those of what stands in a variable."""
    import re

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", lambda found: os.environ.get(found[1], found[0]), url)


def end(child: subprocess.Popen[bytes]) -> None:
    """Kill a process and all of its group, unless it has ended."""
    try:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def umask() -> int:
    """Return this process's own, which can only be read by setting it."""
    now = os.umask(0o077)
    os.umask(now)
    return now


def variables() -> dict[str, str]:
    """Return the environment of vpm-env: without what steers this Python or names another set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON") and name not in OURS}
    return {**kept, "VPM_ENV_AUTO": "0"}
