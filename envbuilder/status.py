"""What is the case: first of all, whether a new engine process would get the current set, and if not, why.

The answer is not computed but asked for: the base's interpreter is started, and its hook says what it did.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from envbuilder import overlay, process, startup
from envbuilder import profile as profiles
from envbuilder.base import describe
from envbuilder.planning import counted
from envbuilder.scope import profile_of
from envbuilder.unchanged import file_digest

if TYPE_CHECKING:
    from envbuilder.base import Base
    from envbuilder.manifest import Manifest
    from envbuilder.profile import Generation, Profile
    from envbuilder.scope import Scope

_ASK = (
    "import json, sys\n"
    "hook = sys.modules.get('_vpm_env_hook')\n"
    "names = ('state', 'reason', 'digest', 'generation')\n"
    "print(json.dumps(hook and {name: getattr(hook, name, None) for name in names}))\n"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """What is the case for one profile and base.

    `active` says whether a new engine process of the base would get generation `current`; `why_not` and `way_forward`
    are sentences where it would not. `drift` are base facts that changed under the current set.
    """

    active: bool
    why_not: str
    way_forward: str
    base: Base
    profile: Profile
    config_file: str | None
    config_changed: bool
    current: Generation | None
    newest: Generation | None
    held: bool
    hook: str
    manifest: Manifest | None
    drift: tuple[str, ...]
    rollback_target: int | None


def status(found: Scope) -> Status:
    """Find out what is the case; starts the base's interpreter once, writes nothing."""
    base = describe(found.interpreter, found.layout, found.env, engine=found.engine)
    profile = profile_of(found, base)
    number = profiles.current(profile)
    current = profiles.read(profile, number) if number is not None else None
    manifest = overlay.get(found.layout, base.key, current.digest) if current else None
    newest = profiles.newest(profile)
    hook = startup.inspect(base)
    drift = drifted(manifest, base, current.number) if manifest and current else ()
    why_not, way_forward = _verdict(found, base, profile, current, manifest, hook)
    return Status(
        active=not why_not,
        why_not=why_not,
        way_forward=way_forward,
        base=base,
        profile=profile,
        config_file=found.config_file,
        config_changed=_config_changed(found, newest),
        current=current,
        newest=newest,
        held=profiles.order(profile).held,
        hook=hook.text,
        manifest=manifest,
        drift=drift,
        rollback_target=profiles.rollback_target(profile),
    )


def drifted(manifest: Manifest, base: Base, number: int) -> tuple[str, ...]:
    """Say which base distributions changed under a set: `torch 2.14.0 → 2.13.0 under generation 7`."""
    has = {name: dist.version for name, dist in base.distributions.items()}
    return tuple(
        f"{name} {version} → {has.get(name, 'gone')} under generation {number}"
        for name, version in sorted(manifest.facts.items())
        if has.get(name) != version
    )


def _verdict(
    found: Scope,
    base: Base,
    profile: Profile,
    current: Generation | None,
    manifest: Manifest | None,
    hook: startup.HookStatus,
) -> tuple[str, str]:
    """Say why a new engine process would not get the current set and what to do; two empty strings if it would."""
    if current is None:
        return _nothing_current(profile, base)
    if manifest is None:
        return (f"the overlay of generation {current.number} is missing or damaged", "run `vpm-env build --force`")
    if lost := profiles.lost_packages(profile, current):
        return f"a store that lent {counted(len(lost), 'package')} of it is gone", "run `vpm-env build`"
    if not hook.installed:
        way = "run `vpm-env hook install`, or start the engine with `vpm-env run -- COMMAND`"
        return "the base has no start-up hook", way
    answer = ask_hook(found, base)
    if answer is None:
        return "the hook in the base did not run", "run `vpm-env hook install` again"
    if answer["state"] != "active":
        return str(answer["reason"] or answer["state"]), _way_forward(str(answer["state"]))
    if answer["digest"] != current.digest:
        return _another_set(found, profile, hook, str(answer["digest"]))
    return "", ""


def _another_set(found: Scope, profile: Profile, hook: startup.HookStatus, digest: str) -> tuple[str, str]:
    """Say why the hook activates another set than the current one of this home and profile."""
    if (hook.home, hook.profile) != (profile.layout.home, profile.name):
        why = f"the hook in the base is for the profile `{hook.profile}` of `{hook.home}`"
        return why, "run `vpm-env hook install` for this one, or start the engine with `vpm-env run -- COMMAND`"
    pinned = " by `VPM_ENV_PIN`" if found.env.get("VPM_ENV_PIN") else ""
    return f"this environment is pinned{pinned} to another set ({digest[:12]})", "unset `VPM_ENV_PIN`"


def ask_hook(found: Scope, base: Base) -> dict[str, Any] | None:
    """Start the base's interpreter in this environment and return what its hook says; None if there is no hook."""
    result = process.run([base.python, "-B", "-c", _ASK], env=found.env.variables, timeout=60)
    try:
        answer = json.loads(result.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return None
    return dict(answer) if answer else None


def _nothing_current(profile: Profile, base: Base) -> tuple[str, str]:
    for other in profiles.all_profiles(profile.layout):
        newest = profiles.newest(other) if other.name == profile.name and other.base_key != profile.base_key else None
        if newest is not None and newest.base.get("prefix") == base.prefix:
            return (
                f"the base was `{newest.base['label']}` when its set was built, and is `{base.label}` now",
                "run `vpm-env build` to make a set for it",
            )
    return f"the profile `{profile.name}` has no current generation for this base", "run `vpm-env build`"


def _way_forward(state: str) -> str:
    ways = {
        "disabled": "unset `VPM_ENV_DISABLE`",
        "pin-missing": "unset `VPM_ENV_PIN`, or build the set it names",
        "untrusted": "give the home's folders to this user or root and take write permission from others",
        "base-changed": "run `vpm-env build`",
        "newer-format": "upgrade vpm-env and run `vpm-env hook install` again",
        "other-prefix": "run `vpm-env hook install` again",
    }
    return ways.get(state, "see `vpm-env hook status`")


def _config_changed(found: Scope, newest: Generation | None) -> bool:
    if found.config_file is None or newest is None:
        return False
    return bool(file_digest(found.config_file) != newest.inputs["config_sha256"])
