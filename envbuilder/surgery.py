"""Changes to the text of a `plugins.yaml` that leave every other character where it is.

Each function takes the text of a config without problems and returns the new one. They know how people write such
files, not all of YAML: whoever calls them reads the result again and compares it with what was meant.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from envbuilder.document import is_plain_text
from envbuilder.spans import (
    BLANK,
    BREAK,
    Unreadable,
    begins_line,
    comma,
    ends_line,
    extent,
    line_end,
    line_start,
    locate,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envbuilder.spans import Entry, Key, Plugins

    Value = str | bool | Sequence[str]

_PLAIN = re.compile(r"[A-Za-z0-9_./~][A-Za-z0-9_./~@+=:-]*(?<!:)")


def append(text: str, record: Mapping[str, Value]) -> str:
    """Add a plugin behind the last, in the style of the last."""
    plugins = locate(text)
    return _append_flow(text, plugins, record) if plugins.is_flow else _append_block(text, plugins, record)


def remove(text: str, number: int) -> str:
    """Take plugin `number` (from 0) away, with the comments in it and those below it that stand deeper."""
    plugins = locate(text)
    if plugins.is_flow:
        items = [(entry.start, entry.end) for entry in plugins.entries]
        return _remove_flow(text, items, number)
    start, stop = _lines_of(text, plugins, number)
    if start < plugins.after:
        raise Unreadable("the list begins in the line of its key")
    if len(plugins.entries) == 1:
        return text[: plugins.after] + " []" + _without(text, start, stop)[plugins.after :]
    start, stop = _with_blank_lines(text, plugins, number, start, stop)
    return _without(text, start, stop)


def set_key(text: str, number: int, name: str, value: Value) -> str:
    """Give a key of plugin `number` a value; a new key goes behind the last."""
    entry = locate(text).entries[number]
    is_json = entry.is_flow and text[entry.keys[-1].start] == '"'
    key, spelled = entry.key(name), _spelled(name, value, is_flow=entry.is_flow, is_json=is_json)
    if key is None:
        return _add_key(text, entry, f"{json.dumps(name) if is_json else name}: {spelled}")
    if text[key.after - 1] != ":":
        return _replaced(text, key.after, key.after, f": {spelled}")
    if key.is_block or key.value == key.end:
        return _replaced(text, key.after, key.end, f" {spelled}")
    return _replaced(text, key.value, key.end, spelled)


def remove_key(text: str, number: int, name: str) -> str:
    """Take a key of plugin `number` away, with its value and the comment behind it."""
    entry = locate(text).entries[number]
    at = [key.name for key in entry.keys].index(name)
    key = entry.keys[at]
    if entry.is_flow:
        return _remove_flow(text, [(key.start, key.end) for key in entry.keys], at)
    if begins_line(text, key.start):
        return _without(text, line_start(text, key.start), line_end(text, key.end))
    return _without(text, key.start, entry.keys[at + 1].start)


def _append_block(text: str, plugins: Plugins, record: Mapping[str, Value]) -> str:
    entries, gap, apart = plugins.entries, 1, ""
    if entries:
        at = extent(text, entries[-1].end, plugins.column)
        gap = _gap(text, plugins, entries[-1])
        apart = _newline(text) if len(entries) > 1 and _is_apart(text, plugins) else ""
    else:
        text = text[: plugins.after] + text[plugins.end :]
        at = extent(text, plugins.after, plugins.column)
    braces = _braces(record, is_json=_is_json(text, plugins)) if entries and entries[-1].is_flow else ""
    return _insert_lines(text, at, apart + _item(record, plugins.column, gap, braces, _newline(text)))


def _item(record: Mapping[str, Value], column: int, gap: int, braces: str, newline: str) -> str:
    """Spell a plugin as an item of a block list, without the last line's break; `braces` if it is one of the flow."""
    dash = " " * column + "-" + " " * gap
    if braces:
        return dash + braces
    lines = [f"{name}: {_spelled(name, value, is_flow=False)}" for name, value in record.items()]
    return dash + (newline + " " * len(dash)).join(lines)


def _gap(text: str, plugins: Plugins, entry: Entry) -> int:
    """Return how many blanks stand between the last dash and its first key."""
    gap = entry.column - plugins.column - 1
    same_line = line_start(text, entry.start) == line_start(text, _dash(text, plugins, len(plugins.entries) - 1))
    return gap if same_line and 1 <= gap <= 7 else 1


def _is_apart(text: str, plugins: Plugins) -> bool:
    """Tell whether a blank line stands before the last plugin."""
    start = line_start(text, _dash(text, plugins, len(plugins.entries) - 1))
    return _blank_lines_before(text, start) < start


def _append_flow(text: str, plugins: Plugins, record: Mapping[str, Value]) -> str:
    item = _braces(record, is_json=_is_json(text, plugins))
    if plugins.start == plugins.after:
        return _replaced(text, plugins.after, plugins.after, f" [{item}]")
    if not plugins.entries:
        return _replaced(text, plugins.start + 1, plugins.start + 1, item)
    last = plugins.entries[-1]
    behind = comma(text, last.end)
    if not (begins_line(text, last.start) and ends_line(text, behind or last.end)):
        return _replaced(text, last.end, last.end, f", {item}")
    at = line_end(text, behind or last.end)
    line = " " * last.column + item + ("," if behind else "") + _newline(text)
    return text[: last.end] + ("" if behind else ",") + text[last.end : at] + line + text[at:]


