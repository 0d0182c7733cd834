"""What is known of what is lost: of a generation, what its symlink and its overlay say; of switches, not much."""

from __future__ import annotations

import os
import time
from os.path import basename, dirname, join
from typing import TYPE_CHECKING

from envbuilder.digest import read_sealed
from envbuilder.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

UNKNOWN = "unknown"
"""The verb of a switch of which nothing is known."""
_NO_BASE = dict.fromkeys(("key", "prefix", "label", "python", "engine", "engine_version"), "")
_NO_INPUTS: dict[str, Any] = {
    **dict.fromkeys(("config_sha256", "config_digest", "base_digest", "lock_file", "lock_sha256"), ""),
    "plugins": {},
    "local_sources": {},
}
"""What a record says whose inputs nobody remembers: the next build finds them changed, and looks at everything."""


def of(pointer: str) -> dict[str, Any]:
    """Return what a generation's symlink leads to, as `fields` does."""
    try:
        target = os.readlink(pointer)
        made = os.lstat(pointer).st_mtime
    except OSError:
        return fields("", None, made=0.0)
    return fields(basename(target), _manifest(join(dirname(pointer), target)), made=made)


def switches(numbers: Iterable[int], current: str) -> list[list[Any]]:
    """Return switches to put in place of lost ones: to what the symlink `current` names when that was made.

    Each other generation may have been current until now, for all that anybody knows.
    """
    now, named = time.time(), basename(os.readlink(current))
    others: list[list[Any]] = [[number, now, UNKNOWN] for number in numbers if str(number) != named]
    return [*others, [int(named), os.lstat(current).st_mtime, UNKNOWN]]


def fields(digest: str, manifest: Manifest | None, *, made: float) -> dict[str, Any]:
    """Return the fields of a generation's record as far as they are known, but its number, its base's key, its reason.

    `made` is when, in seconds since the epoch.
    """
    return {
        "digest": digest,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(made)),
        "state": "untried",
        "keep": False,
        "config": "",
        "base": manifest.base if manifest else _NO_BASE,
        "inputs": _NO_INPUTS,
        "packages": [[each.name, each.version, each.plugin, each.editable] for each in manifest.members]
        if manifest
        else [],
        "left_out": manifest.left_out if manifest else {},
    }


def _manifest(overlay: str) -> Manifest | None:
    try:
        return Manifest.from_dict(read_sealed(join(overlay, "overlay.json")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
