"""The config's file while it is changed: read, written whole, and as it was again if a build says so."""

from __future__ import annotations

import os
from os.path import dirname, isfile

from envbuilder import config, flocks, fs, halves
from envbuilder.errors import ConfigError, Place, Problem
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from envbuilder.edit import Edited
    from envbuilder.paths import Environment

    Change = Callable[[bytes, str], Edited]


class Draft(NamedTuple):
    """A config to change: its file (absolute), and for one that is not there yet the text it begins with."""

    file: str
    start: bytes | None = None
    engine: str = ""

    @property
    def folder(self) -> str:
        """Where the config's relative paths count from."""
        return dirname(self.file)

    @property
    def is_new(self) -> bool:
        """Tell whether the file is made by this change."""
        return self.start is not None


def existing(option: str | None, env: Environment) -> Draft:
    """Return the config that a call means; `option` is `--config`. Raise `ConfigError` where there is none."""
    file = config.find(env, option)
    if file is None:
        problem = Problem(Place("plugins.yaml"), "", "no config was found")
        raise ConfigError((problem,), hint="`vpm-env add` and `vpm-env init` write one; `--config FILE` names another")
    return Draft(file)


def preview(draft: Draft, change: Change) -> Edited:
    """Say what a change would come to."""
    return change(config.content_of(draft.file) if draft.start is None else draft.start, draft.file)


def write(draft: Draft, change: Change) -> tuple[Draft, Edited]:
    """Change the config, and say which it was; two changes at once come one after the other.

    Raise `ConfigError` where it cannot be written.
    """
    try:
        if draft.is_new:
            fs.make_dirs(draft.folder)
        with flocks.folder_held(dirname(os.path.realpath(draft.file))):
            halves.clear(draft.file)
            draft = _now(draft)
            edited = preview(draft, change)
            if draft.is_new or edited.after != edited.before:
                _put(draft.file, edited.after)
    except OSError as error:
        if error.errno in fs.FULL:
            raise
        raise _unwritable(draft.file, error.strerror or str(error)) from None
    return draft, edited


def take_back(draft: Draft, edited: Edited) -> bool:
    """Make the config what it was before a change; False if somebody changed it since, and it stays as it is."""
    with flocks.folder_held(dirname(os.path.realpath(draft.file))):
        if config.content_of(draft.file) != edited.after:
            return False
        if draft.is_new:
            fs.remove(draft.file)
        elif edited.after != edited.before:
            fs.rewrite(draft.file, edited.before)
    return True


def _now(draft: Draft) -> Draft:
    """Return the draft as it is under the lock: somebody else may have made the file meanwhile."""
    return draft._replace(start=None) if draft.is_new and isfile(draft.file) else draft


def _put(file: str, content: bytes) -> None:
    if not isfile(file):
        return fs.write_atomic(os.path.realpath(file), content)
    if not os.stat(file).st_mode & 0o222 or not os.access(file, os.W_OK):
        raise _unwritable(file, "it is read-only")
    return fs.rewrite(file, content)


def _unwritable(file: str, why: str) -> ConfigError:
    problem = Problem(Place(file), "", f"the file cannot be written: {why}")
    return ConfigError(
        (problem,), hint="nothing was changed; change it where it comes from, or name another with `--config`"
    )
