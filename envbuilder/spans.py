"""Where the plugins of a `plugins.yaml` and their keys stand in its text, as offsets counted in characters.

The text is one that `config` has read without a problem: its root is a mapping that has `plugins`, and every plugin
is a mapping of plain keys.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    Node = Any  # the parser's nodes; the stubs do not tell which

BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
BLANK = " \t\r\n\x85\u2028\u2029"

Unreadable = yaml.YAMLError
"""What `locate` raises for a text that is no YAML."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_COLON = re.compile(r"\s*:")
_COMMA = re.compile(r"(?:\s|#[^\n]*\n)*,")


class Key(NamedTuple):
    """One key: `after` is behind its colon, `value` to `end` is its value (both `after` where there is none)."""

    name: str
    start: int
    after: int
    value: int
    end: int
    is_block: bool


class Entry(NamedTuple):
    """One plugin from its first character (behind the dash) to behind its last; `column` is where its keys stand."""

    start: int
    end: int
    column: int
    is_flow: bool
    keys: tuple[Key, ...]

    def key(self, name: str) -> Key | None:
        """Return the key of this name."""
        return next((key for key in self.keys if key.name == name), None)


class Plugins(NamedTuple):
    """The list: `after` is behind the colon of `plugins:`, `start` to `end` the list (both `after`: there is none).

    `column` is where dashes stand, or would; `is_flow` says that the list, or the whole file, is in brackets.
    """

    after: int
    start: int
    end: int
    column: int
    is_flow: bool
    entries: tuple[Entry, ...]


def locate(text: str) -> Plugins:
    """Find the plugins in the text of a config; raise `Unreadable` for a text that is none."""
    root: Any = yaml.compose(text, Loader=_LOADER)
    key, value = next((key, value) for key, value in root.value if key.value == "plugins")
    found = _key(key, value, text)
    items = value.value if isinstance(value, yaml.SequenceNode) else []
    is_flow = bool(root.flow_style or (items and value.flow_style))
    return Plugins(
        after=found.after,
        start=found.value,
        end=found.end,
        column=value.start_mark.column if items and not is_flow else key.start_mark.column + 2,
        is_flow=is_flow or not (items or isinstance(value, yaml.ScalarNode) or text[found.after : found.end] == " []"),
        entries=tuple(_entry(item, text) for item in items),
    )


def line_start(text: str, at: int) -> int:
    """Return where the line of `at` begins."""
    while at > 0 and not BREAK.match(text, at - 1):
        at -= 1
    return at


def line_end(text: str, at: int) -> int:
    """Return where the line behind that of `at` begins: behind the break, or the end of the text."""
    found = BREAK.search(text, at)
    return found.end() if found else len(text)


def begins_line(text: str, at: int) -> bool:
    """Tell whether nothing but blanks stands before `at` in its line."""
    return not text[line_start(text, at) : at].strip(BLANK)


def ends_line(text: str, at: int) -> bool:
    """Tell whether nothing but a comment stands behind `at` in its line, and another line follows."""
    rest = text[at : line_end(text, at)]
    return bool(BREAK.search(rest)) and rest.strip(BLANK)[:1] in ("", "#")


def extent(text: str, end: int, column: int) -> int:
    """Return where what ends at `end` is over: behind its line, and the comments below that stand past `column`."""
    last = at = line_end(text, end)
    while at < len(text):
        after = line_end(text, at)
        line = text[at:after].lstrip(" ")
        indent = after - at - len(line)
        if line.strip(BLANK) and not (line.startswith("#") and indent > column):
            break
        last = after if line.strip(BLANK) else last
        at = after
    return last


def comma(text: str, at: int) -> int | None:
    """Return what is behind the comma that follows `at`; None where something else does."""
    found = _COMMA.match(text, at)
    return found.end() if found else None


def _entry(node: Node, text: str) -> Entry:
    keys = tuple(_key(key, value, text) for key, value in node.value)
    return Entry(
        start=node.start_mark.index,
        end=_end(node, text, keys),
        column=node.start_mark.column,
        is_flow=bool(node.flow_style),
        keys=keys,
    )


def _key(key: Node, value: Node, text: str) -> Key:
    colon = _COLON.match(text, key.end_mark.index)
    after = colon.end() if colon else key.end_mark.index
    is_block = not isinstance(value, yaml.ScalarNode) and not value.flow_style
    begin, end = value.start_mark.index, _end(value, text)
    if isinstance(value, yaml.ScalarNode) and value.value == "" and value.start_mark.index == value.end_mark.index:
        begin = end = after
    return Key(name=key.value, start=key.start_mark.index, after=after, value=begin, end=end, is_block=is_block)


def _end(node: Node, text: str, keys: Iterable[Key] | None = None) -> int:
    """Return what is behind the last character of a node; the parser's own mark is at the next token."""
    if isinstance(node, yaml.ScalarNode):
        return node.start_mark.index + len(text[node.start_mark.index : node.end_mark.index].rstrip(BLANK))
    if node.flow_style:
        return int(node.end_mark.index)
    if isinstance(node, yaml.MappingNode):
        return list(keys or (_key(key, value, text) for key, value in node.value))[-1].end
    return _end(node.value[-1], text)
