"""Answer in capitals."""

from __future__ import annotations


def shout(text: str) -> str:
    """Return `text` in capitals, and louder."""
    return f"{text.upper()}!"
