"""Have the plugins that come from git or a folder, and whatever is required by a URL: all through the same doors.

The resolver needs to know what they require, and a URL that it met there it would ask at once. So each such URL is
held to the policies first, its package is fetched and built like a plugin's own, and what that requires comes next.
"""

from __future__ import annotations

from os.path import join
from typing import TYPE_CHECKING

from envbuilder import answer, direct, fs, gate, policing, stocking, stubs
from envbuilder.caching import supplying
from envbuilder.checks import judging
from envbuilder.classes import replace
from envbuilder.config import Git, Local, Plugin, PyPI
from envbuilder.errors import BuildError, PackageError, Place, SeveralErrors, SourceError, VpmError
from envbuilder.indexes import without_credentials
from envbuilder.lock import LockedPackage
from envbuilder.names import normalized
from envbuilder.origins import are_plain, is_plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packaging.requirements import Requirement

    from envbuilder.direct import Direct
    from envbuilder.job import Job
    from envbuilder.lock import Lock
    from envbuilder.package import Package

    Built = dict[str, tuple[Package, LockedPackage]]

_NONE: dict[str, Direct] = {}


def have(job: Job, plugins: tuple[Plugin, ...], scratch: str) -> Built:
    """Fetch and build git and local plugins: by their names; and what is required by a URL: by that requirement.

    Raise `PolicyError` before anything forbidden is asked for, and what `sources.fetch` and `stocking` raise.
    """
    named = tuple(plugin for plugin in plugins if isinstance(plugin.source, (Git, Local)))
    built = _of_plugins(job, named, scratch, job.previous) if named else {}
    while direct.names_any(package for package, _ in built.values()):
        wanted = _wanted(job, plugins, built)
        if not wanted:
            break
        policing.refuse_direct(job.policies, wanted, job.config)
        built |= _of_requirements(job, wanted, built, join(scratch, f"required-{len(built)}"))
    return built


def have_locked(job: Job, wanted: Sequence[LockedPackage], lock: Lock) -> dict[str, Package]:
    """Have packages that a lock has from a repository or a file of this machine: name → package."""
    if not wanted:
        return {}
    policing.refuse(job.policies, replace(lock, packages=tuple(wanted)), job.lock_file, job.config, job.env)
    plugins = tuple(Plugin(name=each.name, source=_source(each), place=Place(job.lock_file)) for each in wanted)
    bare = replace(lock, packages=tuple(replace(each, plugin="") for each in wanted))
    with fs.staging(job.layout.tmp) as scratch:
        built = _of_plugins(job, plugins, scratch, bare)
    for locked in wanted:
        _require_same(built[locked.name][1], locked)
    return {locked.name: built[locked.name][0] for locked in wanted}


def is_of_server(locked: LockedPackage) -> bool:
    """Tell whether a locked package is of files that an index or a server hands out, and an installer fetches."""
    return not (locked.vcs or locked.directory or (locked.archive and not locked.archive.get("url")))


def _of_plugins(
    job: Job, named: tuple[Plugin, ...], scratch: str, previous: Lock | None, wanted: Mapping[str, Direct] = _NONE
) -> Built:
    from envbuilder import sources  # git and all that; most configs have no such plugins

    with job.report.stage("fetching sources"):
        fetched = sources.fetch(
            named,
            layout=job.layout,
            env=job.env,
            previous=previous,
            upgrade=job.request.upgraded_sources,
            offline=job.request.offline,
            scratch=scratch,
            report=job.report,
            policies=job.policies,
        )
    with job.report.stage("building", total=len(named)):
        return stocking.add_all_built(
            [(fetched[plugin.name], plugin) for plugin in named],
            base=job.base,
            layout=job.layout,
            uv=job.uv(),
            report=job.report,
            startup_allowed=frozenset(job.config.startup_code),
            judge=judging(job, leading={name: each.plugin for name, each in wanted.items()}),
            supply=supplying(job),
            wait=job.env.lock_wait,
        )


def _wanted(job: Job, plugins: tuple[Plugin, ...], built: Built) -> list[Direct]:
    """List what is required by a URL and not there yet; raise `SourceError` for what cannot be had like this."""
    entries = {built[plugin.name][0].name: plugin for plugin in plugins if plugin.name in built}
    known = {plugin.source.package: plugin for plugin in plugins if isinstance(plugin.source, PyPI)} | entries
    found, wrong = _read(job, entries, built)
    wrong += _at_odds(found, known)
    wrong += _plain(job, [each for each in found if each.name not in known])
    if wrong:
        raise SourceError(tuple(dict.fromkeys(wrong)))
    return [each for each in found if each.key not in built]


