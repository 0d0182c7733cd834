"""What a check of health looks at, and what it answers. The checks themselves are in the rooms `doctor_…`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

from envbuilder import config as configs
from envbuilder import overlay, scope
from envbuilder import profile as profiles
from envbuilder.base import describe
from envbuilder.belongings import is_home
from envbuilder.classes import dataclass, field
from envbuilder.errors import VpmError
from envbuilder.interpreter import find_base
from envbuilder.paths import Environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from envbuilder.base import Base
    from envbuilder.config import Config
    from envbuilder.manifest import Manifest
    from envbuilder.paths import Layout
    from envbuilder.profile import Generation, Profile
    from envbuilder.scope import Options, Scope

    Mend = Callable[[], str]

T = TypeVar("T")
OK, SKIPPED, WARNING, ERROR = "ok", "skipped", "warning", "error"
STATUSES = (OK, SKIPPED, WARNING, ERROR)
"""From the best to the worst."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """One thing that is wrong: what, why it hurts, and what to do about it.

    `mend`, where there is one, does what is safe to do, and says what that was.
    """

    what: str
    why: str
    way_forward: str
    severity: str = WARNING
    mend: Mend | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a check found: one line, the troubles, and facts for whoever wants to know more."""

    said: str
    troubles: tuple[Trouble, ...] = ()
    facts: tuple[str, ...] = ()
    skipped: bool = False

    @property
    def status(self) -> str:
        """Return the worst of the troubles' severities."""
        if self.skipped:
            return SKIPPED
        return max((trouble.severity for trouble in self.troubles), key=STATUSES.index, default=OK)


class NotApplicable(Exception):
    """Why a check has nothing to look at here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """What there is: home, config, base, profile and the current set; None for what there is not.

    `refused` says why a part (`home`, `config`, `base`, `scope`, `current`) cannot be had. `offline` forbids to ask
    the network.
    """

    env: Environment
    options: Options
    offline: bool
    layout: Layout | None
    config_file: str | None
    config: Config | None
    base: Base | None
    scope: Scope | None
    profile: Profile | None
    current: Generation | None
    manifest: Manifest | None
    refused: Mapping[str, VpmError]

    def need_base(self) -> Base:
        return _needed(self.base, "there is no base; see `vpm-env doctor base`")

    def need_layout(self) -> Layout:
        return _needed(self.layout, "there is no home that can be used; see `vpm-env doctor home`")

    def need_home(self) -> Layout:
        """Return the layout of a home that exists."""
        layout = self.need_layout()
        return _needed(layout if os.path.isfile(layout.format) else None, f"there is no home `{layout.home}` yet")

    def need_writable_home(self) -> Layout:
        """Return the layout of a home that this user may write to."""
        layout = self.need_home()
        writable = os.access(layout.home, os.W_OK | os.X_OK)
        return _needed(layout if writable else None, f"`{layout.home}` is not writable by this user")

    def need_scope(self) -> Scope:
        return _needed(self.scope, "home, base and profile are not all there; see the checks `home` and `base`")

    def need_set(self) -> tuple[Profile, Generation, Manifest]:
        """Return the current set: where, which, and what is in it."""
        if self.profile is None or self.current is None or self.manifest is None:
            raise NotApplicable("no set is current; see `vpm-env doctor active`")
        return self.profile, self.current, self.manifest


def look_around(options: Options, env: Environment, *, offline: bool) -> Situation:
    """Find out what there is; what cannot be had is noted, and never a reason to stop."""
    refused: dict[str, VpmError] = {}

    def had(part: str, get: Callable[[], T]) -> T | None:
        try:
            return get()
        except VpmError as error:
            refused[part] = error
            return None

    layout = had("home", lambda: _home(options, env))
    file = configs.find(env, options.config)
    config = had("config", lambda: configs.read(file, env=env)) if file else None
    base = had("base", lambda: _base(options, env, layout, config))
    found = had("scope", lambda: _scope(options, env, "config" in refused)) if layout and base else None
    profile = scope.profile_of(found, base) if found and base else None
    current = had("current", lambda: _current(profile)) if profile else None
    return Situation(
        env=env,
        options=options,
        offline=offline,
        layout=layout,
        config_file=file,
        config=config,
        base=base,
        scope=found,
        profile=profile,
        current=current,
        manifest=overlay.get(profile.layout, profile.base_key, current.digest) if profile and current else None,
        refused=refused,
    )


def _home(options: Options, env: Environment) -> Layout:
    """Find the home; one with symlinks for folders is refused before a mend goes through them."""
    layout = scope.home(options, env)
    is_home(layout)
    return layout


def _base(options: Options, env: Environment, layout: Layout | None, config: Config | None) -> Base:
    interpreter = find_base(option=options.base, configured=config.base if config else None, env=env)
    return describe(interpreter, layout, env, engine=config.engine if config else None)


def _scope(options: Options, env: Environment, without_config: bool) -> Scope:
    """Return what a call is about, leaving a broken config aside: that is one check's matter, not everyone's."""
    if without_config:
        options = options._replace(config=None)
        env = Environment(variables={**env.variables, "VPM_ENV_CONFIG": os.devnull})
    return scope.scope(options, env)


def _current(profile: Profile) -> Generation | None:
    number = profiles.current(profile)
    return None if number is None else profiles.read(profile, number)


def _needed(part: T | None, reason: str) -> T:
    if part is None:
        raise NotApplicable(reason)
    return part
