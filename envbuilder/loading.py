"""push: a generation's packages into a cache, and last the waybill that makes a set of them.

Whatever is in a cache stays as it is: everything is created once, and who finds it there makes sure that it says the
same. So any number of machines may push at once, and one that dies leaves nothing that counts.
"""

from __future__ import annotations

from os.path import join
from typing import TYPE_CHECKING

from envbuilder import flocks, fs, parcel, process, store, waybill
from envbuilder.classes import dataclass, replace
from envbuilder.depot import Depot, written
from envbuilder.digest import read_sealed, sha256_of
from envbuilder.errors import CacheError, ProfileError
from envbuilder.notation import loads
from envbuilder.revision import manifest_of
from envbuilder.waybill import Card, Channel, Sum, Waybill, card_document, input_document

if TYPE_CHECKING:
    from typing import Any

    from envbuilder.keys import SecretKey
    from envbuilder.paths import Layout
    from envbuilder.report import Reporter
    from envbuilder.revision import Revision

_WORKERS = 4
_TRIES = 10
"""Each lost one is somebody else who signs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pushed:
    """What a push came to: the set, how many packages it took there with how many bytes, and how many were there.

    `is_new` says that the cache did not have the set; `channel` is the one that was moved to it.
    """

    digest: str
    sent: int
    bytes: int
    had: int
    is_new: bool
    channel: Channel | None = None

    def on(self, channel: Channel) -> Pushed:
        """Return the same, and that this channel names the set now."""
        return replace(self, channel=channel)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Loading:
    """One push: where from, where to, and who signs."""

    layout: Layout
    depot: Depot
    key: SecretKey | None
    report: Reporter
    doing: str

    def put(self, path: str, document: dict[str, Any]) -> bool:
        """Put a document into the cache; tell whether nothing was there.

        What is there already and is believed, or says the same, gets our signature beside the others. What says
        something else makes way, unless somebody seems to have signed it whom nobody trusts here: `CacheError`.
        """
        if self.depot.bucket.create(path, written(document, self.key)):
            return True
        for _ in range(_TRIES if self.key else 0):
            there, tag = self.depot.seen(path)
            if there is None or self.depot.has(path, self.key):
                break
            if self.depot.bucket.swap(path, written(self._kept(path, there, document), self.key), tag):
                break
        return False

    def _kept(self, path: str, there: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
        """Return what is to be signed: what is there, or our document in its place."""
        ours = loads(written(document, None))
        if self.depot.believes(there) or {**there, "signatures": []} == {**ours, "signatures": []}:
            return there
        self.depot.require_no_strangers(path, there)
        return document

    def card(self, key: str) -> Card | None:
        """Return a package's card, signed by us too; None where there is none that is believed."""
        path = waybill.card_path(key)
        there, _ = self.depot.seen(path)
        if there is None or not self.depot.believes(there):
            return None
        self.put(path, there)
        return self.depot.card(key)


def push(
    found: Revision,
    depot: Depot,
    key: SecretKey | None,
    report: Reporter,
    *,
    wait: float,
    doing: str = "pushing",
) -> Pushed:
    """Put a generation's set into a cache, packages first; raise `ProfileError` for one that cannot travel."""
    layout = found.profile.layout
    manifest = manifest_of(found)
    if editable := sorted(member.name for member in manifest.members if member.editable):
        named = ", ".join(f"`{name}`" for name in editable)
        hint = "build the set with `editable: false`, and push that"
        raise ProfileError(f"{named}: an editable plugin is its source tree, which does not travel", hint=hint)
    if manifest.failed:
        report.warn("the set was built by `--force`, in spite of a failed probe; who pulls it is told")
    if depot.has(waybill.waybill_path(manifest.digest), key):
        return Pushed(digest=manifest.digest, sent=0, bytes=0, had=len(manifest.members), is_new=False)
    loading = _Loading(layout=layout, depot=depot, key=key, report=report, doing=doing)
    with flocks.locked(layout.gc_lock, wait=wait, on_wait=report.waiting, shared=True):
        texts = _kept(found)
        with fs.staging(layout.tmp) as scratch:
            carried = _carried(loading, [member.key for member in manifest.members], scratch)
    cards = tuple(card for card, _ in carried)
    sent = [card.parcel.size for card, is_new in carried if is_new]
    made = Waybill(manifest=manifest, cards=cards, lock=texts["pylock.toml"], config=texts["plugins.yaml"])
    is_new = loading.put(waybill.waybill_path(made.digest), made.to_dict())
    if not is_new:
        _require_same(made, depot)
    return Pushed(digest=made.digest, sent=len(sent), bytes=sum(sent), had=len(cards) - len(sent), is_new=is_new)


