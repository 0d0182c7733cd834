"""Parameters of tests: the first ones always, the others only in the long run, which CI does too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable


def mostly_long(values: Iterable[Any], *always: Any) -> list[Any]:
    """Mark all `values` but `always` as `long`."""
    return [value if value in always else pytest.param(value, marks=pytest.mark.long) for value in values]
