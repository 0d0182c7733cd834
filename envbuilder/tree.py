"""A local folder as a source: which files belong to it, their digest, a private copy. The folder is only read.

What belongs to it is what git would track, where it is (in) a git work tree; else everything but what tools leave
behind. The digest covers paths, exec bits and contents, so two copies of the same folder have the same one.
"""

from __future__ import annotations

import os
import re
import stat
from os.path import isdir, isfile, islink, join, lexists, realpath
from typing import TYPE_CHECKING

from envbuilder import fs, git, process
from envbuilder.digest import sha256_file, sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.paths import Environment

_LEFT_OVER = frozenset(
    {
        ".git", ".hg", ".svn", "__pycache__", ".venv", ".env", "node_modules", ".tox", ".nox",
        ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".eggs", ".idea", ".vscode",
    }
)  # fmt: skip
_LEFT_AT_THE_TOP = frozenset({"build", "dist", "venv"})
PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
_VERSION_TOOLS = re.compile(r"scm|hatch[-_]vcs|versioningit|dunamai|dynamic[-_]versioning|versioneer|\bpbr\b")


def members(folder: str, env: Environment) -> list[str]:
    """Name the files and symlinks that belong to `folder`, relative to it, sorted."""
    if _in_work_tree(folder):
        tracked = _tracked(folder, env)
        # A folder that an outer repository ignores has no project file among what git names.
        if any(name in tracked for name in PROJECT_FILES):
            return sorted(tracked)
    return sorted(_walked(folder, ""))


def copy(folder: str, names: list[str], target: str) -> None:
    """Copy the named members into the new directory `target`; links that lead out of the folder keep their aim."""
    fs.make_dirs(target)
    for name in names:
        source, copied = join(folder, name), join(target, name)
        fs.make_dirs(os.path.dirname(copied))
        if islink(source) and (aim := _aim(folder, source)):
            fs.link(aim, copied)
        else:
            fs.copy_file(source, copied, mode=0o755 if os.stat(source).st_mode & 0o100 else 0o644)


def digest(root: str, names: list[str], *, history: str = "") -> str:
    """Digest a copy: 64 hex digits over path, exec bit or link, and content of its members, and of its history."""
    return sha256_of([history, *([name, *_content(join(root, name))] for name in names)])


def fingerprint(folder: str, env: Environment) -> str:
    """Digest the stats of a folder's members: changes whenever a content does, and costs no reading."""
    names = members(folder, env)
    return sha256_of([history(folder, env), *([name, *_stats(join(folder, name))] for name in names)])


def history(folder: str, env: Environment) -> str:
    """Return what git says of the folder's commit, where its version is computed from that; else ""."""
    if not lexists(join(folder, ".git")) or not any(_names_version_tool(join(folder, name)) for name in PROJECT_FILES):
        return ""
    at = ["git", "-c", "safe.directory=*", "describe", "--always", "--long", "--tags", "--abbrev=40"]
    return process.run(at, env=git.variables(env), cwd=folder, timeout=git.ASK_TIMEOUT).stdout.strip()


def copy_history(folder: str, target: str, env: Environment) -> None:
    """Give a copy the folder's git history, by reference: a build backend computes its version from it."""
    env_of_git = git.variables(env)
    beside = f"{target}.history"
    commands = (
        ["clone", "--quiet", "--shared", "--no-checkout", "--template=", "--", folder, beside],
        ["-C", beside, "reset", "--quiet"],
    )
    for command in commands:
        at = ["git", "-c", "safe.directory=*", *command]
        process.check(at, env=env_of_git, timeout=git.FETCH_TIMEOUT)
    fs.rename(join(beside, ".git"), join(target, ".git"))
    fs.remove_tree(beside)


def _in_work_tree(folder: str) -> bool:
    path = realpath(folder)
    while not lexists(join(path, ".git")):
        if path == os.path.dirname(path):
            return False
        path = os.path.dirname(path)
    return True


def _tracked(folder: str, env: Environment) -> set[str]:
    """Ask git; of what it names, leave out what was deleted and look into repositories inside the repository."""
    at = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    result = process.run(at, env=git.variables(env), cwd=folder, timeout=git.ASK_TIMEOUT)
    if result.code or "\ufffd" in result.stdout:
        return set()
    found: set[str] = set()
    for name in filter(None, result.stdout.split("\0")):
        path = join(folder, name)
        if islink(path) or isfile(path):
            found.add(name)
        elif isdir(path):
            inner = name.rstrip("/")
            nested = _tracked(path, env) if lexists(join(path, ".git")) else set(_walked(path, ""))
            found |= {f"{inner}/{deeper}" for deeper in nested}
    return {name for name in found if not name.endswith(".pyc")}


def _walked(folder: str, below: str) -> Iterator[str]:
    with os.scandir(join(folder, below)) as entries:
        kept = [entry for entry in entries if not _is_left_over(entry, at_the_top=not below)]
    for entry in kept:
        name = f"{below}/{entry.name}" if below else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _walked(folder, name)
        elif entry.is_symlink() or entry.is_file(follow_symlinks=False):
            yield name


def _is_left_over(entry: os.DirEntry[str], *, at_the_top: bool) -> bool:
    if entry.name in _LEFT_OVER or (at_the_top and entry.name in _LEFT_AT_THE_TOP):
        return True
    return entry.name.endswith((".egg-info", ".pyc")) or isfile(join(entry.path, "pyvenv.cfg"))


def _aim(folder: str, path: str) -> str | None:
    """Say what a copied symlink should say; None where the file that it leads to must be copied in its place."""
    text, aim, root = os.readlink(path), realpath(path), realpath(folder)
    if aim == root or aim.startswith(root + os.sep):
        return os.path.relpath(aim, realpath(os.path.dirname(path))) if os.path.isabs(text) else text
    if isfile(aim):
        return None
    return aim if isdir(aim) else text


def _content(path: str) -> tuple[str, str]:
    if islink(path):
        return "link", os.readlink(path)
    return "exec" if os.stat(path).st_mode & 0o100 else "file", sha256_file(path)


def _stats(path: str) -> list[int]:
    """Stat a member, through a link: what a link leads to is copied in its place where it lies outside."""
    found: list[int] = []
    for status in (os.lstat(path), os.stat(path) if os.path.exists(path) else None):
        if status is not None and (not found or stat.S_ISREG(status.st_mode)):
            found += [status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    return found


def _names_version_tool(path: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return bool(_VERSION_TOOLS.search(stream.read()))
    except OSError:
        return False
