"""Would a config make a set for these bases? Each is resolved, audited and probed; nothing is switched or recorded.

No lock is written and no generation made. Packages, and the overlay that the probe ran in, stay in the home: a build
for that base takes them as they are, and gc takes what nobody built. Where there is no home, or one that this user may
not write to, nothing stays.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from envbuilder import flocks, lockfile, policing
from envbuilder.assembly import assemble
from envbuilder.base import describe
from envbuilder.classes import dataclass
from envbuilder.errors import ConfigError, HomeError, ResolutionError, SeveralErrors, UsageError, VpmError
from envbuilder.guest import lodged
from envbuilder.job import Job, Request
from envbuilder.lending import lenders
from envbuilder.pipeline import read_config
from envbuilder.scope import profile_of, scope
from envbuilder.uv import configure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envbuilder.assembly import Assembled
    from envbuilder.base import Base
    from envbuilder.config import Config
    from envbuilder.paths import Environment
    from envbuilder.profile import Profile
    from envbuilder.report import Reporter
    from envbuilder.scope import Options, Scope


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """How one base did: the set that a build would make, or the error that it would end with; `seconds` it took.

    `named` is the base as it was asked for, "" for the one that was found; `base` is None where it does not answer.
    `kept` says that packages and overlay stay in the home, for a build to take.
    """

    named: str
    base: Base | None
    assembled: Assembled | None
    error: VpmError | None
    seconds: float
    kept: bool

    @property
    def fits(self) -> bool:
        """Tell whether a build for this base would make a set."""
        return self.error is None

    @property
    def label(self) -> str:
        """Name the base for a reader."""
        return self.base.label if self.base else self.named or "no base"

    @property
    def reason(self) -> str:
        """Say in one line why it does not fit, "" where it does."""
        return _in_one_line(self.error) if self.error else ""


def check(
    options: Options, bases: Sequence[str], env: Environment, *, offline: bool, report: Reporter
) -> tuple[Checked, ...]:
    """Check the config in scope against each of `bases`, or against the one that is found if none is named.

    What is wrong with a base, or with the set for it, is its result; what is wrong with the config, the home or the
    call is raised.
    """
    named = tuple(dict.fromkeys(bases)) or ("",)
    return tuple(
        _checked(options._replace(base=base or None), env, Request(switch=False, offline=offline), report)
        for base in named
    )


def _checked(options: Options, env: Environment, request: Request, report: Reporter) -> Checked:
    started = time.monotonic()
    base = assembled = error = None
    kept = False
    try:
        found = scope(options, env, needs_config=True)
        config = read_config(found)
        with lodged(found) as at:
            base = describe(found.interpreter, at.layout, env, engine=config.engine)
            report.note(f"checking {base.label}")
            with flocks.locked(at.layout.gc_lock, wait=found.lock_wait, on_wait=report.waiting, shared=True):
                assembled = assemble(_job(at, config, base, profile_of(found, base), request, report))
            kept = at.layout.home == found.layout.home
    except (ConfigError, HomeError, UsageError):
        raise
    except VpmError as failure:
        error = failure
    seconds = time.monotonic() - started
    named = options.base or ""
    return Checked(named=named, base=base, assembled=assembled, error=error, seconds=seconds, kept=kept)


def _job(found: Scope, config: Config, base: Base, profile: Profile, request: Request, report: Reporter) -> Job:
    lock, lock_file = lockfile.previous(config, base, profile)
    policies = policing.in_force(config, base, found.env)
    only = policing.wheels_only(policies)
    return Job(
        config=config,
        base=base,
        layout=found.layout._replace(stores=lenders(config.stores, found.layout, report)),
        env=found.env,
        uv=lambda: configure(config, found.env, found.layout, offline=request.offline, wheels_only=only),
        request=request,
        previous=lock,
        lock_file=lock_file,
        report=report,
        policies=policies,
    )


def _in_one_line(error: VpmError) -> str:
    if isinstance(error, SeveralErrors):
        return _in_one_line(error.errors[0])
    if isinstance(error, ResolutionError):
        told = next((conflict for conflict in error.conflicts if conflict.base_has), error.conflicts[0])
        if told.base_has:
            return " → ".join((*told.chain, f"base has {told.base_has}"))
        return f"`{told.plugin}` cannot be resolved: {told.cause.strip().splitlines()[0]}"
    return error.message.splitlines()[0]
