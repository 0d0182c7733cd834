"""Which plugins an error blames: an optional one that fails is left out, and the rest is made without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder.acceptance import refused
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
    from collections.abc import Iterator

    from envbuilder.config import Config
    from envbuilder.errors import Conflict


def droppable(error: VpmError, config: Config) -> dict[str, str]:
    """Name the plugins that an error blames, with why, if all of them may be left out; {} if one may not."""
    by_plugin = blamed(error, config)
    optional = {plugin.name for plugin in config.enabled if plugin.optional}
    return by_plugin if by_plugin and set(by_plugin) <= optional else {}


def blamed(error: VpmError, config: Config) -> dict[str, str]:
    """Name the plugins that an error blames, with why; packages that no plugin is called after stand for themselves."""
    reasons: dict[str, str] = {}
    for plugin, why in _blamed(error):
        reasons[plugin] = "; ".join(filter(None, (reasons.get(plugin), why)))
    names = {plugin.name: plugin.name for plugin in config.enabled}
    names |= {plugin.source.package: plugin.name for plugin in config.enabled if isinstance(plugin.source, PyPI)}
    return {names.get(plugin, plugin): why for plugin, why in reasons.items()}


def _blamed(error: VpmError) -> Iterator[tuple[str, str]]:
    """Name the plugins, or their packages, that an error blames, each with why; one may come several times."""
    match error:
        case SeveralErrors():
            for each in error.errors:
                yield from _blamed(each)
        case SourceError():
            yield from error.missing
        case ResolutionError():
            yield from ((conflict.plugin, _chain(conflict)) for conflict in error.conflicts)
        case AuditError():
            yield from ((finding.plugin, finding.what) for finding in refused(error.findings))
        case ProbeError():
            yield from ((plugin, f"{entry} {wrong}") for plugin, entry, wrong in error.failed)
        case BuildError():
            yield error.plugin, f"`{error.package}` did not build"
        case PackageError():
            yield error.plugin or error.package, "; ".join(error.problems)


def _chain(conflict: Conflict) -> str:
    base_has = (f"base has {conflict.base_has}",) if conflict.base_has else ()
    return " → ".join((*conflict.chain, *base_has)) or conflict.cause
