"""What the next process of an engine will get: what the base's hook says, and whether a build comes before that.

The answer is not computed but asked for: the base's interpreter is started, and its hook says what it did.
"""

from __future__ import annotations

import json
from os.path import isfile, join, realpath
from typing import TYPE_CHECKING, Any

from envbuilder import process
from envbuilder import profile as profiles
from envbuilder._auto import CONFIG_VARIABLES, POLICIES
from envbuilder.classes import dataclass
from envbuilder.config import read
from envbuilder.errors import VpmError
from envbuilder.paths import CONFIG_NAME, Layout
from envbuilder.profile import Profile
from envbuilder.unchanged import file_digest, look, unchanged

if TYPE_CHECKING:
    from envbuilder.base import Base
    from envbuilder.scope import Scope
    from envbuilder.startup import HookStatus

_ASK = (
    "import json, sys\n"
    "hook = sys.modules.get('_vpm_env_hook')\n"
    "names = ('state', 'reason', 'digest', 'generation')\n"
    "print(json.dumps(hook and {name: getattr(hook, name, None) for name in names}))\n"
)
_BUILDING = ("active", "no-generation", "base-changed", "build-failed", "invalid")
"""States in which a hook still builds before an engine's start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gets:
    """The set that a new engine process gets: of which home and profile; `generation` is None under a pin."""

    home: str
    profile: str
    generation: int | None
    digest: str

    @property
    def label(self) -> str:
        """Name it for a reader."""
        number = "another set" if self.generation is None else f"generation {self.generation}"
        return f"{number} ({self.digest[:12]})"


@dataclass(frozen=True, kw_only=True, slots=True)
class NextBuild:
    """The build that comes before an engine's next start: of which config, why, and what happens if it fails."""

    config: str
    why: str
    policy: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Prospect:
    """What a hook is for, and what it said: `state` and `reason` are its own, None where it did not run."""

    profile: Profile
    state: str | None
    reason: str
    gets: Gets | None
    builds_first: NextBuild | None

    def is_about(self, profile: Profile) -> bool:
        """Tell whether the hook is for this home and profile."""
        home = realpath(self.profile.layout.home) == realpath(profile.layout.home)
        return home and self.profile.name == profile.name


def prospect(found: Scope, base: Base, hook: HookStatus) -> Prospect | None:
    """Ask a hook what a new engine process gets in this environment; None where there is no hook."""
    if not hook.installed:
        return None
    # What cannot be read in a hook is told as such; it is no other home.
    name = found.env.get("VPM_ENV_PROFILE") or hook.profile or found.profile_name
    profile = Profile(Layout(hook.home or found.layout.home), name, base.key)
    told = _asked(found, base) or {"state": None, "reason": "", "digest": ""}
    is_active = told["state"] == "active"
    return Prospect(
        profile=profile,
        state=told["state"],
        reason=str(told["reason"] or told["state"]),
        gets=Gets(home=profile.layout.home, profile=name, generation=told["generation"], digest=str(told["digest"]))
        if is_active
        else None,
        builds_first=_next_build(found, base, hook, profile) if told["state"] in _BUILDING else None,
    )


def _asked(found: Scope, base: Base) -> dict[str, Any] | None:
    """Start the base's interpreter in this environment and return what its hook says; None if it says nothing."""
    result = process.run([base.python, "-B", "-c", _ASK], env=found.env.variables, timeout=60)
    try:
        answer = json.loads(result.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return None
    return dict(answer) if answer else None


def _next_build(found: Scope, base: Base, hook: HookStatus, profile: Profile) -> NextBuild | None:
    """Say whether the next start of the engine builds, by the rules of `_auto`; None where it does not."""
    asked = found.env.get("VPM_ENV_AUTO") or hook.auto
    is_pinned = (found.env.get("VPM_ENV_PIN") or "").partition(":")[0] == base.key
    if asked not in ("1", *POLICIES) or is_pinned or not base.engine.serving:
        return None
    config = _config(found, base, profile)
    why = _work(found._replace(layout=profile.layout, config_file=config, profile_name=profile.name), profile)
    if config is None or not why or _is_switched_off(found, config):
        return None
    return NextBuild(config=config, why=why, policy=asked if asked in POLICIES else hook.auto or POLICIES[0])


def _config(found: Scope, base: Base, profile: Profile) -> str | None:
    """Name the config that a start takes: never one of a working directory."""
    named = next(filter(None, map(found.env.get, CONFIG_VARIABLES)), None)
    newest = profiles.newest(profile)
    places = [found.env.expand(named)] if named else [newest.config] if newest else []
    if not named and found.env.config_home:
        places.append(join(found.env.config_home, base.engine.name, CONFIG_NAME))
    return next(filter(isfile, places), None)


def _work(found: Scope, profile: Profile) -> str:
    """Say why a build would have something to do, as far as a glance tells; "" where it would not."""
    newest = profiles.newest(profile)
    if newest is None:
        return "nothing was built for this base yet"
    if found.config_file and file_digest(found.config_file) != newest.inputs["config_sha256"]:
        return f"it changed since generation {newest.number}"
    seen = look(found)
    if seen and unchanged(found, seen) is None:
        return f"what generation {newest.number} was built from changed"
    return ""


def _is_switched_off(found: Scope, config: str) -> bool:
    """Tell whether the config says `auto: false`; one that cannot be read says nothing, and its build will fail."""
    try:
        return not read(config, env=found.env).auto
    except VpmError:
        return False
