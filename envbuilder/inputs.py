"""What a package is made from, as data: the store remembers by its digest which package that gave.

Goals: everything that can change the package is in it, and nothing that differs between two homes.
"""

from __future__ import annotations

from envbuilder.package import FORMAT
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from envbuilder.base import Base
    from envbuilder.config import Plugin
    from envbuilder.lock import LockedPackage
    from envbuilder.sources import Source


def of_locked(package: LockedPackage, base: Base, *, build_isolation: bool) -> dict[str, Any]:
    """Say what a locked package is made from: its one wheel, else what builds it and from what."""
    if len(package.wheels) == 1:
        return {"format": FORMAT, "wheel": package.wheels[0]["hashes"]["sha256"]}
    hashes = sorted(wheel["hashes"]["sha256"] for wheel in package.wheels)
    sdist = package.sdist["hashes"]["sha256"] if package.sdist and not hashes else ""
    direct = {"archive": package.archive, "vcs": package.vcs, "directory": package.directory}
    elsewhere = {kind: table for kind, table in direct.items() if table}
    return {"format": FORMAT, "wheels": hashes, "sdist": sdist, **elsewhere, **_built_with(base, build_isolation)}


def of_source(source: Source, plugin: Plugin, base: Base) -> dict[str, Any]:
    """Say what the package of a git or local source is made from."""
    if source.kind == "wheel":
        return {"format": FORMAT, "wheel": source.tree}
    found: dict[str, Any] = {"format": FORMAT, **_built_with(base, plugin.build_isolation)}
    if source.vcs:
        commit = {name: source.vcs[name] for name in ("commit-id", "subdirectory") if name in source.vcs}
        return {**found, "git": commit}
    if source.kind == "sdist":
        return {**found, "wheels": [], "sdist": source.tree}
    # Which places an editable links to depends on where the folder is.
    return {**found, "tree": source.tree, "editable": source.editable_root or ""}


def _built_with(base: Base, build_isolation: bool) -> dict[str, Any]:
    """Say what of the base a build can see: with isolation its interpreter, else every distribution."""
    facts = {"python": base.python_version, "soabi": base.soabi, "platform": base.platform}
    return facts if build_isolation else {**facts, "base": base.digest}
