"""What a call is about: which home, config, base and profile. The rules of `interpreter` and `paths`, put together.

`rollback` goes through here, so a config is parsed only where its text may choose the base, the engine or the profile.
"""

from __future__ import annotations

import os
from os.path import abspath, expanduser, join

from envbuilder import fs
from envbuilder.engines import ENGINES
from envbuilder.errors import ConfigError, HomeError, Place, Problem, UsageError
from envbuilder.interpreter import Interpreter, find_base, recall
from envbuilder.paths import FORMAT, Environment, Layout, find_config, home_of
from envbuilder.profile import Profile
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from envbuilder.base import Base
    from envbuilder.config import Config

_CHOOSING = (b"base", b"profile", b"engine", b"{", b"---")
"""How lines begin behind which a base, profile or engine may be chosen; those of a flow mapping may be anywhere."""

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
DEFAULT_PROFILE = "default"


class Options(NamedTuple):
    """The global options, as given."""

    config: str | None = None
    base: str | None = None
    home: str | None = None
    profile: str | None = None


class Scope(NamedTuple):
    """What a call is about; `config_file` is None where there is no config."""

    env: Environment
    options: Options
    layout: Layout
    config_file: str | None
    interpreter: Interpreter
    profile_name: str
    engine: str | None

    @property
    def lock_wait(self) -> float:
        """Seconds to wait for a lock."""
        return self.env.lock_wait


def scope(options: Options, env: Environment, *, needs_config: bool = False) -> Scope:
    """Find out what a call is about; raise the `VpmError` of whatever cannot be found.

    A config that `--config` names must be there; one that a variable names need not, except for verbs that need it:
    whoever undoes a switch at night need not mend the environment first.
    """
    layout = home(options, env)
    config_file = find_config(env, options.config, tuple(engine.name for engine in ENGINES))
    if config_file and not os.path.isfile(config_file) and (options.config or needs_config):
        problem = Problem(place=Place(file=config_file), key="", text="there is no such file")
        raise ConfigError((problem,), hint="`vpm-env init` writes one; `--config` or `$VPM_ENV_CONFIG` names another")
    config = _choosing_config(config_file, env)
    configured = config.base if config else None
    chosen = options.profile or env.get("VPM_ENV_PROFILE") or (config.profile if config else None) or DEFAULT_PROFILE
    if not _is_profile_name(chosen):
        raise UsageError(f"`{chosen}` is no profile name: lower-case letters, digits, `.`, `_` and `-`")
    return Scope(
        env=env,
        options=options,
        layout=layout,
        config_file=config_file,
        interpreter=find_base(option=options.base, configured=configured, env=env),
        profile_name=chosen,
        engine=config.engine if config else None,
    )


def _is_profile_name(name: str) -> bool:
    return len(name) <= 64 and name[:1] in _LOWER and _LOWER.union("._-").issuperset(name)


def home(options: Options, env: Environment) -> Layout:
    """Find the home and check that this version may use it; nothing is made."""
    named = home_of(env, options.home)
    if named is None:
        raise HomeError(
            home=None,
            reason="no home: neither `VPM_ENV_HOME` nor the user's home directory is set",
            hint="set `VPM_ENV_HOME` to a folder that vpm-env may write to",
        )
    layout = Layout(home=named)
    _require_format(layout)
    return layout


def make_home(layout: Layout) -> None:
    """Make the home where there is none; raise `HomeError` if that cannot be."""
    try:
        for path in (layout.home, layout.store, layout.overlays, layout.profiles, layout.sources, layout.tmp):
            fs.make_dirs(path)
        if not os.path.exists(layout.format):
            fs.write_atomic(layout.format, f"{FORMAT}\n".encode())
    except OSError as error:
        raise HomeError(
            home=layout.home,
            reason=f"cannot be written: {error.strerror}",
            hint="name another with `--home` or `VPM_ENV_HOME`",
        ) from None


def profile_of(found: Scope, base: Base | None = None) -> Profile:
    """Return the profile for the base in scope, asking the base only if it is not remembered as it is now."""
    return Profile(layout=found.layout, name=found.profile_name, base_key=base.key if base else base_key(found))


def base_key(found: Scope) -> str:
    """Return the key of the base in scope.

    A base that does not start any more is no obstacle where the profile knows only one: rolling back is for then.
    """
    remembered = recall(found.interpreter, found.layout) if found.engine is None else None
    if remembered:
        return str(remembered["key"])
    from envbuilder.base import describe  # only when nothing is remembered: it starts the base's interpreter
    from envbuilder.errors import BaseError

    try:
        return describe(found.interpreter, found.layout, found.env, engine=found.engine).key
    except BaseError:
        known = _known_bases(found)
        if len(known) != 1:
            raise
        return known[0]


def _known_bases(found: Scope) -> list[str]:
    try:
        return os.listdir(join(found.layout.profiles, found.profile_name))
    except OSError:
        return []


def _choosing_config(config_file: str | None, env: Environment) -> Config | None:
    """Parse the config only if a line of it may choose base, profile or engine."""
    try:
        with open(config_file or os.devnull, "rb") as stream:
            content = stream.read(1 << 20)
    except OSError:
        return None
    if not any(line.lstrip(b"\xef\xbb\xbf \t?'\"").startswith(_CHOOSING) for line in content.splitlines()):
        return None
    from envbuilder.config import read  # yaml costs more than a bare interpreter start

    return read(abspath(expanduser(config_file or "")), env=env)


def _require_format(layout: Layout) -> None:
    try:
        with open(layout.format, encoding="utf-8") as stream:
            number = int(stream.read(32))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise HomeError(home=layout.home, reason=f"has an unreadable `format` file: {error}") from None
    if number > FORMAT:
        raise HomeError(
            home=layout.home,
            reason=f"has format {number}; this vpm-env knows up to {FORMAT}",
            hint="upgrade vpm-env, or name another home with `--home`",
        )