def _kept(found: Revision) -> dict[str, str]:
    """Return the texts that are kept with a generation, without which nobody could make its set again."""
    try:
        texts = {}
        for suffix in ("plugins.yaml", "pylock.toml"):
            with open(found.profile.file(found.generation.number, suffix), encoding="utf-8-sig") as stream:
                texts[suffix] = stream.read()
    except (OSError, ValueError) as error:
        reason = f"what is kept with generation {found.generation.number} cannot be read: {error}"
        raise ProfileError(reason, hint="run `vpm-env verify --repair`") from None
    return texts


def _carried(loading: _Loading, keys: list[str], scratch: str) -> list[tuple[Card, bool]]:
    """Take packages to the cache, some at a time: each card, and whether its parcel was not there."""
    made_from = _inputs(loading.layout)

    def carry(key: str) -> tuple[Card, bool]:
        return _carry(loading, key, made_from.get(key), scratch)

    with loading.report.stage(loading.doing, total=len(keys)), process.workers(_WORKERS) as pool:
        return list(pool.map(carry, keys))


def _inputs(layout: Layout) -> dict[str, dict[str, Any]]:
    """Return what packages were made from, by key: of several inputs that gave the same, any."""
    found: dict[str, dict[str, Any]] = {}
    for name in fs.names_in(layout.sources):
        try:
            record = read_sealed(join(layout.sources, name))
            if "parcel" not in record["input"]:  # that came out of a cache, and says nothing to builds
                found[record["key"]] = record["input"]
        except (OSError, ValueError, KeyError):
            continue
    return found


def _carry(loading: _Loading, key: str, made_from: dict[str, Any] | None, scratch: str) -> tuple[Card, bool]:
    card = loading.card(key)
    is_new = card is None
    if card is None:
        card = _sent(loading, key, made_from, scratch)
    if made_from:
        digest = sha256_of(made_from)
        loading.put(waybill.input_path(digest), input_document(digest, key))
    if is_new:
        loading.report.step(f"{card.record['name']} {card.record['version']}", size=card.parcel.size)
    return card, is_new


def _sent(loading: _Loading, key: str, made_from: dict[str, Any] | None, scratch: str) -> Card:
    """Pack a package and put parcel and card into the cache; what somebody else put there meanwhile counts."""
    package = store.get(loading.layout, key)
    if package is None:
        raise ProfileError(f"the package {key} is missing or damaged", hint="run `vpm-env verify --repair`")
    packed = join(scratch, key)
    card = Card(
        key=key,
        record=package.to_dict(),
        parcel=Sum(*parcel.pack(loading.layout.package(key), packed)),
        made_from=made_from,
    )
    if not loading.depot.bucket.create(card.path, packed):
        card = _adopted(loading, card, f"{packed}.there")
    fs.remove(packed)
    if loading.put(waybill.card_path(key), card_document(card)):
        return card
    there = loading.depot.card(key)
    if there is None:
        raise CacheError(url=loading.depot.shown, reason=f"the card of {key} went while it was written")
    return there


def _adopted(loading: _Loading, card: Card, target: str) -> Card:
    """Describe the parcel that is there already, from a push that has not got to its card, or never will.

    Another version of the compressor may have made it, so it is unpacked to see whether it holds this package.
    """
    measured = loading.depot.bucket.measure(card.path)
    if measured is None or Sum(*measured) == card.parcel:
        return card
    there = Sum(*measured)
    loading.depot.bucket.fetch(card.path, target, sha256=there.sha256, size=there.size)
    parcel.unpack(target, f"{target}.tree", card.record)
    fs.remove_tree(f"{target}.tree")
    fs.remove(target)
    return Card(key=card.key, record=card.record, parcel=there, made_from=card.made_from)


def _require_same(made: Waybill, depot: Depot) -> None:
    """Raise `CacheError` where the cache has other packages under the digest of this set."""
    there = depot.waybill(made.digest)
    if {card.key: card.parcel for card in there.cards} != {card.key: card.parcel for card in made.cards}:
        raise CacheError(
            url=depot.shown, reason=f"it has other packages under {made.digest[:12]}, the digest of this set"
        )
