"""The story: plugins.yaml and a base become a set, the set a generation, the generation current."""

from __future__ import annotations

import time
from contextlib import nullcontext
from os.path import exists, join
from typing import TYPE_CHECKING, Any

from envbuilder import failures, lockfile, overlay, process, registry, reserve, store
from envbuilder import lock as locks
from envbuilder import profile as profiles
from envbuilder import recipe as recipes
from envbuilder.assembly import assemble
from envbuilder.base import describe
from envbuilder.commit import Draft, Outcome, commit, followed, planned
from envbuilder.config import Config, Local, PyPI, read
from envbuilder.errors import BaseError, ConfigError, Place, Problem, UsageError
from envbuilder.names import nearest, normalized
from envbuilder.paths import HOOK
from envbuilder.preparation import prepared
from envbuilder.recipe import Recipe
from envbuilder.recording import building
from envbuilder.scope import make_home, profile_of
from envbuilder.skeleton import skeleton
from envbuilder.unchanged import file_digest, look, policies_seen

if TYPE_CHECKING:
    from envbuilder.foresight import Foreseen
    from envbuilder.job import Job, Request
    from envbuilder.lock import Lock
    from envbuilder.manifest import Manifest
    from envbuilder.package import Package
    from envbuilder.planning import Difference
    from envbuilder.profile import Profile
    from envbuilder.report import Reporter
    from envbuilder.scope import Scope


def build(found: Scope, request: Request, report: Reporter, *, config: Config | None = None) -> Outcome:
    """Make the set that the config asks for and switch to it; whatever fails, `current` stays as it is.

    `config` is read from the file in scope, unless a dry run has one that is not written yet.
    """
    asked = time.time()
    config = config or read_config(found)
    if request.dry_run:
        return _preview(found, config, request, report)
    make_home(found.layout)
    if config.min_free:
        from envbuilder.sweep import make_room  # few configs ask for it

        make_room(found.layout, config.min_free, report)
    base = describe(found.interpreter, found.layout, found.env, engine=config.engine)
    if warning := registry.warning_of_manager(base):
        report.warn(warning)
    profile = profile_of(found, base)
    _require_known(request.upgrade, config, profile)
    with (
        building(profile, wait=found.lock_wait, on_wait=report.waiting),
        failures.shared(profile, config, since=asked) if request.auto else nullcontext(),
    ):
        job = prepared(found, config, base, profile, request, report)
        with registry.telling_failures(profile, config):
            assembled = assemble(job)
        manifest = assembled.manifest
        difference = planned(profile, _contents(assembled.lock, assembled.packages), manifest)
        draft = _draft(job, manifest, assembled.lock, lockfile.write(job, profile, assembled.lock))
        with profiles.locked(profile, wait=found.lock_wait, on_wait=report.waiting):
            done = commit(profile, draft, switch=request.switch, force=request.force)
            overlay.renew(found.layout.overlay(base.key, manifest.digest), manifest)
        if request.switch:
            _renew_hook(job, profile)
        _remember(found, job, draft)
    reserve.fill(found.layout)
    ran = followed(profile, done, env=found.env, report=report)
    return Outcome.of(done, manifest, difference, notes=config.notes, ran=ran)


def _preview(found: Scope, config: Config, request: Request, report: Reporter) -> Outcome:
    """Say what a build would change; a home that this user may not write to, or that is not there, is no obstacle."""
    from envbuilder.foresight import foresee  # only dry runs pay for it
    from envbuilder.guest import lodged, undisturbed

    with lodged(found) as at:
        base = describe(found.interpreter, at.layout, found.env, engine=config.engine)
        if warning := registry.warning_of_manager(base):
            report.warn(warning)
        profile = profile_of(found, base)
        _require_known(request.upgrade, config, profile)
        with undisturbed(profile, at, report.waiting):
            job = prepared(at, config, base, profile, request, report)
            foreseen = foresee(job)
            contents = _contents(foreseen.lock, foreseen.packages)
            return _plan(job, profile, foreseen, planned(profile, contents, foreseen.manifest))


def _plan(job: Job, profile: Profile, foreseen: Foreseen, difference: Difference) -> Outcome:
    lock = foreseen.lock
    wheels = {locked.name: locked.wheels for locked in lock.packages if locked.name not in foreseen.packages}
    sizes = {name: [wheel["size"] for wheel in of_one if "size" in wheel] for name, of_one in wheels.items()}
    return Outcome(
        kind="planned",
        generation=None,
        before=profiles.serving(profile),
        digest=foreseen.manifest.digest if foreseen.manifest else None,
        base_key=profile.base_key,
        difference=difference,
        notes=job.config.notes,
        provided=lock.provided,
        ignored=lock.ignored,
        left_out=lock.left_out,
        to_fetch={name: max(of_one) for name, of_one in sizes.items() if of_one},
    )


