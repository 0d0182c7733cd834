"""A wheelhouse: wheels of vpm-env and of what builds need, in one folder, for machines that no index reaches.

No index is asked for vpm-env itself: what runs here is made into wheels again, so that the same will run there. What
packages need to be built is installed by uv for this once, and packed by the same steps.
"""

from __future__ import annotations

import sys
from os.path import exists, isdir, join
from typing import TYPE_CHECKING

from envbuilder import fs, wheel
from envbuilder.bounds import applies, is_met, parsed
from envbuilder.build import TIMEOUT
from envbuilder.classes import dataclass
from envbuilder.digest import read_bytes
from envbuilder.errors import PackageError, SeveralErrors, SourceError, VpmError
from envbuilder.names import normalized
from envbuilder.record import DAMAGED, refuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from importlib.metadata import Distribution

    from envbuilder.lock import LockedPackage
    from envbuilder.uv import Uv

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OURS = "vpm-env[cache]"
"""What a machine needs to import a set and to switch to it."""

UNDECLARED = "setuptools>=40.8.0"
"""What builds a project that does not say what does (PEP 518)."""

_PROJECT, _LIMIT = "pyproject.toml", 1 << 20
_HINT = "install `vpm-env[cache]` from wheels into a new environment, with pip or uv, and export from there"


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What a package asks for to be built; `plugin` is the config's entry that it is, "" for a dependency."""

    package: str
    plugin: str
    requires: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What the packages of a set ask for to be built, and of which that is not known: package and why."""

    known: tuple[Need, ...]
    unknown: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Added:
    """The wheels that builds need, by name, and whose needs could not be had: package and why."""

    wheels: tuple[str, ...]
    missing: tuple[tuple[str, str], ...]


def fill(folder: str, wanted: str = OURS, search: Sequence[str] | None = None) -> tuple[str, ...]:
    """Write wheels of `wanted` and of all that it requires here into `folder`; return their names, sorted.

    `search` are the site directories that they are installed in: those of this process. Raise `PackageError`, or
    several, for what is not installed, not from a wheel, or not any more what was installed; nothing is written then.
    """
    return _written(_closure(wanted, list(sys.path if search is None else search)), folder, _HINT)


def needs_of(packages: Iterable[LockedPackage], places: Mapping[str, str]) -> Needs:
    """Return what those packages of a lock that come from sources ask for to be built.

    `places` is where sources lie, folders or sdists, by plugin or package; local ones are found without. What a
    backend asks for only when it is called is not known here.
    """
    known, unknown = [], []
    for package in filter(_is_from_sources, packages):
        local = package.directory or package.archive or {}
        place = places.get(package.plugin) or places.get(package.name) or str(local.get("path", ""))
        try:
            known.append(Need(package=package.name, plugin=package.plugin, requires=_requires_of(place)))
        except (OSError, ValueError) as error:
            unknown.append((package.name, str(error)))
    return Needs(known=tuple(known), unknown=tuple(unknown))


def add(folder: str, needs: Iterable[Need], *, python: str, uv: Uv, scratch: str) -> Added:
    """Write wheels of what builds need into `folder`: what uv installs now for the interpreter `python`.

    Each package has its own answer, as each is built in an environment of its own.
    """
    wheels: set[str] = set()
    missing = []
    for number, need in enumerate(needs):
        try:
            found = _installed(need, join(scratch, f"needs-{number}"), python, uv)
            wheels.update(_written(found, folder, DAMAGED))
        except VpmError as error:
            missing.append((need.package, error.message))
    return Added(wheels=tuple(sorted(wheels)), missing=tuple(missing))


def _closure(wanted: str, search: list[str]) -> list[Distribution]:
    """Find a distribution and all that it requires for this interpreter; raise `PackageError` for what is not there."""
    from packaging.markers import default_environment
    from packaging.requirements import Requirement

    markers = {name: str(value) for name, value in default_environment().items()}
    found: dict[str, Distribution] = {}
    asked, problems = set(), []
    pending = [Requirement(wanted)]
    for requirement in pending:
        name, extras = normalized(requirement.name), frozenset(requirement.extras)
        dist = found.get(name) or _distribution(name, search)
        if dist is None or not is_met(requirement, dist.version):
            problems.append(f"`{requirement.name}{requirement.specifier}` is not installed here")
        elif (name, extras) not in asked:
            asked.add((name, extras))
            found[name] = dist
            lines = filter(None, map(parsed, dist.requires or ()))
            pending += [each for each in lines if applies(each, markers, extras)]
    refuse(wanted, list(dict.fromkeys(problems)), hint=_HINT)
    return [found[name] for name in sorted(found)]


def _distribution(name: str, search: list[str]) -> Distribution | None:
    from importlib.metadata import distributions

    return next(iter(distributions(name=name, path=search)), None)


def _written(found: Iterable[Distribution], folder: str, hint: str) -> tuple[str, ...]:
    """Write a wheel of each distribution, or of none if one is refused."""
    fs.make_dirs(folder)
    plans: list[wheel.Plan] = []
    errors: list[VpmError] = []
    for dist in found:
        try:
            plans.append(wheel.plan(dist, hint=hint))
        except PackageError as error:
            errors.append(error)
    if errors:
        raise errors[0] if len(errors) == 1 else SeveralErrors(tuple(errors))
    for planned in plans:
        if not exists(join(folder, planned.name)):  # most builds need the same
            wheel.write(planned, folder)
    return tuple(sorted(planned.name for planned in plans))


def _installed(need: Need, room: str, python: str, uv: Uv) -> list[Distribution]:
    """Have uv install what a build needs into a prefix, where scripts and data have places that are known."""
    from importlib.metadata import distributions

    if not need.requires:
        return []
    fs.make_dirs(room)
    listed, prefix = join(room, "requirements.txt"), join(room, "prefix")
    fs.write_plain(listed, "".join(f"{line}\n" for line in need.requires).encode(), mode=0o600)
    command = ["pip", "install", "--prefix", prefix, "--python", python, "--requirements", listed]
    result = uv.for_plugin(need.plugin).run(command, cwd=room, timeout=TIMEOUT)
    if result.code:
        raise SourceError(((need.package, " ".join(result.output.split())),))
    libs = [join(prefix, "lib"), join(prefix, "lib64")]
    sites = [join(lib, name, "site-packages") for lib in libs for name in fs.names_in(lib)]
    return sorted(distributions(path=sites), key=lambda dist: str(dist.metadata["Name"]))


def _is_from_sources(package: LockedPackage) -> bool:
    archive = package.archive or {}
    return not package.wheels and not str(archive.get("path") or archive.get("url")).endswith(".whl")


def _requires_of(place: str) -> tuple[str, ...]:
    """Return the build requirements of a source tree or an sdist; raise `ValueError` where they cannot be read."""
    if not exists(place):
        raise ValueError("its source is not here")
    content = _read_project(place) if isdir(place) else _read_sdist(place)
    try:
        table = tomllib.loads(content.decode()).get("build-system", {"requires": [UNDECLARED]})
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its `{_PROJECT}` is not TOML: {error}") from None
    requires = table.get("requires") if isinstance(table, dict) else None
    if not isinstance(requires, list) or not all(isinstance(line, str) and parsed(line) for line in requires):
        raise ValueError(f"its `{_PROJECT}` does not say what builds it")
    return tuple(requires)


def _read_project(folder: str) -> bytes:
    try:
        return read_bytes(join(folder, _PROJECT), _LIMIT)
    except FileNotFoundError:
        return b""


def _read_sdist(path: str) -> bytes:
    """Read what says how an sdist is built; nothing where it does not say."""
    import tarfile
    import zipfile

    try:
        if path.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                return next((archive.read(name) for name in archive.namelist() if _is_project(name)), b"")
        with tarfile.open(path) as packed:
            found = next((member for member in packed if member.isfile() and _is_project(member.name)), None)
            stream = packed.extractfile(found) if found else None
            return stream.read(_LIMIT) if stream else b""
    except (EOFError, tarfile.TarError, zipfile.BadZipFile):
        raise ValueError("its sdist is damaged") from None


def _is_project(member: str) -> bool:
    return member.count("/") == 1 and member.endswith(f"/{_PROJECT}")
