"""How something grows: the exponent of a power law."""

from __future__ import annotations

import math
from statistics import linear_regression
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def power(points: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Fit `y = factor * x ** exponent` by least squares of logarithms; return exponent and factor.

    What is not above zero has no logarithm and is left out; raise `ValueError` where fewer than two points are left.
    """
    logs = [(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0]
    if len(logs) < 2:
        raise ValueError("a line goes through two points")
    slope, intercept = linear_regression(*zip(*logs, strict=True))
    return slope, math.exp(intercept)