def _read(job: Job, entries: dict[str, Plugin], built: Built) -> tuple[list[Direct], list[tuple[str, str]]]:
    """Read the URLs of requirements; return them, and which cannot be read: plugin and why."""
    leading = {name: plugin.name for name, plugin in entries.items()}
    found: dict[str, Direct] = {}
    wrong: list[tuple[str, str]] = []
    for requirer, requirement in _required(job, entries, built):
        plugin, url = leading.get(requirer, requirer), str(requirement.url)
        try:
            each = direct.read(normalized(requirement.name), url, requirer=requirer, plugin=plugin)
        except ValueError as error:
            wrong.append((plugin, f"it requires `{requirement.name} @ {without_credentials(url)}`: {error}"))
            continue
        leading.setdefault(each.name, plugin)
        found.setdefault(each.key, each)
    return list(found.values()), wrong


def _required(job: Job, entries: dict[str, Plugin], built: Built) -> list[tuple[str, Requirement]]:
    """List who requires what by a URL; what the base holds is left to the resolver, which says why it does not fit."""
    lines = {package.name: package.requires for package, _ in built.values()}
    lines |= {name: stubs.without_bounds(lines[name], entry.ignore) for name, entry in entries.items()}
    extras = {name: entry.extras for name, entry in entries.items()}
    of_base = job.base.distributions.keys() - set(job.config.override)
    required = direct.required(lines, extras, job.base.markers)
    return [(requirer, each) for requirer, each in required if normalized(each.name) not in of_base]


def _at_odds(found: Iterable[Direct], known: dict[str, Plugin]) -> list[tuple[str, str]]:
    """Say which of these packages are to come from two places; `known` is package → the entry that it has."""
    first: dict[str, Direct] = {}
    wrong = []
    for each in found:
        other = first.setdefault(each.name, each)
        if difference := _difference(each, other):
            wrong.append((each.plugin, f"{_spelled(each)}, and `{other.requirer}` {difference}"))
        elif each.sha256:
            first[each.name] = each
        if each.name in known and known[each.name].source != each.source:
            text = f"{_spelled(each)}, and the plugin `{known[each.name].name}` is it from elsewhere"
            wrong.append((each.plugin, text))
    return wrong


def _difference(one: Direct, other: Direct) -> str:
    """Say what the other one is that the one is not; "" where they can be the same."""
    if other.place != one.place:
        return "the one at another URL"
    return "one with another sha256" if other.sha256 and one.sha256 and other.sha256 != one.sha256 else ""


def _plain(job: Job, found: list[Direct]) -> list[tuple[str, str]]:
    """Say what would be asked without TLS where every index is asked over it."""
    plain = [each for each in found if is_plain(each.location)]
    if not plain or are_plain(job.config, job.env):
        return []
    why = "without TLS somebody on the way may answer, and no index is asked like that"
    return [(each.plugin, f"{_spelled(each)}: {why}") for each in plain]


def _spelled(wanted: Direct) -> str:
    return f"it requires `{wanted.name} @ {without_credentials(wanted.url)}`"


def _of_requirements(job: Job, wanted: list[Direct], built: Built, scratch: str) -> Built:
    """Have what is required by a URL; a plugin of the very same source serves as well."""
    fs.make_dirs(scratch)
    named = {found[0].name: found for found in built.values()}
    # Of several spellings of one URL the one that says a hash is asked for.
    stricter = {each.name: each for each in sorted(wanted, key=lambda each: each.sha256)}
    lacking = {name: each for name, each in stricter.items() if name not in named}
    plugins = [
        Plugin(name=name, source=each.source, place=Place(job.config.file))
        for name, each in lacking.items()
        if each.source
    ]
    try:
        made = _of_plugins(job, tuple(plugins), scratch, job.previous, lacking) if plugins else {}
        made |= _of_servers(job, [each for each in lacking.values() if not each.source], scratch)
        for each in wanted:
            _require_named(each, *(named | made)[each.name])
    except VpmError as error:
        raise _told(error, lacking) from None
    named |= {name: (package, replace(locked, plugin="")) for name, (package, locked) in made.items()}
    return {each.key: named[each.name] for each in wanted}


