"""pip's settings on this machine: its variables and its files, read as pip reads them, for uv, which does not."""

from __future__ import annotations

import os
from os.path import abspath, join
from typing import TYPE_CHECKING

from envbuilder.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.paths import Environment

SECTIONS = ("global", "install")
_TRUE = frozenset({"1", "true", "yes", "on", "y", "t"})


def read(env: Environment) -> dict[str, str]:
    """Return pip's options (`extra-index-url`) as pip itself sees them: files in its order, then its variables.

    Raise `SourceError` for a file that is no configuration of pip; pip refuses to work with it, too.
    """
    options: dict[str, str] = {}
    for path in _files(env):
        options |= _options(path)
    for name, value in env.variables.items():
        if _is_option(name, value):
            options[_key(name[4:])] = value
    return options


def origins(env: Environment) -> dict[str, str]:
    """Say where each of pip's options comes from: the path of a file, or a variable (`$PIP_INDEX_URL`)."""
    found: dict[str, str] = {}
    for path in _files(env):
        found |= dict.fromkeys(_options(path), path)
    return found | {_key(name[4:]): f"${name}" for name, value in env.variables.items() if _is_option(name, value)}


def is_true(value: str | None) -> bool:
    """Tell whether an option's value switches it on."""
    return (value or "").strip().lower() in _TRUE


def _is_option(name: str, value: str) -> bool:
    return name.startswith("PIP_") and bool(value)


def _files(env: Environment) -> Iterator[str]:
    """Name pip's files, the ones that win last."""
    named = env.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    for folder in (env.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep):
        yield join(folder, "pip", "pip.conf")
    yield "/etc/pip.conf"
    if env.user_home:
        yield join(env.user_home, ".pip", "pip.conf")
    if env.config_home:
        yield join(env.config_home, "pip", "pip.conf")
    if prefix := env.get("VIRTUAL_ENV"):
        yield join(prefix, "pip.conf")
    if named:
        yield abspath(named)


def _options(path: str) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return {}
    from configparser import Error, RawConfigParser  # only machines with such files pay for it

    parser = RawConfigParser()
    try:
        parser.read_string(text, path)
    except Error as error:
        reason = str(error).splitlines()[0]
        raise SourceError(((path, f"is no configuration of pip: {reason}"),)) from None
    sections = (parser[name] for name in SECTIONS if parser.has_section(name))
    return {_key(name): value for section in sections for name, value in section.items() if value}


def _key(name: str) -> str:
    return name.lower().replace("_", "-")
