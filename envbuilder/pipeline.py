"""The story: plugins.yaml and a base become a set, the set a generation, the generation current."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from os.path import exists, join
from typing import TYPE_CHECKING, Any

from envbuilder import fs, lockfile, overlay, process
from envbuilder import lock as locks
from envbuilder import profile as profiles
from envbuilder.assembly import Assembled, assemble, build_sources, fill, link
from envbuilder.base import Base, describe
from envbuilder.composition import describe as describe_set
from envbuilder.config import Config, Local, PyPI, of_content, read
from envbuilder.errors import BaseError, ConfigError, Place, Problem, ProfileError, UsageError
from envbuilder.job import Job, Request
from envbuilder.names import normalized
from envbuilder.overlay import Part
from envbuilder.planning import Change, changes
from envbuilder.profile import Generation, Profile
from envbuilder.scope import make_home, profile_of
from envbuilder.unchanged import file_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.lock import Lock
    from envbuilder.manifest import Manifest
    from envbuilder.report import Reporter
    from envbuilder.scope import Scope
    from envbuilder.uv import Uv

HOOK_LINE = "_vpm_env_hook.pth"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a build came to.

    `kind` is `planned`, `unchanged`, `held` (the set is the one that was rolled back), `made` (not switched to) or
    `switched`. `generation` is None only if `planned`; `before` is what was current.
    """

    kind: str
    generation: Generation | None
    before: Generation | None
    changes: tuple[Change, ...]
    assembled: Assembled
    base: Base
    notes: tuple[str, ...]


def build(found: Scope, request: Request, report: Reporter) -> Outcome:
    """Make the set that the config asks for and switch to it; whatever fails, `current` stays as it is."""
    config = read_config(found)
    make_home(found.layout)
    base = describe(found.interpreter, found.layout, found.env, engine=config.engine)
    profile = profile_of(found, base)
    _require_known(request.upgrade, config, profile)
    with _building(profile, found, report):
        job = _job(found, config, base, profile, request, report)
        assembled = assemble(job)
        planned = _changes(profile, assembled, found)
        if assembled.manifest is None:
            return _outcome("planned", None, profile, planned, job, assembled)
        lock_file = lockfile.write(job, profile, assembled.lock)
        with profiles.locked(profile, wait=found.lock_wait, on_wait=_waiting(report)):
            return _commit(job, profile, assembled, assembled.manifest, planned, lock_file)


def _commit(
    job: Job,
    profile: Profile,
    assembled: Assembled,
    manifest: Manifest,
    planned: tuple[Change, ...],
    lock_file: str,
) -> Outcome:
    """Record the set as a generation, unless the newest is the same, and make it current, unless it was undone."""
    newest, held = profiles.newest(profile), profiles.order(profile).held
    inputs = _inputs(job, lock_file)
    if newest is not None and newest.digest == manifest.digest:
        generation = newest._replace(inputs=inputs, config=job.config.file)
        profiles.rewrite(profile, generation)
        profiles.point(profile, generation)
        undone = held and profiles.current(profile) != generation.number and not job.request.force
        kind = "held" if undone else "unchanged"
        if undone or profiles.current(profile) == generation.number:
            return _outcome(kind, generation, profile, planned, job, assembled)
    else:
        generation = _record(job, profile, assembled, manifest, inputs)
    if not job.request.switch:
        return _outcome("made", generation, profile, planned, job, assembled)
    outcome = _outcome("switched", generation, profile, planned, job, assembled)
    profiles.switch(profile, generation.number, verb="build", hold=False)
    _renew_hook(job, profile)
    return outcome


