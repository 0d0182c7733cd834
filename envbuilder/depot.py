"""A cache as its users see it: documents that were signed by somebody they trust, and parcels that these name."""

from __future__ import annotations

from typing import TypeVar

from envbuilder import keys, waybill
from envbuilder.errors import CacheError
from envbuilder.notation import canonical, loads
from envbuilder.tuples import TYPE_CHECKING, NamedTuple
from envbuilder.waybill import Card, Channel, Waybill

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from envbuilder.bucket import Bucket
    from envbuilder.keys import PublicKey, SecretKey

_LIMIT = 64 << 20
"""Bytes of a document; that of a set with 500 packages has one million."""
_TO_TRUST = (
    "`--trusted-key NAME:KEY`, `VPM_ENV_TRUSTED_KEYS` or `trusted_keys:` say whom to believe; `--unsigned` takes "
    "what anybody put there"
)

Read = TypeVar("Read")


class Trust(NamedTuple):
    """Whose signatures count; `takes_unsigned` says that none is needed."""

    keys: tuple[PublicKey, ...] = ()
    takes_unsigned: bool = False


class Depot(NamedTuple):
    """A cache, and whom to believe what it says. Whatever is wrong with what it says is a `CacheError`."""

    bucket: Bucket
    trust: Trust

    @property
    def shown(self) -> str:
        """Return its URL without credentials."""
        return self.bucket.shown

    def waybill(self, digest: str) -> Waybill:
        """Read the waybill of a set; raise `CacheError` where there is none."""
        found = self._read(waybill.waybill_path(digest), "overlay", Waybill.from_dict)
        if found is None or found.digest != digest:
            hint = "`vpm-env cache ls` lists what is there, `vpm-env push` puts a set there"
            raise CacheError(url=self.shown, reason=f"there is no set {digest[:12]}", hint=hint)
        return found

    def known_waybill(self, digest: str) -> Waybill | None:
        """Read the waybill of a set, if it is there."""
        return self._read(waybill.waybill_path(digest), "overlay", Waybill.from_dict)

    def seen(self, path: str) -> tuple[dict[str, Any] | None, Any]:
        """Read a document as it stands there, and by which tag it may be replaced; one that is none is empty."""
        found = self.bucket.read_tagged(path)
        if found is None:
            return None, None
        try:
            return _object(found[0]), found[1]
        except (ValueError, TypeError, RecursionError):
            return {}, found[1]

    def believes(self, document: dict[str, Any]) -> bool:
        """Tell whether somebody signed a document who is trusted, or nobody need have."""
        return self.trust.takes_unsigned or keys.is_signed(document, self.trust.keys) is not None

    def require_no_strangers(self, path: str, document: dict[str, Any]) -> None:
        """Raise `CacheError` where somebody else may have signed a document, who would lose that if it made way."""
        if others := sorted(set(_signers(document)) - {key.name for key in self.trust.keys}):
            named = ", ".join(f"`{name}`" for name in others)
            reason = f"`{path}` says something else, and is signed by {named}, whom nobody trusts here"
            hint = "`--trusted-key NAME:KEY` takes what is there, and signs beside it"
            raise CacheError(url=self.shown, reason=reason, hint=hint)

    def has(self, path: str, key: SecretKey | None) -> bool:
        """Tell whether there is a document that this key has signed; without a key, any will do."""
        there, _ = self.seen(path)
        return there is not None and (key is None or keys.is_signed(there, [key.public]) is not None)

    def card(self, key: str) -> Card | None:
        """Read the card of a package, if it is there."""
        found = self._read(waybill.card_path(key), "package", Card.from_dict)
        return found if found and found.key == key else None

    def key_of(self, made_from: str) -> str | None:
        """Return the key of the package that the input of this digest gave, if that is known."""
        found = self._read(waybill.input_path(made_from), "input", lambda record: (record["input"], record["key"]))
        return str(found[1]) if found and found[0] == made_from else None

    def channel(self, name: str) -> Channel | None:
        """Read a channel, if it is there."""
        found, _ = self.tagged_channel(name)
        return found

    def tagged_channel(self, name: str) -> tuple[Channel | None, Any]:
        """Read a channel, and by which tag it may be moved from there."""
        path = waybill.channel_path(name)
        found = self.bucket.read_tagged(path)
        if found is None:
            return None, None
        content, tag = found
        channel = self._parsed(path, content, "channel", Channel.from_dict)
        if channel.name != name:
            raise CacheError(url=self.shown, reason=f"`{path}` is about another channel")
        return channel, tag

    def _read(self, path: str, kind: str, reading: Callable[[dict[str, Any]], Read]) -> Read | None:
        content = self.bucket.read(path, limit=_LIMIT)
        return None if content is None else self._parsed(path, content, kind, reading)

    def _parsed(self, path: str, content: bytes, kind: str, reading: Callable[[dict[str, Any]], Read]) -> Read:
        try:
            record = _object(content)
            self._require_signed(path, record)
            waybill.require_kind(record, kind)
            return reading(record)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"`{path}` is not what vpm-env puts there: {_told(error)}"
            raise CacheError(url=self.shown, reason=reason) from None

    def _require_signed(self, path: str, record: dict[str, Any]) -> None:
        if self.believes(record):
            return
        names = _signers(record)
        broken = sorted({key.name for key in self.trust.keys}.intersection(names))
        if broken:
            reason = (
                f"`{path}` has a signature of `{broken[0]}` that does not hold: it was changed, or the key is another"
            )
            raise CacheError(url=self.shown, reason=reason)
        signers = ", ".join(f"`{name}`" for name in names)
        what = f"is signed by {signers}, whom nobody trusts here" if signers else "is not signed"
        raise CacheError(url=self.shown, reason=f"`{path}` {what}", hint=_TO_TRUST)


def written(document: dict[str, Any], key: SecretKey | None) -> bytes:
    """Return a document as it is put into a cache: signed, where there is a key."""
    return bytes(canonical(key.sign(document) if key else document))


def _object(content: bytes) -> dict[str, Any]:
    record = loads(content)
    if isinstance(record, dict):
        return record
    raise TypeError("no object")


def _told(error: Exception) -> str:
    """Say what is wrong in our own words; Python's are of no use to who reads them."""
    own = isinstance(error, ValueError) and str(error)
    return str(own or "it has not what such a document has")


def _signers(record: dict[str, Any]) -> list[str]:
    """Name who says that he signed something; nothing is checked."""
    found = record.get("signatures")
    listed = found if isinstance(found, list) else []
    names = {each.partition(":")[0] for each in listed if isinstance(each, str) and ":" in each}
    return sorted(name for name in names if name.isprintable() and len(name) < 64)
