"""What a cache says of sets and packages, as data: the documents beside the parcels.

A *card* is about one package, a *waybill* lists the packages of a set with all that it takes to link and to record it,
a *channel* names the set that machines are to have. All are JSON objects of a `kind`, with the signatures of whoever
put them there.
"""

from __future__ import annotations

from typing import Any

from envbuilder.classes import dataclass
from envbuilder.manifest import Manifest
from envbuilder.package import Package
from envbuilder.shapes import NUMBER, TEXT, TRUTH, WHOLE, fits
from envbuilder.tuples import NamedTuple

FORMAT = 1
_FINDING: dict[str, Any] = dict.fromkeys(
    ("code", "severity", "package", "plugin", "what", "why", "way_forward"), TEXT
) | {"details": [TEXT], "accepted": TRUTH}
_RESULT: dict[str, Any] = (
    dict.fromkeys(("group", "name", "value", "package", "plugin", "status", "error"), TEXT)
    | dict.fromkeys(("seconds", "call_seconds", "base_seconds", "memory", "peak"), NUMBER)
    | {"called": TRUTH, "effects": {}, "nodes": [TEXT]}
)
_MEMBER: dict[str, Any] = dict.fromkeys(("name", "version", "key", "plugin"), TEXT) | {
    **dict.fromkeys(("editable", "override"), TRUTH),
    "size": WHOLE,
}
_MANIFEST: dict[str, Any] = (
    dict.fromkeys(("soabi", "platform", "python_version"), TEXT)
    | {key: {"": TEXT} for key in ("facts", "allow_lists", "provided", "left_out")}
    | {key: {"": [TEXT]} for key in ("selection", "ignored", "accepts")}
    | {
        "base": dict.fromkeys(("key", "prefix", "python", "engine", "engine_version"), TEXT),
        "members": [_MEMBER],
        "entry_points": {"": {"": [TEXT]}},
        "findings": [_FINDING],
        "probe": [_RESULT],
        "derived": {},
    }
)
_CARD: dict[str, Any] = {
    "key": TEXT,
    "package": {"name": TEXT, "version": TEXT, "size": WHOLE},
    "parcel": {"sha256": TEXT, "size": WHOLE},
}
_WAYBILL: dict[str, Any] = {"digest": TEXT, "manifest": _MANIFEST, "packages": [{}], "lock": TEXT, "config": TEXT}
_CHANNEL: dict[str, Any] = {"channel": TEXT, "digest": TEXT, "serial": WHOLE, "before": [TEXT]}
"""What the readers of these documents rely on; the rest is checked where it is used."""

REMEMBERED = 32
"""Sets that a channel had before; more is history that nobody goes back to by one step at a time."""


