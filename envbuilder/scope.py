"""What a call is about: which home, config, base and profile. The rules of `interpreter` and `paths`, put together.

`rollback` goes through here, so a config is parsed only where its text may choose the base, the engine or the profile.
"""

from __future__ import annotations

import os
from os.path import abspath, dirname, expanduser, isdir, join

from envbuilder import fs
from envbuilder.digest import read_bytes, read_sealed, sealed, sha256_bytes, sha256_of
from envbuilder.engines import ENGINES
from envbuilder.errors import ConfigError, HomeError, Place, Problem, UsageError
from envbuilder.interpreter import Interpreter, find_base, recall
from envbuilder.notation import dumps
from envbuilder.paths import FORMAT, Environment, Layout, find_config, home_of
from envbuilder.profile import DEFAULT, Profile
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

    from envbuilder.base import Base

_CHOOSING = (b"base", b"profile", b"engine", b"{", b"---")
"""How lines begin behind which a base, profile or engine may be chosen; those of a flow mapping may be anywhere."""

_LONGEST_FORMAT = 64
"""Bytes of a file that holds one number."""
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")


class Options(NamedTuple):
    """The global options, as given."""

    config: str | None = None
    base: str | None = None
    home: str | None = None
    profile: str | None = None


class Choice(NamedTuple):
    """What a config chooses for every verb: its `base:`, `profile:` and `engine:`."""

    base: str | None = None
    profile: str | None = None
    engine: str | None = None


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
    choice = _choice(config_file, env, layout)
    chosen = options.profile or env.get("VPM_ENV_PROFILE") or choice.profile or DEFAULT
    if not _is_profile_name(chosen):
        raise UsageError(f"`{chosen}` is no profile name: lower-case letters, digits, `.`, `_` and `-`")
    return Scope(
        env=env,
        options=options,
        layout=layout,
        config_file=config_file,
        interpreter=find_base(option=options.base, configured=choice.base, env=env),
        profile_name=chosen,
        engine=choice.engine,
    )


def _is_profile_name(name: str) -> bool:
    return len(name) <= 64 and name[:1] in _LOWER and _LOWER.union("._-").issuperset(name)


def home(options: Options, env: Environment) -> Layout:
    """Find the home and check that this version may use it; nothing is made."""
    layout = home_as_it_is(options, env)
    _require_format(layout)
    _require_own(layout, layout.flocks, layout.trash, layout.cache, f"{layout.cache}/bases", f"{layout.cache}/choices")
    return layout


def _require_own(layout: Layout, *paths: str) -> None:
    """Raise `HomeError` where somebody else's symlink stands for what is written to."""
    if led := fs.led_away(*paths):
        hint = "see who put it there; what it leads to is not touched"
        raise HomeError(home=layout.home, reason=f"has another user's symlink where `{led}` should be", hint=hint)


def home_as_it_is(options: Options, env: Environment) -> Layout:
    """Find the home, whatever its state; raise `HomeError` where nothing names one."""
    named = home_of(env, options.home)
    if named is None:
        raise HomeError(
            home=None,
            reason="no home: neither `VPM_ENV_HOME` nor the user's home directory is set",
            hint="set `VPM_ENV_HOME` to a folder that vpm-env may write to",
        )
    return Layout(home=named)


def hand_over(layout: Layout, owners: Collection[int]) -> None:
    """Give the home's folders to its owner, if that is one of `owners`, so that they can build there too."""
    home = os.stat(layout.home)
    if home.st_uid in owners:
        below = [join(layout.cache, name) for name in fs.names_in(layout.cache)]
        for path in (*_folders(layout), layout.flocks, layout.trash, layout.reserve, layout.cache, *below):
            fs.give_dir(path, home)


def _folders(layout: Layout) -> tuple[str, ...]:
    return (layout.store, layout.overlays, layout.profiles, layout.sources, layout.tmp)


