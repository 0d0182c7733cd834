"""Fetch what stands in the config as git or local: refs become commits, folders become private copies.

Whatever cannot be had is told for all plugins at once. The user's folders and files are only read.
"""

from __future__ import annotations

import os
from os.path import isdir, isfile, join, normpath, realpath
from typing import TYPE_CHECKING, Any, Literal

from envbuilder import flocks, fs, git, process, remotes, tree
from envbuilder.classes import dataclass
from envbuilder.config import Git, Local
from envbuilder.contexts import contextmanager
from envbuilder.digest import sha256_bytes, sha256_file, sha256_of
from envbuilder.errors import CommandFailed, SourceError
from envbuilder.policy import rules_of
from envbuilder.remotes import GitError
from envbuilder.report import Reporter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from envbuilder.config import Plugin
    from envbuilder.lock import Lock
    from envbuilder.paths import Environment, Layout
    from envbuilder.policy import Policy
    from envbuilder.remotes import Remote

_WORKERS = 4
_SUBMODULE_DEPTH = 8
_SDIST = (".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A git or local source, fetched.

    `path` is a private copy of the tree, or the wheel or sdist itself. One of `vcs`, `directory` and `archive` is
    set, with PEP 751's names. `tree` is the sha256 of a local source's content, "" for git; `members` are the files
    of a local folder's copy, to which a build adds others.
    """

    plugin: str
    kind: Literal["tree", "wheel", "sdist"]
    path: str
    tree: str = ""
    members: tuple[str, ...] = ()
    vcs: dict[str, Any] | None = None
    directory: dict[str, Any] | None = None
    archive: dict[str, Any] | None = None

    @property
    def editable_root(self) -> str | None:
        """Return the user's own folder if the plugin is editable."""
        return str(self.directory["path"]) if self.directory and self.directory.get("editable") else None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Errand:
    layout: Layout
    env: Environment
    previous: Lock | None
    upgrade: bool | frozenset[str]
    offline: bool
    scratch: str
    report: Reporter
    policies: tuple[Policy, ...]


def fetch(
    plugins: Iterable[Plugin],
    *,
    layout: Layout,
    env: Environment,
    previous: Lock | None,
    upgrade: bool | frozenset[str],
    offline: bool,
    scratch: str,
    report: Reporter | None = None,
    policies: tuple[Policy, ...] = (),
) -> dict[str, Source]:
    """Fetch the git and local sources among `plugins` into `scratch`: plugin name → source.

    A git ref keeps the commit that `previous` has for it unless `upgrade` (all, or names of plugins) says otherwise.
    Raise `SourceError`, which names every plugin whose source cannot be had.
    """
    errand = _Errand(
        layout=layout,
        env=env,
        previous=previous,
        upgrade=upgrade,
        offline=offline,
        scratch=scratch,
        report=report or Reporter(),
        policies=policies,
    )
    wanted = [plugin for plugin in plugins if isinstance(plugin.source, (Git, Local))]
    with process.workers(_WORKERS) as pool:
        results = list(pool.map(lambda plugin: _attempt(plugin, errand), wanted))
    failed = tuple((plugin.name, got) for plugin, got in zip(wanted, results, strict=True) if isinstance(got, str))
    if failed:
        raise SourceError(failed)
    return {source.plugin: source for source in results if isinstance(source, Source)}


def fingerprint(source: Local, env: Environment) -> str:
    """Digest what a local source looks like from outside, without reading contents: it changes whenever they do."""
    if isdir(source.path):
        return sha256_of([source.path, source.editable, tree.fingerprint(source.path, env)])
    status = os.stat(source.path) if isfile(source.path) else None
    seen = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino] if status else None
    return sha256_of([source.path, seen])


def _attempt(plugin: Plugin, errand: _Errand) -> Source | str:
    """Fetch one source, or say what is wrong with it."""
    try:
        if isinstance(plugin.source, Git):
            return _git(plugin.name, plugin.source, errand)
        if isinstance(plugin.source, Local):
            return _local(plugin.name, plugin.source, errand)
        return "its source is neither git nor local"
    except GitError as error:
        return str(error)
    except CommandFailed as error:
        return f"git ended with {error.code}: {error.output.strip()}"
    except OSError as error:
        if error.errno in fs.FULL:
            raise
        return f"`{error.filename}`: {error.strerror}" if error.filename else str(error)


def _git(name: str, source: Git, errand: _Errand) -> Source:
    remote = remotes.remote(source.url, errand.env)
    subdirectory = _inner(source.subdirectory)
    vcs = {"type": "git", "url": remotes.safe_url(source.url), "requested-revision": source.ref}
    with _mirror(remote, errand) as mirror:
        kept = _kept(name, vcs, subdirectory, errand)
        commit = kept or mirror.resolve(source.ref, offline=errand.offline)
        if kept and not errand.offline and (now := mirror.moved_tag(source.ref, kept)):
            errand.report.warn(
                f"`{name}`: the tag `{source.ref}` is commit {now[:12]} now, and was {kept[:12]} when it was locked; "
                f"`vpm-env upgrade {name}` takes it"
            )
        target = join(errand.scratch, f"git-{sha256_bytes(name.encode())[:12]}")
        mirror.bring(commit, source.ref, target, offline=errand.offline)
    _export_submodules(remote, target, errand, depth=1)
    path = join(target, subdirectory) if subdirectory else target
    if not isdir(path):
        raise GitError(f"the subdirectory `{subdirectory}` is not in commit {commit[:12]}")
    if not f"{realpath(path)}{os.sep}".startswith(f"{realpath(target)}{os.sep}"):
        raise GitError(f"the subdirectory `{subdirectory}` of commit {commit[:12]} leads out of the repository")
    _require_project(path)
    vcs |= {"commit-id": commit, "subdirectory": subdirectory}
    return Source(plugin=name, kind="tree", path=path, vcs={key: value for key, value in vcs.items() if value})


