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
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence

# filled in from here
HOME = ""
BASE_KEY = ""
PYTHON = ""
COMMAND: tuple[str, ...] = ()
# filled in to here

FIELD = "vpm_env"
URI = "vpm_env://"
CACHES = "VPM_ENV_CACHES"
SIGNS = tuple("._-")
NAME = frozenset((*"abcdefghijklmnopqrstuvwxyz0123456789", *SIGNS))
OURS = ("VPM_ENV_PIN", "VPM_ENV_PIN_BY", "VPM_ENV_PROFILE")
TIMEOUT = 600.0
"""Seconds that a node has for a set, as Ray's own setup has; a job's `setup_timeout_seconds` may ask for more."""
SIZE = 1 << 40
"""What a set is said to take: more than Ray keeps for later, so that it lets go of what no job uses, for gc to have.

What Ray lets go of costs it a lease, and no file.
"""
LAST_LINES = 5
"""How many of a command's last lines say why it failed."""
OTHER_PYTHONS = ("pip", "uv", "conda", "container", "image_uri", "py_executable")
"""Fields whose workers run another Python than the base's, which has no hook."""
RESOLVE = (
    "`RAY_RUNTIME_ENV_HOOK=_vpm_env.ray.resolve` in the driver's environment does that, or `_vpm_env.ray.runtime_env`"
)
TRIAL = """
import sys
hook = sys.modules.get("_vpm_env_hook")
print(*(getattr(hook, name, "") for name in ("state", "digest", "reason")), sep="\\n")
"""


class FailedError(RuntimeError):
    """Why a set cannot be had, in a sentence."""


class Asked(NamedTuple):
    """What a job asks for: the digest of a set, or the channel that names it; `cache` is "" for those of the node."""

    digest: str = ""
    channel: str = ""
    cache: str = ""
    job: str = ""  # makes one job's words differ from another's


def parse(field: object) -> Asked:
    """Read the field of a runtime environment; raise `ValueError` for what is none."""
    if isinstance(field, str):
        field = {"digest" if is_digest(field) else "channel": field}
    if not isinstance(field, dict) or not field.keys() <= set(Asked._fields):
        raise ValueError(f"`{FIELD}` is a channel, a digest, or an object of `digest`, `channel` and `cache`")
    if not all(isinstance(value, str) for value in field.values()):
        raise ValueError(f"`{FIELD}`: what its object has are texts")
    asked = Asked(**field)
    if not is_digest(asked.digest) and (asked.digest or not asked.channel):
        raise ValueError(f"`{FIELD}` names no set: it takes a digest of 64 hex digits, or a channel")
    if not NAME.issuperset(asked.channel) or asked.channel[:1] in SIGNS:
        raise ValueError(f"`{FIELD}`: `{asked.channel}` is no name of a channel")
    _require_public(asked.cache)
    return asked


def is_digest(text: str) -> bool:
    return len(text) == 64 and not text.strip("0123456789abcdef")


def _require_public(cache: str) -> None:
    """Refuse what vpm-env would take for an option, and what everybody who sees the job could use."""
    if cache.startswith("-"):
        raise ValueError(f"`{FIELD}`: `{cache}` is no URL of a cache")
    if "@" in cache.partition("://")[2].partition("/")[0]:
        raise ValueError(f"`{FIELD}`: `cache` has credentials in it; the nodes take such a URL from {CACHES}")


def require_possible(runtime_env: Mapping[str, Any]) -> Asked:
    """Return what a runtime environment asks for; raise `ValueError` for what cannot be."""
    asked = parse(runtime_env.get(FIELD))
    for other in OTHER_PYTHONS:
        if runtime_env.get(other):
            raise ValueError(f"`{FIELD}` does not go with `{other}`, whose workers run another Python")
    return asked


def require_resolved(asked: Asked) -> Asked:
    """Refuse a channel: two nodes may find two sets behind it."""
    if not asked.digest:
        raise ValueError(f"`{FIELD}`: nobody put a digest in the place of the channel `{asked.channel}`: {RESOLVE}")
    return asked


