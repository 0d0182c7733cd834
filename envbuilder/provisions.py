"""What an export carries besides its set: vpm-env with all that it needs, and what sources need to be built again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder import fs, sources, wheelhouse
from envbuilder.errors import SourceError, VpmError
from envbuilder.rebuilding import job_of

if TYPE_CHECKING:
    from envbuilder.config import Plugin
    from envbuilder.job import Job
    from envbuilder.lock import Lock
    from envbuilder.report import Reporter
    from envbuilder.revision import Revision
    from envbuilder.scope import Scope


def provide(scope: Scope, found: Revision, folder: str, scratch: str, report: Reporter) -> tuple[str, ...]:
    """Write wheels into `folder` and return their names; what cannot be had of what sources need is told."""
    wheels = wheelhouse.fill(folder)
    fs.make_dirs(scratch)
    try:
        generation = found.generation
        job, lock = job_of(scope, found.profile, generation.number, generation.config, report, offline=True)
    except (OSError, VpmError) as error:
        report.warn(f"what the sources of the set need to be built is not with it: {error}")
        return wheels
    return tuple(sorted({*wheels, *_for_builds(job, lock, folder, scratch)}))


def _for_builds(job: Job, lock: Lock, folder: str, scratch: str) -> tuple[str, ...]:
    """Add what is needed to build those packages again that were built apart from the base."""
    isolated = {plugin.name: plugin for plugin in job.config.enabled if plugin.build_isolation}
    named = [each for each in lock.packages if not each.plugin or each.plugin in isolated]
    places = _places(job, lock, [isolated[each.plugin] for each in named if each.is_built], scratch)
    needs = wheelhouse.needs_of(named, places)
    added = wheelhouse.add(folder, needs.known, python=job.base.python, uv=job.uv(), scratch=scratch)
    for name, why in (*needs.unknown, *added.missing):
        job.report.warn(f"what `{name}` needs to be built is not with it: {why}")
    return added.wheels


def _places(job: Job, lock: Lock, plugins: list[Plugin], scratch: str) -> dict[str, str]:
    """Say where the sources of plugins lie now, as far as they are here."""
    try:
        fetched = sources.fetch(
            plugins,
            layout=job.layout,
            env=job.env,
            previous=lock,
            upgrade=False,
            offline=True,
            scratch=scratch,
            policies=job.policies,
        )
    except SourceError:
        return {}
    return {name: source.path for name, source in fetched.items()}
