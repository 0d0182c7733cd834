# vpm-env guard: says in the engine's log which plugin set is active; remove it with `vpm-env hook uninstall`
"""Check, when the engine loads its plugins, what the start-up hook did: `register` is an entry point of the engine.

It cannot activate anything, because engines list their plugins before they call any. It raises under VPM_ENV_STRICT=1
only, and in a worker of a Ray job that named its set, when the set that should be active is not. Standard library only.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import sys
from typing import Any

PIN = "VPM_ENV_PIN"
PIN_BY = "VPM_ENV_PIN_BY"
HOOK, LAYER = "_vpm_env_hook", "_vpm_env_layer"
"""What knows the set: in the base's python the start-up hook, in an overlay's own without one what layers it."""
METRIC = "vpm_env_info"
METRICS = "prometheus_client"
RAY = "ray"
"""What VPM_ENV_PIN_BY says of the pin that a Ray job's workers got because the job named a set."""
RAY_COPIES = "VLLM_RAY_EXTRA_ENV_VARS_TO_COPY"
DRIVER = "VPM_ENV_DRIVER"
"""The digest that a driver of Ray has: vLLM hands on what a worker lacks, and one that a job pinned has a pin."""

_problem: str | None = None
"""What the check found, "" for nothing; None before it ran in this process or in the one that it was forked from."""


def register() -> None:
    """Check once a process, and log one line; end the engine if the check fails where it must not."""
    global _problem  # noqa: PLW0603 (once a process)
    if _problem is None:
        _problem = _check()
    if _problem and (why := _why_it_must_hold()):
        # SGLang goes on after what a plugin raises, unless that means the end.
        end = SystemExit if "sglang" in sys.modules else RuntimeError
        raise end(f"vpm-env: {_problem} ({why})")


def _why_it_must_hold() -> str:
    if os.environ.get("VPM_ENV_STRICT", "0") not in ("", "0"):
        return "VPM_ENV_STRICT is set"
    return "the job names a set for its workers" if os.environ.get(PIN_BY) == RAY or _is_asked_for() else ""


def _is_asked_for() -> bool:
    """Tell whether this is an actor of Ray whose job names a set: a node that lacks the plugin pins nobody to it."""
    ray: Any = sys.modules.get(RAY)
    try:
        context = ray.get_runtime_context() if ray.is_initialized() else None
        return context is not None and bool(context.get_actor_id() and context.runtime_env.get("vpm_env"))
    except Exception:  # noqa: BLE001 (there is no Ray, or it is another one)
        return False


def _check() -> str:
    """Return the one reason why this process has not the set that it should have, or ""; log that or the set."""
    log = _log()
    hook: Any = sys.modules.get(HOOK) or sys.modules.get(LAYER)
    try:
        if hook is not None and hook.state == "disabled":
            _say(log, f"vpm-env: no plugin overlay: {hook.reason}")
            return ""
        problem = _problem_of(hook)
        if not problem:
            held = "" if hook.lease is not None or _hold(hook) else ", without a lease"
            _pin(f"{_known(hook, 'base_key')}:{hook.digest}")
            _tell_metrics(hook)
            problem = _replaced(hook)
            manifest = _manifest(hook)
            if not problem:
                _say(log, f"vpm-env: {_name(hook)}, {_plugins(manifest)}{held}")
            _complete(hook, manifest, log)
    except Exception as error:  # noqa: BLE001 (an engine starts, unless it was told to be strict)
        problem = f"the guard could not check the overlay: {type(error).__name__}: {error}"
    if problem:
        problem += _place()
        log.warning("vpm-env: %s; see `vpm-env status`", problem)
    return problem


def _log() -> logging.Logger:
    """Return a child of the engine's own logger: its line goes where the engine's go."""
    own = getattr(sys.modules.get("fastdeploy.utils"), "llm_logger", None)
    if isinstance(own, logging.Logger):
        return own.getChild("vpm_env")
    engine = next((name for name in ("vllm", "sglang", "fastdeploy") if name in sys.modules), "")
    return logging.getLogger(f"{engine}.vpm_env" if engine else "vpm_env")