class Sum(NamedTuple):
    """A file by its content: 64 hex digits of its sha256, and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One package in a cache.

    `record` is what stands in its `package.json`, `parcel` the file that its files travel in, `made_from` the input
    that it was made from, as `inputs` writes it; None where nobody knows any more.
    """

    key: str
    record: dict[str, Any]
    parcel: Sum
    made_from: dict[str, Any] | None = None

    @property
    def path(self) -> str:
        """Say where its parcel lies in a cache."""
        return parcel_path(self.key)

    def to_dict(self) -> dict[str, Any]:
        """Return it as it stands in a waybill, and with `kind` and signatures on its own."""
        return {"key": self.key, "package": self.record, "parcel": self.parcel._asdict(), "made_from": self.made_from}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Card:
        """Read one; raise `KeyError`, `TypeError` or `ValueError` for what is none, or names another package."""
        _require(fits(record, _CARD))
        package = Package.from_dict(record["package"], files="")
        if package.key != record["key"] or package.editable:
            raise ValueError("its package is another one")
        if not isinstance(record["made_from"], dict | None):
            raise TypeError("what it was made from is no object")
        return cls(
            key=package.key, record=record["package"], parcel=_sum(record["parcel"]), made_from=record["made_from"]
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Waybill:
    """One set in a cache: its overlay's manifest where it was made, its packages, and the lock and config behind it."""

    manifest: Manifest
    cards: tuple[Card, ...]
    lock: str
    config: str

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def size(self) -> int:
        """Add up the bytes of its parcels."""
        return sum(card.parcel.size for card in self.cards)

    def to_dict(self) -> dict[str, Any]:
        """Return it without signatures."""
        return {
            "format": FORMAT,
            "kind": "overlay",
            "digest": self.digest,
            "manifest": self.manifest.to_dict(),
            "packages": [card.to_dict() for card in self.cards],
            "lock": self.lock,
            "config": self.config,
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Waybill:
        """Read one; raise `KeyError`, `TypeError` or `ValueError` where it does not hang together."""
        _require(fits(record, _WAYBILL))
        manifest = Manifest.from_dict(record["manifest"])
        cards = tuple(Card.from_dict(card) for card in record["packages"])
        if manifest.digest != record["digest"]:
            raise ValueError("its digest is not that of its set")
        if sorted(card.key for card in cards) != sorted(member.key for member in manifest.members):
            raise ValueError("its packages are not those of its set")
        return cls(manifest=manifest, cards=cards, lock=record["lock"], config=record["config"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Channel:
    """Which set machines are to have; `before` are the digests that it had, the last one last.

    `serial` counts its moves, so that an old copy of it can be told from it.
    """

    name: str
    digest: str
    serial: int = 1
    before: tuple[str, ...] = ()

    def moved(self, digest: str) -> Channel:
        """Return it with another set."""
        before = (*self.before, self.digest)[-REMEMBERED:]
        return Channel(name=self.name, digest=digest, serial=self.serial + 1, before=before)

    def moved_back(self) -> Channel:
        """Return it with the set that it had before; that must be there."""
        return Channel(name=self.name, digest=self.before[-1], serial=self.serial + 1, before=self.before[:-1])

    def to_dict(self) -> dict[str, Any]:
        """Return it without signatures."""
        return {
            "format": FORMAT,
            "kind": "channel",
            "channel": self.name,
            "digest": self.digest,
            "serial": self.serial,
            "before": list(self.before),
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Channel:
        """Read one; raise `KeyError`, `TypeError` or `ValueError` for what is none."""
        _require(fits(record, _CHANNEL) and record["serial"] > 0 and len(record["before"]) <= REMEMBERED)
        if not all(map(is_digest, (record["digest"], *record["before"]))):
            raise ValueError("it names no sets")
        return cls(
            name=record["channel"],
            digest=record["digest"],
            serial=record["serial"],
            before=tuple(record["before"]),
        )


def require_kind(record: dict[str, Any], kind: str) -> None:
    """Raise `KeyError` or `ValueError` for a document of another kind, or of a newer format."""
    if record["kind"] != kind:
        raise ValueError(f"it is about something else: {record['kind']!r}")
    if record["format"] != FORMAT:
        raise ValueError(f"it has format {record['format']!r}; this vpm-env knows {FORMAT}")


def card_document(card: Card) -> dict[str, Any]:
    """Return a card as it stands on its own."""
    return {"format": FORMAT, "kind": "package", **card.to_dict()}


def input_document(made_from: str, key: str) -> dict[str, Any]:
    """Say which package the input of this digest gave."""
    return {"format": FORMAT, "kind": "input", "input": made_from, "key": key}


def parcel_path(key: str) -> str:
    """Say where in a cache a package's parcel lies; its card lies beside it."""
    return f"packages/{key}.tar.zst"


def card_path(key: str) -> str:
    """Say where a package's card lies."""
    return f"packages/{key}.json"


def input_path(made_from: str) -> str:
    """Say where it lies what the input of this digest gave."""
    return f"inputs/{made_from}.json"


def waybill_path(digest: str) -> str:
    """Say where a set's waybill lies."""
    return f"overlays/{digest}.json"


def channel_path(name: str) -> str:
    """Say where a channel lies."""
    return f"channels/{name}.json"


def is_digest(text: Any) -> bool:
    """Tell whether something names an overlay: 64 hex digits."""
    return isinstance(text, str) and len(text) == 64 and set("0123456789abcdef").issuperset(text)


def is_channel(text: str) -> bool:
    """Tell whether something may name a channel: as profiles are named, so that it is a file's name too."""
    letters = set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    return 0 < len(text) < 64 and text[0] not in "._-" and letters.issuperset(text)


def _require(is_so: bool) -> None:
    if not is_so:
        raise ValueError("it has not what such a document has")


def _sum(record: dict[str, Any]) -> Sum:
    if not is_digest(record["sha256"]):
        raise ValueError("its parcel has no sha256")
    return Sum(record["sha256"], record["size"])
