"""Texts with blanks: `@{home}` in a template is filled in, quoted as the template's format wants it.

A quoting function gets a text of printable characters and returns what reads as exactly that text in its format.
"""

from __future__ import annotations

import json
import re
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Quote = Callable[[str], str]
    Values = dict[str, str | tuple[str, ...]]

_PLAIN = re.compile(r"[\w./@%+,=-][\w./@%+,:=-]*", re.ASCII)
_YAML_PLAIN = re.compile(r"/[\w./+-]*|[A-Za-z][\w./+-]*(?::[\w.-]+)?", re.ASCII)
_YAML_WORDS = frozenset({"false", "n", "no", "null", "off", "on", "true", "y", "yes"})


class Block(str):
    """A piece of a format itself, which goes in as it is; at a blank that stands alone, none leaves no line."""

    __slots__ = ()


class _Blanks(Template):
    delimiter = "@"
    idpattern = r"(?!)"
    braceidpattern = r"[a-z_]+"


def fill(text: str, values: Mapping[str, str | tuple[str, ...]], *, quote: Quote, word: Quote | None = None) -> str:
    """Fill in a template; raise `KeyError` for a blank without a value.

    A text is quoted by `quote`, the words of a command each by `word` and joined by `, `; a `Block` goes in as it is.
    """
    blanks = {name: _filling(value, quote, word or quote) for name, value in values.items()}
    empty = "|".join(re.escape(f"@{{{name}}}") for name, value in values.items() if value == "")
    text = re.sub(rf"^ *(?:{empty})\n", "", text, flags=re.MULTILINE) if empty else text
    return _Blanks(text).substitute(blanks)


def _filling(value: str | tuple[str, ...], quote: Quote, word: Quote) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(word, value))
    return value if isinstance(value, Block) else quote(value)


def in_docker(text: str) -> str:
    """Quote a value of ARG or ENV in a Dockerfile."""
    return text if _PLAIN.fullmatch(text) else '"' + re.sub(r'([\\"$])', r"\\\1", text) + '"'


def in_json(text: str) -> str:
    """Quote a text as JSON does, which is also YAML and the way Dockerfiles write words."""
    return json.dumps(text, ensure_ascii=False)


def in_yaml(text: str) -> str:
    """Quote a scalar of YAML."""
    return text if _YAML_PLAIN.fullmatch(text) and text.lower() not in _YAML_WORDS else in_json(text)


def in_compose(text: str) -> str:
    """Quote a scalar of a compose file, where `$` begins a variable."""
    return in_yaml(text.replace("$", "$$"))


def in_compose_words(text: str) -> str:
    """Quote a word of a command in a compose file."""
    return in_json(text.replace("$", "$$"))


def in_kubernetes_words(text: str) -> str:
    """Quote a word of a container's command, where `$(` begins a variable."""
    return in_json(text.replace("$(", "$$("))


def in_unit(text: str) -> str:
    """Quote a setting of a systemd unit, where `%` begins a specifier."""
    text = text.replace("%", "%%")
    return text if _PLAIN.fullmatch(text) else '"' + re.sub(r'([\\"])', r"\\\1", text) + '"'


def in_unit_words(text: str) -> str:
    """Quote a word of a command in a systemd unit, where `$` begins a variable as well."""
    return in_unit(text.replace("$", "$$"))


def in_tcl(text: str) -> str:
    """Quote a word of Tcl, for a place between braces too."""
    return text if re.fullmatch(r"[\w./:+-]+", text, re.ASCII) else '"' + re.sub(r'([\\"$\[\]{}])', r"\\\1", text) + '"'
