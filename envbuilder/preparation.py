"""Prepare what making a set needs: the lock of last time, policies, stores that lend, and uv for whoever asks."""

from __future__ import annotations

from functools import cache
from os.path import exists
from typing import TYPE_CHECKING

from envbuilder import lockfile, policing
from envbuilder.config import Config, read
from envbuilder.job import Job, Request
from envbuilder.lending import lenders
from envbuilder.unchanged import file_digest

if TYPE_CHECKING:
    from envbuilder.base import Base
    from envbuilder.lock import Lock
    from envbuilder.profile import Profile
    from envbuilder.report import Reporter
    from envbuilder.scope import Scope
    from envbuilder.uv import Uv


def prepared(
    found: Scope,
    config: Config,
    base: Base,
    profile: Profile,
    request: Request,
    report: Reporter,
    *,
    previous: Lock | None = None,
) -> Job:
    """Return all that making one set needs; `previous` is the lock to keep to, if not the one beside the config."""
    lock, lock_file = (previous, "") if previous else lockfile.previous(config, base, profile)
    policies = policing.in_force(config, base, found.env)
    return Job(
        config=config,
        base=base,
        layout=found.layout._replace(stores=lenders(config.stores, found.layout, report)),
        env=found.env,
        uv=cache(lambda: _uv(found, request, config, report, wheels_only=policing.wheels_only(policies))),
        request=request,
        previous=lock,
        lock_file=lock_file,
        report=report,
        policies=policies,
    )


def _uv(found: Scope, request: Request, config: Config, report: Reporter, *, wheels_only: bool) -> Uv:
    """Configure uv; for a kept config, which has no credentials, by the one in force where there is one."""
    from envbuilder.uv import configure, distrusted  # a build whose lock fits and whose packages are there calls no uv

    in_force = config
    is_kept = not request.dry_run and config.sha256 != file_digest(config.file)
    if is_kept and found.config_file and exists(found.config_file):
        in_force = read(found.config_file, env=found.env)
    if reason := distrusted(found.env):
        report.warn(reason)
    return configure(in_force, found.env, found.layout, offline=request.offline, wheels_only=wheels_only)
