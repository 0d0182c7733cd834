"""Charts of the table as SVG, in plain strings: how far each row is from its limit, and how things grow."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from fit import power
from table import amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from table import Row

WIDTH = 960
_LINE = 34
_TOP = 64
_LEFT, _RIGHT = 400, 740
"""Where bars begin and end; to the left stands what it is, to the right how much."""
_LEAST, _MOST = 1 / 64, 4.0
"""Shares of a limit at both ends of the scale."""
_MARKS = {"1/64": _LEAST, "1/16": 1 / 16, "1/4": 1 / 4, "the limit": 1.0, "4 times": _MOST}
_SIZE = 420
_MARGIN = 70
_STYLE = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
  .ground { fill: #ffffff } .small { font-size: 10.5px; fill: #59636e } .head { font-size: 15px; font-weight: 600 }
  .grid { stroke: #d1d9e0; stroke-width: 1 } .limit { stroke: #1f2328; stroke-width: 1.5; stroke-dasharray: 4 3 }
  .reached { fill: #1f883d } .missed { fill: #bc4c00 } .beyond { fill: #818b98 }
  .least { stroke: #1f2328; stroke-width: 3 } .one { stroke: #0969da; fill: #0969da }
  .two { stroke: #bc4c00; fill: #bc4c00 } .line { fill: none; stroke-width: 1.5 } .end { text-anchor: end }
  .middle { text-anchor: middle }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .ground { fill: #0d1117 } .small { fill: #9198a1 } .grid { stroke: #3d444d }
    .limit { stroke: #e6edf3 } .reached { fill: #3fb950 } .missed { fill: #f0883e }
    .beyond { fill: #656c76 } .least { stroke: #e6edf3 }
    .one { stroke: #4493f8; fill: #4493f8 } .two { stroke: #f0883e; fill: #f0883e } .line { fill: none }
  }
"""


def bars(rows: Iterable[Row]) -> str:
    """Draw each row that has a limit as a bar: its share of the limit, on a logarithmic scale."""
    limited = [row for row in rows if row.limit is not None]
    height = _TOP + _LINE * len(limited) + 40
    parts = [_text(16, 28, "vpm-env: what is measured, as a share of what is to be reached", "head")]
    told = "logarithmic; left of the dashed line it is reached; a mark where the physical limit alone is"
    parts += [_text(16, 46, told, "small"), *_scale(height)]
    for at, row in enumerate(limited):
        parts += _bar(row, _TOP + _LINE * at)
    return _picture(WIDTH, height, "Each measured figure as a share of its limit", parts)


def share(row: Row) -> float:
    """Return value over limit; of a limit of zero, nothing where it is kept, else more than any scale has."""
    if row.limit:
        return row.value / row.limit
    return 0.0 if row.reached else math.inf


def _bar(row: Row, top: int) -> list[str]:
    length = max(_across(share(row)) - _LEFT, 2)
    said = f"{amount(row.value, row.unit)} of {amount(row.limit or 0, row.unit)}"
    said += f" — {row.verdict}" if row.reached is False else ""
    style = {"reached": "reached", "missed": "missed"}.get(row.verdict, "beyond")
    least = _across(row.least / row.limit) if row.least and row.limit else None
    return [
        _text(_LEFT - 12, top + 13, row.name, "end"),
        _text(_LEFT - 12, top + 26, _shortened(row.what), "end small"),
        f'<rect class="{style}" x="{_LEFT}" y="{top + 5}" width="{length:.1f}" height="18" rx="2"/>',
        *([_stroke(least, top + 3, least, top + 25, "least")] if least else ()),
        _text(_RIGHT + 14, top + 18, said, ""),
    ]


def _scale(height: int) -> list[str]:
    bottom = height - 32
    parts = []
    for label, ratio in _MARKS.items():
        at = _across(ratio)
        parts.append(_stroke(at, _TOP - 6, at, bottom, "limit" if ratio == 1 else "grid"))
        parts.append(_text(at, bottom + 16, label, "middle small"))
    return parts


def _across(ratio: float) -> float:
    inside = min(max(ratio, _LEAST), _MOST)
    return _LEFT + (_RIGHT - _LEFT) * math.log(inside / _LEAST) / math.log(_MOST / _LEAST)


def growth(rows: Iterable[Row]) -> str:
    """Draw what was measured at several sizes, on two logarithmic scales, with the power that fits."""
    grown = [row for row in rows if len([y for _, y in row.points if y > 0]) > 1]
    frame = _Frame([(x, y) for row in grown for x, y in row.points if x > 0 and y > 0])
    parts = [_text(16, 28, "vpm-env: time over size", "head"), *frame.grid()]
    for number, row in enumerate(grown):
        parts += _curve(row, frame, ("one", "two")[number % 2], 36 + 17 * number)
    return _picture(_SIZE + 2 * _MARGIN, _SIZE + 2 * _MARGIN, "Time over size, on logarithmic scales", parts)


def _curve(row: Row, frame: _Frame, style: str, top: int) -> list[str]:
    exponent, factor = power(row.points)
    ends = [row.points[0][0], row.points[-1][0]]
    first, last = (frame.at(x, factor * x**exponent) for x in ends)
    dots = [frame.at(x, y) for x, y in row.points if y > 0]
    return [
        _stroke(*first, *last, f"{style} line"),
        *(f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in dots),
        f'<rect class="{style}" x="{_MARGIN + 14}" y="{top + 2}" width="10" height="10"/>',
        _text(_MARGIN + 32, top + 11, f"{row.name}: size to the power of {exponent:.2f}", ""),
    ]


class _Frame:
    """Two logarithmic scales, of whole powers of ten, around some points."""

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        found = points or [(1.0, 1.0)]
        self.x, self.y = (_powers([point[axis] for point in found]) for axis in (0, 1))

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point lies in the picture."""
        across, up = _part(x, self.x), _part(y, self.y)
        return _MARGIN + _SIZE * across, _MARGIN + _SIZE * (1 - up)

    def grid(self) -> list[str]:
        """Draw a line for each power of ten."""
        parts = []
        bottom, right = _MARGIN + _SIZE, _MARGIN + _SIZE
        for exponent in range(self.x[0], self.x[1] + 1):
            at = self.at(10.0**exponent, 1.0)[0]
            parts.append(_stroke(at, _MARGIN, at, bottom, "grid"))
            parts.append(_text(at, bottom + 18, f"{10**exponent:,} packages", "middle small"))
        for exponent in range(self.y[0], self.y[1] + 1):
            at = self.at(1.0, 10.0**exponent)[1]
            parts.append(_stroke(_MARGIN, at, right, at, "grid"))
            parts.append(_text(_MARGIN - 8, at + 4, f"{10.0**exponent:g} s", "end small"))
        return parts


def _powers(values: Sequence[float]) -> tuple[int, int]:
    low, high = (math.log10(bound) for bound in (min(values), max(values)))
    return math.floor(low), max(math.ceil(high), math.floor(low) + 1)


def _part(value: float, scale: tuple[int, int]) -> float:
    return (math.log10(value) - scale[0]) / (scale[1] - scale[0])


def _picture(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    inside = "\n".join(parts)
    head = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    ground = f'<rect class="ground" width="{width}" height="{height}"/>'
    return f'<svg {head} role="img">\n<title>{title}</title>\n<style>{_STYLE}</style>\n{ground}\n{inside}\n</svg>\n'


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _stroke(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _shortened(text: str, most: int = 68) -> str:
    plain = text.replace("`", "")
    return plain if len(plain) <= most else plain[: most - 1] + "…"
