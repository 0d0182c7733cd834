"""Make the set that a config asks for: resolve, fill the store, link, audit, probe. What `pipeline` tells in one line.

An `optional: true` plugin that fails at any of these is left out, and the rest is made without it.
"""

from __future__ import annotations

from os.path import join
from typing import TYPE_CHECKING, TypeVar

from envbuilder import flocks, fs, overlay, protocol, space, stocking, store
from envbuilder.blame import droppable
from envbuilder.caching import supplying
from envbuilder.checks import accepts, audited, is_probed, judging, probed
from envbuilder.classes import dataclass
from envbuilder.composition import describe, parts_of
from envbuilder.config import PyPI
from envbuilder.errors import SeveralErrors, SourceError, VpmError
from envbuilder.skeleton import skeleton
from envbuilder.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from envbuilder.base import Base
    from envbuilder.config import Config, Plugin
    from envbuilder.job import Job
    from envbuilder.lock import Lock, LockedPackage
    from envbuilder.manifest import Manifest, ProbeResult
    from envbuilder.overlay import Part
    from envbuilder.package import Package
    from envbuilder.paths import Environment, Layout

    Built = dict[str, tuple[Package, LockedPackage]]

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True, slots=True)
class Assembled:
    """A set that was made: its lock, its packages, and its overlay's manifest."""

    lock: Lock
    packages: dict[str, Package]
    manifest: Manifest


def assemble(job: Job) -> Assembled:
    """Make the set, leaving out optional plugins that fail; raise the error of the first one that is not optional.

    What was left out the last time is tried again.
    """

    def attempt(left_out: dict[str, str]) -> Assembled:
        lock, built = answered(job, left_out)
        packages = fill(job, lock, built)
        return Assembled(lock=lock, packages=packages, manifest=_link(job, lock, packages))

    return without_failing(job, attempt)


def without_failing(job: Job, attempt: Callable[[dict[str, str]], Made]) -> Made:
    """Call `attempt` with the optional plugins to leave out, plugin → why, until none fails any more."""
    left_out: dict[str, str] = {}
    while True:
        try:
            return attempt(left_out)
        except VpmError as error:
            dropped = droppable(error, job.config)
            if not dropped:
                raise
            left_out.update(dropped)
            for plugin, why in dropped.items():
                job.report.warn(f"left out `{plugin}` (optional): {why}")


def answered(job: Job, left_out: dict[str, str]) -> tuple[Lock, Built]:
    """Build the sources and find out which packages the set has; nothing of an index is fetched."""
    from envbuilder import answering, sourcing  # a set that is linked as it came asks nobody

    plugins = tuple(plugin for plugin in job.config.enabled if plugin.name not in left_out)
    with fs.staging(job.layout.tmp) as scratch:
        try:
            built = sourcing.have(job, plugins, scratch)
        except SourceError as error:
            raise _with_the_rest(error, job, plugins, scratch) from None
        lock = answering.answer(job, plugins, built, left_out, scratch)
    return lock, {key: found for key, found in built.items() if lock.package(found[0].name)}


def _with_the_rest(error: SourceError, job: Job, plugins: tuple[Plugin, ...], scratch: str) -> VpmError:
    """Find out what is wrong with the plugins of indexes too: all that cannot be had is told at once."""
    from envbuilder import answering

    rest = tuple(plugin for plugin in plugins if isinstance(plugin.source, PyPI))
    try:
        answering.resolved(job, rest, {}, scratch)
    except VpmError as other:
        return SeveralErrors((error, other))
    return error


