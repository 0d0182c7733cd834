"""What is the case: first of all, whether a new engine process would get the current set, and if not, why.

The answer is not computed but asked for: the base's interpreter is started, and its hook says what it did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder import overlay, registry, startup
from envbuilder import profile as profiles
from envbuilder.allowed import listed_in
from envbuilder.base import describe
from envbuilder.classes import dataclass
from envbuilder.completed import completed
from envbuilder.planning import counted
from envbuilder.prospect import prospect
from envbuilder.scope import profile_of
from envbuilder.switching import rollback_target
from envbuilder.unchanged import file_digest

if TYPE_CHECKING:
    from envbuilder.allowed import Listing
    from envbuilder.base import Base
    from envbuilder.completed import Completed
    from envbuilder.manifest import Manifest
    from envbuilder.profile import Generation, Profile
    from envbuilder.prospect import Gets, NextBuild, Prospect
    from envbuilder.scope import Scope


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """What is the case for one profile and base.

    `active` says whether a new engine process of the base would get generation `current`; `why_not` and `way_forward`
    are sentences where it would not. `gets` is the set that it gets in any case (None: none), and `builds_first` the
    build that comes before the next start of an engine. `drift` are base facts that changed under the current set,
    `completed` is what was found out of its entry points where there is a device, `failed` says which plugins the last
    build failed for, and why. `listing` is what the engine loads of the set.
    """

    active: bool
    why_not: str
    way_forward: str
    gets: Gets | None
    builds_first: NextBuild | None
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
    completed: dict[tuple[str, str], Completed]
    failed: dict[str, str]
    listing: Listing | None

    @property
    def headline(self) -> str:
        """Answer in one sentence what a new engine process gets."""
        if self.active and self.current:
            return f"a new engine process gets generation {self.current.number} ({self.current.digest[:12]})"
        if self.builds_first:
            return f"the next start of an engine builds a set first: {self.why_not}"
        if self.gets:
            return f"a new engine process gets another set: {self.why_not}"
        return f"a new engine process does not get a set: {self.why_not}"


def status(found: Scope) -> Status:
    """Find out what is the case; starts the base's interpreter once, writes nothing."""
    base = describe(found.interpreter, found.layout, found.env, engine=found.engine)
    profile = profile_of(found, base)
    current = profiles.serving(profile)
    manifest = overlay.get(found.layout, base.key, current.digest) if current else None
    newest = profiles.newest(profile)
    hook = startup.inspect(base)
    found_out = prospect(found, base, hook)
    why_not, way_forward = _verdict(found, base, profile, current, manifest, found_out)
    return Status(
        active=not why_not,
        why_not=why_not,
        way_forward=way_forward,
        gets=found_out.gets if found_out else None,
        builds_first=found_out.builds_first if found_out else None,
        base=base,
        profile=profile,
        config_file=found.config_file,
        config_changed=_config_changed(found, newest),
        current=current,
        newest=newest,
        held=profiles.order(profile).held,
        hook=hook.text,
        manifest=manifest,
        drift=drifted(manifest, base, current.number) if manifest and current else (),
        rollback_target=rollback_target(profile),
        completed=completed(found.layout.overlay(base.key, current.digest)) if current else {},
        failed=_failed(profile, current),
        listing=listed_in(found.env, manifest, base, guarded=hook.installed) if manifest else None,
    )


def _failed(profile: Profile, current: Generation | None) -> dict[str, str]:
    """Say what failed since the current set was made; what is left out of that is another matter."""
    known = current.left_out if current else {}
    return {name: why for name, why in registry.failures(profile).items() if known.get(name) != why}


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
    told: Prospect | None,
) -> tuple[str, str]:
    """Say why a new engine process would not get the current set and what to do; two empty strings if it would."""
    if told and not told.is_about(profile):
        return _elsewhere(found, profile, told)
    if current is None and not (told and told.gets):
        why, way = _nothing_current(profile, base)
        return why, "`vpm-env build` does so now" if told and told.builds_first else way
    if current and manifest is None:
        why = f"the overlay of generation {current.number} is missing or damaged"
        return why, f"run `vpm-env switch {current.number}`: it makes that again from its lock"
    if current and (lost := profiles.lost_packages(profile, current)):
        return f"a store that lent {counted(len(lost), 'package')} of it is gone", "run `vpm-env build`"
    return _of_hook(found, current, told)


def _of_hook(found: Scope, current: Generation | None, told: Prospect | None) -> tuple[str, str]:
    """Say why the hook of this home and profile does not activate what is current there."""
    if told is None:
        way = "run `vpm-env hook install`, or start the engine with `vpm-env run -- COMMAND`"
        return "the base has no start-up hook", way
    if told.state is None:
        return "the hook in the base did not run", "run `vpm-env hook install` again"
    if told.gets is None:
        return told.reason, _way_forward(told.state)
    if current is None or told.gets.digest != current.digest:
        return _another_set(found, told.gets.digest)
    return "", ""


def _another_set(found: Scope, digest: str) -> tuple[str, str]:
    """Say what in this environment makes the hook activate another set than the current one."""
    if found.env.get("VPM_ENV_WITHOUT") and not found.env.get("VPM_ENV_PIN"):
        return f"`VPM_ENV_WITHOUT` leaves out some of it ({digest[:12]})", "unset `VPM_ENV_WITHOUT`"
    pinned = " by `VPM_ENV_PIN`" if found.env.get("VPM_ENV_PIN") else ""
    return f"this environment is pinned{pinned} to another set ({digest[:12]})", "unset `VPM_ENV_PIN`"


def _elsewhere(found: Scope, profile: Profile, told: Prospect) -> tuple[str, str]:
    """Say what engines get of the home and profile that the hook is for, and what to do."""
    theirs = told.profile
    has = f"from which {told.gets.label} comes" if told.gets else f"which gives none: {told.reason}"
    why = (
        f"the hook in the base is for the profile `{theirs.name}` of `{theirs.layout.home}`, {has}; "
        f"this is about `{profile.name}` of `{profile.layout.home}`{_named(found, profile, told)}"
    )
    name = "" if theirs.name == profile.name else f" --profile {theirs.name}"
    return why, (
        f"`vpm-env status --home {theirs.layout.home}{name}` is about what engines get; to change that, run "
        "`vpm-env hook install` for this one, or start the engine with `vpm-env run -- COMMAND`"
    )


def _named(found: Scope, profile: Profile, told: Prospect) -> str:
    """Name the variable that chose this home, which the hook does not read."""
    variables = () if found.options.home else ("VPM_ENV_HOME", "VLLM_PLUGIN_REGISTRY_DIR")
    variable = next(filter(found.env.get, variables), "")
    is_elsewhere = told.profile.layout.home != profile.layout.home
    return f", which `{variable}` names; the hook does not read that" if variable and is_elsewhere else ""


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
