"""Read a verb's words without argparse, which takes as long as the rest of a rollback.

The verb says what it takes to what looks like a parser. Only words that leave no doubt are read; of all others, and of
whatever is declared in another way than here, nothing is said, and argparse is asked.
"""

from __future__ import annotations

from envbuilder.arguments import OWN_OPTIONS
from envbuilder.errors import VpmError
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from envbuilder.arguments import Run

_FLAG, _STORE, _OTHER = "store_true", "store", "other"


class _Taken(NamedTuple):
    """What a verb takes: the name of the value, how it is read, and from what kind of text."""

    name: str
    action: str
    kind: Callable[[str], Any]


class Plain:
    """What a verb declares its words to, instead of a parser."""

    def __init__(self, run: Run) -> None:
        self._options: dict[str, _Taken] = {}
        self._words: list[_Taken] = []
        self._values: dict[str, Any] = {}
        self._is_plain = True
        run.takes(self)  # type: ignore[arg-type]
        for name in OWN_OPTIONS:
            self.add_argument(name, action="append" if name in run.repeated else "store")
        self.add_argument("-q", "--quiet", action="store_true")
        self.add_argument("-v", "--verbose", action="store_true")

    def add_argument(
        self, *names: str, action: str = "store", default: Any = None, dest: str = "", **more: Any
    ) -> None:
        """Note what `ArgumentParser.add_argument` is told."""
        kind = more.get("type", str)
        is_odd = action not in (_FLAG, _STORE) or not {"nargs", "choices", "const", "required"}.isdisjoint(more)
        long = next((name for name in names if name.startswith("--")), names[0])
        taken = _Taken(dest or long.lstrip("-").replace("-", "_"), _OTHER if is_odd else action, kind)
        if not names[0].startswith("-"):
            self._words.append(taken)
            self._is_plain &= not is_odd
            return
        self._options.update(dict.fromkeys(names, taken))
        self._values[taken.name] = False if action == _FLAG else default
        self._is_plain &= not more.get("required") and not (isinstance(default, str) and kind is not str)

    def add_argument_group(self, *_: str) -> Plain:
        """Return what takes the arguments of a group."""
        return self

    def add_mutually_exclusive_group(self, **_: Any) -> Plain:
        """Return what takes the arguments of a group of which only one may be said: argparse sees to that."""
        self._is_plain = False
        return self

    def read(self, words: Sequence[str]) -> dict[str, Any] | None:
        """Return name → value; None where argparse has to be asked."""
        if not self._is_plain:
            return None
        found, rest, given = dict(self._values), iter(words), iter(self._words)
        try:
            for word in rest:
                taken = self._options[word] if word.startswith("-") else next(given)
                found[taken.name] = _value(taken, word, rest)
        except (KeyError, StopIteration, ValueError, VpmError):
            return None
        return None if next(given, None) else found


def _value(taken: _Taken, word: str, rest: Iterator[str]) -> Any:
    """Read one value; raise `ValueError`, or what its kind raises, for what is not plain."""
    if taken.action == _FLAG:
        return True
    text = next(rest) if word.startswith("-") else word
    if taken.action == _OTHER or text.startswith("-") or not text:
        raise ValueError(text)
    return taken.kind(text)
