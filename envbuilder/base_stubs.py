"""What a base has, as stubs for the resolver: made once, in the home's cache, and found again by what they say.

uv unpacks each stub that it meets, and knows one that it has met again by its path and times. Two hundred that are made
anew for every resolve cost more than the resolve, and uv's cache grows by them each time. A folder of stubs is never
written again, for another's uv may read it: one that is damaged, or of which uv remembers something torn, is passed
over, and there is one of another number.
"""

from __future__ import annotations

from os.path import dirname, join, lexists

from packaging.version import InvalidVersion

from envbuilder import fs
from envbuilder.contexts import suppress
from envbuilder.digest import read_bytes, read_sealed, sealed, sha256_bytes, sha256_of
from envbuilder.names import is_name
from envbuilder.stubs import EXTRA, Stub, names_one, path_of, write_stub
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envbuilder.base import Base, Distribution
    from envbuilder.paths import Layout
    from envbuilder.report import Reporter

FORMAT = 1
LIST = "stubs.json"
_TRIES = 8
"""Folders that are looked at before the stubs are made for this one resolve."""

Wanted = dict[str, tuple[str, list[str]]]
"""Name of a distribution → its version as its metadata spell it, and the requirements that its stub is to have."""


class Found(NamedTuple):
    """The stubs by name, and name → version of distributions that have no usable one."""

    stubs: dict[str, Stub]
    unusable: dict[str, str]


def base_stubs(
    base: Base, overrides: frozenset[str], layout: Layout, scratch: str, report: Reporter
) -> dict[str, Stub]:
    """Return a stub for every distribution of the base, except `overrides`, by normalized name.

    A stub has only the requirements behind extras, so that a base which contradicts itself blocks nobody; besides
    them those that name one of `overrides`, so that what replaces a base package is held to the base's own needs.
    A distribution without a usable version is left out, and `report` is told. Where the cache takes nothing, they are
    made in `scratch`.
    """
    wanted = {
        name: (dist.version, _requirements(dist, overrides))
        for name, dist in base.distributions.items()
        if name not in overrides and is_name(name)  # nobody can require what has no name
    }
    name = f"{base.key}-{sha256_of([FORMAT, wanted])[:16]}"
    found = _kept(wanted, join(layout.cache, "stubs", name), scratch) or _written(scratch, wanted)
    for name, version in found.unusable.items():
        report.note(f"the base's `{name}` has no usable version (`{version}`): it is no fact to the resolver")
    return found.stubs


def renounce(stubs: Iterable[Stub]) -> None:
    """Let no later resolve use these: what uv remembers of them is torn, and would be each time."""
    for folder in {dirname(stub.path) for stub in stubs}:
        with suppress(OSError):
            fs.remove(join(folder, LIST))


def _requirements(dist: Distribution, overrides: frozenset[str]) -> list[str]:
    # Parsing costs 30 µs a line and bases have thousands, hence the look at the text alone.
    return [line for line in dist.requires if ("extra" in line and EXTRA.search(line)) or names_one(line, overrides)]


def _kept(wanted: Wanted, name: str, scratch: str) -> Found | None:
    """Return those in the cache, made now if there are none; None where the cache cannot have them."""
    for path in (f"{name}.{number}" for number in range(_TRIES)):
        try:
            if not lexists(path):
                _publish(path, wanted, join(scratch, "kept"))
        except OSError:
            return None
        if found := _read(path, wanted):
            return found
    return None


def _read(folder: str, wanted: Wanted) -> Found | None:
    """Read a folder whose stubs are what its list says; None for any other."""
    try:
        record = read_sealed(join(folder, LIST))
        rows = record["stubs"]
        found = Found(
            stubs={
                name: Stub(name=name, version=version, requires=tuple(requires), path=path_of(folder, name, version))
                for name, version, requires, _ in rows
            },
            unusable=dict(record["unusable"]),
        )
        is_whole = all(sha256_bytes(read_bytes(found.stubs[name].path)) == digest for name, _, _, digest in rows)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    is_all = found.stubs.keys() | found.unusable.keys() == wanted.keys()
    return found if is_whole and is_all and record.get("format") == FORMAT else None


def _publish(path: str, wanted: Wanted, made: str) -> None:
    """Make a folder of stubs, at `made` first; if somebody else was first, there is that one."""
    for folder in (dirname(path), made):
        fs.make_dirs(folder)
    stubs, unusable = _written(made, wanted)
    rows = [[stub.name, stub.version, stub.requires, sha256_bytes(read_bytes(stub.path))] for stub in stubs.values()]
    fs.write_json(join(made, LIST), sealed({"format": FORMAT, "stubs": rows, "unusable": unusable}))
    fs.publish_dir(made, path)


def _written(folder: str, wanted: Wanted) -> Found:
    found = Found(stubs={}, unusable={})
    for name, (version, requires) in wanted.items():
        try:
            found.stubs[name] = write_stub(folder, name=name, version=version, requires=requires)
        except InvalidVersion:
            found.unusable[name] = version
    return found
