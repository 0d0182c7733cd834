"""Checks of what is around a set: the config, variables, the resolver, the clock."""

from __future__ import annotations

import os
import re
import stat
import time
from datetime import datetime
from os.path import exists, isdir, isfile, join
from shlex import quote
from typing import TYPE_CHECKING

from envbuilder import lock, process, startup, store, uv
from envbuilder import profile as profiles
from envbuilder.allowed import listed_in
from envbuilder.config import Local
from envbuilder.errors import ConfigError, LockError, PolicyError, UsageError, VpmError
from envbuilder.health import ERROR, WARNING, Answer, NotApplicable, Trouble
from envbuilder.paths import lock_name
from envbuilder.planning import counted
from envbuilder.policing import in_force
from envbuilder.subject import import_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.config import Config
    from envbuilder.health import Situation

OLDEST_UV = (0, 9)
"""What this version of vpm-env is tested with, and requires when it is installed."""
_LATE = 300.0
"""Seconds by which clocks of several machines may differ without harm."""


def check_config(situation: Situation) -> Answer:
    """Read plugins.yaml and the lock beside it."""
    error = situation.refused.get("config")
    if isinstance(error, ConfigError):
        troubles = tuple(
            Trouble(
                what=str(problem),
                why="no build can read it; what is current stays so",
                way_forward=error.hint or "mend the config at that place",
                severity=ERROR,
            )
            for problem in error.problems
        )
        return Answer(said=f"`{situation.config_file}` cannot be used", troubles=troubles)
    config = situation.config
    if config is None:
        raise NotApplicable("there is no config; `vpm-env init` writes one")
    disabled = len(config.plugins) - len(config.enabled)
    off = f", {disabled} disabled" if disabled else ""
    said = f"`{config.file}`: {counted(len(config.enabled), 'plugin')}{off}"
    troubles = (*_of_lock(config.file), *_of_policies(situation, config), *_of_strangers(config))
    return Answer(said=said, troubles=troubles, facts=config.notes)


def _of_strangers(config: Config) -> Iterator[Trouble]:
    """Tell what is built from, and everybody may change."""
    local = [plugin.source.path for plugin in config.enabled if isinstance(plugin.source, Local)]
    for path in filter(exists, (config.file, *local)):
        mode = os.stat(path).st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield Trouble(
                what=f"everybody may write to `{path}`",
                why="whoever does chooses what code the next build puts into the engine",
                way_forward=f"run `chmod o-w {quote(path)}`",
            )


def _of_policies(situation: Situation, config: Config) -> Iterator[Trouble]:
    """Tell what a build would be refused for."""
    try:
        if situation.base:
            in_force(config, situation.base, situation.env)
    except (ConfigError, PolicyError) as error:
        for line in error.message.splitlines():
            yield Trouble(
                what=line,
                why="no build gets past it; what is current stays so",
                way_forward=error.hint or "see the policy at that place",
                severity=ERROR,
            )
    except VpmError:
        pass  # the checks of indexes tell it


def _of_lock(config_file: str) -> Iterator[Trouble]:
    try:
        lock.read(join(os.path.dirname(config_file), lock_name(config_file)))
    except LockError as error:
        yield Trouble(what=error.message, why="a build cannot use it", way_forward=error.hint or "", severity=ERROR)


def check_uv(situation: Situation) -> Answer:
    """Ask uv for its version."""
    binary = uv.find_uv(situation.env)
    said = process.check([binary, "--version"], env=situation.env.variables, timeout=60).strip()
    found = re.search(r"(\d+)\.(\d+)\.\d+", said)
    troubles: tuple[Trouble, ...] = ()
    if found and (int(found[1]), int(found[2])) < OLDEST_UV:
        oldest = ".".join(map(str, OLDEST_UV))
        troubles = (
            Trouble(
                what=f"`{binary}` is {found[0]}, and vpm-env wants {oldest} or newer",
                why="what it is asked to do may mean another thing to it",
                way_forward="upgrade uv, or install one beside vpm-env",
                severity=ERROR,
            ),
        )
    return Answer(said=f"{said.removeprefix('uv ').split(' ')[0]} at `{binary}`", troubles=troubles)


def check_environment(situation: Situation) -> Answer:
    """Look at the variables of this environment that change what an engine started here gets."""
    troubles = (
        *_of_timeout(situation),
        *_of_switches(situation),
        *_of_pin(situation),
        *_of_python(situation),
        *_of_allow_lists(situation),
    )
    ours = [name for name in sorted(situation.env.variables) if name.startswith("VPM_ENV_")]
    # Values may be paths that hold names of people and projects; `name only` is enough to find them.
    said = f"set: {', '.join(ours)}" if ours else "no variable of vpm-env is set"
    return Answer(said=said, troubles=troubles)


