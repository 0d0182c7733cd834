"""Channels of a cache: which set machines are to have. A move is one compare-and-swap: a switch of a whole fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder.depot import Depot, written
from envbuilder.errors import CacheError
from envbuilder.keys import is_signed
from envbuilder.waybill import Channel, channel_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from envbuilder.keys import SecretKey

_TRIES = 10
"""Each lost one is somebody else's move."""


def move(depot: Depot, name: str, digest: str, key: SecretKey | None) -> Channel:
    """Let a channel name a set, which must be there; one that names it already only gets our signature, too."""
    depot.waybill(digest)

    def moved(now: Channel | None) -> Channel:
        if now is None:
            return Channel(name=name, digest=digest)
        return now if now.digest == digest else now.moved(digest)

    return _changed(depot, name, moved, key)


def move_back(depot: Depot, name: str, key: SecretKey | None) -> Channel:
    """Let a channel name the set that it named before; raise `CacheError` where there is none."""

    def moved_back(now: Channel | None) -> Channel:
        if now is None or not now.before:
            reason = f"there is no channel `{name}`" if now is None else f"`{name}` had no set before {now.digest[:12]}"
            raise CacheError(url=depot.shown, reason=reason)
        depot.waybill(now.before[-1])
        return now.moved_back()

    return _changed(depot, name, moved_back, key)


def _changed(depot: Depot, name: str, changed: Callable[[Channel | None], Channel], key: SecretKey | None) -> Channel:
    """Write what `changed` makes of a channel, once more for each time that somebody else was quicker."""
    wanted: Channel | None = None
    for _ in range(_TRIES):
        now, tag = depot.tagged_channel(name)
        if wanted is None or now != wanted:  # else it got through, and nobody heard the answer
            wanted = changed(now)
        put = _signed if now == wanted else _written
        if put(depot, wanted, tag, key):
            return wanted
    raise CacheError(url=depot.shown, reason=f"others move `{name}` all the time")


def _signed(depot: Depot, now: Channel, tag: Any, key: SecretKey | None) -> bool:
    """Have our signature beside the others of a channel that stays as it is; False where it moved meanwhile."""
    if key is None:
        return True
    path = channel_path(now.name)
    there, seen = depot.seen(path)
    if there is None or seen != tag:
        return False
    return bool(is_signed(there, [key.public])) or depot.bucket.swap(path, written(there, key), tag)


def _written(depot: Depot, wanted: Channel, tag: Any, key: SecretKey | None) -> bool:
    return depot.bucket.swap(channel_path(wanted.name), written(wanted.to_dict(), key), tag)
