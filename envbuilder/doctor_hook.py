"""The check of the start-up hook: for this base and home, whole, and of this version."""

from __future__ import annotations

import os
from glob import escape, glob
from os.path import basename, dirname, exists, isdir, join, lexists, realpath
from typing import TYPE_CHECKING

from envbuilder import __version__, startup
from envbuilder import hook_files as files
from envbuilder.health import ERROR, WARNING, Answer, NotApplicable, Trouble
from envbuilder.paths import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.base import Base
    from envbuilder.health import Mend, Situation
    from envbuilder.startup import HookStatus

_HARMLESS = ("it is of vpm-env", "it is not compiled")
"""How those problems begin under which the hook works all the same."""


def check_hook(situation: Situation) -> Answer:
    """Look at the base's start-up hook, and at what is left of others."""
    base = situation.need_base()
    hook = startup.inspect(base)
    left = tuple(_of_other_pythons(base))
    if not hook.installed:
        left = (*_half(hook.folder), *left)
        if not left:
            raise NotApplicable("the base has none: engines get a set through `vpm-env run -- COMMAND` only")
        return Answer(said=f"not installed in `{hook.folder}`", troubles=left)
    mend = _mend(base, hook, situation)
    own = (*_problems(hook, mend), *_of_command(hook, mend), *_uncounted(hook))
    troubles = (*own, *_elsewhere(hook, situation), *left)
    facts = (f"folder: {hook.folder}", f"home: {hook.home}", f"profile: {hook.profile}")
    said = f"{hook.version or 'unreadable'} in `{hook.folder}`, for profile `{hook.profile}` of `{hook.home}`"
    return Answer(said=said, troubles=troubles, facts=facts)


def _problems(hook: HookStatus, mend: Mend | None) -> Iterator[Trouble]:
    for problem in hook.problems:
        harmless = problem.startswith(_HARMLESS)
        yield Trouble(
            what=f"the hook in `{hook.folder}` is not as this vpm-env writes it: {problem}",
            why="it works, but not as well as it could" if harmless else "engines may start without their plugins",
            way_forward="upgrade vpm-env" if _is_newer(hook) else _again(hook),
            severity=WARNING if harmless else ERROR,
            mend=mend,
        )


def _of_command(hook: HookStatus, mend: Mend | None) -> Iterator[Trouble]:
    command = files.constants(hook.folder).get("COMMAND") or ()
    if command and not exists(command[0]):
        yield Trouble(
            what=f"the hook names vpm-env at `{command[0]}`, where it is no more",
            why="what the hook cannot do itself, it asks that command for",
            way_forward=_again(hook),
            mend=mend,
        )


def _again(hook: HookStatus) -> str:
    """Say how to write the hook again with all that it has."""
    return f"run `{' '.join(('vpm-env hook install', *hook.options))}`"


def _uncounted(hook: HookStatus) -> Iterator[Trouble]:
    """Tell where starts are to be counted and cannot be."""
    if not hook.rollback_after:
        return
    place = Layout(home=hook.home).profile(hook.profile, hook.base_key)
    folder = next((path for path in (join(place, "attempts"), place, dirname(dirname(place))) if lexists(path)), "")
    why = "an engine of this user that ends again and again goes back to no other set"
    if folder and not isdir(folder):
        what = f"the hook is to count failed starts in `{folder}`, which is no folder"
        yield Trouble(what=what, why=why, way_forward="delete that", severity=WARNING)
    elif folder and not os.access(folder, os.W_OK | os.X_OK):
        yield Trouble(
            what=f"the hook is to count failed starts, and this user may not write to `{folder}`",
            why=why,
            way_forward="let the engine's user write to the home, or run `vpm-env hook install` without this",
            severity=WARNING,
        )


def _elsewhere(hook: HookStatus, situation: Situation) -> Iterator[Trouble]:
    profile = situation.profile
    if profile is None or not hook.home or (hook.home, hook.profile) == (profile.layout.home, profile.name):
        return
    yield Trouble(
        what=f"the hook is for the profile `{hook.profile}` of `{hook.home}`",
        why=f"engines get its set, not that of the profile `{profile.name}` of `{profile.layout.home}`",
        way_forward=f"{_again(hook)} for this one, or name the other with `--home` and `--profile`",
    )


def _half(folder: str) -> Iterator[Trouble]:
    """Tell of a hook that is there in part: whether to complete it or to take it away, nobody can know."""
    pieces = [name for name in (files.PTH, *files.SINGLE_MODULES) if exists(join(folder, name))]
    pieces += map(basename, files.dist_infos(folder))
    if pieces:
        imports = files.LINE.strip() in files.content_of(join(folder, files.PTH)).splitlines()
        yield Trouble(
            what=f"there is half a hook in `{folder}`: {', '.join(pieces)}",
            why="each start of this Python complains about it" if imports else "it is of no use",
            way_forward="`vpm-env hook install` completes it, `vpm-env hook uninstall` takes it away",
            severity=ERROR if imports else WARNING,
        )


def _of_other_pythons(base: Base) -> Iterator[Trouble]:
    found = glob(join(escape(base.prefix), "lib*", "python3*", "*-packages", files.PTH))
    own = {realpath(folder) for folder in (base.purelib, *base.site_dirs)}
    for folder in sorted({realpath(dirname(path)) for path in found} - own):
        yield Trouble(
            what=f"a hook of another Python lies in `{folder}`",
            why=f"the base is Python {base.python_version} by now, and never looks there",
            way_forward=f"delete `{join(folder, '_vpm_env')}*` and `{join(folder, 'vpm_env_hook-')}*`",
        )


def _mend(base: Base, hook: HookStatus, situation: Situation) -> Mend | None:
    """Return how to write the hook again for the home and profile that it is for; None where that is not ours to do."""
    home = hook.home or (situation.layout.home if situation.layout else "")
    profile = hook.profile or (situation.profile.name if situation.profile else "")
    changed = files.content_of(join(hook.folder, files.PTH)) != files.LINE
    if not (home and profile) or changed or _is_newer(hook) or not os.access(hook.folder, os.W_OK):
        return None

    def mend() -> str:
        startup.install_again(base, hook, home=home, profile=profile)
        return f"wrote the hook in `{hook.folder}` again"

    return mend


def _is_newer(hook: HookStatus) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(hook.version) > Version(__version__)
    except InvalidVersion:
        return False