def _renew_hook(job: Job, profile: Profile) -> None:
    """Write the hook again if it is for this home and profile, and for this base as it was before an upgrade."""
    if not exists(join(job.base.purelib, HOOK_LINE)):
        return
    from envbuilder import startup  # only a base with a hook pays for it

    hook = startup.inspect(job.base)
    mine = hook.installed and (hook.home, hook.profile) == (profile.layout.home, profile.name)
    if not mine or hook.base_key == profile.base_key:
        return
    try:
        startup.install(
            job.base,
            layout=profile.layout,
            profile=profile.name,
            command=(sys.executable, "-m", "envbuilder"),
            trust_owner=hook.trust_owner,
            trust_home=hook.trust_home,
        )
        job.report.note("the base was upgraded: its hook was written again")
    except BaseError as error:
        job.report.warn(f"the hook is for the base as it was before, and cannot be written again: {error.reason}")


def rebuild(found: Scope, report: Reporter) -> Any:
    """Return the function that makes a collected generation's overlay again, from its own lock."""

    def make(profile: Profile, generation: Generation) -> None:
        report.note(f"generation {generation.number} was collected; rebuilding it from its lock")
        base = describe(found.interpreter, found.layout, found.env, engine=found.engine)
        lock = locks.read(profile.file(generation.number, "pylock.toml"))
        if lock is None:
            raise ProfileError(f"generation {generation.number} was collected, and its lock is gone")
        with open(profile.file(generation.number, "plugins.yaml"), "rb") as stream:
            config = of_content(stream.read(), file=generation.config, env=found.env)
        job = _job(found, config, base, profile, Request(), report, previous=lock)
        with fs.locked(found.layout.gc_lock, wait=found.lock_wait, shared=True):
            _remake(job, generation, lock)

    return make


def _remake(job: Job, generation: Generation, lock: Lock) -> None:
    from_source = {locked.plugin for locked in lock.packages if locked.is_built}
    with fs.staging(job.layout.tmp) as scratch:
        built = build_sources(
            job, tuple(plugin for plugin in job.config.enabled if plugin.name in from_source), scratch
        )
    packages = fill(job, lock, built)
    parts = tuple(Part(package=packages[locked.name], override=locked.override) for locked in lock.packages)
    manifest = describe_set(lock, parts, job.base)
    if manifest.digest != generation.digest:
        raise ProfileError(
            f"generation {generation.number} cannot be rebuilt as it was: its sources or its base have changed",
            hint="`vpm-env build` makes a set of what there is now",
        )
    path = job.layout.overlay(job.base.key, manifest.digest)
    with fs.locked(job.layout.overlay_lock(job.base.key, manifest.digest)):
        link(job.layout, job.base, job.env, parts, path)
        overlay.seal(path, manifest)


def _require_known(names: frozenset[str] | None, config: Config, profile: Profile) -> None:
    """Refuse a name to upgrade that is neither a plugin's nor a package's of the newest set."""
    newest = profiles.newest(profile)
    known = {plugin.name for plugin in config.enabled} | {name for name, *_ in (newest.packages if newest else ())}
    known |= {plugin.source.package for plugin in config.enabled if isinstance(plugin.source, PyPI)}
    for name in sorted(names or ()):
        if not {name, normalized(name)} & known:
            from difflib import get_close_matches  # only a mistake pays for it

            near = get_close_matches(name, sorted(known), n=1)
            hint = f"did you mean `{near[0]}`?" if near else "see `vpm-env list`"
            raise UsageError(f"there is no plugin or package `{name}` to upgrade", hint=hint)


def read_config(found: Scope) -> Config:
    """Read the config in scope; raise `ConfigError` where there is none."""
    if found.config_file is None:
        problem = Problem(place=Place(file="plugins.yaml"), key="", text="no config was found")
        raise ConfigError((problem,), hint="`vpm-env init` writes one; `--config FILE` names another")
    return read(found.config_file, env=found.env)


@contextmanager
def _building(profile: Profile, found: Scope, report: Reporter) -> Iterator[None]:
    """Let one build at a time work on a profile, and no gc meanwhile."""
    flocks, wait, told = found.layout.flocks, found.lock_wait, _waiting(report)
    with (
        fs.locked(join(flocks, f"build-{profile.name}-{profile.base_key}"), wait=wait, on_wait=told),
        fs.locked(found.layout.gc_lock, wait=wait, on_wait=told, shared=True),
    ):
        yield


