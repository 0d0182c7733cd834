"""The check of indexes: which count, which setting names each, and whether they answer: uv itself is let ask."""

from __future__ import annotations

import sys
from os.path import exists
from typing import TYPE_CHECKING

from envbuilder import indexes, process, uv
from envbuilder.health import ERROR, WARNING, Answer, NotApplicable, Trouble
from envbuilder.origins import INDEX, origins

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envbuilder.health import Situation
    from envbuilder.origins import Origin
    from envbuilder.uv import Uv

_ASKED_FOR = "pip"
"""Nearly every index has it; one that has not says so, and has answered."""
_COMMAND = ("--no-config", "--no-python-downloads", "--color", "never", "pip", "compile", "-", "--quiet", "--no-cache")
_REFUSED = ("401 Unauthorized", "403 Forbidden")
_SECONDS = 10


def check_indexes(situation: Situation) -> Answer:
    """Name every index that counts, and ask each whether it answers."""
    if "config" in situation.refused:
        raise NotApplicable("the config cannot be read; see `vpm-env doctor config`")
    resolver = uv.configure(situation.config, situation.env, situation.need_layout(), offline=situation.offline)
    found = origins(situation.config, situation.env)
    asked = [origin for origin in found if origin.kind == INDEX]
    troubles = [trouble for origin in found if origin.kind != INDEX for trouble in _of_links(origin)]
    silent: list[Trouble] = []
    if not situation.offline:
        with process.workers(4) as pool:
            silent = list(filter(None, pool.map(lambda origin: _of_index(origin, resolver), asked)))
    return Answer(said=_said(asked, silent, situation), troubles=(*troubles, *silent), facts=tuple(map(_fact, found)))


def _said(asked: Sequence[Origin], silent: Sequence[Trouble], situation: Situation) -> str:
    if not asked:
        return "no index counts: pip's `no-index` says so"
    number = "1 index" if len(asked) == 1 else f"{len(asked)} indexes"
    return f"{number}, not asked" if situation.offline else f"{number}, {len(asked) - len(silent)} answering"


def _fact(origin: Origin) -> str:
    secret = ", with credentials" if any(indexes.credentials(origin.location)) else ""
    return f"{origin.kind} {origin.shown or 'of uv itself'}: {origin.setting}{secret}"


def _of_links(origin: Origin) -> Iterator[Trouble]:
    if "://" not in origin.location and not exists(origin.location):
        yield Trouble(
            what=f"there is no folder `{origin.shown}`, which {origin.setting} names",
            why="a build that needs it fails",
            way_forward="make the folder, or take it out of that setting",
            severity=ERROR,
        )


def _of_index(origin: Origin, resolver: Uv) -> Trouble | None:
    """Let uv look for one package in this index alone, as a build would, but build and fetch nothing."""
    own = {"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": str(_SECONDS), "UV_DEFAULT_INDEX": origin.location}
    without = {*indexes.VARIABLES, indexes.LINKS}
    kept = {name: value for name, value in resolver.variables.items() if name not in without}
    result = process.run(
        [resolver.binary, *_COMMAND, "--no-deps", "--no-build", "--python", sys.executable],
        env={name: value for name, value in {**kept, **own}.items() if value},
        cwd="/",
        stdin=_ASKED_FOR,
        timeout=6 * _SECONDS,
        secrets=resolver.secrets,
    )
    refused = next((words for words in _REFUSED if words in result.output), None)
    named = f"`{origin.shown}`" if origin.shown else "uv's own default index"
    if refused:
        return Trouble(
            what=f"{named} ({origin.setting}) refuses: {refused}",
            why="a build that needs it fails",
            way_forward="give the credentials it wants: in the URL as `${NAME}`, in netrc, or through keyring",
            severity=ERROR,
        )
    if result.code not in (0, 1):  # 1: it answered that it has no such package
        return Trouble(
            what=f"{named} ({origin.setting}) does not answer: {_last(result.output)}",
            why="a build that needs what is not in uv's cache fails; what is built is not affected",
            way_forward="look at the URL, proxies and certificates, or build with `--offline`",
            severity=WARNING,
        )
    return None


def _last(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1].removeprefix("cause: ") if lines else "it said nothing"
