"""What a base has, as stubs for the resolver: made once, in the home's cache, and found again by what they say.

uv unpacks each stub that it meets, and knows one that it has met again by its path and times. Two hundred that are made
anew for every resolve cost more than the resolve, and uv's cache grows by them each time.
"""

from __future__ import annotations

from os.path import basename, dirname, join
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion

from envbuilder import fs
from envbuilder.digest import read_bytes, read_sealed, sealed, sha256_bytes, sha256_of
from envbuilder.names import is_name
from envbuilder.stubs import EXTRA, Stub, names_one, write_stub

if TYPE_CHECKING:
    from envbuilder.base import Base, Distribution
    from envbuilder.paths import Layout
    from envbuilder.report import Reporter

FORMAT = 1
LIST = "stubs.json"


def base_stubs(base: Base, overrides: frozenset[str], layout: Layout, report: Reporter) -> dict[str, Stub]:
    """Return a stub for every distribution of the base, except `overrides`, by normalized name.

    A stub has only the requirements behind extras, so that a base which contradicts itself blocks nobody; besides
    them those that name one of `overrides`, so that what replaces a base package is held to the base's own needs.
    A distribution without a usable version is left out, and `report` is told.
    """
    wanted = {
        name: [dist.version, _kept(dist, overrides)]
        for name, dist in base.distributions.items()
        if name not in overrides and is_name(name)  # nobody can require what has no name
    }
    folder = join(layout.cache, "stubs", f"{base.key}-{sha256_of([FORMAT, wanted])[:16]}")
    record = _whole(folder) or _make(folder, wanted, layout)
    for name, version in record["unusable"]:
        report.note(f"the base's `{name}` has no usable version (`{version}`): it is no fact to the resolver")
    return {
        name: Stub(name=name, version=version, requires=tuple(requires), path=join(folder, file))
        for name, version, requires, file, _ in record["stubs"]
    }


def _kept(dist: Distribution, overrides: frozenset[str]) -> list[str]:
    # Parsing costs 30 µs a line and bases have thousands, hence the look at the text alone.
    return [line for line in dist.requires if ("extra" in line and EXTRA.search(line)) or names_one(line, overrides)]


def _whole(folder: str) -> dict[str, Any] | None:
    """Read the list of a folder whose stubs are what it says; None for any other, which is made again."""
    try:
        record = read_sealed(join(folder, LIST))
        is_whole = all(sha256_bytes(read_bytes(join(folder, file))) == digest for *_, file, digest in record["stubs"])
    except (OSError, ValueError):
        return None
    return record if is_whole else None


def _make(folder: str, wanted: dict[str, list[Any]], layout: Layout) -> dict[str, Any]:
    stubs, unusable = [], []
    fs.make_dirs(dirname(folder))
    with fs.staging(layout.tmp) as stage:
        made = join(stage, "stubs")
        fs.make_dirs(made)
        for name, (version, requires) in wanted.items():
            try:
                stub = write_stub(made, name=name, version=version, requires=requires)
            except InvalidVersion:
                unusable.append([name, version])
            else:
                digest = sha256_bytes(read_bytes(stub.path))
                stubs.append([name, stub.version, list(stub.requires), basename(stub.path), digest])
        record = sealed({"format": FORMAT, "stubs": stubs, "unusable": unusable})
        fs.write_json(join(made, LIST), record)
        fs.remove_tree(folder, within=layout.cache)
        fs.publish_dir(made, folder)
    return record