def _of_servers(job: Job, wanted: list[Direct], scratch: str) -> Built:
    """Have files of servers: those that were locked, else those that are there now."""
    if not wanted:
        return {}
    locked = [_kept(job, each) or _found(job, each, scratch) for each in wanted]
    with job.report.stage("fetching", total=len(locked)):
        made = stocking.add_all(
            locked,
            base=job.base,
            layout=job.layout,
            uv=job.uv(),
            report=job.report,
            startup_allowed=frozenset(job.config.startup_code),
            judge=judging(job, leading={each.name: each.plugin for each in wanted}),
            supply=supplying(job),
            wait=job.env.lock_wait,
        )
    return {each.name: (made[each.name], each) for each in locked}


def _kept(job: Job, wanted: Direct) -> LockedPackage | None:
    """Return what the lock of last time has for the same URL, unless a newer one is asked for."""
    upgraded = job.request.upgraded_sources
    if job.previous is None or upgraded is True or (upgraded and wanted.name in upgraded):
        return None
    had = job.previous.package(wanted.name)
    url = without_credentials(wanted.location)
    if had is None or had.archive is None or had.archive.get("url") != url or wanted.subdirectory:
        return None
    is_same = not wanted.sha256 or wanted.sha256 == had.archive.get("hashes", {}).get("sha256")
    return replace(had, plugin="", override=False) if is_same else None


def _found(job: Job, wanted: Direct, scratch: str) -> LockedPackage:
    """Ask for the one file, and for nothing that it requires."""
    # To know what it requires, a resolver unpacks it.
    shown = LockedPackage(name=wanted.name, version="0", plugin=wanted.plugin, archive={"url": wanted.location})
    most = gate.examine(shown, uv=job.uv(), scratch=scratch)
    root = answer.Root(name=wanted.name, line=wanted.key)
    question = answer.Question(python=job.base.python, roots=(root,), alone=True)
    found = answer.ask(job.uv(), question, scratch, most_written=most)
    package = found.package(wanted.name) if isinstance(found, answer.Answer) else None
    if package is None or package.archive is None:
        words = found.words if isinstance(found, answer.Unsolvable) else f"it is no `{wanted.name}`"
        raise SourceError(((wanted.name, words),))
    return package


def _require_named(wanted: Direct, package: Package, locked: LockedPackage) -> None:
    """Refuse what is another package, or another file, than the requirement says."""
    if package.name != wanted.name:
        problem = f"it says that it is {package.name} {package.version}"
        raise PackageError(package=wanted.name, problems=(problem,), plugin=wanted.plugin)
    has = (locked.archive or {}).get("hashes", {}).get("sha256", "")
    if wanted.sha256 and wanted.sha256 != has:
        problem = f"its sha256 is {has or 'unknown'}, and `{wanted.requirer}` requires {wanted.sha256}"
        raise PackageError(package=wanted.name, problems=(problem,), plugin=wanted.plugin)


def _source(locked: LockedPackage) -> Git | Local:
    """Return what a plugin would say of a locked package's source."""
    vcs = locked.vcs or {}
    if vcs:
        return Git(url=str(vcs["url"]), ref=vcs.get("requested-revision"), subdirectory=vcs.get("subdirectory"))
    table = locked.archive or locked.directory or {}
    return Local(path=str(table.get("path", "")), editable=bool(table.get("editable")))


def _require_same(made: LockedPackage, locked: LockedPackage) -> None:
    """Refuse what is not the commit or the content that was locked."""
    both = [(each.name, each.version, (each.vcs or {}).get("commit-id"), each.tree) for each in (made, locked)]
    if both[0] != both[1]:
        problems = ("what its source gives now is not what was locked",)
        raise PackageError(package=locked.name, problems=problems)


def _told(error: VpmError, wanted: dict[str, Direct]) -> VpmError:
    """Lay an error at the door of the plugin that leads to the package."""
    if isinstance(error, SeveralErrors):
        return SeveralErrors(tuple(_told(each, wanted) for each in error.errors))
    if isinstance(error, SourceError):
        missing = [
            (wanted[name].plugin, f"`{name}`, which `{wanted[name].requirer}` requires: {why}")
            if name in wanted
            else (name, why)
            for name, why in error.missing
        ]
        return SourceError(tuple(missing), hint=error.hint)
    if isinstance(error, BuildError) and (name := error.plugin or error.package.partition(" ")[0]) in wanted:
        return BuildError(plugin=wanted[name].plugin, package=error.package, log=error.log, hint=error.hint)
    if isinstance(error, PackageError) and not error.plugin and (name := error.package) in wanted:
        return PackageError(package=name, problems=error.problems, hint=error.hint, plugin=wanted[name].plugin)
    return error