def _pin(value: str) -> None:
    """Give this set to all children, but not to servers that a notebook starts: they see whose pin it is.

    Ray's workers get it from vLLM, which copies the variables that it was told of. That list is a part of what vLLM
    names its compiled models by, so it is left alone where there is no Ray.
    """
    if os.environ.get(PIN) != value:
        os.environ[PIN], os.environ[PIN_BY] = value, "guard"
    os.environ[DRIVER] = value.partition(":")[2]
    known = getattr(sys.modules.get("vllm.envs"), "environment_variables", ())
    if RAY_COPIES in known and ("ray" in sys.modules or any(word.endswith("ray") for word in sys.argv)):
        copied = [name for name in os.environ.get(RAY_COPIES, "").split(",") if name.strip()]
        os.environ[RAY_COPIES] = ",".join(dict.fromkeys((*copied, PIN)))


def _say(log: logging.Logger, line: str) -> None:
    """Log a line; where nobody has set up logging yet, as in an engine's first process, it goes to standard error."""
    if log.hasHandlers() or sys.stderr is None:
        log.info("%s", line)
    else:
        sys.stderr.write(line + "\n")


def _problem_of(hook: Any) -> str:
    if hook is None:
        return "no plugin overlay is active: the start-up hook did not run in this process"
    if hook.state != "active":
        return f"no plugin overlay is active ({hook.state}): {hook.reason}"
    try:
        manifest = _manifest(hook)
    except (OSError, ValueError) as error:
        return f"{_name(hook)} is damaged: overlay.json: {error}"
    return _damage(hook, manifest) or _drift(hook, manifest) or _other_driver(hook)


def _manifest(hook: Any) -> dict[str, Any]:
    with open(os.path.join(hook.overlay, "overlay.json"), encoding="utf-8") as stream:
        manifest = json.load(stream)
    if not isinstance(manifest, dict):
        raise ValueError("no object")  # noqa: TRY004 (the file is wrong, not the program)
    return manifest


def _damage(hook: Any, manifest: dict[str, Any]) -> str:
    bare = {name: value for name, value in manifest.items() if name != "checksum"}
    canonical = json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    if manifest.get("checksum") != hashlib.sha256(canonical.encode("ascii")).hexdigest():
        return f"{_name(hook)} is damaged: the checksum of overlay.json does not hold"
    if manifest.get("digest") != hook.digest:
        return f"{_name(hook)} is damaged: overlay.json is of {str(manifest.get('digest'))[:12]}"
    return ""


def _drift(hook: Any, manifest: dict[str, Any]) -> str:
    """Compare the base's distributions, as this process sees them, with those that the overlay was made for."""
    shadowed = {member["name"] for member in manifest["members"] if member["override"]}
    changes = [
        f"{name} {version} \u2192 {found or 'missing'}"
        for name, version in sorted(manifest["facts"].items())
        if name not in shadowed and (found := _version(name, _known(hook, "ENGINE_NAMES"))) not in (version, "unknown")
    ]
    return f"the base changed: {', '.join(changes)} under {_name(hook)}" if changes else ""


def _version(name: str, engine_names: tuple[str, ...]) -> str:
    """Return a distribution's version: "" if there is none, `unknown` if its metadata do not say."""
    # The engine stands in the facts by its canonical name, and may be installed by another.
    for known in reversed(engine_names) if name in engine_names[:1] else (name,):
        try:
            return importlib.metadata.version(known) or "unknown"
        except importlib.metadata.PackageNotFoundError:
            continue
        except Exception:  # noqa: BLE001 (broken metadata raise whatever they like)
            return "unknown"
    return ""


def _other_driver(hook: Any) -> str:
    """Compare with the process that started this one: Ray hands its environment on after the hook ran.

    Where a job named its set, the base of a driver may lie elsewhere: its digest counts all the same.
    """
    base_key, _, digest = os.environ.get(PIN, "").partition(":")
    is_of_job = os.environ.get(PIN_BY) == RAY
    is_told = is_of_job or base_key == _known(hook, "base_key")
    told = (digest if is_told else "", os.environ.get(DRIVER, "") if is_of_job else "")
    other = next((one for one in told if one not in ("", hook.digest)), "")
    return f"this process has {_name(hook)}, and the process that it works for has {other[:12]}" if other else ""


def _place() -> str:
    """Say on which node of Ray this is, if it is on one."""
    try:
        address = sys.modules["ray.util"].get_node_ip_address() if RAY in sys.modules else ""
    except Exception:  # noqa: BLE001 (its name will do)
        address = os.uname().nodename
    return f", on node {address}" if address else ""


def _replaced(hook: Any) -> str:
    """Say why an older set is active than the one that the config asks for."""
    unbuilt = getattr(hook, "unbuilt", "")
    if unbuilt:
        return f"{_name(hook)} is active in place of what the config asks for: {unbuilt}"
    unheeded = getattr(hook, "unheeded", "")
    return f"{_name(hook)} is active as a whole, whatever VPM_ENV_WITHOUT names: {unheeded}" if unheeded else ""


