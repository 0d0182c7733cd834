"""What one value of a config may be: each function returns the value in its final form, or raises `ValueError`.

The error's text ends the sentence that the place and the key begin. It never holds a URL, for that may hold
credentials.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from os.path import dirname, isabs, join, normpath
from urllib.parse import urlsplit

from envbuilder.amounts import Amount, amount
from envbuilder.codes import CODES
from envbuilder.confidential import is_secret, options_of
from envbuilder.document import shown
from envbuilder.moments import checked
from envbuilder.names import is_name, nearest, normalized
from envbuilder.process import without_credentials
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.paths import Environment

INDEX_SCHEMES = ("https", "http", "file")
CACHE_SCHEMES = (*INDEX_SCHEMES, "s3")
GIT_SCHEMES = ("https", "http", "ssh", "git", "file")
MAX_CLAUSES = 16

_AUTHORIZATION = re.compile(r"(?:\bauthorization:\s*(?:\w+\s+)?|\bbearer\s+)([^\s'\"]+)", re.IGNORECASE)
_CHARACTERS = {" ": "space", "\t": "tab", "\n": "line break", "\r": "line break"}
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_SCP_LIKE = re.compile(r"[A-Za-z0-9_][\w.+-]*@[A-Za-z0-9_][\w.-]*:(?![:/]/)[^\s:-]\S*", re.ASCII)
_GROUP = re.compile(r"[\w-]+(?:\.[\w-]+)*")
_PROFILE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_NO_REF = re.compile(r"[\s~^:?*\[\\]|\.\.|@\{|//|^/|/$|\.$|\.lock$")
_MORE_THAN_NAME = re.compile(r"[A-Za-z0-9._-]+\s*(\[|[<>=!~@;])")
_ARCHIVES = (".whl", ".tar.gz", ".zip")


class Folder(NamedTuple):
    """Where the config's relative paths count from, and whose home its `~` is."""

    path: str
    env: Environment

    @classmethod
    def of(cls, file: str, env: Environment) -> Folder:
        """Return the folder of the config `file` (absolute)."""
        return cls(path=dirname(file), env=env)

    def absolute(self, text: str) -> str:
        """Make a path absolute: `~` is the user's home, a relative path counts from the config."""
        if "://" in text or text.startswith("file:"):
            raise ValueError("must be a path, and this is a URL")
        expanded = self.env.expand(text)
        if expanded.startswith("~"):
            raise ValueError(f"has no meaning here: {shown(text)} names no home; write the whole path")
        return normpath(join(self.path, expanded))

    def find_links(self, text: str) -> str:
        """Return an absolute folder, or a URL as it is written."""
        if "://" in text or text.startswith(("file:", "${")):
            return index_url(text)
        return self.absolute(text)

    def cache(self, text: str) -> str:
        """Return an absolute folder, or the URL of a cache as it is written."""
        if "://" not in text and not text.startswith(("file:", "${")):
            return self.absolute(text)
        _check_url(text, CACHE_SCHEMES)
        return text


def package_name(text: str) -> str:
    """Normalize a package's name (PEP 503)."""
    if not is_name(text):
        raise ValueError(_no_name(text))
    return normalized(text)


def plugin_name(text: str) -> str:
    """Check a plugin's name, which keeps its spelling."""
    package_name(text)
    return text


def _no_name(text: str) -> str:
    if _MORE_THAN_NAME.match(text):
        return f"must be a name alone, and {shown(text)} holds more; bounds go under `version`, extras under `extras`"
    return f"must be a name of letters, digits, `-`, `_` and `.`, and {shown(text)} is none"


def entry_point(text: str) -> str:
    """Check what names an entry point: `name`, or `group:name`."""
    group, colon, name = text.rpartition(":")
    if (colon and not is_group(group)) or not _is_point_name(name):
        raise ValueError(f"must be the name of an entry point, alone or as `group:name`, and {shown(text)} is none")
    return text


def is_group(text: str) -> bool:
    """Tell whether a text may name a group of entry points."""
    return _GROUP.fullmatch(text) is not None


def entry_point_name(text: str) -> str:
    """Check the name of an entry point whose group is known."""
    if not _is_point_name(text):
        raise ValueError(f"must be the name of an entry point, and {shown(text)} is none")
    return text


