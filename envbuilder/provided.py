"""Plugins of the config that the base holds too: provided by it where they fit, a conflict where they do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from envbuilder.config import PyPI
from envbuilder.engines import ENGINE_DISTRIBUTIONS
from envbuilder.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envbuilder.base import Base, Distribution
    from envbuilder.config import Plugin
    from envbuilder.lock import LockedPackage
    from envbuilder.package import Package

    Built = Mapping[str, tuple[Package, LockedPackage]]


def package_of(plugin: Plugin, built: Built) -> str:
    """Return the normalized name of a plugin's package."""
    source = plugin.source
    return source.package if isinstance(source, PyPI) else built[plugin.name][0].name


def provided_by(
    base: Base, plugins: tuple[Plugin, ...], built: Built, override: frozenset[str]
) -> tuple[dict[str, str], tuple[Conflict, ...]]:
    """Sort out the plugins that the base holds: plugin → `name version` for those that fit, conflicts for the others.

    A package in `override` is no matter of the base's, and neither is one that it does not hold.
    """
    provided: dict[str, str] = {}
    conflicts: list[Conflict] = []
    for plugin in plugins:
        name = package_of(plugin, built)
        dist = base.distributions.get(name)
        if dist is None or name in override:
            continue
        if isinstance(plugin.source, PyPI) and _fits(plugin.source, dist):
            provided[plugin.name] = f"{name} {dist.version}"
        else:
            conflicts.append(_conflict(plugin, built, dist))
    return provided, tuple(conflicts)


def _fits(source: PyPI, dist: Distribution) -> bool:
    try:
        return not dist.broken and SpecifierSet(source.specifier).contains(Version(dist.version), prereleases=True)
    except InvalidVersion:
        return False


def _conflict(plugin: Plugin, built: Built, dist: Distribution) -> Conflict:
    if isinstance(plugin.source, PyPI):
        wanted = f"{dist.name}{plugin.source.specifier}"
    else:
        wanted = f"{dist.name} {built[plugin.name][0].version}"
    way = f"to use it instead of the base's: `override: [{dist.name}]`"
    if dist.name in ENGINE_DISTRIBUTIONS:
        way = f"take `{plugin.name}` out of `plugins:`: the base is what provides the engine"
    has = dist.version or "one without a version"
    return Conflict(plugin=plugin.name, chain=(wanted,), base_has=has, cause="", ways_forward=(way,))
