"""Git repositories: bare mirrors in the cache, refs resolved to commits, work trees exported from the mirror.

Credentials never stand in a command line, a URL that is stored, or a file: git gets the URL without them and asks a
credential helper, whose text only names environment variables. That holds for git's own children too, which get the
URL as an argument. The user's git configuration stays in force (`insteadOf`, ssh, proxies, certificates, netrc); what
could run code or change file contents on a checkout is switched off.
"""

from __future__ import annotations

import os
import re
from os.path import isdir, isfile, join
from typing import TYPE_CHECKING

from envbuilder import fs, process, space
from envbuilder.classes import dataclass, replace
from envbuilder.remotes import GitError, Remote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envbuilder.paths import Environment
    from envbuilder.process import Result

ASK_TIMEOUT = 120.0
FETCH_TIMEOUT = 1800.0
"""Seconds; a transfer below 1 kB/s for a minute ends sooner."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHORT = re.compile(r"[0-9a-f]{7,39}")
_HELPER = (
    '!vpm_env() { test "$1" = get || return 0; '
    'printf "username=%s\\npassword=%s\\n" "$VPM_ENV_GIT_USERNAME" "$VPM_ENV_GIT_PASSWORD"; }; vpm_env'
)
_KEPT = ("GIT_SSH", "GIT_SSL_", "GIT_PROXY_", "GIT_HTTP_", "GIT_CONFIG_", "GIT_EXEC_PATH")
_SETTINGS = {
    "advice.detachedHead": "false",
    "core.autocrlf": "false",
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    "init.defaultBranch": "main",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
}
_FIXED = {
    "GIT_ASKPASS": "",
    "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
    "GIT_HTTP_LOW_SPEED_TIME": "60",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
    "SSH_ASKPASS_REQUIRE": "never",
}
_TORN = re.compile(
    r"unable to (read|find)|corrupt|is empty|missing (blob|tree|commit|object|necessary)|bad (object|tree|ref|pack)|"
    r"broken|inflate|not a git repository|not a valid object|unresolved delta|cannot be (read|opened|mapped)|"
    r"index file .* is|pack has|did not send all necessary objects"
)
"""What git says of a repository whose files are not what it wrote."""
_HEADS_AND_TAGS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


def variables(env: Environment, at: Remote | None = None) -> dict[str, str]:
    """Return the environment that git runs in; credentials of `at` go to its host alone."""
    kept = {
        name: value for name, value in env.variables.items() if not name.startswith("GIT_") or name.startswith(_KEPT)
    }
    settings = list(_SETTINGS.items())
    if at and at.username + at.password:
        # An empty helper first: the user's own would be told to store what ours gave.
        settings += [("credential.helper", ""), (f"credential.{at.host}.helper", _HELPER)]
        kept |= {"VPM_ENV_GIT_USERNAME": at.username, "VPM_ENV_GIT_PASSWORD": at.password}
    return {**kept, **_FIXED, **_allowed(at), **_numbered(settings, int(env.get("GIT_CONFIG_COUNT") or 0))}


def _allowed(at: Remote | None) -> dict[str, str]:
    """Allow local repositories only to whoever named one: a submodule must not read this machine's files."""
    named_locally = at is None or at.url.startswith("file:") or os.path.isabs(at.url)
    return {"GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh" if named_locally else "git:http:https:ssh"}


def _numbered(settings: list[tuple[str, str]], first: int) -> dict[str, str]:
    numbered = {"GIT_CONFIG_COUNT": str(first + len(settings))}
    for number, (key, value) in enumerate(settings, first):
        numbered |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return numbered