def fill(job: Job, lock: Lock, built: Built) -> dict[str, Package]:
    """Bring every package of the lock into the store."""
    from envbuilder import sourcing  # the same

    packages = {locked.name: package for package, locked in built.values()}
    wanted = tuple(locked for locked in lock.packages if locked.name not in packages)
    packages |= sourcing.have_locked(job, [each for each in wanted if not sourcing.is_of_server(each)], lock)
    packages |= stored(job, [each for each in wanted if each.name not in packages])
    lacking = [locked for locked in wanted if locked.name not in packages]
    if lacking:
        room = space.needing(space.need_of(lacking), job.layout.home, job.uv().cache)
        with room, job.report.stage("fetching", total=len(lacking)):
            packages |= stocking.add_all(
                lacking,
                base=job.base,
                layout=job.layout,
                uv=job.uv(),
                report=job.report,
                not_isolated=_not_isolated(job.config),
                startup_allowed=frozenset(job.config.startup_code),
                judge=judging(job, _subjects(job, lock, packages)),
                supply=supplying(job),
                wait=job.env.lock_wait,
            )
    return packages


def _subjects(job: Job, lock: Lock, packages: dict[str, Package]) -> list[Subject]:
    """Say of packages that are in the store where they lie, and which plugins they are."""
    plugins = {locked.name: locked.plugin for locked in lock.packages}
    return [
        Subject(package=package, lib=join(job.layout.package(package.key), "lib"), plugin=plugins.get(name, ""))
        for name, package in packages.items()
    ]


def stored(job: Job, wanted: Sequence[LockedPackage]) -> dict[str, Package]:
    """Find those of the packages of indexes that the store has already."""
    return store.known(wanted, base=job.base, layout=job.layout, not_isolated=_not_isolated(job.config))


def _not_isolated(config: Config) -> frozenset[str]:
    """Name the packages of indexes that are built with what the base has in view."""
    return frozenset(
        plugin.source.package
        for plugin in config.enabled
        if isinstance(plugin.source, PyPI) and not plugin.build_isolation
    )


def _link(job: Job, lock: Lock, packages: dict[str, Package]) -> Manifest:
    """Make the overlay, check it and seal it; one that is sealed already is only audited again."""
    parts = parts_of(lock, packages, job.config)
    manifest = describe(lock, parts, job.base)._replace(accepts=accepts(job.config, lock))
    path = job.layout.overlay(job.base.key, manifest.digest)
    lock_path = job.layout.overlay_lock(job.base.key, manifest.digest)
    with flocks.locked(lock_path, wait=job.env.lock_wait, on_wait=job.report.waiting):
        findings = audited(job, lock, parts)
        known = overlay.read(path)
        if known is not None and not job.request.force and is_probed(job, known):
            return known._replace(
                left_out=lock.left_out,
                ignored=lock.ignored,
                provided=lock.provided,
                findings=findings,
                accepts=manifest.accepts,
            )
        if not is_as_made(job, manifest, parts):
            room = space.needing(space.need_of_overlay(len(parts)), job.layout.home)
            with room, job.report.stage("linking", minor=True):
                link(job.layout, job.base, job.env, parts, path)
        sealed = manifest._replace(findings=findings, probe=_probe_or_discard(job, manifest, path))
        overlay.seal(path, sealed)
    return sealed


def is_as_made(job: Job, manifest: Manifest, parts: tuple[Part, ...]) -> bool:
    """Tell whether the overlay of a set is there, and need not be made again."""
    if overlay.read(job.layout.overlay(job.base.key, manifest.digest)) is None:
        return False
    from envbuilder.overlay_damage import against_parts  # a set that is new has nothing to compare

    return not against_parts(job.layout, job.base.key, manifest.digest, manifest, parts).wrong


def _probe_or_discard(job: Job, manifest: Manifest, path: str) -> tuple[ProbeResult, ...]:
    """Probe the overlay; one that fails and was never valid leaves nothing."""
    try:
        found = probed(job, manifest, path)
    except BaseException:
        overlay.drop_unfinished(path)
        raise
    protocol.reached("overlay", "probed")
    return found


def link(layout: Layout, base: Base, env: Environment, parts: tuple[Part, ...], path: str) -> None:
    """Make the links of one overlay."""
    overlay.link(
        path,
        layout=layout,
        skeleton=skeleton(base, layout, env),
        python_version=base.python_version,
        parts=parts,
    )
