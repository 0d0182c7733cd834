"""JSON by the interpreter's own scanner and encoder, without the package around them.

`import json` compiles regular expressions, which takes more than a third of an interpreter start; the parts that do
the work are written in C, and need none. Whatever they do not take as it stands is left to the package.
"""

from __future__ import annotations

from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Encode = Callable[[Any], str]

_BLANKS = " \t\n\r"
_CONSTANTS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


class _Scanning:
    """How to read: as `json.loads` does where it is told nothing."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = _CONSTANTS.__getitem__


def _refuse(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} is no plain data")


def _encoding(*, is_canonical: bool) -> Encode:
    """Return what writes a value in one line: with one spelling and in ASCII, or for people."""
    spell = encode_basestring_ascii if is_canonical else encode_basestring
    separators = (":", ",") if is_canonical else (": ", ", ")
    parts = make_encoder(None, _refuse, spell, None, *separators, is_canonical, False, not is_canonical)
    return lambda value: "".join(parts(value, 0))


def _slow_encoding(*, is_canonical: bool) -> Encode:
    from json import JSONEncoder

    separators = (",", ":") if is_canonical else (", ", ": ")
    kind = JSONEncoder(
        sort_keys=is_canonical, ensure_ascii=is_canonical, allow_nan=not is_canonical, separators=separators
    )
    return kind.encode


_scan: Any = None
try:
    from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

    _scan = make_scanner(_Scanning())  # type: ignore[arg-type]  # whatever has these names will do
    _canonical, _line = _encoding(is_canonical=True), _encoding(is_canonical=False)
except (ImportError, TypeError):  # an interpreter without them, or where they have changed
    _canonical, _line = _slow_encoding(is_canonical=True), _slow_encoding(is_canonical=False)


def loads(content: bytes | str) -> Any:
    """Read JSON as `json.loads` does; raise `ValueError` for what is none, `RecursionError` for what is too deep."""
    try:
        text = content if isinstance(content, str) else content.decode()
        value, end = _scan(text, len(text) - len(text.lstrip(_BLANKS)))
        if end == len(text) or not text[end:].strip(_BLANKS):
            return value
    except (StopIteration, SystemError, TypeError, ValueError):
        pass  # what is wrong, and where, the package says
    import json

    return json.loads(content)


def canonical(value: Any) -> bytes:
    """Write plain data with one spelling: keys sorted, no spaces, ASCII, no NaN."""
    return _canonical(value).encode("ascii")


def dumps(value: Any) -> str:
    """Write plain data in one line, for people; what is not ASCII stands as it is."""
    return _line(value)


def lined(record: dict[str, Any]) -> str:
    """Write an object with a line for each member, and for each member of a member that holds others."""
    return _block([f"{_line(name)}: {_inner(value)}" for name, value in record.items()], "{}", "")


def _inner(value: Any) -> str:
    """Write a member: over several lines if it is an object or an array of these."""
    if isinstance(value, dict) and any(isinstance(each, (dict, list, tuple)) for each in value.values()):
        return _block([f"{_line(name)}: {_line(each)}" for name, each in value.items()], "{}", "  ")
    if isinstance(value, (list, tuple)) and any(isinstance(each, (dict, list, tuple)) for each in value):
        return _block([_line(each) for each in value], "[]", "  ")
    return _line(value)


def _block(lines: list[str], brackets: str, indent: str) -> str:
    if not lines:
        return brackets
    inner = f",\n{indent}  ".join(lines)
    return f"{brackets[0]}\n{indent}  {inner}\n{indent}{brackets[1]}"
