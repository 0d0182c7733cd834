"""YAML text → a tree of plain values, each with its place.

The tree is made from the parser's events, so that every value keeps its line and column and its own spelling (`1.10`
stays `1.10`). What makes a YAML file mean something else than it shows, or cost more than its size, is refused:
anchors, aliases, merge keys, tags, and anything over the limits below.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from envbuilder.classes import dataclass, field
from envbuilder.errors import ConfigError, Place, Problem
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_Event = Any  # the parser's events, which have their attributes by kind; the stubs do not tell which

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_VALUES = 20_000

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# What PyYAML's resolver says, less dates and base 60, which no key of ours means.
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_AMBIGUOUS = frozenset({"yes", "on", "no", "off"})
_INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]*|[1-9][0-9_]*)")
_FLOAT = re.compile(
    r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
# Ranges, not regular expressions: to compile a class of all Unicode takes longer than to start Python twice.
_ALLOWED = ((0x20, 0x7E), (0xA0, 0xD7FF), (0xE000, 0xFEFE), (0xFF00, 0xFFFD), (0x10000, 0x10FFFF))
_ALSO_ALLOWED = frozenset("\t\n\r\x85")
_HIDDEN = ((0, 0x1F), (0x7F, 0x9F), (0x2028, 0x202E), (0x2066, 0x2069), (0xD800, 0xDFFF))


class Scalar(NamedTuple):
    """One value, `text` as it was written, quotes and escapes undone.

    `kind` is `null`, `boolean`, `integer`, `float`, `text`, `ambiguous` (`yes`: a boolean to some readers and text to
    others), or `refused` (a problem has told why).
    """

    kind: str
    text: str
    place: Place

    @property
    def is_true(self) -> bool:
        """Tell what a value of kind `boolean` says."""
        return _BOOLEAN.get(self.text, False)


class Sequence(NamedTuple):
    """A list of values."""

    items: tuple[Node, ...]
    place: Place


class Mapping(NamedTuple):
    """Values by key, and the place of each key."""

    values: dict[str, Node]
    keys: dict[str, Place]
    place: Place


Node = Scalar | Sequence | Mapping


class Document(NamedTuple):
    """A file's tree, and the problems that did not stop the reading."""

    root: Node
    problems: tuple[Problem, ...]


def parse(content: bytes, *, file: str) -> Document:
    """Read one YAML document; `file` is its name in every place.

    Raise `ConfigError`, with all problems so far, where the file cannot be read to its end.
    """
    text = _decode(content, file)
    composer = _Composer(file=file, events=yaml.parse(text, Loader=_LOADER))
    try:
        return Document(root=composer.document(), problems=tuple(composer.problems))
    except yaml.YAMLError as error:
        problem = _syntax_problem(error, text, file)
    except _LimitError as error:
        problem = error.problem
    raise ConfigError((*composer.problems, problem))


def shown(text: str) -> str:
    """Quote a value for a message: short, in one line, and not at all where it may hold credentials."""
    if "://" in text or "@" in text:
        return "a URL"
    plain = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text[:60])
    return f"`{plain}…`" if len(text) > 60 else f"`{plain}`"


def has_hidden(text: str) -> bool:
    """Tell whether `text` holds a control character or another that a terminal obeys instead of showing."""
    return any(_is_within(letter, _HIDDEN) for letter in set(text))


