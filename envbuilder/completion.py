"""Completion scripts for bash, zsh and fish, made of the parsers that read the command line.

Verbs, options and fixed words stand in the script; generations, plugins and the like are asked for when they are
wanted, with `vpm-env completion --values KIND`.
"""

from __future__ import annotations

import argparse

from envbuilder.arguments import generation
from envbuilder.paths import template
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SHELLS = ("bash", "zsh", "fish")
FILE = "file"
GENERATION = "generation"
_KINDS = {
    "BASE": FILE,
    "CONFIG": FILE,
    "DIR": FILE,
    "FILE": FILE,
    "HOME": FILE,
    "NAME": "plugin",
    "PATH": FILE,
    "doctor NAME": "check",
    "gc WHAT": "digest-or-generation",
    "unkeep N": "kept",
    "add NAME": "",
    "new NAME": "",
    "PACKAGE": "package",
    "PKG": "package",
    "PLUGIN": "plugin",
    "PROFILE": "profile",
    "SPEC": FILE,
}
"""What a word is, by the name that help gives it, of one verb or of all; generations are told by their type."""


class Word(NamedTuple):
    """One word that a verb takes, by what help calls it.

    It is one of `choices`, or else of a `kind`: `file`, one that `--values` knows, "" for what cannot be guessed.
    """

    label: str
    summary: str
    kind: str
    choices: tuple[str, ...] = ()
    repeats: bool = False


class Option(NamedTuple):
    """One option: its spellings, its help in one line, and its value (None for a switch)."""

    names: tuple[str, ...]
    summary: str
    value: Word | None


class Syntax(NamedTuple):
    """What a verb takes."""

    verb: str
    summary: str
    options: tuple[Option, ...]
    words: tuple[Word, ...]
    aliases: tuple[str, ...] = ()


def syntax_of(verb: str, parser: argparse.ArgumentParser) -> Syntax:
    """Return what a verb takes, from its parser."""
    actions = [action for action in parser._actions if action.help != argparse.SUPPRESS]  # noqa: SLF001 (no other way to ask)
    return Syntax(
        verb=verb,
        summary=parser.description or "",
        options=tuple(_option(verb, action) for action in actions if action.option_strings),
        words=tuple(_word(verb, action) for action in actions if not action.option_strings),
        aliases=getattr(parser, "aliases", ()),
    )


def script(shell: str, parsers: Mapping[str, argparse.ArgumentParser]) -> str:
    """Return the completion script for one of `SHELLS`."""
    syntaxes = [syntax_of(verb, parser) for verb, parser in parsers.items()]
    lines = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](syntaxes)
    return template(f"completion/{shell}").replace("# @VERBS@\n", "".join(f"{line}\n" for line in lines))


def _option(verb: str, action: argparse.Action) -> Option:
    value = _word(verb, action) if action.nargs != 0 else None
    return Option(tuple(sorted(action.option_strings, key=len, reverse=True)), action.help or "", value)


def _word(verb: str, action: argparse.Action) -> Word:
    label = action.metavar if isinstance(action.metavar, str) else action.dest
    known = GENERATION if action.type is generation else _KINDS.get(label, "")
    kind = _KINDS.get(f"{verb} {label}", known)
    return Word(
        label, action.help or "", kind, tuple(map(str, action.choices or ())), repeats=action.nargs in ("*", "+")
    )


def _bash(syntaxes: list[Syntax]) -> Iterator[str]:
    yield f"    verbs='{' '.join(syntax.verb for syntax in syntaxes)}'"
    yield "    case $1 in"
    for syntax in syntaxes:
        options = " ".join(name for option in syntax.options for name in option.names)
        values = [f"{name}={_what(option.value)}" for option in syntax.options if option.value for name in option.names]
        words = [_what(word) + ("*" if word.repeats else "") for word in syntax.words]
        yield f"    {'|'.join((syntax.verb, *syntax.aliases))})"
        yield f"        options='{options}'"
        yield f"        values='{' '.join(values)}'"
        yield f"        words='{' '.join(words)}'"
        yield "        ;;"
    yield "    esac"


def _what(word: Word) -> str:
    """Name what a word is without a blank: `file`, `generation`, `bash|zsh|fish`, `-` for what cannot be guessed."""
    return "|".join(word.choices) or word.kind or "-"


def _zsh(syntaxes: list[Syntax]) -> Iterator[str]:
    yield "    verbs=("
    yield from (f"        {_quoted(f'{syntax.verb}:{syntax.summary}')}" for syntax in syntaxes)
    yield "    )"
    yield "    case $verb in"
    for syntax in syntaxes:
        yield f"    {'|'.join((syntax.verb, *syntax.aliases))})"
        yield "        specs=("
        yield from (f"            {spec}" for option in syntax.options for spec in _zsh_option(option))
        for number, word in enumerate(syntax.words, 1):
            where = "*" if word.repeats else number
            yield f"            {_quoted(f'{where}:{_plain(word.label)}:{_zsh_action(word)}')}"
        yield "        )"
        yield "        ;;"
    yield "    esac"


def _zsh_option(option: Option) -> Iterator[str]:
    value = f":{_plain(option.value.label)}:{_zsh_action(option.value)}" if option.value else ""
    for name in option.names:
        with_value = f"{name}=" if value and name.startswith("--") else name
        yield _quoted(f"{with_value}[{_plain(option.summary)}]{value}")


def _zsh_action(word: Word) -> str:
    if word.choices:
        return f"({' '.join(word.choices)})"
    if word.kind == FILE:
        return "_files"
    return f" _vpm_env_values {word.kind}" if word.kind else " "


def _fish(syntaxes: list[Syntax]) -> Iterator[str]:
    for syntax in syntaxes:
        yield f"complete -c vpm-env -f -n '__vpm_env_verb_is' -a {syntax.verb} -d {_quoted(syntax.summary)}"
    for syntax in syntaxes:
        start = f"complete -c vpm-env -n '__vpm_env_verb_is {' '.join((syntax.verb, *syntax.aliases))}'"
        for option in syntax.options:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
            value = f" -r{_fish_values(option.value)}" if option.value else ""
            yield f"{start} {names}{value} -d {_quoted(option.summary)}"
        yield from (f"{start}{_fish_values(word)}" for word in syntax.words)


def _fish_values(word: Word) -> str:
    if word.choices:
        return f" -f -a {_quoted(' '.join(word.choices))}"
    if word.kind == FILE:
        return " -F"
    return f" -f -a '(__vpm_env_values {word.kind})'" if word.kind else " -f"


def _plain(text: str) -> str:
    """Take out of a text what has a meaning in a zsh specification."""
    return text.replace("[", "(").replace("]", ")").replace(":", ",")


def _quoted(text: str) -> str:
    """Quote a text for zsh and fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "'\\''") + "'"
