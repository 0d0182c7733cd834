"""Load plugins by entry-point group: for hosts, on the standard library alone.

A host calls `load_plugins(group)` in each of its processes, before its work begins; or `load_plugins_by_group(group)`
where it wants to call, or to keep, the loaded objects itself. A plugin that does not load never stops the host.
"""

from __future__ import annotations

import logging
import threading
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = ["load_plugins", "load_plugins_by_group"]

_log = logging.getLogger("vpm_env.plugins")
_lock = threading.RLock()
_tried: set[tuple[str, str]] = set()
_results: dict[tuple[str, str], Any] = {}


def load_plugins_by_group(group: str, *, allowed: Collection[str] | None = None) -> dict[str, Callable[..., Any]]:
    """Import what the entry points of `group` name, and return it by their names.

    `allowed` are names of entry points, or of distributions for all of theirs; None allows all. What does not import,
    or is not callable, is logged and left out; so is the second of two entry points with one name.
    """
    return _load(_chosen(group, allowed))


def load_plugins(group: str, *, allowed: Collection[str] | None = None) -> dict[str, Any]:
    """Call every plugin of `group` once in this process, and return what they returned, by name.

    A plugin that raises is logged, left out and not called again. A forked child does not call what its parent did.
    """
    chosen = _chosen(group, allowed)
    with _lock:
        new = {name: point for name, point in chosen.items() if (group, name) not in _tried}
        _tried.update((group, name) for name in new)
        for name, plugin in _load(new).items():
            try:
                _results[group, name] = plugin()
            except Exception:  # noqa: BLE001 (the host goes on without it)
                _log.exception("plugin %s of group %s raised", name, group)
        return {name: _results[group, name] for name in chosen if (group, name) in _results}


def _chosen(group: str, allowed: Collection[str] | None) -> dict[str, EntryPoint]:
    """Return the entry points to load, by name, in the order of `sys.path`."""
    chosen: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        if allowed is not None and point.name not in allowed and _owner(point) not in allowed:
            continue
        first = chosen.setdefault(point.name, point)
        if first is not point:
            _log.warning("group %s: %s is used, %s is not", group, _label(first), _label(point))
    return chosen


def _load(points: dict[str, EntryPoint]) -> dict[str, Callable[..., Any]]:
    loaded = {}
    for name, point in points.items():
        try:
            plugin = point.load()
        except Exception:  # noqa: BLE001 (the host goes on without it)
            _log.exception("group %s: %s does not load", point.group, _label(point))
            continue
        if callable(plugin):
            loaded[name] = plugin
        else:
            _log.error("group %s: %s is not callable", point.group, _label(point))
    return loaded


def _label(point: EntryPoint) -> str:
    return f"{point.name} = {point.value} ({_owner(point)})"


def _owner(point: EntryPoint) -> str:
    """Name the distribution that an entry point is of."""
    return point.dist.name if point.dist else "of no distribution"