class _LimitError(Exception):
    """The reading goes no further."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(kw_only=True, slots=True)
class _Composer:
    """Make the tree of one document's events; `path` is the way to a value, one word a step."""

    file: str
    events: Iterator[_Event]
    problems: list[Problem] = field(default_factory=list)
    count: int = 0

    def document(self) -> Node:
        next(self.events)
        if not isinstance(next(self.events), yaml.DocumentStartEvent):
            return Scalar("null", "", Place(self.file))
        root = self._node(next(self.events), ())
        next(self.events)
        after = next(self.events)
        if isinstance(after, yaml.DocumentStartEvent):
            raise _LimitError(Problem(self._place(after), "", "a second document begins here; one is the limit"))
        return root

    def _node(self, event: _Event, path: tuple[str, ...]) -> Node:
        self._check_limits(event, path)
        if isinstance(event, yaml.AliasEvent):
            return self._refused(event, path, "aliases (`*name`) are not allowed; write the value out")
        self._check_properties(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(event, path)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(event, path)
        return self._scalar(event)

    def _sequence(self, start: _Event, path: tuple[str, ...]) -> Sequence:
        items: list[Node] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, f"[{len(items)}]")))
        return Sequence(tuple(items), self._place(start))

    def _mapping(self, start: _Event, path: tuple[str, ...]) -> Mapping:
        mapping = Mapping({}, {}, self._place(start))
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._key(event, path, mapping)
            below = (*path, f".{label(key)}" if key is not None else ".?")
            value = self._node(next(self.events), below)
            if key is not None and key not in mapping.values:
                mapping.values[key] = value
                mapping.keys[key] = self._place(event)
        return mapping

    def _key(self, event: _Event, path: tuple[str, ...], mapping: Mapping) -> str | None:
        """Return the key that `event` begins; None for one that is no plain word, which is a problem."""
        if not isinstance(event, yaml.ScalarEvent):
            self._node(event, (*path, ".?"))
            self._problem(event, path, "a key must be a single word")
            return None
        self._check_limits(event, path)
        self._check_properties(event, path)
        if event.value == "<<" and event.implicit[0]:
            self._problem(event, path, "merge keys (`<<`) are not allowed; write the keys out")
            return None
        if first := mapping.keys.get(event.value):
            where = f"line {first.line}, column {first.column}"
            self._problem(event, (*path, f".{label(event.value)}"), f"the key is here twice; the first is at {where}")
        return str(event.value)

    def _scalar(self, event: _Event) -> Scalar:
        text = str(event.value)
        if event.tag is not None:
            return Scalar("refused", text, self._place(event))
        if not event.implicit[0]:
            return Scalar("text", text, self._place(event))
        return Scalar(_kind(text), text, self._place(event))

    def _check_limits(self, event: _Event, path: tuple[str, ...]) -> None:
        self.count += 1
        if self.count > MAX_VALUES:
            raise _LimitError(Problem(self._place(event), "", f"the file holds more than {MAX_VALUES} keys and values"))
        if len(path) >= MAX_DEPTH:
            raise _LimitError(Problem(self._place(event), "", f"the file is nested more than {MAX_DEPTH} levels deep"))

    def _check_properties(self, event: _Event, path: tuple[str, ...]) -> None:
        if event.anchor is not None:
            self._problem(event, path, "anchors (`&name`) are not allowed")
        if event.tag is not None:
            self._problem(event, path, "tags (`!name`) are not allowed; write text in quotes")

    def _refused(self, event: _Event, path: tuple[str, ...], text: str) -> Scalar:
        self._problem(event, path, text)
        return Scalar("refused", "", self._place(event))

    def _problem(self, event: _Event, path: tuple[str, ...], text: str) -> None:
        self.problems.append(Problem(self._place(event), "".join(path).lstrip("."), text))

    def _place(self, event: _Event) -> Place:
        return Place(self.file, event.start_mark.line + 1, event.start_mark.column + 1)


def label(key: str) -> str:
    """Return a key as a step of a path such as `plugins[2].source`: short, in one line, without credentials."""
    return shown(key).strip("`")


def is_plain_text(text: str) -> bool:
    """Tell whether a word without quotes is text, and to every reader."""
    return _kind(text) == "text"


def _kind(text: str) -> str:
    if text in _NULL:
        return "null"
    if text in _BOOLEAN:
        return "boolean"
    if text.lower() in _AMBIGUOUS:
        return "ambiguous"
    if _INTEGER.fullmatch(text):
        return "integer"
    return "float" if _FLOAT.fullmatch(text) else "text"


def _decode(content: bytes, file: str) -> str:
    """Return the text of a file, without its byte order mark; raise `ConfigError` for what is no UTF-8 text."""
    if len(content) > MAX_BYTES:
        raise ConfigError((Problem(Place(file), "", "the file is larger than 1 MiB"),))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The codec counts from behind the byte order mark.
        start = len(content) - len(error.object) + error.start
        what = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "not UTF-8"
        place = _place_after(content[:start].decode("utf-8", "replace").lstrip("\ufeff"), file)
        raise ConfigError((Problem(place, "", f"the file is {what}; save it as UTF-8"),)) from None
    forbidden = {letter for letter in set(text) - _ALSO_ALLOWED if not _is_within(letter, _ALLOWED)}
    if forbidden:
        at = min(map(text.index, forbidden))
        what = f"the character U+{ord(text[at]):04X} is not allowed in YAML"
        wide = "; is the file UTF-16? save it as UTF-8" if text[at] == "\0" else ""
        raise ConfigError((Problem(_place_after(text[:at], file), "", what + wide),))
    return text


def _is_within(letter: str, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= ord(letter) <= last for first, last in ranges)


def _place_after(text: str, file: str) -> Place:
    return Place(file, text.count("\n") + 1, len(text) - text.rfind("\n"))


def _syntax_problem(error: yaml.YAMLError, text: str, file: str) -> Problem:
    what = getattr(error, "problem", None) or "the file cannot be read"
    context = getattr(error, "context", None)
    sentence = f"not YAML: {what} {context}" if context else f"not YAML: {what}"
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return Problem(Place(file), "", sentence)
    is_tab = text[mark.index : mark.index + 1] == "\t"
    place = Place(file, mark.line + 1, mark.column + 1)
    return Problem(place, "", sentence + "; indent with spaces, not tabs" if is_tab else sentence)