@dataclass(frozen=True, kw_only=True, slots=True)
class Mirror:
    """A bare copy of a repository at `path`; whoever calls its methods holds its lock."""

    path: str
    remote: Remote
    env: Environment

    def has(self, commit: str) -> bool:
        """Tell whether the mirror holds `commit` and all that belongs to it.

        A fetch that was killed may leave a commit without its files; refs are moved when everything is there.
        """
        if not isdir(self.path):
            return False
        is_kept = not self._git("show-ref", "--verify", "--quiet", f"refs/vpm-env/{commit}", fails=True).code
        led_to = ("for-each-ref", "--count=1", "--format=%(refname)", "--contains", commit)
        return is_kept or bool(self._git(*led_to, fails=True).stdout.strip())

    def resolve(self, ref: str | None, *, offline: bool) -> str:
        """Return the 40 hex digits that `ref` (a branch, a tag, a commit, or None for HEAD) means now."""
        if ref and _COMMIT.fullmatch(ref):
            return ref
        named = _choose(ref, self._known() if offline else self._asked(ref))
        if named:
            return named
        if ref and _SHORT.fullmatch(ref):
            return self._lengthened(ref, offline=offline)
        where = "the mirror in the cache, and the network is off" if offline else f"`{self.remote.url}`"
        raise GitError(f"`{ref or 'HEAD'}` is no branch, tag or commit of {where}")

    def moved_tag(self, ref: str | None, commit: str) -> str | None:
        """Return the commit of the tag `ref` if it is another now; None for a branch, and where nobody answers."""
        if not ref or _COMMIT.fullmatch(ref):
            return None
        try:
            if isdir(self.path) and f"refs/tags/{ref}" not in self._known():
                return None
            listed = self._asked(ref)
        except GitError:
            return None
        is_branch = ref in listed or f"refs/heads/{ref}" in listed
        now = None if is_branch else _choose(ref, listed)
        return now if now != commit else None

    def bring(self, commit: str, ref: str | None, target: str, *, offline: bool) -> None:
        """Check `commit` out into `target`, with its history, from which build backends compute versions.

        A mirror that is torn (git syncs little of what it writes) is made anew. It stays until the new one is whole:
        the remote may be torn instead.
        """
        try:
            self.ensure(commit, ref, offline=offline)
            self._export(commit, target)
        except GitError as error:
            if offline or not _TORN.search(str(error)):
                raise
            anew = replace(self, path=f"{self.path}.anew")
            for path in (anew.path, target):
                fs.remove_tree(path)
            anew.ensure(commit, ref, offline=False)
            fs.remove_tree(self.path)
            fs.rename(anew.path, self.path)
            self._export(commit, target)

    def ensure(self, commit: str, ref: str | None, *, offline: bool) -> None:
        """Bring `commit` into the mirror, and keep it there when its branch moves on or goes."""
        if not self.has(commit):
            if offline:
                raise GitError(f"commit {commit[:12]} is not in the cache, and the network is off")
            self._fetch(*_HEADS_AND_TAGS)
            if not self.has(commit):
                self._fetch_one(commit, ref)
        self._git("update-ref", f"refs/vpm-env/{commit}", commit)

    def _export(self, commit: str, target: str) -> None:
        commands = (
            ("clone", "--quiet", "--shared", "--no-checkout", "--template=", "--", self.path, target),
            ("-C", target, "checkout", "--quiet", "--detach", commit),
            # The clone's own name for where it comes from is a path in the cache.
            ("-C", target, "remote", "set-url", "origin", self.remote.url),
        )
        for command in commands:
            result = process.run(["git", *command], env=variables(self.env), timeout=FETCH_TIMEOUT)
            if result.code:
                space.require_nothing_refused(result.stderr, target)
                raise GitError(reason(result))

    def _asked(self, ref: str | None) -> dict[str, str]:
        patterns = (ref, f"{ref}^{{}}") if ref else ("HEAD",)
        answer = self._run("ls-remote", "--", self.remote.url, *patterns, cwd=None, timeout=ASK_TIMEOUT)
        return _listed(answer.stdout)

    def _known(self) -> dict[str, str]:
        if not isdir(self.path):
            raise GitError("its repository is not in the cache, and the network is off")
        return _listed(self._git("show-ref", "--dereference", fails=True).stdout.replace(" ", "\t"))

    def _lengthened(self, short: str, *, offline: bool) -> str:
        for attempt in range(1 if offline else 2):
            if attempt:
                self._fetch(*_HEADS_AND_TAGS)
            if isdir(self.path):
                found = self._git("rev-parse", "--verify", "--quiet", f"{short}^{{commit}}", fails=True)
                if not found.code:
                    return found.stdout.strip()
        raise GitError(f"`{short}` is no branch, tag or commit of `{self.remote.url}`")

    def _fetch_one(self, commit: str, ref: str | None) -> None:
        """Fetch what no branch or tag leads to: the ref that names it (`refs/pull/1/head`), else the commit itself."""
        wanted = ref if ref and ref.startswith("refs/") else commit
        self._fetch(f"+{wanted}:refs/vpm-env/{commit}")
        if not self.has(commit):
            raise GitError(f"commit {commit[:12]} is not in `{self.remote.url}`")

    def _fetch(self, *refspecs: str) -> None:
        if not isfile(join(self.path, "HEAD")):
            fs.make_dirs(self.path)
            self._run("init", "--quiet", "--bare", "--template=", "--", self.path, cwd=None)
        for path in _left_behind(self.path):
            fs.remove(path)
        options = ("--quiet", "--force", "--no-tags", "--prune", "--no-write-fetch-head")
        at = ("fetch", *options, "--", self.remote.url, *refspecs)
        self._run(*at, cwd=self.path, timeout=FETCH_TIMEOUT)

    def _git(self, *arguments: str, fails: bool = False) -> Result:
        return self._run(*arguments, cwd=self.path, fails=fails)

    def _run(self, *arguments: str, cwd: str | None, timeout: float = ASK_TIMEOUT, fails: bool = False) -> Result:
        env = variables(self.env, self.remote)
        result = process.run(["git", *arguments], env=env, cwd=cwd, timeout=timeout, secrets=self.remote.secrets)
        if result.code and not fails:
            space.require_nothing_refused(result.stderr, self.path)
            raise GitError(reason(result))
        return result


