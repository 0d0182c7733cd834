"""The verbs that write files for other tools: what a set is deployed with, and a plugin to begin with."""

from __future__ import annotations

import os
import stat
from os.path import abspath, exists, expanduser, isfile, lexists, realpath
from typing import TYPE_CHECKING

from envbuilder.arguments import Call, Run, number
from envbuilder.errors import UsageError
from envbuilder.names import nearest

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable


_LARGEST_UID = 2**31 - 1


def _takes_template(parser: argparse.ArgumentParser) -> None:
    from envbuilder.forms import FORMS

    parser.usage = "vpm-env template [TEMPLATE] [OPTIONS] [-- COMMAND]"
    parser.add_argument(
        "name",
        nargs="?",
        metavar="TEMPLATE",
        choices=(*FORMS,),
        type=lambda text: _one_of(text, FORMS, "template"),
        help="the one to write (default: list them)",
    )
    parser.add_argument("--output", "-o", metavar="FILE", help="write to FILE instead of standard output")
    parser.add_argument("--force", action="store_true", help="write over FILE")
    parser.add_argument("--image", help="the engine's image; of `kubernetes`, the one with plugins")
    parser.add_argument("--health", metavar="URL", help="where the engine answers when it is healthy")
    parser.add_argument("--uid", type=_uid, metavar="UID", help="who runs the engine (default: in a container 1000)")


def _uid(text: str) -> int:
    """Read a user's number, as containers take it."""
    found = number(text)
    if found > _LARGEST_UID:
        raise UsageError(f"`{text}` is no uid that a container may have", hint=f"at most {_LARGEST_UID}")
    return found


def _one_of(text: str, known: Iterable[str], what: str) -> str:
    """Take one of the names that there are; raise `UsageError` for another, with the nearest."""
    if text not in known:
        near = nearest(text, known)
        hint = f"did you mean `{near}`?" if near else f"there are {', '.join(known)}"
        raise UsageError(f"there is no {what} `{text}`", hint=hint)
    return text


def _template(call: Call) -> int:
    from envbuilder.caveats import caveats
    from envbuilder.console import Table
    from envbuilder.deployment import deployment
    from envbuilder.forms import FORMS, render
    from envbuilder.scope import scope

    asked, console = call.arguments, call.console
    if asked.name is None:
        console.table(Table(("template", "what it is"), [(form.name, form.summary) for form in FORMS.values()]))
        console.hint("`vpm-env template NAME --output FILE` writes one, filled in for this engine and config")
        return 0
    deployed = deployment(
        scope(call.options, call.env), served=asked.command, image=asked.image, health=asked.health, uid=asked.uid
    )
    text = render(FORMS[asked.name], deployed)
    for caveat in caveats(asked.name, deployed):
        console.warn(caveat)
    if asked.output is None:
        console.data(text.removesuffix("\n"))
        return 0
    path = abspath(expanduser(asked.output))
    _write(path, text, force=asked.force)
    console.say(f"wrote `{path}`")
    return 0


def _write(path: str, text: str, *, force: bool) -> None:
    """Write a new file, or with `force` over one, which keeps its mode and owner; a pipe or terminal gets the text.

    Links are followed. Raise `UsageError` for what is there without `force`, and for what is no file.
    """
    from envbuilder import fs

    is_stream = exists(path) and _is_stream(path)
    if lexists(path) and not force and not is_stream:
        raise UsageError(f"`{path}` is there already, and stays as it is", hint="`--force` writes over it")
    if exists(path) and not is_stream and not isfile(path):
        raise UsageError(f"`{path}` is no file, and stays as it is")
    try:
        if is_stream:
            fs.write_plain(path, text.encode())
        elif exists(path):
            fs.rewrite(path, text.encode())
        else:
            fs.write_atomic(realpath(path), text.encode())
    except OSError as error:
        raise UsageError(f"`{path}` cannot be written: {error.strerror}") from None


def _is_stream(path: str) -> bool:
    mode = os.stat(path).st_mode
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def _takes_new(parser: argparse.ArgumentParser) -> None:
    from envbuilder.engines import ENGINES
    from envbuilder.project import KINDS

    engines = [engine.name for engine in ENGINES]
    kinds = tuple(kind.name for kind in KINDS)
    parser.add_argument("name", metavar="NAME", help="the name of the distribution: `my-decoder`")
    parser.add_argument(
        "--kind",
        required=True,
        metavar="KIND",
        choices=kinds,
        type=lambda text: _one_of(text, kinds, "kind"),
        help=f"what it plugs in: {', '.join(kinds)}",
    )
    parser.add_argument(
        "--engine",
        metavar="ENGINE",
        choices=engines,
        type=lambda text: _one_of(text, engines, "engine"),
        help="the engine it is for (default: the one that has the kind)",
    )
    parser.add_argument("--output", "-o", metavar="DIR", help="the folder to make (default: ./NAME)")


def _new(call: Call) -> int:
    from envbuilder.project import begin

    asked, console = call.arguments, call.console
    begun = begin(asked.name, kind=asked.kind, engine=asked.engine, folder=asked.output)
    console.say(f"wrote `{begun.folder}`: {begun.kind.summary}, for {begun.kind.engine}")
    for file in begun.files:
        console.detail(f"  {file}")
    console.hint(f"`python -m pytest {begun.shown}` tests it, `vpm-env add {begun.shown} --editable --build` tries it")
    return 0


RUNS = {
    "template": Run(_takes_template, _template),
    "new": Run(_takes_new, _new),
}
