"""Packages of a set that lies in a cache, into the store: those that are here stay, the others are fetched."""

from __future__ import annotations

from envbuilder import policing, space, stocking, store, supply
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envbuilder.depot import Depot
    from envbuilder.job import Job
    from envbuilder.package import Package
    from envbuilder.waybill import Card


class Unloaded(NamedTuple):
    """Packages by name, and the cards of those that had to be fetched."""

    packages: dict[str, Package]
    fetched: tuple[Card, ...]


def unload(job: Job, depot: Depot, cards: Sequence[Card]) -> Unloaded:
    """Have the packages of some cards; errors as `stocking.add_ordered`, and `PolicyError` for the cache itself.

    What they were made from is remembered only if somebody trusted has signed it: builds find them by that.
    """
    policing.refuse_caches(job.policies, (depot.shown,), depot.trust, job.config)
    known = {card.key: store.ready(job.layout, card.key, job.base) for card in cards}
    lacking = tuple(card for card in cards if known[card.key] is None)
    found = [*filter(None, known.values())]
    if lacking:
        orders = supply.orders_of(lacking, depot, job.layout, startup_allowed=frozenset(job.config.startup_code))
        with space.needing(_need(lacking), job.layout.home), job.report.stage("pulling", total=len(lacking)):
            found += stocking.add_ordered(
                orders, base=job.base, layout=job.layout, report=job.report, wait=job.env.lock_wait
            )
    if not depot.trust.takes_unsigned:
        for card in lacking:
            store.note_input(job.layout, card.made_from, card.key)
    return Unloaded({package.name: package for package in found}, lacking)


def _need(cards: Sequence[Card]) -> space.Need:
    """Say what packages take that are to be unpacked, and their parcels meanwhile."""
    files = sum(card.record["size"] for card in cards)
    return space.Need(bytes=files + sum(card.parcel.size for card in cards))
