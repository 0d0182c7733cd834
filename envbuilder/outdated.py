"""What could be newer: for each package of the current set the version that it has, that fits, and that there is."""

from __future__ import annotations

from os.path import basename
from typing import TYPE_CHECKING

from envbuilder import lockfile, policing
from envbuilder.answer import Question, Root, Unsolvable, ask
from envbuilder.base import describe
from envbuilder.classes import dataclass, replace
from envbuilder.config import PyPI
from envbuilder.foresight import foresee
from envbuilder.graph import graph_of
from envbuilder.guest import lodged
from envbuilder.job import Job, Request
from envbuilder.names import normalized
from envbuilder.revision import revision
from envbuilder.scope import profile_of
from envbuilder.uv import configure

if TYPE_CHECKING:
    from envbuilder.base import Base
    from envbuilder.config import Config
    from envbuilder.graph import Graph
    from envbuilder.lock import LockedPackage
    from envbuilder.report import Reporter
    from envbuilder.revision import Revision
    from envbuilder.scope import Scope

INDEX, GIT, LOCAL = "index", "git", "local"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One package of the set.

    `locked` is what the set has, `fits` the newest version that fits base and set, None where it would go; `newest`
    the newest that there is for this Python, None where nobody knows. Of a git source the versions carry the
    commit. `held_by` says what keeps the newest out.
    """

    name: str
    plugin: str
    source: str
    locked: str
    fits: str | None
    newest: str | None
    held_by: tuple[str, ...] = ()

    @property
    def can_move(self) -> bool:
        """Tell whether an upgrade would change it."""
        return self.fits != self.locked

    @property
    def is_outdated(self) -> bool:
        """Tell whether there is something newer, whether it fits or not."""
        return self.can_move or self.newest not in (None, self.locked)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outdated:
    """What could be newer in one generation; `unknown` says why the newest versions are not known ("" if they are)."""

    found: Revision
    rows: tuple[Row, ...]
    added: tuple[str, ...]
    unknown: str


def outdated(found: Scope, config: Config, *, offline: bool, report: Reporter) -> Outdated:
    """Resolve the config with everything upgraded, and ask for each package alone; no lock or set is written.

    Raise what a build would raise, and `ProfileError` where nothing is current.
    """
    base = describe(found.interpreter, found.layout, found.env, engine=config.engine)
    current = revision(profile_of(found, base), None)
    locked = {package.name: package for package in (current.lock.packages if current.lock else ())}
    with lodged(found) as at:
        job = _job(at, config, base, current, offline=offline, report=report)
        fits = {package.name: package for package in foresee(job).lock.packages}
        with report.stage("looking for newer versions"):
            newest, unknown = _newest([package for package in locked.values() if _source(package) == INDEX], job)
    graph = graph_of(current, base, config) if current.manifest else None
    rows = (_row(package, fits.get(name), newest.get(name)) for name, package in sorted(locked.items()))
    return Outdated(
        found=current,
        rows=tuple(replace(row, held_by=_held_by(row, config, graph)) for row in rows),
        added=tuple(f"{name} {package.version}" for name, package in sorted(fits.items()) if name not in locked),
        unknown=unknown,
    )


def _job(found: Scope, config: Config, base: Base, current: Revision, *, offline: bool, report: Reporter) -> Job:
    previous, lock_file = lockfile.previous(config, base, current.profile)
    policies = policing.in_force(config, base, found.env)
    only = policing.wheels_only(policies)
    return Job(
        config=config,
        base=base,
        layout=found.layout,
        env=found.env,
        uv=lambda: configure(config, found.env, found.layout, offline=offline, wheels_only=only),
        request=Request(offline=offline, upgrade=frozenset()),
        previous=previous,
        lock_file=lock_file,
        report=report,
        policies=policies,
    )


def _row(package: LockedPackage, fits: LockedPackage | None, newest: str | None) -> Row:
    source = _source(package)
    return Row(
        name=package.name,
        plugin=package.plugin,
        source=source,
        locked=_spelled(package),
        fits=_spelled(fits) if fits else None,
        newest=_highest(newest, fits) if source == INDEX else None,
    )


def _highest(newest: str | None, fits: LockedPackage | None) -> str | None:
    """Return the newest; a pre-release that the config allows may fit and be newer than what is found without it."""
    return max((newest, fits.version), key=_version) if newest and fits else newest


def _source(package: LockedPackage) -> str:
    if package.vcs:
        return GIT
    return LOCAL if package.directory or package.archive else INDEX


def _spelled(package: LockedPackage) -> str:
    commit = str(package.vcs.get("commit-id", ""))[:12] if package.vcs else ""
    return f"{package.version} ({commit})" if commit else package.version


def _version(text: str) -> tuple[bool, object]:
    from packaging.version import InvalidVersion, Version

    try:
        return True, Version(text)
    except InvalidVersion:
        return False, text


def _newest(packages: list[LockedPackage], job: Job) -> tuple[dict[str, str], str]:
    """Ask for the newest version of each package, all at once and each for itself: without what they require."""
    if not packages:
        return {}, ""
    uv = job.uv()
    roots = tuple(
        Root(name=package.name, line=package.name, plugin=package.plugin, index=uv.plugin_indexes.get(package.plugin))
        for package in packages
    )
    answer = ask(uv, Question(python=job.base.python, roots=roots, alone=True), job.layout.tmp)
    return ({}, answer.words) if isinstance(answer, Unsolvable) else (answer.versions, "")


def _held_by(row: Row, config: Config, graph: Graph | None) -> tuple[str, ...]:
    """Say which bounds keep the newest version out: the config's, other packages', else the package's own."""
    if row.source != INDEX or row.newest in (None, row.fits):
        return ()
    told = [
        f"{basename(config.file)} ({plugin.source.specifier})"
        for plugin in config.enabled
        if isinstance(plugin.source, PyPI)
        and normalized(plugin.source.package) == row.name
        and _excludes(plugin.source.specifier, row.newest)
    ]
    edges = graph.requirers(row.name) if graph else ()
    told += [f"{edge.requirer} ({edge.bound})" for edge in edges if _excludes(edge.bound, row.newest)]
    return tuple(told) or ("what it requires itself",)


def _excludes(specifier: str, version: str | None) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion

    try:
        return bool(specifier and version) and not SpecifierSet(specifier).contains(version or "", prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return False
