"""What a config wants run after a build or a switch (`on_build`, `on_switch`): a command for `/bin/sh`.

It runs when all is done and no lock is held; how it ends changes nothing, and is told. A command may call vpm-env,
whose own switches then run no further commands.
"""

from __future__ import annotations

import os
import time
from os.path import dirname, isdir, join

from envbuilder import fs, process
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envbuilder.paths import Environment
    from envbuilder.profile import Generation, Profile
    from envbuilder.report import Reporter

EVENT = "VPM_ENV_EVENT"
"""The variable that tells a command what happened: `build`, `switch` or `rollback`."""

_TOLD_LINES = 10
_TOLD_BYTES = 4000
_SCRIPT = 'exec >"$VPM_ENV_OUTPUT" 2>&1\nunset VPM_ENV_OUTPUT\n'


class Event(NamedTuple):
    """What happened: `verb` is `build`, `switch` or `rollback`; `before` is the number of what was current."""

    verb: str
    generation: Generation
    before: int | None


class Ran(NamedTuple):
    """A command that ran: the config's key, exit code (negative: the signal that ended it), seconds, end of output."""

    key: str
    command: str
    code: int
    seconds: float
    output: str


def follow(
    profile: Profile, event: Event, wanted: Mapping[str, str], source: Generation, *, env: Environment, report: Reporter
) -> tuple[Ran, ...]:
    """Run the commands `wanted` (key → command), which the record of generation `source` holds."""
    if not wanted:
        return ()
    if env.get(EVENT):
        report.note(f"not run, because a command after a {env.get(EVENT)} switched: {_keys(wanted)}")
        return ()
    if not _is_trusted(profile.file(source.number, "json")):
        report.warn(f"not run, because another user recorded it: {_keys(wanted)}")
        return ()
    variables = _variables(profile, event, env)
    return tuple(_run(key, command, source.config, profile, variables, report) for key, command in wanted.items())


def _keys(wanted: Mapping[str, str]) -> str:
    return ", ".join(f"`{key}`" for key in wanted)


def _is_trusted(record: str) -> bool:
    """Tell whether the command comes from whoever runs it, or from root: whoever helps another runs no code of his."""
    try:
        return os.stat(record).st_uid in (0, os.geteuid())
    except OSError:
        return False


def _variables(profile: Profile, event: Event, env: Environment) -> dict[str, str]:
    """Return the command's variables: what happened, and the same scope for a vpm-env that it calls."""
    generation = event.generation
    own = {
        EVENT: event.verb,
        "VPM_ENV_GENERATION": str(generation.number),
        "VPM_ENV_DIGEST": generation.digest,
        "VPM_ENV_PREVIOUS": "" if event.before is None else str(event.before),
        "VPM_ENV_OVERLAY": profile.layout.overlay(profile.base_key, generation.digest),
        "VPM_ENV_HOME": profile.layout.home,
        "VPM_ENV_PROFILE": profile.name,
        "VPM_ENV_BASE": generation.base["python"],
        "VPM_ENV_CONFIG": generation.config,
    }
    # Whoever restarts an engine wants the new set, not that of the shell in which the switch was typed.
    return {name: value for name, value in env.variables.items() if name != "VPM_ENV_PIN"} | own


def _run(key: str, command: str, config: str, profile: Profile, variables: Mapping[str, str], report: Reporter) -> Ran:
    folder = dirname(config) if isdir(dirname(config)) else profile.layout.home
    started = time.monotonic()
    with report.stage(f"running {key}"), fs.staging(profile.layout.tmp) as scratch:
        # Into a file, not a pipe: a server that the command leaves behind would keep a pipe open.
        told = join(scratch, "output")
        try:
            words = ("/bin/sh", "-c", _SCRIPT + command)
            done = process.run(words, env={**variables, "VPM_ENV_OUTPUT": told}, cwd=folder)
            code, output = done.code, _end_of(told) + done.output
        except KeyboardInterrupt:
            code, output = -2, _end_of(told) + "interrupted\n"
    ran = Ran(key, command, code, round(time.monotonic() - started, 3), "\n".join(_last_lines(output)))
    if code:
        how = f"exit {code}" if code > 0 else f"signal {-code}"
        report.warn("\n  ".join([f"`{key}` failed ({how}); what was switched stays so", *_last_lines(output)]))
    return ran


def _end_of(path: str) -> str:
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TOLD_BYTES))
            return process.redact(stream.read().decode("utf-8", "replace"))
    except OSError:
        return ""


def _last_lines(output: str) -> list[str]:
    return output.rstrip().splitlines()[-_TOLD_LINES:]
