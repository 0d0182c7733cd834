"""Which packages a set has: the lock of last time where it still fits, else a new resolve."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from envbuilder import fs, indexes, pipconf, policing, unknown
from envbuilder.classes import replace
from envbuilder.contexts import contextmanager
from envbuilder.errors import ChangesNeeded, PolicyError, ResolutionError, SourceError
from envbuilder.lock import Lock, dump
from envbuilder.moments import moment
from envbuilder.origins import are_plain, is_plain
from envbuilder.planning import lock_changes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.base import Base
    from envbuilder.config import Plugin
    from envbuilder.errors import Breach
    from envbuilder.job import Job
    from envbuilder.lock import LockedPackage
    from envbuilder.package import Package

    Built = dict[str, tuple[Package, LockedPackage]]


def answer(job: Job, plugins: tuple[Plugin, ...], built: Built, left_out: dict[str, str], scratch: str) -> Lock:
    """Keep the lock where it still fits, else resolve again; raise `PolicyError` for what is forbidden."""
    lock = _kept_or_new(job, plugins, built, left_out, scratch)
    if broken := tuple(_breaches(job, lock)):
        raise PolicyError(broken)
    if job.request.locked:
        _require_same(job, lock)
    return lock


def _kept_or_new(job: Job, plugins: tuple[Plugin, ...], built: Built, left_out: dict[str, str], scratch: str) -> Lock:
    fits = job.previous and _may_keep(job) and _still_fits(job.previous, job.base, built, left_out)
    # A lock from before a policy is no reason to stop where something else suits it.
    if fits and job.previous and not any(_breaches(job, job.previous)):
        return job.previous
    return replace(resolved(job, plugins, built, scratch), left_out=left_out)


def _breaches(job: Job, lock: Lock) -> Iterator[Breach]:
    return policing.breaches(job.policies, lock, job.lock_file, job.config, job.env)


def resolved(job: Job, plugins: tuple[Plugin, ...], built: Built, scratch: str) -> Lock:
    """Resolve anew."""
    work = os.path.join(scratch, "resolve")
    fs.make_dirs(work)
    from envbuilder.resolve import resolve  # only where the lock does not fit

    if note := indexes.note_on_order(job.config, job.env, pipconf.read(job.env)):
        job.report.note(note)
    with job.report.stage("resolving"), policing.told(job.policies), _unknown_told(job):
        lock = resolve(
            config=job.config,
            plugins=plugins,
            base=job.base,
            built=built,
            uv=job.uv(),
            layout=job.layout,
            previous=job.previous,
            upgrade=job.request.upgrade,
            exclude_newer=_exclude_newer(job),
            scratch=work,
            report=job.report,
        )
    _require_no_downgrade(job, lock)
    return lock


@contextmanager
def _unknown_told(job: Job) -> Iterator[None]:
    try:
        yield
    except ResolutionError as error:
        previous = job.previous
        raise unknown.told(error, config=job.config, base=job.base, env=job.env, previous=previous) from None


def _require_no_downgrade(job: Job, lock: Lock) -> None:
    """Refuse files over plain HTTP where every index is asked over TLS: somebody on the way may have sent one there."""
    if are_plain(job.config, job.env):
        return
    plain = {
        package.plugin or package.name: file["url"]
        for package in lock.packages
        for file in (*package.wheels, package.sdist, package.archive, None if package.plugin else package.vcs)
        if file and is_plain(str(file.get("url", "")))
    }
    if plain:
        hint = "if that is meant, name the index by its `http://` URL"
        raise SourceError(
            tuple((name, f"the index is asked over TLS and leads to `{url}`") for name, url in plain.items()), hint=hint
        )


def _may_keep(job: Job) -> bool:
    unforced = job.request.upgrade is None and not job.request.force
    if not unforced or job.previous is None or job.previous.config_digest != job.config.digest:
        return False
    return job.request.exclude_newer is None or job.previous.exclude_newer == moment(job.request.exclude_newer)


def _exclude_newer(job: Job) -> str:
    """Return the moment that limits what counts: an age means the same moment until config or versions are new."""
    asked = job.request.exclude_newer or job.config.exclude_newer
    is_same = job.previous is not None and job.previous.config_digest == job.config.digest
    if job.previous is not None and is_same and job.request.exclude_newer is None and job.request.upgrade is None:
        return job.previous.exclude_newer
    return moment(asked) if asked else ""


def _still_fits(lock: Lock, base: Base, built: Built, left_out: dict[str, str]) -> bool:
    """Tell whether the base still is as the answer relies on it, and the sources are the ones locked."""
    has = {name: dist.version for name, dist in base.distributions.items()}
    relied = all(has.get(name) == version for name, version in lock.facts.items())
    provided = all(has.get(entry.split(" ")[0]) == entry.split(" ")[1] for entry in lock.provided.values())
    own = all(package.override or package.name not in has for package in lock.packages)
    same_sources = all(lock.package(locked.name) == locked for _, locked in built.values())
    fits = relied and provided and own and same_sources and lock.left_out.keys() == left_out.keys()
    return fits and _overrides_suit(lock, base)


def _overrides_suit(lock: Lock, base: Base) -> bool:
    """Tell whether what shadows the base still suits it: a distribution that came since may want another version."""
    shadowing = {package.name: package.version for package in lock.packages if package.override}
    if not shadowing:
        return True
    from envbuilder.stubs import suit  # few sets shadow anything

    return suit(base, shadowing)


def _require_same(job: Job, lock: Lock) -> None:
    if job.previous is None or dump(lock) != dump(job.previous):
        raise ChangesNeeded(lock=job.lock_file, changes=lock_changes(job.previous, lock))
