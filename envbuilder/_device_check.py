# vpm-env: notes what loads on a machine with a device; remove it with `vpm-env hook uninstall`
"""Complete the probe where there is a device: note what the engine loads here of what could not be loaded before.

The guard imports it for sets that have such entry points. Nothing is called, and nothing is loaded that the engine does
not load by itself in this process. What was found out is added to `completed.jsonl` beside the overlay's manifest, a
line at a time, so that processes need not agree on who writes; a home that is read-only keeps what it knows. It may
raise, and the guard lets it. Standard library only.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from glob import iglob
from typing import Any

FILE = "completed.jsonl"
GUARD = "vpm_env_guard"
MARK = "VPM_ENV_LOADED"
"""`PID:DIGEST` of a process that came to the guard: its children know that it got through all its plugins."""
LONGEST = 500


def complete(overlay: str, manifest: dict[str, Any]) -> list[str]:
    """Note what loads now, and what does not although the device is here; return a sentence for each of these."""
    waiting = [result for result in manifest["probe"] if result["status"] == "needs-device"]
    if not waiting:
        return []
    path, known = os.path.join(overlay, FILE), {}
    for line in lines(path):
        known[line["group"], line["name"]] = line["status"]
    has_ancestor = mark(str(manifest["digest"]))
    groups = {point.group for point in importlib.metadata.entry_points(name=GUARD)}
    found = []
    for result in waiting:
        is_loaded_here = result["group"] in groups and is_allowed(result["name"], manifest["allow_lists"])
        status, error = outcome(result, may_load=is_loaded_here, has_ancestor=has_ancestor)
        if status and known.get((result["group"], result["name"])) != status:
            found.append({"group": result["group"], "name": result["name"], "status": status, "error": error})
    note(path, found)
    return [
        f"`{line['name']}` could not be probed without a device, and does not load with one: {line['error']}"
        for line in found
        if line["status"] == "failed"
    ]


def outcome(result: dict[str, Any], *, may_load: bool, has_ancestor: bool) -> tuple[str, str]:
    """Return `ok` or `failed`, and the error; two empty strings where this process does not know."""
    if not is_loaded(result["value"]):
        if not may_load:
            return "", ""
        try:
            importlib.metadata.EntryPoint(result["name"], result["value"], result["group"]).load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 (plugins may raise anything)
            return ("failed", f"{type(error).__name__}: {error}"[:LONGEST]) if is_here(result["nodes"]) else ("", "")
    # What needed the device when it was called has not been called yet, or has not ended well yet, in this process.
    return ("ok", "") if has_ancestor or not result["called"] else ("", "")


def is_loaded(value: str) -> bool:
    """Tell whether somebody has imported an entry point's module, and it has what is wanted of it."""
    module, _, attributes = value.partition("[")[0].replace(" ", "").partition(":")
    found: Any = sys.modules.get(module)
    if found is None or getattr(getattr(found, "__spec__", None), "_initializing", False):
        return False
    for attribute in filter(None, attributes.split(".")):
        found = getattr(found, attribute, None)
    return found is not None


def is_allowed(name: str, allow_lists: dict[str, str]) -> bool:
    """Tell whether the engine loads this one in every process: unless a list says otherwise."""
    lists = [os.environ[variable] for variable in allow_lists if variable in os.environ]
    return all(name in map(str.strip, text.split(",")) for text in lists)


def is_here(nodes: list[str]) -> bool:
    """Tell whether a device's driver is on this machine."""
    return any(next(iglob(node, root_dir="/"), None) for node in nodes)


def mark(digest: str) -> bool:
    """Mark this process for its children; tell whether an ancestor was marked."""
    pid, _, its = os.environ.get(MARK, "").partition(":")
    os.environ[MARK] = f"{os.getpid()}:{digest}"
    return its == digest and pid != str(os.getpid())


def lines(path: str) -> list[dict[str, Any]]:
    """Return what was noted."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return [line for line in map(line_of, stream) if line]
    except OSError:
        return []


def line_of(text: str) -> dict[str, Any]:
    """Read a line; one that was torn is empty."""
    try:
        line = json.loads(text)
        return {"group": line["group"], "name": line["name"], "status": line["status"]}
    except (ValueError, KeyError, TypeError):
        return {}


def note(path: str, found: list[dict[str, Any]]) -> None:
    """Add lines, each in one piece; a place that cannot be written to stays as it is."""
    if not found:
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    at = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    try:
        file = os.open(path, flags, 0o644)
    except OSError:
        return
    try:
        os.write(file, "".join(json.dumps({**line, "at": at}) + "\n" for line in found).encode())
    except OSError:
        pass  # the disk is full
    finally:
        os.close(file)
