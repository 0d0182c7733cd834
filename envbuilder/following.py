"""follow: keep a machine on the set that a channel names. A moved channel is a switch here, or a rollback.

What somebody undoes here stays undone until the channel moves again; and a channel is never older than it was, also
for whoever only asks what it names, as the driver of a Ray job does.
"""

from __future__ import annotations

import os
from os.path import dirname, isfile, join
from typing import TYPE_CHECKING, Any

from envbuilder import fs
from envbuilder import profile as profiles
from envbuilder.classes import dataclass
from envbuilder.contexts import suppress
from envbuilder.digest import read_sealed, sealed, sha256_of
from envbuilder.errors import CacheError
from envbuilder.notation import dumps
from envbuilder.scope import profile_of

if TYPE_CHECKING:
    from envbuilder.delivery import Pulled, Wish
    from envbuilder.depot import Depot
    from envbuilder.report import Reporter
    from envbuilder.scope import Scope
    from envbuilder.waybill import Channel


@dataclass(frozen=True, kw_only=True, slots=True)
class Followed:
    """What one look at a channel came to; `pulled` is None where the channel has not moved since the last time.

    `other` is then the digest of what is current instead of what the channel names, None where it is that.
    """

    channel: Channel
    pulled: Pulled | None
    other: str | None = None


def follow(found: Scope, depot: Depot, name: str, report: Reporter) -> Followed:
    """Bring this machine to the set that a channel names, unless the channel has not moved since the last time."""
    channel = channel_of(depot, name)
    if require_not_older(found, depot, channel) < channel.serial:
        return Followed(channel=channel, pulled=go_along(found, depot, channel, wish_of(depot, channel), report))
    now = profiles.serving(profile_of(found))
    current = now.digest if now else ""
    return Followed(channel=channel, pulled=None, other=None if current == channel.digest else current)


def go_along(found: Scope, depot: Depot, channel: Channel, wish: Wish, report: Reporter) -> Pulled:
    """Pull the set that a channel names, and remember that this was done."""
    from envbuilder.delivery import pull  # most looks find nothing new

    require_not_older(found, depot, channel)
    pulled = pull(found, depot, depot.waybill(channel.digest), wish, report)
    if wish.records and wish.switch:
        _note(_followed(found, depot, channel.name), channel)
    _note(_seen(found, depot, channel.name), channel)
    return pulled


def look(found: Scope, depot: Depot, name: str) -> Channel:
    """Read a channel as it is now, and remember that it was so far, if there is a home; raise as `go_along`."""
    channel = channel_of(depot, name)
    path = _seen(found, depot, name)
    if _require_not_older(depot, channel, path) < channel.serial and isfile(found.layout.format):
        with suppress(OSError):  # it is another user's, who lets us only look
            _note(path, channel)
            fs.give_dir(dirname(path), os.stat(found.layout.home))
    return channel


def require_not_older(found: Scope, depot: Depot, channel: Channel) -> int:
    """Return the last move of a channel that this machine went along with, 0 if it is not known.

    Raise `CacheError` where the channel is an older copy of itself.
    """
    _require_not_older(depot, channel, _seen(found, depot, channel.name))
    return _require_not_older(depot, channel, _followed(found, depot, channel.name))


def _require_not_older(depot: Depot, channel: Channel, path: str) -> int:
    """Return the move of a channel that a file remembers; raise `CacheError` for an older one."""
    known = _move(path)
    if channel.serial >= known:
        return known
    reason = f"`{channel.name}` is older than it was: move {channel.serial} after {known}"
    hint = f"somebody put an old copy there, or made it anew; without `{path}` it is followed"
    raise CacheError(url=depot.shown, reason=reason, hint=hint)


def channel_of(depot: Depot, name: str) -> Channel:
    """Read a channel; raise `CacheError` where there is none."""
    channel = depot.channel(name)
    if channel is None:
        hint = f"`vpm-env push URL --channel {name}` makes one"
        if len(name) > 7 and set("0123456789abcdef").issuperset(name):
            hint = "a digest has 64 digits: `vpm-env cache ls URL` shows them"
        raise CacheError(url=depot.shown, reason=f"there is no channel `{name}`", hint=hint)
    return channel


def wish_of(depot: Depot, channel: Channel | None, *, records: bool = True, switch: bool = True) -> Wish:
    """Say what a pull is to come to, of a set that a channel named, or that was named by its digest."""
    from envbuilder.delivery import Wish

    origin: dict[str, Any] = {"cache": {"url": depot.shown, "keys": [str(key) for key in depot.trust.keys]}}
    if channel:
        origin["channel"] = {"name": channel.name, "serial": channel.serial}
    return Wish(records=records, switch=switch, origin=origin)


def _move(path: str) -> int:
    """Return the move of a channel that a file remembers; 0 where there is none."""
    try:
        return int(read_sealed(path)["serial"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _note(path: str, channel: Channel) -> None:
    fs.make_dirs(dirname(path))
    fs.write_atomic(path, dumps(sealed({"serial": channel.serial, "digest": channel.digest})).encode())


def _followed(found: Scope, depot: Depot, name: str) -> str:
    """Say where it is remembered which move of a channel this profile went along with."""
    profile = profile_of(found)
    return _file(found, depot.shown, name, profile.name, profile.base_key)


def _seen(found: Scope, depot: Depot, name: str) -> str:
    """Say where it is remembered which move of a channel this home has heard of; that needs no base."""
    return _file(found, depot.shown, name)


def _file(found: Scope, *words: str) -> str:
    return join(found.layout.cache, "followed", f"{sha256_of(list(words))[:32]}.json")
