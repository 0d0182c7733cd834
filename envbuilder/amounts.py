"""Sizes as people write them: `10G`, `512 MiB`, and a share of a whole: `5%`."""

from __future__ import annotations

import re

from envbuilder.tuples import NamedTuple

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b)?", re.IGNORECASE)
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


class Amount(NamedTuple):
    """An amount of bytes, or a share of a whole of which only the reader knows the size (0 to 1); `text` as written."""

    text: str
    bytes: int = 0
    share: float = 0.0

    def of(self, whole: int) -> int:
        """Return the bytes that this is of `whole` bytes."""
        return self.bytes or int(whole * self.share)


def size(text: str) -> int:
    """Read `10G` as bytes: `K`, `M`, `G` and `T` are powers of 1024, `KB`, `MB`, … of 1000; raise `ValueError` else.

    >>> size("1.5k"), size("10 MiB"), size("2GB")
    (1536, 10485760, 2000000000)
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"`{text}` is no size; write a number and `K`, `M`, `G` or `T`: `10G`")
    number, unit, suffix = found.groups()
    step = 1000 if unit and suffix and suffix.lower() == "b" else 1024
    return int(float(number) * step ** _POWERS[unit.lower()])


def amount(text: str) -> Amount:
    """Read a size, or a share such as `5%`; raise `ValueError` for what is neither."""
    found = _SHARE.fullmatch(text.strip())
    if not found:
        try:
            return Amount(text, bytes=size(text))
        except ValueError:
            raise ValueError(f"`{text}` is neither a size nor a share; write `20G` or `5%`") from None
    share = float(found[1]) / 100
    if share > 1:
        raise ValueError(f"`{text}` is more than there is")
    return Amount(text, share=share)