@contextmanager
def _mirror(remote: Remote, errand: _Errand) -> Iterator[git.Mirror]:
    """Lend the mirror of `remote`, locked: two builds may want it at once; refuse one that no policy allows."""
    _require_allowed(remote, errand)
    named = sha256_bytes(remote.url.encode())[:32]
    lock = join(errand.layout.flocks, f"git-{named}.lock")
    with flocks.locked(lock, wait=errand.env.lock_wait, on_wait=errand.report.waiting):
        yield git.Mirror(path=join(errand.layout.cache, "git", named), remote=remote, env=errand.env)


def _require_allowed(remote: Remote, errand: _Errand) -> None:
    """Hold a repository to the policies, a submodule's too, by the URL that git's own settings make of it."""
    for rule in rules_of(errand.policies, "git"):
        asked = git.effective_url(remote, errand.env)
        if not (rule.covers(remote.url) and rule.covers(asked)):
            raise GitError(f"`{process.redact(asked)}` is forbidden by `{rule}` ({rule.place})")


def _export_submodules(parent: Remote, target: str, errand: _Errand, *, depth: int) -> None:
    """Export submodules into their places, from mirrors of their own: offline they are as good as the repository."""
    if depth > _SUBMODULE_DEPTH:
        raise GitError(f"its submodules are nested more than {_SUBMODULE_DEPTH} deep")
    for path, (url, commit) in git.submodules(target, errand.env).items():
        inner = join(target, _inner(path) or "")
        if realpath(inner) != join(realpath(target), normpath(path)):
            raise GitError(f"its submodule `{path}` leads through a link")
        remote = remotes.relative_to(parent, url)
        with _mirror(remote, errand) as mirror:
            mirror.bring(commit, None, inner, offline=errand.offline)
        _export_submodules(remote, inner, errand, depth=depth + 1)


def _kept(name: str, vcs: dict[str, Any], subdirectory: str | None, errand: _Errand) -> str | None:
    """Return the commit that the previous lock has for the same URL, ref and subdirectory."""
    if errand.previous is None or errand.upgrade is True or (errand.upgrade and name in errand.upgrade):
        return None
    same = (vcs["url"], vcs["requested-revision"], subdirectory)
    for package in errand.previous.packages:
        had = package.vcs or {}
        has = (had.get("url"), had.get("requested-revision"), had.get("subdirectory"))
        if (package.plugin or package.name) == name and same == has:
            return str(had["commit-id"])
    return None


def _local(name: str, source: Local, errand: _Errand) -> Source:
    if isdir(source.path):
        return _folder(name, source, errand)
    if not isfile(source.path):
        raise GitError(f"`{source.path}` does not exist")
    if not source.path.endswith((".whl", *_SDIST)):
        raise GitError(f"`{source.path}` is no folder, wheel or sdist")
    sha256 = sha256_file(source.path)
    archive = {"path": source.path, "size": os.path.getsize(source.path), "hashes": {"sha256": sha256}}
    kind: Literal["wheel", "sdist"] = "wheel" if source.path.endswith(".whl") else "sdist"
    return Source(plugin=name, kind=kind, path=source.path, tree=sha256, archive=archive)


def _folder(name: str, source: Local, errand: _Errand) -> Source:
    _require_project(source.path)
    target = join(errand.scratch, f"local-{sha256_bytes(name.encode())[:12]}")
    names = tree.members(source.path, errand.env)
    history = tree.history(source.path, errand.env)
    tree.copy(source.path, names, target)
    if history:
        tree.copy_history(source.path, target, errand.env)
    directory: dict[str, Any] = {"path": source.path}
    if source.editable:
        directory["editable"] = True
    digest = tree.digest(target, names, history=history)
    return Source(plugin=name, kind="tree", path=target, tree=digest, members=tuple(names), directory=directory)


def _inner(path: str | None) -> str | None:
    """Return a path below a work tree, normalized; refuse one that leads out of it."""
    if not path:
        return None
    normal = os.path.normpath(path)
    if os.path.isabs(path) or normal.split(os.sep)[0] == "..":
        raise GitError(f"`{path}` leads out of the repository")
    return None if normal == "." else normal


def _require_project(path: str) -> None:
    if not any(isfile(join(path, name)) for name in tree.PROJECT_FILES[:2]):
        raise GitError("there is no `pyproject.toml` and no `setup.py` where its project should be")
