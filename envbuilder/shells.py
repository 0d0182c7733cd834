"""`vpm-env shell`: the user's own shell in a set, marked at its prompt; `shell` exits as that does."""

from __future__ import annotations

import os
from os.path import abspath, basename, expanduser, join
from typing import TYPE_CHECKING, NoReturn

from envbuilder.paths import template_path
from envbuilder.running import become, enter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envbuilder.report import Reporter
    from envbuilder.scope import Options, Scope

MARK = "VPM_ENV_SHELL"
"""The variable that names the overlay of the shell around a process."""
NAME = "VPM_ENV_SHELL_NAME"
"""The variable that has what its prompt says."""


def shell(found: Scope, *, number: int | str | None, report: Reporter, without: Sequence[str] = ()) -> NoReturn:
    """Become the user's shell in generation `number`, or in the current one, `without` some plugins or packages.

    Its own start-up files are read first; what they do to PATH does not put the set out of sight. Raise `ProfileError`
    where there is no such set, `UsageError` for a shell that cannot be started.
    """
    outer = found.env
    entered = enter(found, number=number, report=report, without=without)
    name = f"{entered.profile}:{entered.generation.number}"
    if outer.get(MARK):
        report.note(f"this shell is inside one of {outer.get(NAME)}; `exit` goes back to that")
    generation = entered.generation
    report.note(f"a shell of generation {generation.number} ({generation.digest[:12]}); `exit` leaves it")
    own = {MARK: entered.path, NAME: name, "VIRTUAL_ENV_PROMPT": name}
    path = _without(entered.variables["PATH"], outer.get(MARK))
    variables = {**entered.variables, **own, **_said(found.options), "PATH": path}
    program = outer.get("SHELL") or "/bin/sh"
    words, more = _start(basename(program), name, variables)
    become([program, *words], env={**variables, **more})


def _without(path: str, overlay: str | None) -> str:
    """Take the scripts of the set around this one off PATH: what this set lacks is not there."""
    kept = [folder for folder in path.split(os.pathsep) if not overlay or folder != join(overlay, "bin")]
    return os.pathsep.join(kept)


def _said(options: Options) -> dict[str, str]:
    """Let what the options said hold in the shell too."""
    paths = {"CONFIG": options.config, "BASE": options.base, "HOME": options.home}
    said = {f"VPM_ENV_{name}": abspath(expanduser(path)) for name, path in paths.items() if path}
    return said | ({"VPM_ENV_PROFILE": options.profile} if options.profile else {})


def _start(kind: str, name: str, variables: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Say with which words and variables a kind of shell reads our lines behind its own start-up files."""
    if kind == "bash":
        return ["--rcfile", template_path("shell/bashrc")], {}
    if kind == "zsh":
        return [], {"VPM_ENV_ZDOTDIR": variables.get("ZDOTDIR", ""), "ZDOTDIR": template_path("shell/zsh")}
    if kind == "fish":
        more = {"VPM_ENV_SHELL_FILE": template_path("shell/config.fish")}
        return ["--init-command", 'source "$VPM_ENV_SHELL_FILE"; set -e VPM_ENV_SHELL_FILE'], more
    return [], {"PS1": f"({name}) $ "}