def _renew_hook(job: Job, profile: Profile) -> None:
    """Write the hook again if it is for this home and profile, and for this base as it was before an upgrade."""
    if not exists(join(job.base.purelib, HOOK)):
        return
    from envbuilder import startup  # only a base with a hook pays for it

    hook = startup.inspect(job.base)
    mine = hook.installed and (hook.home, hook.profile) == (profile.layout.home, profile.name)
    if not mine or hook.base_key == profile.base_key:
        return
    try:
        startup.install_again(job.base, hook)
        job.report.note("the base was upgraded: its hook was written again")
    except BaseError as error:
        job.report.warn(f"the hook is for the base as it was before, and cannot be written again: {error.reason}")


def _require_known(names: frozenset[str] | None, config: Config, profile: Profile) -> None:
    """Refuse a name to upgrade that is neither a plugin's nor a package's of the newest set."""
    newest = profiles.newest(profile)
    known = {plugin.name for plugin in config.enabled} | {name for name, *_ in (newest.packages if newest else ())}
    known |= {plugin.source.package for plugin in config.enabled if isinstance(plugin.source, PyPI)}
    for name in sorted(names or ()):
        if not {name, normalized(name)} & known:
            near = nearest(name, sorted(known))
            hint = f"did you mean `{near}`?" if near else "see `vpm-env list`"
            raise UsageError(f"there is no plugin or package `{name}` to upgrade", hint=hint)


def read_config(found: Scope) -> Config:
    """Read the config in scope; raise `ConfigError` where there is none."""
    if found.config_file is None:
        problem = Problem(place=Place(file="plugins.yaml"), key="", text="no config was found")
        raise ConfigError((problem,), hint="`vpm-env init` writes one; `--config FILE` names another")
    return read(found.config_file, env=found.env)


def _draft(job: Job, manifest: Manifest, lock: Lock, lock_file: str) -> Draft:
    with open(job.config.file, encoding="utf-8-sig") as stream:
        kept = process.without_credentials(stream.read())
    inputs = _inputs(job, lock_file)
    if borrowed := store.borrowed(job.layout, [member.key for member in manifest.members]):
        inputs["borrowed"] = borrowed
    return Draft(manifest, inputs, job.config.file, kept, locks.dump(lock))


def _remember(found: Scope, job: Job, draft: Draft) -> None:
    """Keep what the next build needs to make this set again; one without all plugins, or by force, is tried anew."""
    seen = look(found)
    is_whole = not (draft.manifest.left_out or draft.manifest.failed)
    if seen and seen.config_sha256 == job.config.sha256 and is_whole:
        made = skeleton(job.base, job.layout, job.env)
        recipes.keep(found, seen, Recipe(draft.manifest, draft.inputs, job.config.notes, draft.config, made))


def _inputs(job: Job, lock_file: str) -> dict[str, Any]:
    return {
        "config_sha256": job.config.sha256,
        "config_digest": job.config.digest,
        "base_digest": job.base.digest,
        "lock_file": lock_file,
        "lock_sha256": file_digest(lock_file),
        "plugins": registry.wanted(job.config),
        "local_sources": {
            plugin.name: [plugin.source.path, plugin.source.editable, _fingerprint(plugin.source, job)]
            for plugin in job.config.enabled
            if isinstance(plugin.source, Local)
        },
        **({"policies": seen} if (seen := policies_seen(job.base.prefixes)) else {}),
        **{key: command for key in ("on_build", "on_switch") if (command := getattr(job.config, key))},
    }


def _fingerprint(source: Local, job: Job) -> str:
    from envbuilder.sources import fingerprint  # only configs with local plugins pay for it

    return fingerprint(source, job.env)


def _contents(lock: Lock, stored: dict[str, Package]) -> dict[str, tuple[str, str, int | None]]:
    """Return name → (version, key, bytes) of a set; of packages not in the store yet "" and None."""
    return {
        locked.name: (stored[locked.name].version, stored[locked.name].key, stored[locked.name].size)
        if locked.name in stored
        else (locked.version, "", None)
        for locked in lock.packages
    }
