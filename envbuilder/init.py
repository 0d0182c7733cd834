"""The first config: a commented `plugins.yaml` that loads as it is and installs nothing."""

from __future__ import annotations

import textwrap
from os.path import abspath, dirname, join, lexists
from typing import TYPE_CHECKING

from envbuilder import fs
from envbuilder.errors import ConfigError, Place, Problem, UsageError
from envbuilder.paths import CONFIG_NAME, template

if TYPE_CHECKING:
    from envbuilder.engines import Engine
    from envbuilder.paths import Environment


def choose_target(*, option: str | None, user: bool, engine: Engine, env: Environment) -> str:
    """Say where the config goes: `--config`, the engine's place in the user's config folder, or `./plugins.yaml`.

    Absolute. Raise `UsageError` where `user` is asked for and there is no such place.
    """
    if option:
        return abspath(env.expand(option))
    if not user:
        return abspath(CONFIG_NAME)
    if not engine.distribution:
        hint = "name the engine's interpreter with `--base`, or leave `--user` out"
        raise UsageError("`--user` writes the config of an engine, and no engine was found", hint=hint)
    if env.config_home is None:
        hint = "set `XDG_CONFIG_HOME`, or name the file with `--config`"
        raise UsageError("`--user` writes into the user's config folder, and there is none", hint=hint)
    return join(env.config_home, engine.name, CONFIG_NAME)


def write_config(*, target: str, engine: Engine) -> None:
    """Write a commented config for `engine` to `target` (absolute), with no plugin in it.

    Raise `ConfigError` where something is there already, or where nothing can be written.
    """
    if lexists(target):
        problem = Problem(Place(target), "", "the file is there already, and stays as it is")
        raise ConfigError((problem,), hint="edit it, or name another with `--config`")
    try:
        fs.make_dirs(dirname(target))
        fs.write_atomic(target, render(engine).encode())
    except OSError as error:
        if error.errno in fs.FULL:
            raise
        problem = Problem(Place(target), "", f"the file cannot be written: {error.strerror}")
        raise ConfigError((problem,), hint="name another with `--config`") from None


def render(engine: Engine) -> str:
    """Return the text of the config for `engine`."""
    program = f"the engine `{engine.name}`" if engine.distribution else "a program that finds plugins by entry points"
    text = template(CONFIG_NAME).replace("@ENGINE@", program).replace("@NAME@", engine.name)
    return text.replace("# @GROUPS@", _comment(_groups(engine)))


def _comment(text: str) -> str:
    return textwrap.fill(text, 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _groups(engine: Engine) -> str:
    """Say which entry points are plugins."""
    if not engine.groups:
        return "The plugins are the entry points of each package, whatever their group; scripts are none."
    groups = ", ".join(f"`{group}`" for group in engine.groups)
    allow_list = f" Where ${engine.allow_list} is set, only those that it names are." if engine.allow_list else ""
    return f"The plugins are the entry points of these groups: {groups}.{allow_list}"
