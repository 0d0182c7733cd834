"""Points in time as people write them: a day, a moment, or how long ago."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DAY = re.compile(r"\d{4}-\d\d-\d\d(?!\d)")
_AGO = re.compile(r"(\d{1,5})([smhdw])")


def seconds(text: str) -> float:
    """Read how long something is (`30d`) as seconds; raise `ValueError` else."""
    found = _AGO.fullmatch(text)
    if not found:
        raise ValueError(f"`{text}` is no duration")
    return float(int(found[1]) * _UNITS[found[2]])


def checked(text: str) -> str:
    """Return a day or moment in its one spelling (UTC), and how long ago (`30d`) as it is; else raise `ValueError`."""
    return text if _AGO.fullmatch(text) else _spelled(_parsed(text))


def moment(text: str, now: datetime | None = None) -> str:
    """Return the moment that a checked text means at `now`: `2026-01-31T00:00:00Z`."""
    found = _AGO.fullmatch(text)
    if not found:
        return text
    ago = timedelta(seconds=seconds(text))
    return _spelled(max(now or datetime.now(timezone.utc), _EPOCH + ago) - ago)


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def _parsed(text: str) -> datetime:
    try:
        day = _DAY.match(text)
        found = datetime.fromisoformat(re.sub("[Zz]$", "+00:00", text) if day else "")
        return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise ValueError("must be a day (`2026-01-31`), a moment (`2026-01-31T12:00:00Z`) or an age (`30d`)") from None


def _spelled(found: datetime) -> str:
    return found.strftime("%Y-%m-%dT%H:%M:%SZ")
