"""Answer backwards."""

from __future__ import annotations


def reverse(text: str) -> str:
    """Return `text` from its end to its beginning."""
    return text[::-1]
