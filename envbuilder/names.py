"""Names of distributions, normalized (PEP 503)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?", re.IGNORECASE)
_RUN = re.compile(r"[-_.]+")


def normalized(name: str) -> str:
    """Return the one spelling of a name that all its spellings have.

    `packaging.utils` has the same, and with it platform tags and logging: a third of a bare interpreter start, which
    every build would pay for this line.

    >>> normalized("Foo._-Bar")
    'foo-bar'
    """
    return _RUN.sub("-", name).lower()


def is_name(text: str) -> bool:
    """Tell whether a text is a distribution's name."""
    return _NAME.fullmatch(text) is not None and text.isascii()


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return what somebody meant who wrote `word`; "" where nothing is near."""
    from difflib import get_close_matches  # only a mistake pays for it

    return next(iter(get_close_matches(word, list(known), n=1, cutoff=cutoff)), "")


def listed(text: str) -> list[str]:
    """Read names with commas or blanks between them.

    >>> listed("foo, bar")
    ['foo', 'bar']
    """
    return text.replace(",", " ").split()
