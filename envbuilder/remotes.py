"""Addresses of git repositories: what may be stored and passed on, and the credentials, apart from it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from envbuilder import process
from envbuilder.classes import dataclass, field

if TYPE_CHECKING:
    from envbuilder.paths import Environment

SCHEMES = frozenset({"https", "http", "ssh", "git", "file"})
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SCP_LIKE = re.compile(r"(?:[\w.-]+@)?[\w.-]+:(?!/)[^:].*|(?:[\w.-]+@)[\w.-]+:/.*")


class GitError(Exception):
    """Git did not do what was asked of it; the text is one sentence, without credentials."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Remote:
    """A repository's address: `url` is safe to store, show and pass; the credentials are only for the helper."""

    url: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def host(self) -> str:
        """Return scheme, host and port: where the credentials may go."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return what is struck out of what git says."""
        return (self.password,) if self.password else (self.username,)


def safe_url(url: str) -> str:
    """Return `url` as it may be stored: no `git+`, no user info (but ssh's user name); `${NAME}` stays as it is."""
    url = url.removeprefix("git+")
    # Not `urlsplit`: an unfilled `${NAME:…` is no valid port, and a password may hold a slash before it is filled in.
    scheme, divider, rest = url.partition("://")
    if not divider:
        return url
    authority, slash, path = rest.partition("/")
    user_info, at, host = authority.rpartition("@")
    if at and scheme == "ssh":
        return f"ssh://{user_info.partition(':')[0]}@{host}{slash}{path}"
    return f"{scheme}://{host}{slash}{path}"


def remote(url: str, env: Environment) -> Remote:
    """Make a remote of a URL of the config, `${NAME}` filled from `env`; raise `GitError` where it cannot be."""
    user_info = _user_info(url.removeprefix("git+"))
    username, _, password = (unquote(_filled(part, env)) for part in user_info.partition(":"))
    plain = _trusted(_filled(safe_url(url), env))
    if plain.startswith("ssh://"):
        username = password = ""
    return Remote(url=plain, username=username, password=password)


def _trusted(url: str) -> str:
    """Return `url` unless git could take it for an option, or for a command to run (`ext::`)."""
    scheme = url.partition("://")[0] if "://" in url else ""
    known = scheme.lower() in SCHEMES if scheme else bool(_SCP_LIKE.fullmatch(url)) or os.path.isabs(url)
    if not known or url.startswith("-") or re.search(r"[\x00-\x20\x7f]", url):
        raise GitError(f"`{process.redact(url)}` is no URL of a git repository")
    return url


def _user_info(url: str) -> str:
    authority = url.partition("://")[2].partition("/")[0]
    return authority.rpartition("@")[0]


def _filled(text: str, env: Environment) -> str:
    unset = [name for name in _VARIABLE.findall(text) if env.get(name) is None]
    if unset:
        raise GitError(f"the variable `{unset[0]}` of its URL is not set")
    return _VARIABLE.sub(lambda found: env.variables[found[1]], text)


def relative_to(parent: Remote, url: str) -> Remote:
    """Make a remote of a submodule's URL: relative ones count from the parent's, which lends its host credentials."""
    if url.startswith(("./", "../")):
        base = parent.url.rstrip("/")
        while url.startswith(("./", "../")):
            step, _, url = url.partition("/")
            base = re.sub(r"[/:][^/:]*$", "", base) if step == ".." else base
        url = f"{base}/{url}"
    found = Remote(url=_trusted(safe_url(url)))
    if "://" in found.url and found.host == parent.host:
        return Remote(url=found.url, username=parent.username, password=parent.password)
    return found
