"""Load plugins by entry-point group: for any program, on the standard library alone.

A host calls `load_plugins(group)` in each of its processes, before its work begins; or `load_plugins_by_group(group)`
where it wants to call, or to keep, the loaded objects itself. A plugin that does not load never stops the host. What
a process has loaded is not loaded again, also not in its forked children; a spawned one begins anew. A thread that asks
for what another one is loading waits for that: a plugin must not wait for a thread that asks for the plugin itself.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

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
        self.failed: dict[str, Exception | SystemExit] = {}
        self.duplicates = duplicates
        self.seconds: dict[str, float] = {}


class _Attempt:
    """What one thread does with an entry point, and, when it has `ended`, what came of it."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.ended = threading.Event()
        self.result: Any = None
        self.error: Exception | SystemExit | None = None
        self.seconds = 0.0


class _UnderwayError(Exception):
    """What is to be called is being imported, and that asks for it."""


_lock = threading.RLock()
"""For the tables below; it is never held while a plugin runs, which may start threads that load others."""
_groups: dict[str, tuple[EntryPoint, ...]] = {}
_attempts: dict[tuple[str, EntryPoint], _Attempt] = {}
"""What is, or was, done with an entry point: `load` or `call`."""
_waiting: dict[int, _Attempt] = {}
"""Which thread waits for the end of which attempt."""
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

    A plugin that raises, or that calls `sys.exit`, is logged, left out and not called again.
    """
    return _done("call", group, allow, _call)


def forget() -> None:
    """Look for entry points anew at the next call; what is loaded stays so."""
    with _lock:
        _groups.clear()


def _done(kind: str, group: str, allow: str | Iterable[str] | None, step: Callable[[EntryPoint], Any]) -> Loaded:
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
    allowed = None if allow is None else _names(allow)
    chosen: dict[str, EntryPoint] = {}
    hidden = []
    for point in _points(group):
        if allowed is not None and point.name not in allowed and _normalized(_owner(point)) not in allowed:
            continue
        first = chosen.setdefault(point.name, point)
        if first is not point:
            hidden.append(_label(point))
            _tell_once(group, f"{_label(first)} is used, {_label(point)} is not")
    return chosen, tuple(hidden)


def _points(group: str) -> tuple[EntryPoint, ...]:
    with _lock:
        known = _groups.get(group)
    if known is None:
        found = tuple(entry_points(group=group))
        with _lock:
            known = _groups.setdefault(group, found)
    return known


def _names(allow: str | Iterable[str]) -> set[str]:
    words = [word.strip() for word in (allow.split(",") if isinstance(allow, str) else allow)]
    return {*words, *map(_normalized, words)}


def _tell_once(group: str, words: str) -> None:
    with _lock:
        is_new = (group, words) not in _told
        _told.add((group, words))
    if is_new:
        _log.warning("group %s: %s", group, words)


def _attempt(kind: str, point: EntryPoint, step: Callable[[EntryPoint], Any]) -> _Attempt | None:
    """Do `step` once a process, in whichever thread comes first; None where it would wait for itself."""
    while True:
        with _lock:
            attempt = _attempts.get((kind, point))
            if attempt is None:
                made = _attempts[kind, point] = _Attempt()
                break
            if attempt.ended.is_set():
                return attempt
            if _is_waiting_for_us(attempt):
                return None
            _waiting[threading.get_ident()] = attempt
        try:
            attempt.ended.wait()
        finally:
            with _lock:
                _waiting.pop(threading.get_ident(), None)
    return _make(made, (kind, point), step)


def _is_waiting_for_us(attempt: _Attempt | None) -> bool:
    """Tell whether an attempt is this thread's, or lasts until one of this thread's has ended."""
    while attempt is not None and not attempt.ended.is_set():
        if attempt.thread == threading.get_ident():
            return True
        attempt = _waiting.get(attempt.thread)
    return False


def _make(attempt: _Attempt, key: tuple[str, EntryPoint], step: Callable[[EntryPoint], Any]) -> _Attempt | None:
    """Do `step` and note what comes of it; what is interrupted is forgotten, and done by whoever asks next."""
    begin, made = time.perf_counter(), None
    try:
        attempt.result = step(key[1])
        made = attempt
    except _UnderwayError:
        pass
    except (Exception, SystemExit) as raised:  # noqa: BLE001 (the host goes on without it)
        attempt.error = raised
        made = attempt
    finally:
        attempt.seconds = time.perf_counter() - begin
        with _lock:
            if made is None:
                del _attempts[key]
            attempt.ended.set()
    return made


def _load(point: EntryPoint) -> Any:
    begin = time.perf_counter()
    try:
        plugin = point.load()
    except (Exception, SystemExit):
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
        raise _UnderwayError
    if loaded.error is not None:
        raise loaded.error
    try:
        return loaded.result()
    except (Exception, SystemExit):
        _log.exception("plugin %s of group %s raised", point.name, point.group)
        raise


def _label(point: EntryPoint) -> str:
    return f"{point.name} = {point.value} ({_owner(point)})"


def _owner(point: EntryPoint) -> str:
    """Name the distribution that an entry point is of."""
    return point.dist.name if point.dist else "of no distribution"


def _normalized(name: str) -> str:
    return "-".join(filter(None, name.lower().replace("_", "-").replace(".", "-").split("-")))


def _begin_child() -> None:
    """Let a forked child load plugins, though other threads of its parent, which it has not, did so at that moment."""
    global _lock  # noqa: PLW0603 (a lock that nobody gives back)
    _lock = threading.RLock()
    _waiting.clear()
    for key, attempt in list(_attempts.items()):
        if attempt.ended.is_set():
            continue
        if attempt.thread == threading.get_ident():
            attempt.ended = threading.Event()
        else:
            del _attempts[key]


os.register_at_fork(after_in_child=_begin_child)
