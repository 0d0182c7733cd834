"""What a cache holds: its channels and its sets, with what each takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder.classes import dataclass
from envbuilder.errors import CacheError

if TYPE_CHECKING:
    from envbuilder.depot import Depot
    from envbuilder.waybill import Channel, Waybill


@dataclass(frozen=True, kw_only=True, slots=True)
class Inventory:
    """`unread` are the paths of documents that cannot be used, each with why."""

    channels: tuple[Channel, ...]
    sets: tuple[Waybill, ...]
    unread: tuple[tuple[str, str], ...]


def inventory(depot: Depot) -> Inventory:
    """List a cache; what nobody trusted has signed is only named. Raise `CacheError` where it cannot be listed."""
    channels: list[Channel] = []
    sets: list[Waybill] = []
    unread: list[tuple[str, str]] = []
    for name in _stems(depot, "channels"):
        try:
            channels += filter(None, [depot.channel(name)])
        except CacheError as error:
            unread.append((f"channels/{name}", error.reason))
    for name in _stems(depot, "overlays"):
        try:
            sets += filter(None, [depot.known_waybill(name)])
        except CacheError as error:
            unread.append((f"overlays/{name[:12]}", error.reason))
    return Inventory(channels=tuple(channels), sets=tuple(sets), unread=tuple(unread))


def _stems(depot: Depot, folder: str) -> list[str]:
    return [name.removesuffix(".json") for name in depot.bucket.names(folder) if name.endswith(".json")]
