"""Keys that sign a cache's documents: made, read from files that nobody else may read, and checked against.

What is signed is the canonical JSON of a document without its `signatures`; a signature is `name:base64`, as is a key.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Any

from envbuilder.errors import CacheError
from envbuilder.notation import canonical
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_KEY_BYTES, _SIGNATURE_BYTES = 32, 64
_LARGEST_FILE = 4096
"""Bytes; a key has some 100."""
INSTALL = "`pip install 'vpm-env[cache]'` installs what caches need"
_MANY = 64
"""Signatures of one document; more are nobody's honest work, and each costs a look."""


class PublicKey(NamedTuple):
    """What a signature is checked with: the name that people trust it under, and its 32 raw bytes."""

    name: str
    raw: bytes

    def __str__(self) -> str:
        return _written(self.name, self.raw)


class SecretKey:
    """What signs; its raw bytes are never shown."""

    __slots__ = ("_key", "name")

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        """Take a key that was read or made; `read_secret` is the way to one."""
        self.name = name
        self._key = key

    def __repr__(self) -> str:
        return f"SecretKey({self.name!r})"

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.name, self._key.public_key().public_bytes_raw())

    def sign(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return a document with this key's signature beside those of others; an earlier one of its own goes."""
        made = _written(self.name, self._key.sign(_signed_part(document)))
        others = [each for each in _listed(document) if each.partition(":")[0] != self.name]
        return {**document, "signatures": [*others, made]}


def parse_public(text: str) -> PublicKey:
    """Read `name:base64 of 32 bytes`; raise `ValueError` for what is none."""
    return PublicKey(*_read(text.strip()))


def generate(name: str) -> tuple[str, str]:
    """Make a pair of keys, secret and public, as they stand in files; raise `ValueError` for what is no name."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"`{_harmless(name)}` is no name of a key: letters, digits, `.`, `_` and `-`")
    key = _ed25519().Ed25519PrivateKey.generate()
    return _written(name, key.private_bytes_raw()), _written(name, key.public_key().public_bytes_raw())


def read_secret(path: str) -> SecretKey:
    """Read a secret key from a file of this user's that nobody else may read; raise `CacheError` for any other."""
    try:
        name, raw = _read(_own_text(path).strip())
    except OSError as error:
        text = f"the secret key `{path}` cannot be read: {(error.strerror or type(error).__name__).lower()}"
        raise CacheError(url="", reason=text) from None
    except ValueError:
        hint = "`vpm-env cache keygen NAME FILE` makes one"
        raise CacheError(url="", reason=f"`{path}` holds no secret key of the form name:base64", hint=hint) from None
    return SecretKey(name, _ed25519().Ed25519PrivateKey.from_private_bytes(raw))


def is_signed(document: dict[str, Any], trusted: Iterable[PublicKey]) -> str | None:
    """Return the name of the first trusted key whose signature of a document holds; None if there is none.

    Whatever stands in a document, nothing is raised for it.
    """
    found = dict.fromkeys(_listed(document))
    keys = [key for key in trusted if any(each.startswith(f"{key.name}:") for each in found)]
    if not keys:
        return None
    try:
        signed = _signed_part(document)
    except (TypeError, ValueError, RecursionError):
        return None  # it is no plain data
    return next((key.name for key in keys for each in found if _holds(each, key, signed)), None)


def _holds(signature: str, key: PublicKey, signed: bytes) -> bool:
    ed25519 = _ed25519()
    from cryptography.exceptions import InvalidSignature

    try:
        name, raw = _read(signature, size=_SIGNATURE_BYTES)
        if name != key.name:
            return False
        ed25519.Ed25519PublicKey.from_public_bytes(key.raw).verify(raw, signed)
    except (ValueError, InvalidSignature):
        return False
    return True


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        text = f"nothing can be signed, nor a signature be checked: `{error.name}` is not installed"
        raise CacheError(url="", reason=text, hint=INSTALL) from None
    return ed25519


def _signed_part(document: dict[str, Any]) -> bytes:
    return canonical({name: value for name, value in document.items() if name != "signatures"})


def _listed(document: dict[str, Any]) -> list[str]:
    """Return what may be signatures of a document; nothing of a list that is none, or too long for one."""
    found: Any = document.get("signatures") if hasattr(document, "get") else None  # it may be any JSON
    if not isinstance(found, list) or len(found) > _MANY:
        return []
    return [each for each in found if isinstance(each, str)]


def _own_text(path: str) -> str:
    """Read a small regular file of this user's, or root's, with a mode that lets nobody else read it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_FILE:
            raise ValueError("no small file")
        if status.st_uid not in (0, os.geteuid()):
            raise CacheError(url="", reason=f"the secret key `{path}` belongs to another user")
        if status.st_mode & 0o077:
            text = f"the secret key `{path}` has mode {stat.S_IMODE(status.st_mode):04o}: others may get at it"
            hint = f"`chmod 600 {path}`; if anybody may have read it, make another key"
            raise CacheError(url="", reason=text, hint=hint)
        return os.read(descriptor, _LARGEST_FILE).decode("ascii")
    finally:
        os.close(descriptor)


def _read(text: str, *, size: int = _KEY_BYTES) -> tuple[str, bytes]:
    """Read `name:base64`; what it is shall not be quoted, for it may be secret."""
    import base64

    name, _, encoded = text.partition(":")
    try:
        raw = base64.b64decode(encoded.encode("ascii"), validate=True)
    except ValueError:
        raw = b""
    # The last character of base64 has bits that mean nothing: two spellings must not be one key.
    if not _NAME.fullmatch(name) or len(raw) != size or _written(name, raw) != text:
        raise ValueError("no key of the form name:base64")
    return name, raw


def _written(name: str, raw: bytes) -> str:
    import base64

    return f"{name}:{base64.b64encode(raw).decode('ascii')}"


def _harmless(text: str) -> str:
    return text[:40].encode("ascii", "backslashreplace").decode().encode("unicode_escape").decode()
