"""Packages that others require by a URL: of a repository or of a file. Which of them count, and where they lie.

A resolver fetches and builds such a package to learn what it requires in turn, before anybody has seen its URL. So
these requirements are followed here, and the resolver never gets to see a URL that is not of a stub.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from envbuilder import config_values as values
from envbuilder.addresses import ends_with
from envbuilder.bounds import applies, parsed
from envbuilder.config import Git, Local
from envbuilder.members import has_hidden
from envbuilder.names import normalized
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from packaging.requirements import Requirement

    from envbuilder.package import Package

_FILE_SCHEMES = ("http", "https", "file")
_FORBIDDEN = re.compile(r"[\s\x00-\x20\x7f-\x9f\\]|\$\{")
"""`${` among them: uv and git would put variables of this machine into a URL that somebody else wrote."""
_UNDERSTOOD = ("egg", "sha256", "subdirectory")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Direct(NamedTuple):
    """A package that is required by its URL.

    `source` is what a plugin would say of it, None for a file on a server. `requirer` is the package that requires it,
    `plugin` the entry of the config that leads there, `sha256` what the URL says of the file's content, or "",
    `subdirectory` where in it the project lies, or "".
    """

    name: str
    url: str
    source: Git | Local | None
    requirer: str
    plugin: str
    sha256: str = ""
    subdirectory: str = ""

    @property
    def key(self) -> str:
        """Name it: one requirement of one URL."""
        return key(self.name, self.url)

    @property
    def location(self) -> str:
        """Return the URL or path of the repository or file alone."""
        if isinstance(self.source, Git):
            return self.source.url
        return self.source.path if self.source else self.url.partition("#")[0]

    @property
    def place(self) -> tuple[object, str, str]:
        """Return what is the same for all spellings of one URL: what is fetched, not what is known of it."""
        return self.source, self.location, "" if self.source else self.subdirectory

    @property
    def is_wheel(self) -> bool:
        """Tell whether nothing of it has to be built."""
        return not isinstance(self.source, Git) and ends_with(self.location, ".whl")


def key(name: str, url: str) -> str:
    """Name the requirement of a package by a URL."""
    return f"{normalized(name)} @ {url}"


def read(name: str, url: str, *, requirer: str, plugin: str) -> Direct:
    """Read a URL as a requirement has it; raise `ValueError` for what is neither a repository nor a file."""
    if _FORBIDDEN.search(url):
        raise ValueError("its URL holds a variable, a blank or a control character")
    body, _, fragment = url.partition("#")
    said = _said(fragment)
    made = Direct(name, url, None, requirer, plugin, said.get("sha256", ""), said.get("subdirectory", ""))
    if body.startswith("git+"):
        if made.sha256:
            raise ValueError("its URL holds a sha256, and is of a repository")
        return made._replace(source=_repository(body.removeprefix("git+"), made.subdirectory))
    parts = urlsplit(body)
    if parts.scheme.lower() not in _FILE_SCHEMES or not values.is_archive(parts.path):
        raise ValueError("its URL is neither of a git repository (`git+https://…`) nor of a wheel or an sdist")
    if parts.scheme.lower() != "file":
        return made
    if parts.netloc not in ("", "localhost") or made.subdirectory:
        raise ValueError("its URL is of no file of this machine")
    path = unquote(parts.path)
    if has_hidden(path):
        raise ValueError("its URL holds a control character")
    return made._replace(source=Local(path=path))


def _said(fragment: str) -> dict[str, str]:
    """Read what a URL says behind `#`; raise `ValueError` for a hash that nobody would look at."""
    pairs = {(name, value) for name, is_said, value in (part.partition("=") for part in fragment.split("&")) if is_said}
    said = dict(pairs)
    if unknown := sorted(said.keys() - set(_UNDERSTOOD)):
        raise ValueError(f"its URL says `{unknown[0]}=` behind `#`; understood are `{'=`, `'.join(_UNDERSTOOD)}=`")
    if len(said) < len(pairs):
        raise ValueError("its URL says two things of one behind `#`")
    if "sha256" in said:
        said["sha256"] = said["sha256"].lower()
        if not _SHA256.fullmatch(said["sha256"]):
            raise ValueError("its URL says a sha256 that is none")
    return said


def _repository(text: str, subdirectory: str) -> Git:
    """Read `https://host/team/it@ref`; an `@` before the path belongs to the host."""
    scheme, _, rest = text.partition("://")
    host, slash, path = rest.partition("/")
    path, _, ref = path.rpartition("@") if "@" in path else (path, "", "")
    url = values.git_url(f"{scheme}://{host}{slash}{path}")
    inner = values.subdirectory(subdirectory) if subdirectory else None
    return Git(url=url, ref=values.git_ref(ref) if ref else None, subdirectory=inner)


def names_any(packages: Iterable[Package]) -> bool:
    """Tell whether packages may require one by a URL, at a glance: few do."""
    return any("@" in line for package in packages for line in package.requires)


def required(
    lines: Mapping[str, tuple[str, ...]], extras: Mapping[str, Iterable[str]], markers: dict[str, str]
) -> Iterator[tuple[str, Requirement]]:
    """Yield the requirements with a URL that count where `markers` hold: requirer and requirement.

    `lines` is package → what it requires, `extras` package → those that are asked for; what the packages ask of one
    another is added to that.
    """
    needs = {name: list(filter(None, map(parsed, of_one))) for name, of_one in lines.items()}
    asked = {name: set(extras.get(name, ())) for name in needs}
    is_new = True
    while is_new:
        before = sum(map(len, asked.values()))
        counting = [(name, each) for name in needs for each in needs[name] if applies(each, markers, asked[name])]
        for _, each in counting:
            asked.get(normalized(each.name), set()).update(each.extras)
        is_new = sum(map(len, asked.values())) > before
    yield from ((name, each) for name, each in counting if each.url)
