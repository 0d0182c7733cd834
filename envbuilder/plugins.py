"""Load plugins by entry-point group: for any program, on the standard library alone.

A host calls `load_plugins(group)` in each of its processes, before its work begins; or `load_plugins_by_group(group)`
where it wants to call, or to keep, the loaded objects itself. A plugin that does not load never stops the host. What
a process has loaded is not loaded again, also not in its forked children; a spawned one begins anew.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Loaded", "forget", "load_plugins", "load_plugins_by_group"]

_log = logging.getLogger("vpm_env.plugins")


class Loaded(dict[str, Any]):
    """What loaded, by name, in the order of `sys.path`.

    `failed` says by name what was raised, and `seconds` how long each import or call took. `duplicates` are entry
    points that another of the same name hides: `name = module:function (distribution)`.
    """

    def __init__(self, duplicates: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.failed: dict[str, Exception] = {}
        self.duplicates = duplicates
        self.seconds: dict[str, float] = {}


class _Attempt(NamedTuple):
    result: Any
    error: Exception | None
    seconds: float


_lock = threading.RLock()
_groups: dict[str, tuple[EntryPoint, ...]] = {}
_attempts: dict[tuple[str, EntryPoint], _Attempt | None] = {}
"""What was done with an entry point (`load` or `call`), and what came of it; None while it lasts."""
_told: set[tuple[str, str]] = set()


def load_plugins_by_group(group: str, *, allow: str | Iterable[str] | None = None) -> Loaded:
    """Import what the entry points of `group` name, and return it by their names.

    `allow` are names of entry points, or of distributions for all of theirs, as a list or as text with commas; None
    allows all. What does not import, or is not callable, is logged and left out; so is the second of two entry points
    with one name.
    """
    return _done("load", group, allow, _load)


def load_plugins(group: str, *, allow: str | Iterable[str] | None = None) -> Loaded:
    """Call every plugin of `group` once in this process, and return what they returned, by name.

    A plugin that raises is logged, left out and not called again.
    """
    return _done("call", group, allow, _call)


def forget() -> None:
    """Look for entry points anew at the next call; what is loaded stays so."""
    with _lock:
        _groups.clear()


def _done(kind: str, group: str, allow: str | Iterable[str] | None, step: Callable[[EntryPoint], Any]) -> Loaded:
    with _lock:
        points, duplicates = _chosen(group, allow)
        loaded = Loaded(duplicates)
        for name, point in points.items():
            attempt = _attempt(kind, point, step)
            if attempt is None:
                continue  # it is the one that asks
            loaded.seconds[name] = attempt.seconds
            if attempt.error is None:
                loaded[name] = attempt.result
            else:
                loaded.failed[name] = attempt.error
        return loaded


def _chosen(group: str, allow: str | Iterable[str] | None) -> tuple[dict[str, EntryPoint], tuple[str, ...]]:
    """Return the entry points to load, by name, and labels of those that they hide."""
    if group not in _groups:
        _groups[group] = tuple(entry_points(group=group))
    allowed = None if allow is None else _names(allow)
    chosen: dict[str, EntryPoint] = {}
    hidden = []
    for point in _groups[group]:
        if allowed is not None and point.name not in allowed and _normalized(_owner(point)) not in allowed:
            continue
        first = chosen.setdefault(point.name, point)
        if first is not point:
            hidden.append(_label(point))
            _tell_once(group, f"{_label(first)} is used, {_label(point)} is not")
    return chosen, tuple(hidden)


def _names(allow: str | Iterable[str]) -> set[str]:
    words = [word.strip() for word in (allow.split(",") if isinstance(allow, str) else allow)]
    return {*words, *map(_normalized, words)}


def _tell_once(group: str, words: str) -> None:
    if (group, words) not in _told:
        _told.add((group, words))
        _log.warning("group %s: %s", group, words)


def _attempt(kind: str, point: EntryPoint, step: Callable[[EntryPoint], Any]) -> _Attempt | None:
    if (kind, point) in _attempts:
        return _attempts[kind, point]
    _attempts[kind, point] = None
    begin, result, error = time.perf_counter(), None, None
    try:
        result = step(point)
    except Exception as raised:  # noqa: BLE001 (the host goes on without it)
        error = raised
    made = _attempts[kind, point] = _Attempt(result, error, time.perf_counter() - begin)
    return made


def _load(point: EntryPoint) -> Any:
    begin = time.perf_counter()
    try:
        plugin = point.load()
    except Exception:
        _log.exception("group %s: %s does not load", point.group, _label(point))
        raise
    if not callable(plugin):
        _log.error("group %s: %s is not callable", point.group, _label(point))
        raise TypeError(f"{point.value} is not callable")
    _log.info("group %s: %s loaded in %.3f s", point.group, _label(point), time.perf_counter() - begin)
    return plugin


def _call(point: EntryPoint) -> Any:
    loaded = _attempt("load", point, _load)
    if loaded is None:
        raise RuntimeError(f"{point.value} is being imported")
    if loaded.error is not None:
        raise loaded.error
    try:
        return loaded.result()
    except Exception:
        _log.exception("plugin %s of group %s raised", point.name, point.group)
        raise


def _label(point: EntryPoint) -> str:
    return f"{point.name} = {point.value} ({_owner(point)})"


def _owner(point: EntryPoint) -> str:
    """Name the distribution that an entry point is of."""
    return point.dist.name if point.dist else "of no distribution"


def _normalized(name: str) -> str:
    return "-".join(filter(None, name.lower().replace("_", "-").replace(".", "-").split("-")))


def _renew_lock() -> None:
    """Let a forked child load plugins, though another thread of its parent did so at that moment."""
    global _lock  # noqa: PLW0603 (a lock that nobody gives back)
    _lock = threading.RLock()
    for key in [key for key, attempt in _attempts.items() if attempt is None]:
        del _attempts[key]


os.register_at_fork(after_in_child=_renew_lock)
