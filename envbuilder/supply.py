"""Packages from caches: an order for what somebody has made already is a parcel to fetch, to check and to unpack."""

from __future__ import annotations

from contextlib import nullcontext
from os.path import join
from threading import Lock
from typing import TYPE_CHECKING

from envbuilder import entrance, flocks, fs, parcel
from envbuilder.classes import replace
from envbuilder.digest import sha256_of
from envbuilder.errors import CacheError, PackageError
from envbuilder.order import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from envbuilder.depot import Depot
    from envbuilder.package import Package
    from envbuilder.paths import Layout
    from envbuilder.report import Reporter
    from envbuilder.waybill import Card


_SMALL = 1 << 20
"""Bytes of a package that asks the system for more, and more often, than it computes."""
_ONE_SMALL = Lock()
"""Held while a small package is unpacked: several at once hand Python to and fro more often than they gain by it."""


def orders_of(cards: Sequence[Card], depot: Depot, layout: Layout, *, startup_allowed: Collection[str]) -> list[Order]:
    """Order exactly the packages of some cards; a cache that fails once is not asked again."""
    lost: list[CacheError] = []

    def order_of(card: Card) -> Order:
        def stage(target: str, _scratch: str) -> Package:
            if lost:
                raise lost[0]
            try:
                return _stage(card, depot, layout, target, startup_allowed)
            except CacheError as error:
                lost.append(error)
                raise

        label = f"{card.record['name']} {card.record['version']}"
        return Order(label=label, plugin="", input={"format": 1, "parcel": card.key}, stage=stage)

    return [order_of(card) for card in cards]


def from_caches(
    depots: Sequence[Depot], layout: Layout, report: Reporter, *, startup_allowed: Collection[str]
) -> Callable[[Order], Order]:
    """Return what makes orders look into caches first; one that does not help is told, and no obstacle."""
    asked = list(depots)

    def supplied(order: Order) -> Order:
        def stage(target: str, scratch: str) -> Package:
            for depot in tuple(asked):
                try:
                    card = _card_for(order, depot)
                    if card is not None:
                        return _stage(card, depot, layout, target, startup_allowed)
                except CacheError as error:
                    if depot in asked:  # of several threads that meet it, one tells
                        asked.remove(depot)
                        report.warn(f"nothing is taken from a cache: {error.message}")
                except PackageError as error:
                    report.warn(f"not taken from `{depot.shown}`: {error.message}")
                fs.remove_tree(target)
                fs.make_dirs(target)
            return order.stage(target, scratch)

        return replace(order, stage=stage)

    return supplied if depots else as_ordered


def as_ordered(order: Order) -> Order:
    """Leave an order as it is."""
    return order


def _card_for(order: Order, depot: Depot) -> Card | None:
    """Find who made this already; a card that is about something else does not count."""
    key = depot.key_of(order.digest)
    card = depot.card(key) if key else None
    if card is None or card.made_from is None or sha256_of(card.made_from) != order.digest:
        return None
    return card if order.means(card.record["name"], card.record["version"]) else None


def _stage(card: Card, depot: Depot, layout: Layout, target: str, startup_allowed: Collection[str]) -> Package:
    """Fetch a parcel, which a call that died may have begun with, and unpack it."""
    folder, sha256 = join(layout.cache, "parcels"), card.parcel.sha256
    fs.make_dirs(folder)
    fetched = join(folder, sha256)
    with flocks.locked(join(layout.flocks, f"store-{sha256[:32]}.lock")):  # a build may be about to fetch the same
        depot.bucket.fetch(card.path, fetched, sha256=sha256, size=card.parcel.size)
        try:
            with _ONE_SMALL if card.record["size"] < _SMALL else nullcontext():
                made = parcel.unpack(fetched, target, card.record)
        finally:
            fs.remove(fetched)
    entrance.require_fit(made, target, startup_allowed=startup_allowed)
    return made
