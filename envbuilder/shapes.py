"""Whether data that came from elsewhere has the shape that its readers rely on: kinds of values, all the way down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

TEXT, NUMBER, WHOLE, TRUTH = "text", "number", "whole", "truth"
"""A string; a number; a whole one, which is at least 0; true or false."""


def fits(value: Any, shape: Any) -> bool:
    """Tell whether `value` has a shape: one of the words above, `[shape]` for a list, `{"": shape}` for any object.

    `{"name": shape, …}` is an object that has these members; it may have others.
    """
    if isinstance(shape, str):
        return _is(value, shape)
    if isinstance(shape, list):
        return isinstance(value, list) and _all_fit(value, shape[0])
    if not isinstance(value, dict):
        return False
    if "" in shape:
        return _all_fit(value.values(), shape[""])
    for name, each in shape.items():  # noqa: SIM110 (a generator takes twice as long, and each look at a set waits)
        if name not in value or not fits(value[name], each):
            return False
    return True


def _all_fit(values: Iterable[Any], shape: Any) -> bool:
    for each in values:  # noqa: SIM110 (as above)
        if not fits(each, shape):
            return False
    return True


def _is(value: Any, kind: str) -> bool:
    if kind == TEXT:
        return isinstance(value, str)
    if kind == TRUTH:
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind == WHOLE:
        return isinstance(value, int) and 0 <= value < 1 << 53
    return isinstance(value, (int, float)) and abs(value) < 1 << 53
