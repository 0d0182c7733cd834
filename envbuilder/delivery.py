"""pull: a set from a cache, linked over this machine's own base, and current if that is asked for.

Only packages that are not here are fetched. What the set relies on of a base must hold for this one; nothing is
resolved, so what is linked is what was pushed, or nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder import flocks, overlay, policing, registry, space
from envbuilder import lock as locks
from envbuilder import profile as profiles
from envbuilder.assembly import is_as_made, link
from envbuilder.base import describe
from envbuilder.checks import accepts, audited
from envbuilder.classes import dataclass, replace
from envbuilder.commit import Committed, Draft, commit, followed
from envbuilder.composition import describe as describe_set
from envbuilder.composition import parts_of
from envbuilder.config import of_content, read
from envbuilder.errors import BaseError, CacheError, ConfigError, LockError, ProfileError
from envbuilder.fitting import differences
from envbuilder.job import Job, Request
from envbuilder.preparation import prepared
from envbuilder.process import without_credentials
from envbuilder.recording import building
from envbuilder.scope import make_home, profile_of
from envbuilder.unchanged import policies_seen
from envbuilder.unloading import unload

if TYPE_CHECKING:
    from typing import Any

    from envbuilder.base import Base
    from envbuilder.config import Config
    from envbuilder.depot import Depot
    from envbuilder.errors import Finding
    from envbuilder.followup import Ran
    from envbuilder.lock import Lock
    from envbuilder.manifest import Manifest, ProbeResult
    from envbuilder.package import Package
    from envbuilder.profile import Generation, Profile
    from envbuilder.report import Reporter
    from envbuilder.scope import Scope
    from envbuilder.waybill import Waybill


_NOWHERE = "/plugins.yaml"
"""Where the config of a set is said to lie that comes from elsewhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a pull is to come to: a generation or only the overlay, and `current` moved there or not.

    `origin` is kept with the generation: `cache`, where it can be had again, with its `url` and the `keys` that were
    believed, and `channel` with `name` and `serial`, where one named it.
    """

    records: bool = True
    switch: bool = True
    origin: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulled:
    """What a pull came to: packages fetched, with the bytes that moved, and those that were here.

    `done` says what became of the set in its profile; None where no generation was asked for. `findings` and `failed`
    are what is to be known of it: what the audit finds here, and what did not work where it was built.
    """

    digest: str
    base_key: str
    path: str
    fetched: int
    bytes: int
    had: int
    done: Committed | None
    findings: tuple[Finding, ...]
    failed: tuple[ProbeResult, ...]
    ran: tuple[Ran, ...] = ()


def pull(found: Scope, depot: Depot, waybill: Waybill, wish: Wish, report: Reporter) -> Pulled:
    """Have a set of a cache; whatever fails, `current` stays as it is.

    Raise `BaseError` with every difference where the set is not for this base, `PackageError` for a parcel that is
    not what it says, `PolicyError` for what this machine does not allow.
    """
    own = read(found.config_file, env=found.env) if found.config_file else None
    config, lock = _config(waybill, depot, found), _lock(waybill, depot)
    make_home(found.layout)
    base = describe(found.interpreter, found.layout, found.env, engine=config.engine)
    _require_fit(waybill, base)
    profile = profile_of(found, base)
    with building(profile, wait=found.lock_wait, on_wait=report.waiting):
        job = _job(found, config, own, base, profile, lock, report)
        packages, fetched = unload(job, depot, waybill.cards)
        manifest = _linked(job, lock, waybill, packages, depot.shown)
        done = _committed(job, own, profile, manifest, waybill, wish) if wish.records else None
    return Pulled(
        digest=waybill.digest,
        base_key=base.key,
        path=found.layout.overlay(base.key, waybill.digest),
        fetched=len(fetched),
        bytes=sum(card.parcel.size for card in fetched),
        had=len(waybill.cards) - len(fetched),
        done=done,
        findings=manifest.findings,
        failed=manifest.failed,
        ran=followed(profile, done, env=found.env, report=report) if done else (),
    )


def _config(waybill: Waybill, depot: Depot, found: Scope) -> Config:
    """Read the set's config; its paths count from nowhere here."""
    try:
        return of_content(waybill.config.encode(), file=_NOWHERE, env=found.env)
    except ConfigError as error:
        problems = "; ".join(problem.text for problem in error.problems)
        raise _unusable(waybill, depot, f"its config: {problems}") from None


def _lock(waybill: Waybill, depot: Depot) -> Lock:
    """Read the set's lock; raise `CacheError` for one that is about other packages."""
    try:
        lock = locks.parse(waybill.lock, path=depot.shown)
    except LockError as error:
        raise _unusable(waybill, depot, f"its lock {error.reason}") from None
    locked = {(each.name, each.version, each.plugin) for each in lock.packages}
    if locked != {(member.name, member.version, member.plugin) for member in waybill.manifest.members}:
        raise _unusable(waybill, depot, "its lock is about other packages")
    return lock


