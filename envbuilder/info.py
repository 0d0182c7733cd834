"""What vpm-env works with here: places and the rules that chose them, versions, sizes, where packages come from."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from envbuilder import __version__, process, startup
from envbuilder.base import describe
from envbuilder.classes import dataclass
from envbuilder.config import read
from envbuilder.errors import VpmError
from envbuilder.ledger import shares
from envbuilder.origins import INDEX, origins
from envbuilder.policy import of_machine
from envbuilder.scope import home, scope
from envbuilder.uv import find_uv

if TYPE_CHECKING:
    from envbuilder.base import Base
    from envbuilder.config import Config
    from envbuilder.paths import Environment
    from envbuilder.policy import Policy
    from envbuilder.scope import Options, Scope

_HOME_RULES = ("VPM_ENV_HOME", "VLLM_PLUGIN_REGISTRY_DIR")
_CONFIG_RULES = ("VPM_ENV_CONFIG", "VLLM_PLUGIN_CONFIG")


@dataclass(frozen=True, kw_only=True, slots=True)
class Info:
    """What there is; a thing that is missing is None, and `troubles` say why, a sentence each.

    `parts` is as `ledger.shares` says, `free` are the bytes left on the home's file system. `sources` are
    `(what, setting)`: indexes and links, without credentials. `hook` is `none`, `intact`, `stale` (of another
    version, or changed) or `elsewhere` (for another home or profile). `policies` hold for builds.
    """

    version: str
    python: str
    python_version: str
    uv: str | None
    uv_version: str
    home: str
    home_rule: str
    parts: dict[str, int]
    free: int | None
    profile: str | None
    config_file: str | None
    config_rule: str
    base: Base | None
    hook: str
    sources: tuple[tuple[str, str], ...]
    policies: tuple[Policy, ...]
    troubles: tuple[str, ...]


def info(options: Options, env: Environment) -> Info:
    """Find out what there is; only a home that cannot be used is an error. Writes nothing."""
    layout = home(options, env)
    troubles: list[str] = []
    found, base, config = _found(options, env, troubles)
    uv, uv_version = _uv(env, troubles)
    return Info(
        version=__version__,
        python=sys.executable,
        python_version=".".join(map(str, sys.version_info[:3])),
        uv=uv,
        uv_version=uv_version,
        home=layout.home,
        home_rule=_home_rule(options, env),
        parts=shares(layout.home),
        free=_free(layout.home),
        profile=found.profile_name if found else None,
        config_file=found.config_file if found else None,
        config_rule=_config_rule(found, env),
        base=base,
        hook=_hook(found, base),
        sources=_sources(config, env, troubles),
        policies=_policies(config, base, troubles),
        troubles=tuple(troubles),
    )


def _found(options: Options, env: Environment, troubles: list[str]) -> tuple[Scope | None, Base | None, Config | None]:
    try:
        found = scope(options, env)
    except VpmError as error:
        troubles.append(error.message)
        return None, None, None
    base = config = None
    try:
        base = describe(found.interpreter, found.layout, env, engine=found.engine)
    except VpmError as error:
        troubles.append(error.message)
    try:
        config = read(found.config_file, env=env) if found.config_file else None
    except VpmError as error:
        troubles.append(error.message)
    return found, base, config


def _uv(env: Environment, troubles: list[str]) -> tuple[str | None, str]:
    """Return uv's binary and its version."""
    try:
        binary = find_uv(env)
    except VpmError as error:
        troubles.append(error.message)
        return None, ""
    words = process.run([binary, "--version"], env=env.variables, timeout=20).stdout.split()
    return binary, words[1] if len(words) > 1 else ""


def _sources(config: Config | None, env: Environment, troubles: list[str]) -> tuple[tuple[str, str], ...]:
    try:
        found = origins(config, env)
    except VpmError as error:
        troubles.append(error.message)
        return ()
    named = [(f"{one.kind} {one.shown}" if one.location else "the default index", one.setting) for one in found]
    has_index = any(one.kind == INDEX for one in found)
    return tuple(named if has_index else [("no index", "pip's settings"), *named])


def _policies(config: Config | None, base: Base | None, troubles: list[str]) -> tuple[Policy, ...]:
    own = (config.policy,) if config and config.policy else ()
    try:
        return (*(of_machine(base.prefixes) if base else ()), *own)
    except VpmError as error:
        troubles.append(error.message)
        return own


def _home_rule(options: Options, env: Environment) -> str:
    if options.home:
        return "`--home`"
    rule = next((f"`${name}`" for name in _HOME_RULES if env.get(name)), None)
    return rule or ("`$XDG_DATA_HOME`" if env.get("XDG_DATA_HOME") else "the user's data folder")


def _config_rule(found: Scope | None, env: Environment) -> str:
    if found is None or found.config_file is None:
        return ""
    if found.options.config:
        return "`--config`"
    rule = next((f"`${name}`" for name in _CONFIG_RULES if env.get(name)), None)
    here = os.path.dirname(found.config_file) == os.getcwd()
    return rule or ("the working directory" if here else "the user's config folder")


def _hook(found: Scope | None, base: Base | None) -> str:
    if found is None or base is None:
        return "unknown"
    hook = startup.inspect(base)
    if not hook.installed:
        return "none"
    if (hook.home, hook.profile) != (found.layout.home, found.profile_name):
        return "elsewhere"
    return "intact" if hook.intact else "stale"


def _free(path: str) -> int | None:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    try:
        status = os.statvfs(path)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize
