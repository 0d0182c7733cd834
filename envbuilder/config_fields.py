"""One mapping of a config, read key by key; what is wrong is noted with its place, and the reading goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from envbuilder.classes import dataclass
from envbuilder.config_values import package_name
from envbuilder.document import Mapping, Scalar, Sequence, has_hidden, label, shown
from envbuilder.errors import Problem
from envbuilder.names import nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from envbuilder.document import Node
    from envbuilder.errors import Place

T = TypeVar("T")

MAX_TEXT = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Fields:
    """The mapping at `key` (`plugins[2]`; "" at the top) and where its problems go.

    A key without a value, or with an empty text, counts as absent.
    """

    mapping: Mapping
    key: str
    problems: list[Problem]

    @classmethod
    def of(cls, node: Node, *, key: str, what: str, problems: list[Problem]) -> Fields | None:
        """Make fields of a node; None, with the problem noted, for one that is no mapping (`what` it should hold)."""
        if isinstance(node, Mapping):
            return cls(mapping=node, key=key, problems=problems)
        if not _is_refused(node):
            subject = "" if key else "the file "
            problems.append(Problem(node.place, key, f"{subject}must hold {what}, and {_described(node)}"))
        return None

    @property
    def place(self) -> Place:
        """Tell where the mapping begins."""
        return self.mapping.place

    def has_key(self, name: str) -> bool:
        """Tell whether the key is written, with a value or without."""
        return name in self.mapping.values

    def has(self, name: str) -> bool:
        """Tell whether the key is written and has a value."""
        node = self.mapping.values.get(name)
        return node is not None and not _is_absent(node)

    def peek(self, name: str) -> str:
        """Return a text as it is written, unchecked; "" where there is none."""
        node = self.mapping.values.get(name)
        return node.text if isinstance(node, Scalar) else ""

    def below(self, name: str) -> Fields | None:
        """Return the fields of a mapping under a key; None where something else is."""
        node = self.mapping.values.get(name)
        if not isinstance(node, Mapping):
            return None
        return Fields(mapping=node, key=self._path(name), problems=self.problems)

    def complain(self, name: str, text: str) -> None:
        """Note what is wrong with a key, at its value, or at the mapping where there is no such key."""
        node = self.mapping.values.get(name)
        self._note(node.place if node else self.place, self._path(name), text)

    def check_keys(self, known: tuple[str, ...]) -> None:
        """Complain of every key that is neither known nor free (`x-…`)."""
        for name, place in self.mapping.keys.items():
            if name not in known and not name.startswith("x-"):
                self._note(place, self._path(label(name)), f"unknown key{_nearest(name, known)}")

    def text(self, name: str, check: Callable[[str], T], *, required: bool = False) -> T | None:
        """Return what `check` makes of a text; None where it is absent or wrong."""
        if not self.has(name):
            if required:
                self.complain(name, "is required")
            return None
        return self._checked(self.mapping.values[name], self._path(name), check)

    def choice(self, name: str, choices: tuple[str, ...], *, required: bool = False) -> str | None:
        """Return one of `choices`; None where it is absent or none of them."""

        def check(text: str) -> str:
            if text in choices:
                return text
            listed = ", ".join(f"`{choice}`" for choice in choices)
            raise ValueError(f"must be one of {listed}, not {shown(text)}{_nearest(text, choices)}")

        return self.text(name, check, required=required)

    def boolean(self, name: str, *, default: bool) -> bool:
        """Return a boolean; `default` where it is absent or wrong."""
        node = self.mapping.values.get(name)
        if node is None or _is_refused(node):
            return default
        if isinstance(node, Scalar) and node.kind == "boolean":
            return node.is_true
        self.complain(name, _not_boolean(node))
        return default

    def texts(self, name: str, check: Callable[[str], str]) -> tuple[str, ...]:
        """Return what `check` makes of each text of a list, without repeats; one text alone is a list of one."""
        return tuple(self.placed(name, check))

    def placed(self, name: str, check: Callable[[str], str]) -> dict[str, Place]:
        """Do the same, and tell where each text stands."""
        node = self.mapping.values.get(name)
        if isinstance(node, Scalar) and not _is_absent(node):
            pairs: tuple[tuple[str, Node], ...] = ((self._path(name), node),)
        else:
            pairs = items(self, name)
        found: dict[str, Place] = {}
        for key, item in pairs:
            text = self._checked(item, key, check)
            if text is not None:
                found.setdefault(text, item.place)
        return found

    def names(self, name: str) -> tuple[str, ...]:
        """Return the normalized names of a list, sorted: their order has no meaning."""
        return tuple(sorted(self.texts(name, package_name)))

    def _checked(self, node: Node, key: str, check: Callable[[str], T]) -> T | None:
        if _is_refused(node):
            return None
        try:
            return check(_plain_text(node))
        except ValueError as error:
            self._note(node.place, key, str(error))
            return None

    def _path(self, name: str) -> str:
        return f"{self.key}.{name}" if self.key else name

    def _note(self, place: Place, key: str, text: str) -> None:
        self.problems.append(Problem(place, key, text))


def items(fields: Fields, name: str) -> tuple[tuple[str, Node], ...]:
    """Return a list's items with their keys (`plugins[2]`); nothing, with the problem noted, for what is no list."""
    key = f"{fields.key}.{name}" if fields.key else name
    node = fields.mapping.values.get(name)
    if isinstance(node, Sequence):
        return tuple((f"{key}[{index}]", item) for index, item in enumerate(node.items))
    if node is not None and not _is_absent(node) and not _is_refused(node):
        fields.complain(name, f"must be a list, and {_described(node)}")
    return ()


