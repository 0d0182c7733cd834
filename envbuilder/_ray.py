# vpm-env for Ray: gives all workers of a job one plugin set, on every node; remove it with `vpm-env hook uninstall`
"""Let a Ray job name its plugin set: `runtime_env={"vpm_env": …}`, and let its driver see that all workers have it.

Copied into a base that has Ray as `_vpm_env/ray.py`. `VpmEnv` is the plugin that Ray's agents load; `runtime_env`,
`resolve`, `share` and `check` are for drivers. Standard library only, and Ray itself where there is need of it.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["DiffersError", "VpmEnv", "check", "resolve", "runtime_env", "schema", "share", "told"]  # noqa: F822 (made when asked for)

FIELD = "vpm_env"
WORDS = 40
"""How many of the last words of an error are told."""
UNPINNED = " (nobody pinned it: does the job name a set, and is the plugin in RAY_RUNTIME_ENV_PLUGINS of that node?)"
SIGNS = tuple("._-")
NAME = frozenset((*"abcdefghijklmnopqrstuvwxyz0123456789", *SIGNS))
LESSENING = ("VPM_ENV_DISABLE", "VPM_ENV_WITHOUT")
"""Variables of a job that say that its workers are not to have the set as it is."""
OTHER_PYTHONS = ("pip", "uv", "conda", "container", "image_uri", "py_executable")
"""Fields whose workers run another Python than the base's, which has no hook."""
RESOLVE = (
    '`_vpm_env.ray.runtime_env("{channel}")` in the driver does that, or name a digest; '
    "`RAY_RUNTIME_ENV_HOOK=_vpm_env.ray.resolve` does it for `ray.init` alone"
)
SCHEMA_FILE = "ray.json"
SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": FIELD,
    "description": "The plugin set of a job's workers: a digest, or a channel that the driver looks up.",
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                "channel": {"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,62}$"},
                "cache": {"type": "string", "pattern": r"^(?!-)(?!.*\$\{)[^@]+$"},
                "job": {"type": "string"},
            },
            "anyOf": [{"required": ["digest"]}, {"required": ["channel"]}],
        },
    ],
}
"""For RAY_RUNTIME_ENV_PLUGIN_SCHEMAS."""


class Asked(NamedTuple):
    """What a job asks for: the digest of a set, or the channel that names it; `cache` is "" for those of the node."""

    digest: str = ""
    channel: str = ""
    cache: str = ""
    job: str = ""  # makes one job's words differ from another's


class DiffersError(RuntimeError):
    """Workers have not the set that they should have; `answers` is what all of them said."""

    def __init__(self, digest: str, answers: Sequence[Mapping[str, Any]]) -> None:
        others = [answer for answer in answers if answer["digest"] != digest]
        lines = (f"  {answer['worker']}: {_set_of(answer)}" for answer in others)
        begin = f"{len(others)} of {len(answers)} workers have not the set {digest[:12]}:"
        super().__init__("\n".join((begin, *lines)))
        self.answers = answers


def _set_of(answer: Mapping[str, Any]) -> str:
    hint = "" if answer.get("pinned_by", "ray") == "ray" else UNPINNED
    return f"{answer['digest'][:12] or answer['reason']}{hint}"


def __getattr__(name: str) -> Any:
    """Make `VpmEnv` when Ray asks for it: its class takes everybody else a second to import."""
    if name != "VpmEnv":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    plugin = importlib.import_module("ray._private.runtime_env.plugin").RuntimeEnvPlugin
    return globals().setdefault(name, type(name, (_node().Node, plugin), {"__module__": __name__}))


def runtime_env(what: str = "", *, cache: str = "", **others: Any) -> dict[str, Any]:
    """Return a runtime environment, of `others` too, that names one set by its digest, so that all nodes agree.

    `what` is a digest, or a channel as it is at this moment; "" is the set that this process has. Raise `RuntimeError`
    where there is none, and `ValueError` for what cannot be.
    """
    own = told()
    what = what or own["digest"]
    if not what:
        raise RuntimeError(f"this process has no plugin set to give to its workers: {own['reason']}")
    asked = parse(what)
    return _resolved({**others, FIELD: asked._replace(cache=cache or asked.cache)._asdict()})


def resolve(runtime_env: Any) -> Any:
    """Put a digest in the place of a channel: Ray calls this, by RAY_RUNTIME_ENV_HOOK, in a job's driver.

    Not on a node: its agent knows a job by the text of what it asks for, and would give a new one the set of an older
    one that asked for the same channel, where another node would not. By the text it also remembers, for ten minutes,
    what failed: so each job has a text of its own.
    """
    if not runtime_env or runtime_env.get(FIELD) is None:
        return runtime_env
    found = _resolved(runtime_env)
    return {**found, FIELD: {"job": os.urandom(4).hex(), **found[FIELD]}}


