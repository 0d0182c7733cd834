"""Two generations side by side: packages, entry points, what of the base they rely on, settings, and bytes."""

from __future__ import annotations

from typing import Any

from envbuilder import gc
from envbuilder.classes import dataclass
from envbuilder.ledger import files
from envbuilder.planning import Change, changes
from envbuilder.revision import own_paths, paths
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envbuilder.config import Config, Plugin
    from envbuilder.paths import Environment
    from envbuilder.revision import Revision

_BASE = {"prefix": "prefix", "engine": "engine", "engine_version": "engine version", "python": "python"}
_NO_SETTINGS = frozenset({"file", "sha256", "plugins", "notes", "digest", "policy", "places"})
"""Fields of a config that are not what somebody wrote at its top."""


class Changed(NamedTuple):
    """One thing that differs, as text; None on the side that lacks it."""

    name: str
    before: str | None
    after: str | None


class Space(NamedTuple):
    """Bytes on disk, files with several names counted once.

    `added` is what the second set takes that the first does not, `removed` the other way round, what both have left
    out; `freeable` what collecting the first would free: the part of `removed` that nothing else needs.
    """

    added: int
    removed: int
    freeable: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How two generations differ.

    `entry_points` and `space` are None where an overlay is not on disk any more, `space` also where both are the same.
    `settings` are of `plugins.yaml`: `NAME` for a plugin that is in one of the two only, `NAME.KEY` for one in both;
    None where one cannot be read.
    """

    before: Revision
    after: Revision
    packages: tuple[Change, ...]
    entry_points: tuple[Changed, ...] | None
    base: tuple[Changed, ...]
    settings: tuple[Changed, ...] | None
    space: Space | None

    @property
    def is_empty(self) -> bool:
        """Tell whether the two are the same in every respect."""
        return not (self.packages or self.entry_points or self.base or self.settings)


def compare(before: Revision, after: Revision, env: Environment) -> Comparison:
    """Compare two generations of one profile; reads only."""
    old, new = before.config(env), after.config(env)
    known = before.manifest is not None and after.manifest is not None
    return Comparison(
        before=before,
        after=after,
        packages=_packages(before, after),
        entry_points=_changed(_entry_points(before), _entry_points(after)) if known else None,
        base=_changed(_base(before), _base(after)),
        settings=tuple(_settings(old, new, before, after)) if old and new else None,
        space=_space(before, after) if known and before.generation.digest != after.generation.digest else None,
    )


def _packages(before: Revision, after: Revision) -> tuple[Change, ...]:
    if before.manifest and after.manifest:
        old = {member.name: (member.version, member.key, member.size) for member in before.manifest.members}
        new: dict[str, tuple[str, str, int | None]] = {
            member.name: (member.version, member.key, member.size) for member in after.manifest.members
        }
        return changes(old, new)
    versions = {name: (version, "", 0) for name, version, _, _ in before.generation.packages}
    return changes(versions, {name: (version, "", None) for name, version, _, _ in after.generation.packages})


def _entry_points(found: Revision) -> dict[str, str]:
    groups = found.manifest.entry_points if found.manifest else {}
    return {f"{group}: {name}": value for group, points in groups.items() for name, (value, _) in points.items()}


def _base(found: Revision) -> dict[str, str]:
    record = found.generation.base
    return {**{said: record[name] for name, said in _BASE.items() if record.get(name)}, **found.facts}


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Changed, ...]:
    names = sorted(before.keys() | after.keys())
    return tuple(
        Changed(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    )


def _settings(old: Config, new: Config, before: Revision, after: Revision) -> Iterator[Changed]:
    yield from _changed(_of_all(old), _of_all(new))
    left, right = _plugins(old, before), _plugins(new, after)
    for name in sorted(left.keys() | right.keys()):
        if name not in left or name not in right:
            yield Changed(name, _source(left.get(name)), _source(right.get(name)))
            continue
        for key, was, now in _changed(left[name], right[name]):
            yield Changed(f"{name}.{key}", was, now)


def _of_all(config: Config) -> dict[str, str]:
    """Return the settings that are for all plugins."""
    return _spelled({name: getattr(config, name) for name in config.__slots__ if name not in _NO_SETTINGS})


def _plugins(config: Config, found: Revision) -> dict[str, dict[str, str]]:
    """Return each plugin's settings as text, with the commit that its git source was locked to."""
    commits = {
        package.plugin: str(package.vcs["commit-id"])[:12]
        for package in (found.lock.packages if found.lock else ())
        if package.vcs and package.vcs.get("commit-id")
    }
    return {plugin.name: _spelled({**_keys(plugin), "commit": commits.get(plugin.name)}) for plugin in config.plugins}


def _keys(plugin: Plugin) -> dict[str, Any]:
    """Return what an entry says, under the names that the config has."""
    return {"version" if name == "specifier" else name: value for name, value in plugin.settings.items()}


def _source(settings: Mapping[str, str] | None) -> str | None:
    """Say in one line where a plugin comes from: `pypi demo>=1.0`."""
    if settings is None:
        return None
    where = settings.get("package", "") + settings.get("version", "")
    where = where or settings.get("url") or settings.get("path") or ""
    off = "" if settings["enabled"] == "true" else " (disabled)"
    return f"{settings['source']} {where}{off}"


def _spelled(settings: Mapping[str, Any]) -> dict[str, str]:
    """Spell values as YAML would; what is not set is left out."""
    return {name: _text(value) for name, value in settings.items() if value not in (None, "", (), [], {})}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _space(before: Revision, after: Revision) -> Space:
    old, new = files(paths(before)), files(paths(after))
    return Space(
        added=sum(new[identity] for identity in new.keys() - old.keys()),
        removed=sum(old[identity] for identity in old.keys() - new.keys()),
        freeable=gc.freed(own_paths(before)),
    )