def _known(hook: Any, name: str) -> Any:
    """Return what the hook says, else what was written beside it: the plain case sets no more than it must."""
    return getattr(hook if hasattr(hook, name) else importlib.import_module("_vpm_env.activate"), name)


def _hold(hook: Any) -> bool:
    """Take the overlay's lease, which the hook left to us; tell whether that went."""
    if hook.__name__ == LAYER:
        return False  # it tried when this process started
    hook.lease = importlib.import_module("_vpm_env.activate").leased(hook.overlay)
    return hook.lease is not None


def _name(hook: Any) -> str:
    """Name the overlay for a reader: `generation 7 (3f2a1b0c9d8e)`."""
    number = hook.generation if hook.generation is not None else _generation(hook, hook.digest)
    return _lacking(hook) if number is None else f"generation {number} ({hook.digest[:12]})"


def _lacking(hook: Any) -> str:
    """Name an overlay that is no generation: by what it lacks of one, if that is known."""
    try:
        derived = _manifest(hook).get("derived") or {}
    except (OSError, ValueError):
        derived = {}
    digest, names = str(derived.get("digest", "")), [f"`{name}`" for name in derived.get("without", ())]
    number = _generation(hook, digest) if names else None
    if number is None:
        return f"overlay {hook.digest[:12]}"
    return f"generation {number} ({digest[:12]}) without {', '.join(names)}"


def _generation(hook: Any, digest: str) -> int | None:
    """Find the newest generation of the hook's profile that has an overlay: a pin says no number."""
    parts = ("profiles", _known(hook, "profile"), _known(hook, "base_key"), "generations")
    folder = os.path.join(_known(hook, "HOME"), *parts)
    try:
        numbers = sorted((int(name) for name in os.listdir(folder) if name.isdigit()), reverse=True)
        links = {number: os.readlink(os.path.join(folder, str(number))) for number in numbers}
    except OSError:
        return None
    return next((number for number, link in links.items() if os.path.basename(link) == digest), None)


def _complete(hook: Any, manifest: dict[str, Any], log: logging.Logger) -> None:
    """Complete the probe of what needed a device, if there is such; whatever goes wrong, the set is as it is."""
    if not any(result["status"] == "needs-device" for result in manifest["probe"]):
        return
    try:
        for sentence in importlib.import_module("_vpm_env.device_check").complete(hook.overlay, manifest):
            log.warning("vpm-env: %s", sentence)
    except Exception as error:  # noqa: BLE001 (nobody asked for it)
        log.debug("vpm-env: the probe was not completed: %s", error)


def _plugins(manifest: dict[str, Any]) -> str:
    count = len({member["plugin"] for member in manifest["members"]} - {""})
    return f"{count} plugin{'' if count == 1 else 's'}"


class _Later:
    """A finder that sees the engine import its metrics, and then goes.

    Not before: an engine first says by PROMETHEUS_MULTIPROC_DIR whether several processes share their metrics.
    """

    def __init__(self, *labels: str) -> None:
        self.labels = labels

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:  # noqa: ARG002 (its protocol)
        if name != METRICS or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            _then(spec.loader, self.labels)
        return spec


def _then(loader: Any, labels: tuple[str, ...]) -> None:
    """Let `loader` add the metric to the module as soon as it has run."""
    execute = loader.exec_module

    def exec_module(module: Any) -> None:
        execute(module)
        _add_metric(module, labels)

    loader.exec_module = exec_module


def _tell_metrics(hook: Any) -> None:
    """Put the set into the engine's metrics, if it has any: now, or when it imports what they are made of."""
    number = hook.generation if hook.generation is not None else _generation(hook, hook.digest)
    labels = ("" if number is None else str(number), hook.digest)
    if METRICS in sys.modules:
        _add_metric(sys.modules[METRICS], labels)
    else:
        sys.meta_path.insert(0, _Later(*labels))


def _add_metric(client: Any, labels: tuple[str, ...]) -> None:
    try:
        # Where processes share their metrics, the same set in all of them is one line.
        gauge = client.Gauge(METRIC, "The plugin overlay", ("generation", "digest"), multiprocess_mode="max")
        gauge.labels(*labels).set(1)
    except Exception as error:  # noqa: BLE001 (it is there already, or its folder is not; metrics stop no engine)
        _log().debug("vpm-env: no metric: %s", error)
