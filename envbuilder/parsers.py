"""The verbs' parsers by argparse: for help, for mistakes, and for words that `plain_words` leaves alone."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from envbuilder.arguments import OPTIONS_OF_ALL, OWN_OPTIONS
from envbuilder.commands import ALIASES, VERBS, run_of
from envbuilder.errors import UsageError

if TYPE_CHECKING:
    from typing import NoReturn

    from envbuilder.commands import Verb


class _Formatter(argparse.HelpFormatter):
    """Help of one width: to ask for the terminal's, argparse loads shutil, for every option of every call."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=80)


class _Parser(argparse.ArgumentParser):
    aliases: tuple[str, ...] = ()

    def format_help(self) -> str:
        from envbuilder.samples import SAMPLES  # only help shows them

        return f"{super().format_help()}\nexample:\n  {SAMPLES[self.prog.split()[-1]]}\n"

    def error(self, message: str) -> NoReturn:
        raise UsageError(message[:1].lower() + message[1:].rstrip("."), hint=f"see `{self.prog} --help`")


def parser_of(verb: Verb) -> _Parser:
    """Make the parser of one verb."""
    parser = _Parser(
        prog=f"vpm-env {verb.name}", description=verb.summary, allow_abbrev=False, formatter_class=_Formatter
    )
    run = run_of(verb)
    run.takes(parser)
    helps = {left.split()[0]: right for left, right in OPTIONS_OF_ALL}
    own = parser.add_argument_group("options of every verb")
    for name in OWN_OPTIONS:
        action = "append" if name in run.repeated else "store"
        own.add_argument(name, metavar=name.lstrip("-").upper(), help=helps[name], action=action)
    own.add_argument("-q", "--quiet", action="store_true", help=helps["-q,"])
    own.add_argument("-v", "--verbose", action="store_true", help=helps["-v,"])
    return parser


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Make the parser of every verb, with its other names: what completion and the documentation are made of."""
    made = {verb.name: parser_of(verb) for verb in VERBS.values()}
    for alias, name in ALIASES.items():
        made[name].aliases = (*made[name].aliases, alias)
    return dict(made)
