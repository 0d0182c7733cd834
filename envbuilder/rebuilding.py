"""Make the set of a generation again by what was kept with it: its lock and its config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder import flocks, fs, overlay, policing, sourcing
from envbuilder import lock as locks
from envbuilder import profile as profiles
from envbuilder.assembly import fill, is_as_made, link
from envbuilder.base import describe
from envbuilder.caching import pulled_from
from envbuilder.checks import accepts
from envbuilder.composition import describe as describe_set
from envbuilder.composition import parts_of
from envbuilder.config import read_kept
from envbuilder.errors import ProfileError
from envbuilder.job import Job, Request
from envbuilder.preparation import prepared
from envbuilder.unloading import unload

if TYPE_CHECKING:
    from envbuilder.lock import Lock
    from envbuilder.package import Package
    from envbuilder.profile import Generation, Profile
    from envbuilder.report import Reporter
    from envbuilder.scope import Scope
    from envbuilder.switching import Rebuild


def rebuild(found: Scope, report: Reporter) -> Rebuild:
    """Return the function that makes a collected generation's overlay again, from its own lock."""

    def make(profile: Profile, generation: Generation) -> None:
        is_damaged = profiles.is_on_disk(profile, generation)
        what = "is damaged" if is_damaged else "was collected"
        report.note(f"generation {generation.number} {what}; rebuilding it from its lock")
        job, lock = job_of(found, profile, generation.number, generation.config, report)
        with flocks.locked(found.layout.gc_lock, wait=found.lock_wait, on_wait=report.waiting, shared=True):
            _remake(job, generation, lock)

    return make


def job_of(
    found: Scope, profile: Profile, number: int, config_file: str, report: Reporter, *, offline: bool = False
) -> tuple[Job, Lock]:
    """Return what it takes to have the packages of a generation again, by what was kept with it, and its lock.

    `config_file` is where its config lay. Raise a `VpmError` where its lock is gone or is not allowed any more.
    """
    kept = profile.file(number, "pylock.toml")
    lock = locks.read(kept)
    if lock is None:
        raise ProfileError(f"generation {number} was collected, and its lock is gone")
    base = describe(found.interpreter, found.layout, found.env, engine=found.engine)
    config = read_kept(profile.file(number, "plugins.yaml"), file=config_file, env=found.env)
    job = prepared(found, config, base, profile, Request(offline=offline), report, previous=lock)
    policing.refuse(job.policies, lock, kept, config, found.env)
    return job, lock


def _pulled(job: Job, generation: Generation) -> dict[str, Package] | None:
    """Have the packages of a generation that came from a cache from there; None where it was built."""
    depot = pulled_from(generation.inputs, job.env)
    return unload(job, depot, depot.waybill(generation.digest).cards).packages if depot else None


def _filled(job: Job, lock: Lock) -> dict[str, Package]:
    """Have the packages that a lock names from where it says."""
    from_source = {locked.plugin for locked in lock.packages if locked.is_built}
    with fs.staging(job.layout.tmp) as scratch:
        built = sourcing.have(
            job, tuple(plugin for plugin in job.config.enabled if plugin.name in from_source), scratch
        )
    return fill(job, lock, built)


def _remake(job: Job, generation: Generation, lock: Lock) -> None:
    packages = _pulled(job, generation) or _filled(job, lock)
    parts = parts_of(lock, packages, job.config)
    manifest = describe_set(lock, parts, job.base)._replace(accepts=accepts(job.config, lock))
    if manifest.digest != generation.digest:
        raise ProfileError(
            f"generation {generation.number} cannot be rebuilt as it was: its sources or its base have changed",
            hint="`vpm-env build` makes a set of what there is now",
        )
    path = job.layout.overlay(job.base.key, manifest.digest)
    lock_path = job.layout.overlay_lock(job.base.key, manifest.digest)
    with flocks.locked(lock_path, wait=job.env.lock_wait, on_wait=job.report.waiting):
        if not is_as_made(job, manifest, parts):  # who held the lock may have
            link(job.layout, job.base, job.env, parts, path)
            overlay.seal(path, manifest)