def effective_url(remote: Remote, env: Environment) -> str:
    """Return the URL that git asks for a remote: its settings (`insteadOf`) may say another."""
    result = process.run(["git", "ls-remote", "--get-url", "--", remote.url], env=variables(env, remote))
    if result.code:
        raise GitError(reason(result))
    return result.stdout.strip()


def submodules(tree: str, env: Environment) -> dict[str, tuple[str, str]]:
    """Name the submodules of an exported work tree: path → `(URL, commit)`."""
    if not isfile(join(tree, ".gitmodules")):
        return {}
    env_of_git = variables(env)
    at = ["git", "config", "--file", ".gitmodules", "--null", "--get-regexp", r"^submodule\..*\.(path|url)$"]
    pairs = dict(line.split("\n", 1) for line in process.run(at, env=env_of_git, cwd=tree).stdout.split("\0") if line)
    listed = process.run(["git", "ls-tree", "-r", "-z", "HEAD"], env=env_of_git, cwd=tree).stdout.split("\0")
    commits = {entry.split("\t", 1)[1]: entry.split()[2] for entry in listed if entry.startswith("160000 ")}
    named = {path: pairs.get(key[: -len(".path")] + ".url", "") for key, path in pairs.items() if key.endswith(".path")}
    return {path: (url, commits[path]) for path, url in named.items() if url and path in commits}


def reason(result: Result) -> str:
    """Say in one line why git failed: its own last words."""
    if result.code == 127 and "No such file" in result.stderr:
        return "git is not installed"
    if result.code == 127:
        return f"`git` does not start: {result.stderr.partition(': ')[2].strip().lower()}"
    lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "ERROR:", "ended after"))]
    # The first of git's words is the cause; "Could not read from remote repository" and advice follow.
    return f"git: {'; '.join(dict.fromkeys((telling or lines)[:2]))}" if lines else f"git ended with {result.code}"


def _listed(text: str) -> dict[str, str]:
    lines = (line.split("\t", 1) for line in text.splitlines() if "\t" in line)
    return {name: commit for commit, name in lines}


def _choose(ref: str | None, listed: Mapping[str, str]) -> str | None:
    """Choose among refs as pip and uv do, a branch before a tag; an annotated tag counts as the commit it names."""
    if ref is None:
        return listed.get("HEAD") or listed.get("refs/heads/main") or listed.get("refs/heads/master")
    for name in (ref, f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/{ref}"):
        if found := listed.get(f"{name}^{{}}") or listed.get(name):
            return found
    return None


def _left_behind(path: str) -> Iterator[str]:
    """Find what a killed git left, locks and halves of objects; we hold the mirror's lock, so nobody needs them."""
    objects = join(path, "objects")
    for folder, _, files in os.walk(path):
        yield from (join(folder, name) for name in files if name.endswith(".lock"))
        if folder.startswith(objects):  # elsewhere a branch may be called so
            yield from (join(folder, name) for name in files if name.startswith("tmp_"))
