"""`registry.json`: what is current, in the format of vllm-plugin-manager, for whoever reads that.

Each generation of the default profile has its registry beside its record, so that a switch need only copy it; this
room writes those, and makes the home's own again where it is stale. It is never read to find out what is current.
The manager's keys and status words are kept; before them stands one line of ours, by which a reader of ours tells
whether all the rest is as we wrote it.
"""

from __future__ import annotations

import os
from os.path import isdir, join, lexists

from envbuilder import fs, notice, overlay
from envbuilder import profile as profiles
from envbuilder.contexts import contextmanager
from envbuilder.digest import read, sha256_bytes
from envbuilder.engines import SCRIPT_GROUPS
from envbuilder.errors import ProfileError, VpmError
from envbuilder.notation import dumps, lined
from envbuilder.profile import DEFAULT, Profile
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from envbuilder.base import Base, Distribution
    from envbuilder.config import Config
    from envbuilder.manifest import Manifest
    from envbuilder.paths import Layout
    from envbuilder.profile import Generation

    Row = dict[str, Any]

MANAGER = "vllm-plugin-manager"
VERSION = "1.0"
FOREIGN = ".before-vpm-env"
"""What the name of a registry that we did not write gets behind it, when it is put aside."""
PENDING, INSTALLED, FAILED = "pending", "installed", "failed"
_MODULE = "vllm_plugin_manager"


def is_manager(dist: Distribution) -> bool:
    """Tell whether a distribution is vllm-plugin-manager, by whatever name."""
    return dist.name == MANAGER or any(value.split(":")[0] == _MODULE for _, _, value in dist.entry_points)


def warning_of_manager(base: Base) -> str:
    """Say that the base has vllm-plugin-manager, and what to do; "" where it has not."""
    found = next((dist for dist in base.distributions.values() if is_manager(dist)), None)
    if found is None:
        return ""
    does = "it installs plugins into the base with pip whenever an engine starts, past every set"
    return f"`{found.name} {found.version}` is in the base: {does}; `vpm-env doctor legacy` says how to take it out"


def wanted(config: Config) -> dict[str, list[Any]]:
    """Return what a registry says of plugins by their config alone: name → source, package on an index, enabled."""
    return {
        plugin.name: [
            type(plugin.source).__name__.lower(),
            getattr(plugin.source, "package", None),
            plugin.enabled,
        ]
        for plugin in config.plugins
    }


def failures(profile: Profile) -> dict[str, str]:
    """Say for which plugins a build failed since the current set was made, and why; empty where none did."""
    said = notice.read(profile.layout)
    if profile.name != DEFAULT or said is None or not said.has_failed or said.base_key != profile.base_key:
        return {}
    try:
        rows = read(profile.layout.registry)["plugins"].values()
        return {row["name"]: row["error"] for row in rows if "error" in row}
    except (OSError, ValueError, KeyError):
        return {}


def keep(profile: Profile, generation: Generation, manifest: Manifest | None) -> None:
    """Write the registry that belongs to a generation, and the home's if that is about it.

    A home that takes no files is no reason to stop.
    """
    if profile.name != DEFAULT:
        return
    content = _content(profile.base_key, generation, _rows(profile, generation, manifest))
    try:
        fs.write_atomic(profile.file(generation.number, "registry"), content, synced=False)
    except OSError:
        return
    said = notice.read(profile.layout)
    if said and (said.base_key, said.generation) == (profile.base_key, generation.number):
        profiles.tell(profile, generation.number)


def renew(layout: Layout) -> str:
    """Make `registry.json` again, of the base that switched last; return what is to be told of that, "" for nothing.

    Where `current` is lost it stays: it says what that was.
    """
    try:
        if _says_what_is_lost(layout):
            return ""
        profile = _last_switched(layout)
        number = profiles.current(profile) if profile else None
        if profile is None or number is None:
            return _forget(layout)
        note = _put_aside(layout)
        generation = profiles.read(profile, number)
        keep(profile, generation, overlay.get(layout, profile.base_key, generation.digest))
        profiles.tell(profile, number)
    except (OSError, VpmError):
        return ""
    return note


@contextmanager
def telling_failures(profile: Profile, config: Config) -> Iterator[None]:
    """Note in `registry.json` which plugins the error blames that ends what is enclosed; they do not become current."""
    try:
        yield
    except VpmError as error:
        if profile.name == DEFAULT:
            from envbuilder.blame import blamed  # nothing fails, as a rule

            _note_failures(profile, config, blamed(error, config))
        raise