def _remove_flow(text: str, items: Sequence[tuple[int, int]], number: int) -> str:
    """Take an item between brackets away, with one of the commas around it."""
    start, end = items[number]
    behind = comma(text, end)
    if begins_line(text, start) and ends_line(text, behind or end):
        text = _without(text, line_start(text, start), line_end(text, behind or end))
        before = comma(text, items[number - 1][1]) if number and not behind else None
        return text[: before - 1] + text[before:] if before else text
    if number and "#" not in text[items[number - 1][1] : start]:
        return _before_comma(text[: items[number - 1][1]]) + text[end:]
    stop = behind or end
    return text[:start] + (text[stop:].lstrip(" ") if behind else text[stop:])


def _before_comma(text: str) -> str:
    """Return text that a comma or a bracket may follow: `key:` needs a blank between."""
    return text + " " if text.endswith(":") else text


def _lines_of(text: str, plugins: Plugins, number: int) -> tuple[int, int]:
    """Return from where to where the lines of a plugin in a block list go."""
    start = line_start(text, _dash(text, plugins, number))
    return start, extent(text, plugins.entries[number].end, plugins.column)


def _dash(text: str, plugins: Plugins, number: int) -> int:
    """Find the dash of a plugin: the first line behind the plugin before that begins with one in its column."""
    if number == 0:
        return plugins.start
    found = re.compile(rf"^ {{{plugins.column}}}-", re.MULTILINE).search(text, plugins.entries[number - 1].end)
    return found.end() - 1 if found else plugins.entries[number].start


def _with_blank_lines(text: str, plugins: Plugins, number: int, start: int, stop: int) -> tuple[int, int]:
    """Take the blank lines before a plugin along, or for the first those behind it, that only set it apart."""
    if number == 0:
        while stop < len(text) and not text[stop : line_end(text, stop)].strip(BLANK):
            stop = line_end(text, stop)
        return start, stop
    before = _blank_lines_before(text, start)
    is_all = before == extent(text, plugins.entries[number - 1].end, plugins.column)
    return (before if is_all else start), stop


def _blank_lines_before(text: str, start: int) -> int:
    """Return where the blank lines directly before the line at `start` begin."""
    while start > 0:
        before = line_start(text, _before_break(text, start))
        if text[before:start].strip(BLANK):
            break
        start = before
    return start


def _before_break(text: str, start: int) -> int:
    """Return where the break begins that the line at `start` follows."""
    return start - 2 if text[:start].endswith("\r\n") else start - 1


def _add_key(text: str, entry: Entry, spelled: str) -> str:
    if entry.is_flow:
        last: Key = entry.keys[-1]
        return _before_comma(text[: last.end]) + f", {spelled}" + text[last.end :]
    return _insert_lines(text, line_end(text, entry.end), " " * entry.column + spelled)


def _insert_lines(text: str, at: int, lines: str) -> str:
    """Insert lines at the beginning of a line; where the text ends without a break, so does the new one."""
    newline = _newline(text)
    if at == len(text) and not text.endswith(("\n", "\r", "\x85", "\u2028", "\u2029")):
        return text + newline + lines
    return text[:at] + lines + newline + text[at:]


def _without(text: str, start: int, stop: int) -> str:
    """Cut lines; where the last of the text goes and had no break, the one before loses its own."""
    if stop == len(text) and start > 0 and not BREAK.search(text[stop - 1 :]) and begins_line(text, start):
        start = _before_break(text, line_start(text, start))
    return text[:start] + text[stop:]


def _replaced(text: str, start: int, end: int, new: str) -> str:
    return text[:start] + new + text[end:]


def _newline(text: str) -> str:
    """Return how the text breaks its lines."""
    found = BREAK.search(text)
    return found[0] if found else "\n"


def _is_json(text: str, plugins: Plugins) -> bool:
    """Tell whether the file is written as JSON, with keys in quotes."""
    if plugins.entries:
        return text[plugins.entries[-1].keys[0].start] == '"'
    return text[: plugins.after].rstrip(": \t\r\n").endswith('"')


def _braces(record: Mapping[str, Value], *, is_json: bool) -> str:
    spelled = {name: _spelled(name, value, is_flow=True, is_json=is_json) for name, value in record.items()}
    return "{" + ", ".join(f"{json.dumps(name) if is_json else name}: {text}" for name, text in spelled.items()) + "}"


def _spelled(name: str, value: Value, *, is_flow: bool, is_json: bool = False) -> str:
    """Spell a value; versions are always in quotes, as everybody writes them."""
    if is_json:
        return json.dumps(value if isinstance(value, (bool, str)) else list(value), ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _scalar(value, is_plain=name != "version" and not (is_flow and ":" in value))
    return "[" + ", ".join(_scalar(item, is_plain=":" not in item) for item in value) + "]"


def _scalar(text: str, *, is_plain: bool) -> str:
    if is_plain and _PLAIN.fullmatch(text) and is_plain_text(text):
        return text
    return json.dumps(text, ensure_ascii=False)