def make_home(layout: Layout) -> None:
    """Make the home where there is none; raise `HomeError` if that cannot be, or must not be.

    The `format` file comes first: it says whose the folders are.
    """
    folders = _folders(layout)
    if not os.path.exists(layout.format) or any(map(os.path.islink, (*folders, layout.trash))):
        from envbuilder.belongings import is_home  # as a rule there is one, and it is as it was made

        is_home(layout)
    _require_own(layout, *folders, layout.format, *(join(layout.cache, name) for name in fs.names_in(layout.cache)))
    try:
        fs.shut_out_strangers(layout.home)
        fs.make_dirs(layout.home)
        if not os.path.exists(layout.format):
            fs.write_atomic(layout.format, f"{FORMAT}\n".encode())
        for path in folders:
            fs.make_dirs(path)
    except OSError as error:
        if error.errno in fs.FULL:
            raise
        raise HomeError(
            home=layout.home,
            reason=f"cannot be written: {(error.strerror or str(error)).lower()}",
            hint="name another with `--home` or `VPM_ENV_HOME`",
        ) from None


def profile_of(found: Scope, base: Base | None = None) -> Profile:
    """Return the profile for the base in scope, asking the base only if it is not remembered as it is now."""
    return Profile(layout=found.layout, name=found.profile_name, base_key=base.key if base else base_key(found))


def base_key(found: Scope) -> str:
    """Return the key of the base in scope.

    A base that does not start any more is no obstacle where the profile knows only one: rolling back is for then.
    """
    remembered = recall(found.interpreter, found.layout, found.engine)
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


def _choice(config_file: str | None, env: Environment, layout: Layout) -> Choice:
    """Parse the config only if a line of it may choose base, profile or engine, and its bytes are new."""
    try:
        with open(config_file or os.devnull, "rb") as stream:
            content = stream.read(1 << 20)
    except OSError:
        return Choice()
    if not any(line.lstrip(b"\xef\xbb\xbf \t?'\"").startswith(_CHOOSING) for line in content.splitlines()):
        return Choice()
    file = abspath(expanduser(config_file or ""))
    purpose = sha256_of([file, env.user_home, sha256_bytes(content)])
    known = join(layout.cache, "choices", f"{sha256_of(file)[:16]}.json")
    return _recalled(known, purpose) or _parsed(file, env, known, purpose, layout)


def _recalled(path: str, purpose: str) -> Choice | None:
    try:
        record = read_sealed(path)
        return Choice(*record["choice"]) if record["for"] == purpose else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _parsed(file: str, env: Environment, known: str, purpose: str, layout: Layout) -> Choice:
    from envbuilder.config import read  # yaml costs more than a bare interpreter start

    config = read(file, env=env)
    choice = Choice(config.base, config.profile, config.engine)
    if isdir(layout.home):
        try:
            fs.make_dirs(dirname(known))
            fs.write_plain(known, dumps(sealed({"choice": choice, "for": purpose})).encode())
        except OSError:
            pass  # a home that is read-only is no reason to stop
    return choice


def format_of(layout: Layout) -> int:
    """Return which format a home has; raise `OSError`, or `ValueError` where its file does not say."""
    text = read_bytes(layout.format, _LONGEST_FORMAT).strip()
    if not text.isdigit():
        raise ValueError("it holds no number")
    return int(text)


def require_format(layout: Layout, number: int) -> None:
    """Raise `HomeError` for a format that is not this vpm-env's."""
    if number > FORMAT:
        reason, hint = (
            f"has format {number}; this vpm-env knows up to {FORMAT}",
            "upgrade vpm-env",
        )
    elif number < FORMAT:
        reason, hint = (
            f"has format {number}, which is older than {FORMAT}",
            "use the vpm-env that made it",
        )
    else:
        return
    raise HomeError(home=layout.home, reason=reason, hint=f"{hint}, or name another home with `--home`")


def _require_format(layout: Layout) -> None:
    try:
        number = format_of(layout)
    except FileNotFoundError:
        from envbuilder.belongings import require_vacant  # no hot verb is without a home

        require_vacant(layout)
        return
    except NotADirectoryError:
        hint = "name a folder with `--home` or `VPM_ENV_HOME`"
        raise HomeError(home=layout.home, reason="is no folder, or lies in something that is none", hint=hint) from None
    except (OSError, ValueError) as error:
        raise HomeError(home=layout.home, reason=f"has an unreadable `format` file: {error}") from None
    require_format(layout, number)