def _note_failures(profile: Profile, config: Config, failures: dict[str, str]) -> None:
    if not failures:
        return
    try:
        generation = profiles.serving(profile)
        manifest = overlay.get(profile.layout, profile.base_key, generation.digest) if generation else None
        rows = _rows(profile, generation, manifest) if generation else {}
        for name, (source, package, _) in wanted(config).items():
            if name in failures:
                row = rows.setdefault(package or name, _row(name, source, package, FAILED))
                row["error"] = failures[name]
        _put_aside(profile.layout)
        content = _content(profile.base_key, generation, rows, has_failed=True)
        fs.write_atomic(profile.layout.registry, content, synced=False)
    except (OSError, VpmError):
        pass


def _content(base_key: str, generation: Generation | None, rows: dict[str, Row], *, has_failed: bool = False) -> bytes:
    body = lined({"version": VERSION, "plugins": dict(sorted(rows.items()))})
    rest = f"{body[2:]}\n".encode()
    head = {
        "base": base_key,
        "generation": generation.number if generation else None,
        "digest": generation.digest if generation else None,
        "failed": has_failed,
        "sha256": sha256_bytes(rest),
    }
    return f'{{"vpm_env": {dumps(head)},\n'.encode() + rest


def _rows(profile: Profile, generation: Generation, manifest: Manifest | None) -> dict[str, Row]:
    """Say of every plugin of a generation's config what became of it; by its package where an index has it."""
    versions = {plugin: (name, version) for name, version, plugin, _ in generation.packages if plugin}
    for plugin, entry in (manifest.provided if manifest else {}).items():
        versions.setdefault(plugin, (entry.split(" ")[0], entry.split(" ")[-1]))
    found: dict[str, Row] = {}
    known = generation.inputs.get("plugins") or _locked(profile, generation)
    # Of an enabled and a disabled plugin of one package, the enabled one is told.
    for name, (source, package, enabled) in sorted(known.items(), key=lambda item: bool(item[1][2])):
        row = _row(name, source, package, PENDING)
        if enabled and name in generation.left_out:
            row |= {"status": FAILED, "error": generation.left_out[name]}
        elif enabled and name in versions:
            distribution, version = versions[name]
            row |= {"version": version, "status": INSTALLED, "entry_points": _points(manifest, distribution)}
        found[package or name] = row
    return found


def _row(name: str, source: str, package: str | None, status: str) -> Row:
    return {"name": name, "source": source, "package": package, "version": None, "status": status, "entry_points": []}


def _points(manifest: Manifest | None, distribution: str) -> list[str]:
    return sorted(
        f"{group}:{name}"
        for group, points in (manifest.entry_points if manifest else {}).items()
        if group not in SCRIPT_GROUPS
        for name, (_, package) in points.items()
        if package == distribution
    )


def _locked(profile: Profile, generation: Generation) -> dict[str, list[Any]]:
    """Return what `wanted` does of a generation that an older version made, as far as its lock knows."""
    from envbuilder import lock as locks  # such generations become fewer

    lock = locks.read(profile.file(generation.number, "pylock.toml"))
    found: dict[str, list[Any]] = {}
    for package in lock.packages if lock else ():
        if package.plugin:
            source = "git" if package.vcs else "local" if package.is_built else "pypi"
            found[package.plugin] = [source, package.name if source == "pypi" else None, True]
    return found


def _last_switched(layout: Layout) -> Profile | None:
    """Return whose set became current last, if any; raise `ProfileError` where a profile cannot be looked into."""
    if lexists(folder := join(layout.profiles, DEFAULT)) and not isdir(folder):
        raise ProfileError(f"`{folder}` is no folder", hint=profiles.REPAIR)
    known = [profile for profile in profiles.all_profiles(layout) if profile.name == DEFAULT]
    switched = [profile for profile in known if profiles.numbers(profile) and profiles.current(profile) is not None]
    return max(switched, key=_moment, default=None)


def _moment(profile: Profile) -> float:
    """Return when a profile switched last; when its `current` was made, where its order is lost."""
    switches = profiles.order(profile).switches
    return float(switches[-1][1]) if switches else os.lstat(profile.current).st_mtime


def _says_what_is_lost(layout: Layout) -> bool:
    said = notice.read(layout)
    if said is None or said.generation is None:
        return False
    profile = Profile(layout, DEFAULT, said.base_key)
    return profiles.current(profile) is None and said.generation in profiles.numbers(profile)


def _forget(layout: Layout) -> str:
    """Remove our registry: nothing is current any more."""
    if notice.is_ours(layout.registry):
        fs.remove(layout.registry)
    return ""


def _put_aside(layout: Layout) -> str:
    """Keep a registry that we did not write, once; say so. A later one of the same sort is not kept."""
    if notice.is_ours(layout.registry):
        return ""
    aside = layout.registry + FOREIGN
    if lexists(aside):
        fs.remove(layout.registry)
        return ""
    fs.rename(layout.registry, aside)
    return f"`{layout.registry}` was not written by vpm-env; it is kept as `{os.path.basename(aside)}`"
