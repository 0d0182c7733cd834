"""Metadata-only wheels: how the resolver is told what is there already, without the files.

They are given to uv by URL. In a `--find-links` folder they would be candidates like any other, and uv would install
the empty `setuptools` into its build environments.
"""

from __future__ import annotations

import base64
import io
import os
import re
from os.path import join
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from packaging.version import Version

from envbuilder import direct, fs
from envbuilder.bounds import applies, bare, is_one_line, marker_of, parsed
from envbuilder.classes import dataclass
from envbuilder.digest import sha256_bytes
from envbuilder.errors import PackageError
from envbuilder.names import is_name, normalized

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from envbuilder.base import Base

EXTRA = re.compile(r"""\bextra\s*==\s*["']([^"']+)["']|["']([^"']+)["']\s*==\s*extra\b""")
NOWHERE = f"{os.devnull}/required-by-a-url-that-was-not-followed"
"""No file can be there."""
_WHEEL = "Wheel-Version: 1.0\nGenerator: vpm-env\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stub:
    """A metadata-only wheel on disk: its normalized name, its version (PEP 440's spelling), requirements and path."""

    name: str
    version: str
    requires: tuple[str, ...]
    path: str

    @property
    def url(self) -> str:
        """Return its path as a `file:` URL."""
        return _file_url(self.path)


def write_stub(
    folder: str, *, name: str, version: str, requires: Iterable[str], stands_for: Mapping[str, str] | None = None
) -> Stub:
    """Write one stub into `folder`, with all of `requires` and every extra that they name.

    `stands_for` is requirement with a URL → path of the stub that stands for it, in `direct.key`'s words; a URL that no
    stub stands for becomes a file that is not there: a resolver would ask it. Raise `InvalidVersion` for a version
    that is not PEP 440's, `PackageError` for what would say more in a header than its line.
    """
    lines = tuple(line for line in requires if parsed(line))
    stub = Stub(name=name, version=str(Version(version)), requires=lines, path=path_of(folder, name, version))
    written = tuple(_without_url(line, stands_for or {}) for line in lines)
    fs.write_plain(stub.path, _wheel(name, stub.version, written))
    return stub


def path_of(folder: str, name: str, version: str) -> str:
    """Name the file of a stub in `folder`; raise `InvalidVersion` for a version that is not PEP 440's."""
    return join(folder, f"{name.replace('-', '_')}-{Version(version)}-py3-none-any.whl")


def _without_url(line: str, stands_for: Mapping[str, str]) -> str:
    requirement = parsed(line) if "@" in line else None
    if requirement is None or not requirement.url:
        return line
    nowhere = join(NOWHERE, f"{normalized(requirement.name).replace('-', '_')}-0-py3-none-any.whl")
    url = _file_url(stands_for.get(direct.key(requirement.name, requirement.url), nowhere))
    return f"{bare(requirement)} @ {url} {marker_of(line, requirement)}".rstrip()


def _file_url(path: str) -> str:
    return f"file://{quote_from_bytes(os.fsencode(path))}"


def requirers(base: Base, overrides: frozenset[str]) -> tuple[str, ...]:
    """Name the base distributions that require one of `overrides`, behind no extra."""
    if not overrides:
        return ()
    markers = base.markers
    return tuple(
        name
        for name, dist in base.distributions.items()
        if any(
            normalized(requirement.name) in overrides and applies(requirement, markers)
            for requirement in map(parsed, dist.requires)
            if requirement
        )
    )


def suit(base: Base, versions: Mapping[str, str]) -> bool:
    """Tell whether packages that shadow the base, name → version, are what its own distributions require."""
    needed = [
        requirement
        for dist in base.distributions.values()
        for requirement in map(parsed, (line for line in dist.requires if names_one(line, frozenset(versions))))
        if requirement and applies(requirement, base.markers)
    ]
    return all(each.specifier.contains(versions[normalized(each.name)], prereleases=True) for each in needed)


def without_bounds(requires: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """Take the version bounds off the requirements on `names`; extras and markers stay."""
    return tuple(_without_bound(line, frozenset(names)) for line in requires)


def _without_bound(line: str, names: frozenset[str]) -> str:
    requirement = parsed(line)
    if requirement is None or normalized(requirement.name) not in names:
        return line
    return f"{bare(requirement)}{marker_of(line, requirement)}"


def names_one(line: str, overrides: frozenset[str]) -> bool:
    """Tell whether a requirement, read roughly, is one on a package of `overrides`."""
    return bool(overrides) and normalized(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]) in overrides


def _wheel(name: str, version: str, requires: tuple[str, ...]) -> bytes:
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    extras = {first or second for line in requires for first, second in EXTRA.findall(line)}
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Provides-Extra: {extra}" for extra in sorted(extras) if is_name(extra)]
    lines += [f"Requires-Dist: {line}" for line in requires]
    if wrong := [line for line in lines if not is_one_line(line)]:
        raise PackageError(package=name, problems=tuple(f"its metadata would hold {line[:80]!r}" for line in wrong))
    files = {f"{info}/METADATA": ("\n".join(lines) + "\n").encode(), f"{info}/WHEEL": _WHEEL.encode()}
    record = "".join(f"{path},{_hash(content)},{len(content)}\n" for path, content in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    from zipfile import ZipFile, ZipInfo  # only sets with such plugins pay for it

    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        for path, content in files.items():
            archive.writestr(ZipInfo(path, _TIME), content)
    return buffer.getvalue()


def _hash(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(bytes.fromhex(sha256_bytes(content))).rstrip(b"=").decode()