def _job(
    found: Scope,
    config: Config,
    base: Base,
    profile: Profile,
    request: Request,
    report: Reporter,
    *,
    previous: Lock | None = None,
) -> Job:
    lock, lock_file = (previous, "") if previous else lockfile.previous(config, base, profile)
    return Job(
        config=config,
        base=base,
        layout=found.layout,
        env=found.env,
        uv=lambda: _uv(found, request, config),
        request=request,
        previous=lock,
        lock_file=lock_file,
        report=report,
    )


def _record(job: Job, profile: Profile, assembled: Assembled, manifest: Manifest, inputs: dict[str, Any]) -> Generation:
    generation = Generation(
        number=0,
        digest=manifest.digest,
        base_key=profile.base_key,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        state="untried",
        keep=False,
        config=job.config.file,
        base=manifest.base,
        inputs=inputs,
        packages=[[member.name, member.version, member.plugin, member.editable] for member in manifest.members],
        left_out=assembled.lock.left_out,
        reason="build",
    )
    with open(job.config.file, encoding="utf-8-sig") as stream:
        kept = process.without_credentials(stream.read())
    return profiles.add(profile, generation, config=kept.encode(), lock=locks.dump(assembled.lock))


def _inputs(job: Job, lock_file: str) -> dict[str, Any]:
    return {
        "config_sha256": job.config.sha256,
        "config_digest": job.config.digest,
        "base_digest": job.base.digest,
        "lock_file": lock_file,
        "lock_sha256": file_digest(lock_file),
        "local_sources": {
            plugin.name: [plugin.source.path, plugin.source.editable, _fingerprint(plugin.source, job)]
            for plugin in job.config.enabled
            if isinstance(plugin.source, Local)
        },
    }


def _fingerprint(source: Local, job: Job) -> str:
    from envbuilder.sources import fingerprint  # only configs with local plugins pay for it

    return fingerprint(source, job.env)


def _uv(found: Scope, request: Request, config: Config) -> Uv:
    """Configure uv; for a kept config, which has no credentials, by the one in force where there is one."""
    from envbuilder.uv import configure  # a build whose lock fits and whose packages are there calls no uv

    in_force = config
    if config.sha256 != file_digest(config.file) and found.config_file and exists(found.config_file):
        in_force = read(found.config_file, env=found.env)
    return configure(in_force, found.env, found.layout, offline=request.offline)


def _changes(profile: Profile, assembled: Assembled, found: Scope) -> tuple[Change, ...]:
    """Compare the set with the current one."""
    number = profiles.current(profile)
    old = profiles.read(profile, number) if number is not None else None
    manifest = overlay.get(found.layout, profile.base_key, old.digest) if old else None
    before = {member.name: (member.version, member.key, member.size) for member in manifest.members} if manifest else {}
    after: dict[str, tuple[str, str, int | None]] = {}
    for locked in assembled.lock.packages:
        package = assembled.packages.get(locked.name)
        after[locked.name] = (locked.version, package.key if package else "", package.size if package else None)
    return changes(before, after)


def _outcome(
    kind: str,
    generation: Generation | None,
    profile: Profile,
    planned: tuple[Change, ...],
    job: Job,
    assembled: Assembled,
) -> Outcome:
    number = profiles.current(profile)
    return Outcome(
        kind=kind,
        generation=generation,
        before=profiles.read(profile, number) if number is not None else None,
        changes=planned,
        assembled=assembled,
        base=job.base,
        notes=job.config.notes,
    )


def _waiting(report: Reporter) -> Any:
    def told(holder: str, seconds: float) -> None:
        if seconds >= 2:
            report.note(f"waiting for {holder}, {seconds:.0f} s so far")

    return told
