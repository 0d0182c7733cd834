"""Let a running interpreter join the current set: what the start-up hook does, and caches refreshed. Stdlib only.

Part of the start-up hook, and of vpm-env; it imports nothing of either but what the base has.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, NamedTuple

HOOK = "_vpm_env_hook"


class Activation(NamedTuple):
    """What the hook says of this process; true where a set is active.

    `state` is `active`, or why there is none in one word, and `reason` a sentence; `generation` is None where only a
    pin names the set.
    """

    state: str
    reason: str
    generation: int | None = None
    digest: str = ""
    overlay: str = ""

    def __bool__(self) -> bool:
        return self.state == "active"


def activate() -> Activation:
    """Make the current set importable in this process, if it has none yet; it never raises, and never changes a set."""
    hook = start_hook()
    if hook is None and is_overlays():
        refresh()
        return Activation("active", sys.prefix, None, os.path.basename(sys.prefix), sys.prefix)
    if hook is None:
        return Activation("no-hook", f"{sys.prefix} has no start-up hook")
    if hook.state != "active":
        _module("_vpm_env.activate").run(hook)
    if hook.state == "active" and hook.lease is None:
        hook.lease = _module("_vpm_env.activate").leased(hook.overlay)  # a notebook lives long
    if hook.state == "active" and (allow := _module("_vpm_env_allow")):
        allow.wait(hook.overlay)
    refresh()
    return Activation(hook.state, hook.reason, hook.generation, hook.digest, hook.overlay)


def start_hook() -> Any:
    """Return the hook of this interpreter, which runs now if it did not; None where there is none."""
    return sys.modules.get(HOOK) or _module(HOOK)


def is_overlays() -> bool:
    """Tell whether this is an overlay's own python: it has its set, and can have no other."""
    return "_vpm_env_layer" in sys.modules


def refresh() -> None:
    """Make Python look at its folders again: for modules, for metadata, and for our own groups of plugins."""
    importlib.invalidate_caches()
    from importlib.metadata import MetadataPathFinder

    MetadataPathFinder().invalidate_caches()  # type: ignore[no-untyped-call, unused-ignore]
    if plugins := sys.modules.get("envbuilder.plugins"):
        plugins.forget()


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None
