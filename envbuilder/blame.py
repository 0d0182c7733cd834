"""Which plugins an error blames: an optional one that fails is left out, and the rest is made without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder.config import PyPI
from envbuilder.errors import (
    AuditError,
    BuildError,
    PackageError,
    ProbeError,
    ResolutionError,
    SeveralErrors,
    SourceError,
    VpmError,
)

if TYPE_CHECKING:
    from envbuilder.config import Config


def droppable(error: VpmError, config: Config) -> dict[str, str]:
    """Name the plugins that an error blames, with why, if all of them may be left out; {} if one may not."""
    blamed = _blamed(error)
    optional = {plugin.name for plugin in config.enabled if plugin.optional}
    names = {plugin.name: plugin.name for plugin in config.enabled}
    names |= {plugin.source.package: plugin.name for plugin in config.enabled if isinstance(plugin.source, PyPI)}
    by_plugin = {names.get(plugin, plugin): why for plugin, why in blamed.items()}
    return by_plugin if by_plugin and set(by_plugin) <= optional else {}


def _blamed(error: VpmError) -> dict[str, str]:
    match error:
        case SeveralErrors():
            return {plugin: why for each in error.errors for plugin, why in _blamed(each).items()}
        case SourceError():
            return dict(error.missing)
        case ResolutionError():
            return {conflict.plugin: " → ".join(conflict.chain) or conflict.cause for conflict in error.conflicts}
        case AuditError():
            return {finding.plugin: finding.what for finding in error.findings}
        case ProbeError():
            return {plugin: f"{entry} does not load: {text}" for plugin, entry, text in error.failed}
        case BuildError():
            return {error.plugin: f"`{error.package}` did not build"}
        case PackageError():
            return {error.package: "; ".join(error.problems)}
    return {}
