"""Why something is on disk: which generations and processes keep an overlay or a package, and through what.

Data: what `gc` spares, seen from the other end.
"""

from __future__ import annotations

import time

from envbuilder import disposal, gc, overlay, store
from envbuilder import profile as profiles
from envbuilder.classes import dataclass
from envbuilder.errors import UsageError
from envbuilder.ledger import Ledger
from envbuilder.names import nearest
from envbuilder.occupants import occupants
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.gc import Policy
    from envbuilder.occupants import Occupants
    from envbuilder.paths import Layout

_LISTED = 5


class Holder(NamedTuple):
    """One thing that keeps another: `what` names it, `why` is the reason that spares it, "" where none does."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """An overlay (named by digest) or a package (by key), who keeps it, and what gc would say that it frees.

    `bytes` on disk go with it; with a package when the overlays that have it went before.
    """

    kind: str
    name: str
    holders: tuple[Holder, ...]
    bytes: int

    @property
    def stays(self) -> bool:
        """Tell whether gc would leave it."""
        return any(holder.why for holder in self.holders)


def why_kept(layout: Layout, text: str, policy: Policy) -> tuple[Kept, ...]:
    """Say what keeps that which `text` names: a generation by number, an overlay or package by a prefix, or by name.

    Several may be meant, of several bases or versions. Raise `UsageError` where nothing on disk is.
    """
    overlays = list(overlay.all_overlays(layout))
    meant, packages = _meant(text, layout, overlays)
    if not meant and not packages:
        raise UsageError(f"nothing in the store is called `{text}`", hint=_near(text, layout))
    now = time.time()
    members = {entry: overlay.members(layout, *entry) for entry in overlays}
    seen = occupants(layout, members)
    holders = {entry: tuple(_holders(layout, *entry, policy, seen, now)) for entry in overlays}
    found = [
        Kept(kind="overlay", name=entry[1], holders=holders[entry], bytes=Ledger().add(layout.overlay(*entry)))
        for entry in meant
    ]
    traces = store.traces(layout) if packages else {}
    for key in packages:
        users = [entry for entry in overlays if key in members[entry]]
        through = tuple(
            Holder(f"{holder.what} through {entry[1][:12]}", holder.why)
            for entry in users
            for holder in holders[entry] or (Holder("an overlay that nothing points to,", ""),)
        )
        through += tuple(Holder(f"process {use.pid}", use.how) for use in seen.packages.get(key, ()))
        ledger = Ledger()
        ledger.add(*(layout.overlay(*entry) for entry in users))
        freed = ledger.add(*traces.get(key, ()), layout.package(key))
        found.append(Kept(kind="package", name=key, holders=through, bytes=freed))
    return tuple(found)


def _meant(text: str, layout: Layout, overlays: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[str]]:
    """Find the overlays and the packages that `text` names: as a number or a name, else as how a digest begins."""
    keys = list(store.keys(layout))
    generations = _numbered(int(text), layout) if text.isdigit() else set()
    numbered = [entry for entry in overlays if entry in generations]
    named = [key for key in keys if _is_named(text, key)]
    if numbered or named:
        return numbered, named
    begun = [entry for entry in overlays if entry[1].startswith(text.lower())]
    packages = [key for key in keys if key.startswith(text.lower())]
    candidates = sorted({entry[1][:12] for entry in begun} | {_shown(key) for key in packages})
    if len(candidates) > 1:
        more = ["…"] if len(candidates) > _LISTED else []
        raise UsageError(
            f"`{text}` is ambiguous: {', '.join(candidates[:_LISTED] + more)} begin so", hint="write more of it"
        )
    return begun, packages


def _numbered(number: int, layout: Layout) -> set[tuple[str, str]]:
    """Return base key and digest of the generations of a number, of whatever profile and base."""
    return {
        (profile.base_key, profiles.read(profile, number).digest)
        for profile in profiles.all_profiles(layout)
        if number in profiles.numbers(profile)
    }


def _is_named(text: str, key: str) -> bool:
    """Tell whether `text` names a package: by its key, its name, or name and version."""
    rest = key.partition("-")[2]
    return text in (key, rest) or text.lower() in (rest, rest.rpartition("-")[0])


def _shown(key: str) -> str:
    """Shorten a key: `3d6a7f12ab90 (demo-1.0)`."""
    digits, _, rest = key.partition("-")
    return f"{digits[:12]} ({rest})"


def _holders(
    layout: Layout, base_key: str, digest: str, policy: Policy, living: Occupants, now: float
) -> Iterator[Holder]:
    for profile in profiles.all_profiles(layout):
        if profile.base_key != base_key:
            continue
        for generation, why in gc.holding(profile, policy, now=now):
            if generation.digest == digest:
                yield Holder(f"generation {generation.number} of profile {profile.name}", why)
    uses = living.overlays.get((base_key, digest), ())
    yield from (Holder(f"process {use.pid}", use.how) for use in uses)
    if not uses and disposal.is_leased(layout, base_key, digest):
        yield Holder("a process", "holds its lease")


def _near(text: str, layout: Layout) -> str:
    names = [key.partition("-")[2].rpartition("-")[0] for key in store.keys(layout)]
    near = nearest(text, names)
    return f"did you mean `{near}`?" if near else "see `vpm-env history` for digests, `vpm-env list` for packages"