def _unusable(waybill: Waybill, depot: Depot, why: str) -> CacheError:
    return CacheError(url=depot.shown, reason=f"the set {waybill.digest[:12]} cannot be used: {why}")


def _require_fit(waybill: Waybill, base: Base) -> None:
    unmet = differences(waybill.manifest, base)
    if unmet:
        told = "\n".join(f"  {line}" for line in unmet)
        reason = f"the set {waybill.digest[:12]} is not for the base `{base.prefix}`:\n{told}"
        raise BaseError(reason, hint="push a set that was built on a base like this one, or bring this base to that")


def _job(
    found: Scope, config: Config, own: Config | None, base: Base, profile: Profile, lock: Lock, report: Reporter
) -> Job:
    """Prepare to make a set that the policies allow: the machine's, the base's, the set's, and those of our own config.

    Commands are those of our own config: what a cache says runs nothing here.
    """
    mine = replace(config, on_build=own.on_build if own else None, on_switch=own.on_switch if own else None)
    job = prepared(found, mine, base, profile, Request(offline=True), report, previous=lock)
    if own and own.policy:
        job = replace(job, policies=(*job.policies, own.policy))
        policing.refuse_config(job.policies, mine, found.env)
    policing.refuse(job.policies, lock, mine.file, mine, found.env)
    return job


def _linked(job: Job, lock: Lock, waybill: Waybill, packages: dict[str, Package], shown: str) -> Manifest:
    """Make the overlay, audit it on this base and seal it with what it was probed where it was made."""
    parts = parts_of(lock, packages, job.config)
    manifest = describe_set(lock, parts, job.base)._replace(accepts=accepts(job.config, lock))
    if manifest.digest != waybill.digest:
        reason = f"what is called {waybill.digest[:12]} is another set: {manifest.digest[:12]}"
        raise CacheError(url=shown, reason=reason)
    path = job.layout.overlay(job.base.key, manifest.digest)
    lock_path = job.layout.overlay_lock(job.base.key, manifest.digest)
    with flocks.locked(lock_path, wait=job.env.lock_wait, on_wait=job.report.waiting):
        findings = audited(job, lock, parts)
        known = overlay.read(path)
        if known is not None and is_as_made(job, manifest, parts):
            return known
        with space.needing(space.need_of_overlay(len(parts)), job.layout.home):
            link(job.layout, job.base, job.env, parts, path)
        sealed = manifest._replace(findings=findings, probe=waybill.manifest.probe)
        overlay.seal(path, sealed)
    return sealed


def _committed(
    job: Job, own: Config | None, profile: Profile, manifest: Manifest, waybill: Waybill, wish: Wish
) -> Committed:
    """Make the set a generation, or take the one that it is already, and switch to it."""
    kept = without_credentials(waybill.config)
    draft = Draft(manifest, _inputs(job, own, wish), own.file if own else "", kept, waybill.lock, verb="pull")
    with profiles.locked(profile, wait=job.env.lock_wait, on_wait=job.report.waiting):
        known = _generation_of(profile, manifest.digest)
        newest = profiles.newest(profile)
        if known is None or (newest and newest.number == known.number):
            return commit(profile, draft, switch=wish.switch, force=True)
        before = profiles.serving(profile)
        if before and before.number == known.number:
            return Committed("unchanged", known, before)
        if not wish.switch:
            return Committed("made", known, before)
        profiles.switch(profile, known.number, verb="pull", hold=True)
        return Committed("switched", known, before)


def _generation_of(profile: Profile, digest: str) -> Generation | None:
    """Return the newest generation that is this set, if it has ever been one."""
    for number in reversed(profiles.numbers(profile)):
        try:
            generation = profiles.read(profile, number)
        except ProfileError:
            continue
        if generation.digest == digest:
            return generation
    return None


def _inputs(job: Job, own: Config | None, wish: Wish) -> dict[str, Any]:
    """Say what the generation is made from: a config that lies here and does not change asks for nothing else."""
    seen = policies_seen(job.base.prefixes)
    return {
        "config_sha256": own.sha256 if own else "",
        "config_digest": job.config.digest,
        "base_digest": job.base.digest,
        "lock_file": "",
        "lock_sha256": "",
        "plugins": registry.wanted(job.config),
        "local_sources": {},
        **({"policies": seen} if seen else {}),
        **wish.origin,
        **{key: command for key in ("on_build", "on_switch") if (command := getattr(job.config, key))},
    }