def _resolved(runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    asked = require_possible(runtime_env)
    if not asked.digest:
        found = _node().Calls().first(asked, lambda url: ("cache", "channel", url, asked.channel)).get("digest")
        asked = parse({**asked._asdict(), "digest": found})
    return {**runtime_env, FIELD: {name: value for name, value in asked._asdict().items() if value}}


def share(runtime_env: Any) -> Any:
    """Do as `resolve`, and where a job names no set, name the one that this process has, if it has one."""
    named, own = dict(runtime_env or {}), told()["digest"]
    return resolve({**named, FIELD: own} if own and named.get(FIELD) is None else runtime_env)


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
    """Refuse what vpm-env would take for an option, what everybody who sees the job could use, and what it may not."""
    if "@" in cache:  # anywhere: a password may have a slash in it
        raise ValueError(f"`{FIELD}`: `cache` has credentials in it; the nodes take such a URL from VPM_ENV_CACHES")
    if "${" in cache:
        raise ValueError(f"`{FIELD}`: `cache` names a variable, and those of the nodes are not the job's to read")
    if cache.startswith("-"):
        raise ValueError(f"`{FIELD}`: `{cache}` is no URL of a cache")


def require_possible(runtime_env: Mapping[str, Any]) -> Asked:
    """Return what a runtime environment asks for; raise `ValueError` for what cannot be."""
    asked = parse(runtime_env.get(FIELD))
    for other in OTHER_PYTHONS:
        if runtime_env.get(other):
            raise ValueError(f"`{FIELD}` does not go with `{other}`, whose workers run another Python")
    for name in LESSENING:
        if (runtime_env.get("env_vars") or {}).get(name, "0") not in ("", "0"):
            raise ValueError(f"`{FIELD}` does not go with `{name}` in `env_vars`: all workers have the whole set")
    return asked


def require_resolved(asked: Asked) -> Asked:
    """Refuse a channel: two nodes may find two sets behind it."""
    if not asked.digest:
        remedy = RESOLVE.format(channel=asked.channel)
        raise ValueError(f"`{FIELD}`: nobody put a digest in the place of the channel `{asked.channel}`: {remedy}")
    return asked


def told() -> dict[str, Any]:
    """Say which set this process has, "" for none, who pinned it to that, and where it is."""
    hook: Any = sys.modules.get("_vpm_env_hook") or sys.modules.get("_vpm_env_layer")
    state = getattr(hook, "state", "no-hook")
    return {
        "worker": f"node {_place()}, pid {os.getpid()}",
        "state": state,
        "reason": getattr(hook, "reason", "the start-up hook did not run"),
        "digest": hook.digest if state == "active" else "",
        "pinned_by": _node().pinned_by(),
    }


def check(*actors: Any, digest: str = "", timeout: float = 60.0) -> list[dict[str, Any]]:
    """Ask a worker of this job on every node, or these actors, which set they have; return what they say.

    Raise `DiffersError` unless all have `digest`; if none is given what the job asks for, else what this process has.
    """
    ray = importlib.import_module("ray")
    wanted = digest or _wanted(ray.get_runtime_context().runtime_env.get(FIELD))
    asked = dict(_asked_actors(actors) if actors else _asked_nodes(ray))
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=timeout)
    answers = [_answer(ray, question, name, question in ready) for question, name in asked.items()]
    if any(answer["digest"] != wanted for answer in answers):
        raise DiffersError(wanted, answers)
    return answers


def schema() -> str:
    """Return the path of the JSON schema of the field."""
    from importlib.metadata import files

    return next(str(path.locate()) for path in files("vpm-env-hook") or () if path.name == SCHEMA_FILE)


def changes_of(facts: Sequence[str]) -> str:
    """Say which versions this process sees in the place of those that a set relies on; a node asks a trial worker."""
    pairs = (fact.split("==", 1) for fact in facts)
    seen = ((name, version, _version(name)) for name, version in pairs)
    changes = ((name, was, now or "missing") for name, was, now in seen if now not in (was, "unknown"))
    return ", ".join(f"{name} {was} \u2192 {now}" for name, was, now in changes)


def _version(name: str) -> str:
    """Return a distribution's version as the guard reads it: "" if there is none, `unknown` if nobody can tell."""
    from importlib import metadata

    engine = importlib.import_module("_vpm_env.activate").ENGINE_NAMES
    for known in reversed(engine) if name in engine[:1] else (name,):
        try:
            return metadata.version(known) or "unknown"
        except metadata.PackageNotFoundError:
            continue
        except Exception:  # noqa: BLE001 (broken metadata raise whatever they like)
            return "unknown"
    return ""


def _wanted(field: object) -> str:
    own = told()
    if field is None and not own["digest"]:
        raise RuntimeError(f"the job names no plugin set in `{FIELD}`, and this process has none: {own['reason']}")
    return str(own["digest"] if field is None else require_resolved(parse(field)).digest)


def _asked_actors(actors: Sequence[Any]) -> Iterator[tuple[Any, str]]:
    for actor in actors:
        yield actor.__ray_call__.remote(_told_by), str(actor)


def _told_by(_: object) -> dict[str, Any]:
    return told()


def _asked_nodes(ray: Any) -> Iterator[tuple[Any, str]]:
    strategy = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
    question = ray.remote(num_cpus=0, max_retries=0)(told)
    for node in ray.nodes():
        if node["Alive"]:
            here = strategy(node_id=node["NodeID"], soft=False)
            yield question.options(scheduling_strategy=here).remote(), f"node {node['NodeManagerAddress']}"


def _answer(ray: Any, question: Any, name: str, is_ready: bool) -> dict[str, Any]:
    silent = {"worker": name, "state": "silent", "reason": "it does not answer", "digest": ""}
    try:
        return dict(ray.get(question)) if is_ready else silent
    except Exception as error:  # noqa: BLE001 (what is wrong with a worker is its answer)
        return {**silent, "reason": " ".join(str(error).split()[-WORDS:])}


def _place() -> str:
    """Name this machine: by its address, as Ray does, and by its name, as people do."""
    name = os.uname().nodename
    try:
        return f"{importlib.import_module('ray.util').get_node_ip_address()} ({name})" if "ray" in sys.modules else name
    except Exception:  # noqa: BLE001 (the name will do)
        return name


def _node() -> Any:
    return importlib.import_module("_vpm_env.ray_node")
