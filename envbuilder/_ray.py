# vpm-env for Ray: gives all workers of a job one plugin set, on every node; remove it with `vpm-env hook uninstall`
"""Let a Ray job name its plugin set: `runtime_env={"vpm_env": …}`, and let its driver see that all workers have it.

Copied into a base that has Ray as `_vpm_env/ray.py`. `VpmEnv` is the plugin that Ray's agents load; `runtime_env`,
`resolve`, `share` and `check` are for drivers. Standard library only, and Ray itself where there is need of it.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["DiffersError", "VpmEnv", "check", "resolve", "runtime_env", "schema", "share", "told"]  # noqa: F822 (made when asked for)

FIELD = "vpm_env"
WORDS = 40
"""How many of the last words of an error are told."""
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
                "cache": {"type": "string", "pattern": "^[^-]"},
                "job": {"type": "string"},
            },
            "anyOf": [{"required": ["digest"]}, {"required": ["channel"]}],
        },
    ],
}
"""For RAY_RUNTIME_ENV_PLUGIN_SCHEMAS."""


class DiffersError(RuntimeError):
    """Workers have not the set that they should have; `answers` is what all of them said."""

    def __init__(self, digest: str, answers: Sequence[Mapping[str, Any]]) -> None:
        others = [answer for answer in answers if answer["digest"] != digest]
        lines = (f"  {answer['worker']}: {answer['digest'][:12] or answer['reason']}" for answer in others)
        begin = f"{len(others)} of {len(answers)} workers have not the set {digest[:12]}:"
        super().__init__("\n".join((begin, *lines)))
        self.answers = answers


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
    field = {"digest" if _node().is_digest(what) else "channel": what, **({"cache": cache} if cache else {})}
    return _resolved({**others, FIELD: field})


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
    node = _node()
    asked = node.require_possible(runtime_env)
    if not asked.digest:
        found = node.Calls().first(asked, lambda url: ("cache", "channel", url, asked.channel)).get("digest")
        asked = node.parse({**asked._asdict(), "digest": found})
    return {**runtime_env, FIELD: {name: value for name, value in asked._asdict().items() if value}}


def share(runtime_env: Any) -> Any:
    """Do as `resolve`, and where a job names no set, name the one that this process has, if it has one."""
    named, own = dict(runtime_env or {}), told()["digest"]
    return resolve({**named, FIELD: own} if own and named.get(FIELD) is None else runtime_env)


def told() -> dict[str, Any]:
    """Say which set this process has, "" for none, and where it is."""
    hook: Any = sys.modules.get("_vpm_env_hook") or sys.modules.get("_vpm_env_layer")
    state = getattr(hook, "state", "no-hook")
    return {
        "worker": f"node {_place()}, pid {os.getpid()}",
        "state": state,
        "reason": getattr(hook, "reason", "the start-up hook did not run"),
        "digest": hook.digest if state == "active" else "",
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


def _wanted(field: object) -> str:
    node, own = _node(), told()
    if field is None and not own["digest"]:
        raise RuntimeError(f"the job names no plugin set in `{FIELD}`, and this process has none: {own['reason']}")
    return str(own["digest"] if field is None else node.require_resolved(node.parse(field)).digest)


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
