"""`vpm-env run` and `shell`: start a command in a set, without a hook."""

from __future__ import annotations

import os
from typing import NoReturn

from envbuilder import flocks, overlay, process
from envbuilder.base import describe
from envbuilder.errors import ProfileError, UsageError
from envbuilder.scope import profile_of
from envbuilder.status import drifted
from envbuilder.switching import chosen
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envbuilder.base import Base
    from envbuilder.paths import Environment
    from envbuilder.profile import Generation, Profile
    from envbuilder.report import Reporter
    from envbuilder.scope import Scope


_TORCHRUN_PYTHON = "PYTHON_EXEC"
"""The variable that names the interpreter of torchrun's workers; without it they have torchrun's own."""


class Entered(NamedTuple):
    """A generation that this process holds, its overlay, and the variables of processes that run in it.

    `base_folders` are where the base has interpreters and scripts; `lease` is held as long as it is open, and None
    where there is none. `without` are what was left out of the generation: then the overlay is another than its own.
    """

    profile: str
    generation: Generation
    path: str
    variables: dict[str, str]
    base_folders: tuple[str, ...]
    lease: int | None
    without: tuple[str, ...] = ()

    def leave(self) -> None:
        """Give the lease back: no process runs in it any more."""
        if self.lease is not None:
            os.close(self.lease)


def run(
    found: Scope, command: list[str], *, number: int | str | None, report: Reporter, without: Sequence[str] = ()
) -> NoReturn:
    """Become `command`, with the overlay's and the base's scripts on PATH and the overlay's lease held.

    The generation is the current one where `number` is None; a text names it as `switching.named` reads it. `without`
    are plugins or packages to leave out. Raise `ProfileError` where there is none for this base as it is now.
    """
    entered = enter(found, number=number, report=report, without=without)
    become(in_set(command, entered), env=entered.variables)


def become(command: list[str], *, env: Mapping[str, str]) -> NoReturn:
    """Become a command; raise `UsageError` for one that cannot be started."""
    try:
        process.become(command, env=env)
    except FileNotFoundError:
        raise UsageError(f"there is no command `{command[0]}` in the set, in the base or on PATH") from None
    except OSError as error:
        raise UsageError(f"`{command[0]}` cannot be started: {error.strerror}") from None


def enter(found: Scope, *, number: int | str | None, report: Reporter, without: Sequence[str] = ()) -> Entered:
    """Take the lease of a generation, the current one if `number` is None, and say what its processes need.

    What `without` and `VPM_ENV_WITHOUT` name is left out.
    """
    base = describe(found.interpreter, found.layout, found.env, engine=found.engine)
    profile = profile_of(found, base)
    generation = chosen(profile, number)
    path = found.layout.overlay(base.key, generation.digest)
    lease = None
    try:
        lease = flocks.hold_lease(os.path.join(path, overlay.LEASE))
    except FileNotFoundError:
        pass  # gc was faster; the next lines say so
    manifest = overlay.read(path)
    if manifest is None:
        way = f"`vpm-env switch {generation.number}` makes it again from its lock"
        raise ProfileError(f"the overlay of generation {generation.number} is damaged", hint=way)
    for change in drifted(manifest, base, generation.number):
        report.warn(f"the base has changed: {change}; `vpm-env build` makes a set for it")
    entered = entered_at(path, lease, base, profile, generation, found.env)
    if not without and not found.env.get("VPM_ENV_WITHOUT"):
        return entered
    return _without(entered, without, base, profile, found.env, report)


def entered_at(
    path: str, lease: int | None, base: Base, profile: Profile, generation: Generation, env: Environment
) -> Entered:
    """Say what processes need that run in the overlay at `path`, which is a generation's or made of one."""
    pin = f"{base.key}:{os.path.basename(path)}"
    variables = environment_for(path, base.scripts, pin, env.variables)
    folders = tuple(dict.fromkeys((base.scripts, os.path.dirname(base.python))))
    if chosen_python := variables.get(_TORCHRUN_PYTHON):
        variables[_TORCHRUN_PYTHON] = _counterpart(chosen_python, path, folders) or chosen_python
    return Entered(profile.name, generation, path, variables, folders, lease)


def _without(
    whole: Entered, names: Sequence[str], base: Base, profile: Profile, env: Environment, report: Reporter
) -> Entered:
    """Enter a set that lacks what is named, in the place of the whole one."""
    from envbuilder.leaving import enter_without  # as a rule nothing is left out

    held, left = enter_without(profile, whole.generation, base, names, env=env, report=report)
    if held is None:
        return whole
    whole.leave()
    generation = whole.generation
    report.note(f"generation {generation.number} ({generation.digest[:12]}) without {spelled(left.names)}")
    entered = entered_at(held.path, held.lease, base, profile, generation, env)
    return entered._replace(without=left.names)


def spelled(names: Sequence[str]) -> str:
    """Spell names in a sentence: `` `one`, `two` and `three` ``."""
    quoted = [f"`{name}`" for name in names]
    return " and ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))


def in_set(command: list[str], entered: Entered) -> list[str]:
    """Let what is the base's own start in the set: by its counterpart in the overlay, or by the overlay's python.

    Such are commands that are named by their path, and scripts that are no entry points, which the overlay has not.
    """
    word, *rest = command
    if os.sep not in word:
        own = os.path.join(entered.path, "bin", word)
        word = word if os.path.exists(own) else os.path.join(entered.base_folders[0], word)
    if counterpart := _counterpart(word, entered.path, entered.base_folders):
        return [counterpart, *rest]
    if os.path.dirname(os.path.abspath(word)) in entered.base_folders and _is_of_python(word):
        return [os.path.join(entered.path, "bin", "python"), word, *rest]
    return command


def _counterpart(word: str, path: str, base_folders: tuple[str, ...]) -> str | None:
    """Return what the overlay at `path` has of the name of an interpreter or script of the base; None for others."""
    folder, name = os.path.split(os.path.abspath(word))
    own = os.path.join(path, "bin", name)
    return own if folder in base_folders and os.path.isfile(own) else None


def _is_of_python(path: str) -> bool:
    """Tell whether a script's first line has python run it, or the shell that finds one for a long path."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(512)
    except OSError:
        return False
    first, _, second = head.partition(b"\n")
    return first.startswith(b"#!") and b"python" in (second if first.endswith(b"/sh") else first)


def environment_for(path: str, base_scripts: str, pin: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a process that runs in the overlay at `path`."""
    search = [os.path.join(path, "bin"), base_scripts, variables.get("PATH") or os.defpath]
    own = {"PATH": os.pathsep.join(search), "VIRTUAL_ENV": path, "VPM_ENV_PIN": pin}
    return {name: value for name, value in variables.items() if name != "PYTHONHOME"} | own