def grouped(group: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return entry points of one group as `group:name`."""
    return tuple(f"{group}:{name}" for name in names)


def _is_point_name(text: str) -> bool:
    return bool(text) and not set(text) & set("=:[] \t")


def profile_name(text: str) -> str:
    """Check a profile's name, which is also a folder's."""
    if not _PROFILE.fullmatch(text):
        raise ValueError(f"must be up to 64 of a-z, 0-9, `.`, `_`, `-`, a letter or digit first; not {shown(text)}")
    return text


def specifier(text: str) -> str:
    """Return a PEP 440 specifier with one spelling; a bare version means that version alone."""
    if text.count(",") >= MAX_CLAUSES:
        raise ValueError(f"holds more than {MAX_CLAUSES} bounds")
    bare = _bare_version(text)
    if bare and bare.isascii() and not bare.endswith("*"):
        return bare
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # only configs with bounds pay for it

    try:
        return str(SpecifierSet(bare or text))
    except InvalidSpecifier:
        pass
    raise ValueError(f"must be a version or bounds like `>=1.2,<2`, not {shown(text)}{_likely(text)}")


def _bare_version(text: str) -> str | None:
    from packaging.version import InvalidVersion, Version

    bare = text.strip()
    try:
        version = Version(bare.removesuffix(".*"))
    except InvalidVersion:
        return None
    return f"=={version}.*" if bare.endswith(".*") else f"=={version}"


def _likely(text: str) -> str:
    """Say what another tool's spelling is here."""
    word = text.strip()
    if word in ("*", "latest", "any"):
        return "; leave the key out for the newest that fits"
    if match := re.fullmatch(r"(\^|~|=)\s*v?(\d+(?:\.\d+)*)", word):
        return f"; write `=={match[2]}`" if match[1] == "=" else f"; do you mean `~={match[2]}`?"
    return ""


def index_url(text: str) -> str:
    """Check the URL of an index; `${NAME}` stays as it is written."""
    _check_url(text, INDEX_SCHEMES)
    return text


def git_url(text: str) -> str:
    """Check the URL of a git repository, `user@host:path` or an absolute path; `${NAME}` stays as it is written."""
    if text.startswith("git+"):
        raise ValueError("begins with `git+`, which is pip's spelling; leave it out")
    if text.startswith("/") or _SCP_LIKE.fullmatch(_VARIABLE.sub("1", text)):
        return text
    if text.startswith((".", "~")):
        raise ValueError("must be an absolute path or a URL, for it is also written to the lock")
    if "#" in text or re.search(r"\.git@", text):
        raise ValueError("holds more than the repository; write `ref` and `subdirectory` as keys of their own")
    _check_url(text, GIT_SCHEMES)
    for name in _VARIABLE.findall(text.partition("://")[2].rpartition("@")[2]):
        if is_secret(name[2:-1], ""):
            raise ValueError(
                f"has `{name}` behind the host, which git shows to every user of the machine; "
                f"write it as `https://user:{name}@host/`"
            )
    return text


def _check_url(text: str, schemes: tuple[str, ...]) -> None:
    filled = _VARIABLE.sub("1", text)
    if "${" in filled:
        raise ValueError("holds a `${` that no `NAME}` follows")
    if found := re.search(r"[\s'\"<>\\^`{|}]", filled):
        raise ValueError(f"holds a {_CHARACTERS.get(found[0], found[0])}; write it as `%{ord(found[0]):02X}`")
    if "?" in filled or "#" in filled:
        raise ValueError(
            "holds a `?` or `#`; a credential goes before the host (`https://user:${NAME}@host/`), "
            "and in a password these are `%3F` and `%23`"
        )
    if _VARIABLE.match(text):
        return
    allowed = ", ".join(f"`{scheme}://`" for scheme in schemes)
    scheme, separator, _ = filled.partition("://")
    if not separator:
        raise ValueError(f"must be a URL that begins with one of {allowed}")
    if scheme.lower() not in schemes:
        raise ValueError(f"must begin with one of {allowed}")
    _check_host(filled, scheme.lower())


def _check_host(url: str, scheme: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("is a URL whose host or port cannot be read") from None
    if scheme == "file" and not parts.path.startswith("/"):
        raise ValueError("must hold an absolute path behind `file://`")
    if scheme != "file" and not host:
        raise ValueError("is a URL without a host")
    if host.startswith("-"):
        raise ValueError("names a host that begins with `-`, as an option would")
    if parts.netloc.count("@") > 1:
        raise ValueError("holds an `@` in the user or the password; write it as `%40`")


def git_ref(text: str) -> str:
    """Check the name of a branch, a tag or a commit."""
    if _NO_REF.search(text):
        raise ValueError(f"must be a branch, a tag or a commit, and {shown(text)} cannot be one")
    return text


def subdirectory(text: str) -> str | None:
    """Return a path inside a repository, `/` between its steps; None for the repository itself."""
    path = posixpath.normpath(text)
    if isabs(path) or "\\" in path or ".." in text.split("/"):
        raise ValueError(f"must be a path inside the repository, without `..`; not {shown(text)}")
    return None if path == "." else path


def exclude_newer(text: str) -> str:
    """Return a day or moment in UTC, or an age as it is written."""
    return checked(text)


def finding(text: str) -> str:
    """Check the code of a finding that the audit lets pass."""
    code = CODES.get(text)
    if code is None:
        close = nearest(text[:40].lower(), CODES)
        meant = f"; did you mean `{close}`?" if close else ""
        raise ValueError(f"must be the code of a finding of the audit, and {shown(text)} is none{meant}")
    if code.refusal:
        raise ValueError(f"`{text}` cannot be accepted: {code.refusal}")
    return text


def command(text: str) -> str:
    """Check a command for the shell; a credential in it would be kept with every generation."""
    with_braces = re.sub(r"\$(\w+)", r"${\1}", text)
    if without_credentials(with_braces) != with_braces or any(_literal_secrets(text)):
        raise ValueError("holds a credential; let the command take it from a variable or a file")
    return text


def _literal_secrets(text: str) -> Iterator[str]:
    """Yield what a command for the shell holds of secrets themselves: values of options and variables, headers."""
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    settings = (word.partition("=") for word in words if re.match(r"\w+=", word))
    named = [(name, value) for name, _, value in settings]
    for name, value in (*named, *options_of(words)):
        if is_secret(name, value) and not value.startswith(("$", "/", "@")) and value:
            yield value
    yield from (found[1] for found in _AUTHORIZATION.finditer(text) if not found[1].startswith("$"))


def min_free(text: str) -> Amount:
    """Read how much of a file system is to stay free: `20G`, or `5%` of it."""
    try:
        return amount(text)
    except ValueError:
        raise ValueError(f"must be a size such as `20G` or a share such as `5%`, not {shown(text)}") from None


def is_archive(path: str) -> bool:
    """Tell whether a local path names a wheel or an sdist rather than a folder."""
    return path.lower().endswith(_ARCHIVES)