def _of_timeout(situation: Situation) -> Iterator[Trouble]:
    try:
        _ = situation.env.lock_wait
    except UsageError as error:
        way = "set it to a number, or unset it"
        yield Trouble(what=error.message, why="no verb that takes a lock runs", way_forward=way, severity=ERROR)


def _of_switches(situation: Situation) -> Iterator[Trouble]:
    if situation.env.get("VPM_ENV_DISABLE") not in (None, "0"):
        yield Trouble(
            what="`VPM_ENV_DISABLE` is set",
            why="engines that are started here get no plugins",
            way_forward="unset `VPM_ENV_DISABLE`",
        )
    if situation.env.get("PYTHONHOME"):
        yield Trouble(
            what="`PYTHONHOME` is set",
            why="each Python takes its standard library from there, the base's too",
            way_forward="unset `PYTHONHOME`",
            severity=ERROR,
        )


def _of_pin(situation: Situation) -> Iterator[Trouble]:
    pin, profile = situation.env.get("VPM_ENV_PIN"), situation.profile
    if not pin:
        return
    base_key, _, digest = pin.partition(":")
    there = bool(situation.layout and isfile(join(situation.layout.overlay(base_key, digest), "overlay.json")))
    current = profile and situation.current and (base_key, digest) == (profile.base_key, situation.current.digest)
    another = "" if current else ", which is not the current set" if there else ", which is not there"
    yield Trouble(
        what=f"`VPM_ENV_PIN` is set in this environment{another}",
        why="each engine that is started from here uses that set, whatever is switched to",
        way_forward="unset `VPM_ENV_PIN`, or leave the shell of `vpm-env run`",
        severity=WARNING if there else ERROR,
    )


def _of_python(situation: Situation) -> Iterator[Trouble]:
    folders = [path for path in (situation.env.get("PYTHONPATH") or "").split(os.pathsep) if path and isdir(path)]
    wanted = _names_of_set(situation)
    for folder in folders:
        hidden = sorted(wanted & {import_name(entry) for entry in os.listdir(folder)})
        if hidden:
            yield Trouble(
                what=f"`{folder}` on `PYTHONPATH` hides {', '.join(f'`{name}`' for name in hidden)}",
                why="an engine that is started here imports those from there, not from the base or the set",
                way_forward="take that folder out of `PYTHONPATH`",
            )
    base = situation.base
    if base and situation.env.get("PYTHONNOUSERSITE") and base.user_site is None:
        yield Trouble(
            what="`PYTHONNOUSERSITE` is set",
            why="the base was looked at without the user's own packages; an engine without the variable sees them",
            way_forward="set it for the engine too, or unset it and run `vpm-env build`",
        )


def _names_of_set(situation: Situation) -> set[str]:
    names = {situation.base.engine.import_name} if situation.base else set()
    if situation.manifest and situation.layout:
        for member in situation.manifest.members:
            package = store.get(situation.layout, member.key)
            names |= {import_name(entry) for entry in package.top_level} if package else set()
    return names - {""}


def _of_allow_lists(situation: Situation) -> Iterator[Trouble]:
    base, manifest = situation.base, situation.manifest
    if base is None or manifest is None or base.engine.allow_list is None:
        return
    found = listed_in(situation.env, manifest, base, guarded=startup.inspect(base).installed)
    for point in found.points:
        if not point.loads and not point.in_base:
            yield Trouble(
                what=f"`{point.name}` of `{point.package}` does not load: {point.why}",
                why=f"`{base.engine.allow_list}` says which plugins {base.engine.name} loads",
                way_forward=f"set `{base.engine.allow_list}={found.value}`",
            )


def check_clock(situation: Situation) -> Answer:
    """Look whether generations or switches lie in the future: gc counts by this clock."""
    layout, now = situation.need_home(), time.time()
    late: list[str] = []
    for profile in profiles.all_profiles(layout):
        times = [datetime.fromisoformat(made.created).timestamp() for made in profiles.generations(profile)]
        times += [at for _, at, _ in profiles.order(profile).switches]
        ahead = max(times, default=now) - now
        late += [f"`{profile.name}` of base {profile.base_key} by {ahead:.0f} s"] if ahead > _LATE else []
    troubles = tuple(
        Trouble(
            what=f"this clock is behind the newest entry of the profile {entry}",
            why="`vpm-env gc` reckons with ages and would keep or take the wrong sets",
            way_forward="set the clock; machines that share a home need the same time",
        )
        for entry in late
    )
    return Answer(said="no time lies in the future" if not late else "behind the home's own times", troubles=troubles)