def _plain_text(node: Node) -> str:
    """Return a text that is safe to show and to hand on; raise `ValueError` for anything else."""
    if not isinstance(node, Scalar) or node.kind != "text":
        raise ValueError(_not_text(node))
    if len(node.text) > MAX_TEXT:
        raise ValueError(f"is longer than {MAX_TEXT} characters")
    if has_hidden(node.text):
        raise ValueError("holds a control character")
    if node.text.startswith("-"):
        raise ValueError("begins with `-`, as an option would")
    return node.text


def _described(node: Node) -> str:
    """Say what a value of the wrong kind is."""
    if isinstance(node, Mapping):
        return "this is a mapping"
    if isinstance(node, Sequence):
        return "this is a list"
    if node.kind in ("integer", "float"):
        return f"YAML reads {shown(node.text)} as a number"
    return {"boolean": f"this is the boolean `{node.text}`", "null": "this is empty"}.get(node.kind, "this is text")


def _not_text(node: Node) -> str:
    if isinstance(node, Scalar) and node.kind == "ambiguous":
        return f"must be text, and some readers take `{node.text}` for a boolean; write it in quotes"
    is_plain = isinstance(node, Scalar) and node.kind in ("integer", "float", "boolean")
    return f"must be text, and {_described(node)}{'; write it in quotes' if is_plain else ''}"


def _not_boolean(node: Node) -> str:
    text = node.text.lower() if isinstance(node, Scalar) else ""
    if isinstance(node, Scalar) and node.kind == "ambiguous":
        word = "true" if text in ("yes", "on") else "false"
        return f"must be `true` or `false`, and some readers take `{node.text}` for text; write `{word}`"
    unquoted = f"; write `{text}` without quotes" if text in ("true", "false") else ""
    return f"must be `true` or `false`, and {_described(node)}{unquoted}"


def _is_absent(node: Node) -> bool:
    return isinstance(node, Scalar) and (node.kind == "null" or (node.kind == "text" and not node.text))


def _is_refused(node: Node) -> bool:
    return isinstance(node, Scalar) and node.kind == "refused"


def _nearest(word: str, known: tuple[str, ...]) -> str:
    close = nearest(word[:40].lower(), known)
    return f"; did you mean `{close}`?" if close else ""