class Node:
    """The plugin, but for Ray's own class."""

    name = FIELD

    def __init__(self) -> None:
        self._leases: dict[str, int] = {}
        self._locks: dict[str, Any] = {}

    @staticmethod
    def validate(runtime_env: Mapping[str, Any]) -> None:
        """Raise `ValueError` for what cannot be."""
        require_resolved(require_possible(runtime_env))

    def get_uris(self, runtime_env: Mapping[str, Any]) -> list[str]:
        """Name the set; Ray asks this of every runtime environment, and would have none at all if this raised."""
        try:
            digest = parse(runtime_env.get(FIELD)).digest
        except Exception:  # noqa: BLE001 (`validate` says what is wrong)
            return []
        return [URI + digest] if digest else []

    async def create(self, uri: str | None, runtime_env: Mapping[str, Any], context: Any, logger: Any) -> int:  # noqa: ARG002 (Ray's)
        """Have the set on this node, and hold its lease until Ray lets go of it; raise `FailedError` otherwise."""
        import asyncio

        asked = require_resolved(require_possible(runtime_env))
        async with self._locks.setdefault(asked.digest, asyncio.Lock()):
            if asked.digest not in self._leases:
                self._leases[asked.digest] = await _had(asked, context, limit_of(runtime_env))
        return SIZE

    def modify_context(self, uris: Sequence[str], runtime_env: Mapping[str, Any], context: Any, logger: Any) -> None:  # noqa: ARG002 (Ray's)
        """Pin the workers; their own start-up hook does the rest."""
        context.env_vars.update(_pin(parse(runtime_env.get(FIELD)).digest))

    def delete_uri(self, uri: str, logger: Any) -> int:  # noqa: ARG002 (Ray's)
        """Give the lease back; what is on disk is gc's."""
        lease = self._leases.pop(uri.removeprefix(URI), None)
        if lease is not None:
            os.close(lease)
        return SIZE


def limit_of(runtime_env: Mapping[str, Any]) -> float | None:
    """Return how many seconds a node has; None where the job wants no limit."""
    seconds = (runtime_env.get("config") or {}).get("setup_timeout_seconds", TIMEOUT)
    return None if seconds == -1 else max(TIMEOUT, seconds)


async def _had(asked: Asked, context: Any, limit: float | None) -> int:
    """Let a thread have the set; what it started ends when nobody waits for that any more."""
    import asyncio

    calls = Calls(limit)
    work = asyncio.get_running_loop().run_in_executor(None, _have, calls, asked, context)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        calls.end()
        work.add_done_callback(_give_back)
        raise


def _give_back(work: Any) -> None:
    if not work.exception():
        os.close(work.result())


def _have(calls: Calls, asked: Asked, context: Any) -> int:
    """Return the lease of a set that is here, or comes from a cache, and that a worker would get."""
    path = f"{HOME}/overlays/{BASE_KEY}/{asked.digest}"
    if not os.path.exists(f"{path}/overlay.json"):
        _pull(calls, asked)
    lease: int | None = importlib.import_module("_vpm_env.activate").leased(path)
    if lease is None:
        raise FailedError(f"nobody can hold `{path}/.lease`: gc has it, or the set is damaged")
    try:
        _try(calls, asked.digest, context)
    except BaseException:
        os.close(lease)
        raise
    return lease


def _pull(calls: Calls, asked: Asked) -> None:
    made = calls.first(asked, lambda url: ("pull", url, asked.digest, "--no-generation"))
    key = made.get("base_key")
    if key != BASE_KEY:
        raise FailedError(f"the hook is for the base {BASE_KEY}, and this is {key}: run `vpm-env hook install` again")


def _try(calls: Calls, digest: str, context: Any) -> None:
    """Start Python as a worker will be, and see whether its hook gives it the set."""
    said = calls.said([context.py_executable, "-c", TRIAL], {**os.environ, **context.env_vars, **_pin(digest)})
    state, found, reason = (*said.split("\n"), "", "")[:3]
    if (state, found) != ("active", digest):
        raise FailedError(f"workers would not have the set {digest[:12]} here: {reason or 'there is no start-up hook'}")


def _pin(digest: str) -> dict[str, str]:
    return {"VPM_ENV_PIN": f"{BASE_KEY}:{digest}", "VPM_ENV_PIN_BY": "ray"}


class Calls:
    """Commands, one after another; whoever waits for them in another thread may `end` them."""

    def __init__(self, limit: float | None = TIMEOUT) -> None:
        self.limit = limit
        self.child: subprocess.Popen[bytes] | None = None
        self.is_over = False

    def first(self, asked: Asked, words: Callable[[str], Sequence[str]]) -> dict[str, Any]:
        """Let vpm-env ask one cache after another, with these words; return the first answer."""
        problems, scope = [], ("--json", "--base", PYTHON, "--home", HOME)
        for url in (asked.cache,) if asked.cache else os.environ.get(CACHES, "").split():
            try:
                return dict(json.loads(self.said([*COMMAND, *words(url), *scope], variables())))
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
                raise FailedError(f"`{' '.join(words)}` takes longer than {self.limit:g} s") from None
            finally:
                end(child)
        if child.returncode:
            lines = told.decode("utf-8", "replace").strip().splitlines()[-LAST_LINES:]
            raise FailedError("\n".join(lines) or f"`{words[0]}` ended with {child.returncode}")
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
