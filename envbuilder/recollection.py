"""What a set was whose overlay does not say it any more: by the cache, or by a lock that is kept.

What is found is it for certain: it has the set's digest.
"""

from __future__ import annotations

from os.path import join
from typing import TYPE_CHECKING

from envbuilder import fs, notice, store
from envbuilder import profile as profiles
from envbuilder.base import describe
from envbuilder.checks import accepts
from envbuilder.composition import describe as describe_set
from envbuilder.composition import parts_of
from envbuilder.digest import is_sealed, read_sealed
from envbuilder.errors import ProfileError, VpmError
from envbuilder.manifest import Manifest
from envbuilder.rebuilding import job_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from envbuilder.lock import LockedPackage
    from envbuilder.mending import Mending
    from envbuilder.package import Package
    from envbuilder.paths import Layout
    from envbuilder.profile import Generation, Profile


def recipes(layout: Layout) -> Iterator[dict[str, Any]]:
    """Yield the records of sets that the cache remembers."""
    folder = join(layout.cache, "recipes")
    for name in fs.names_in(folder):
        try:
            yield read_sealed(join(folder, name))
        except (OSError, ValueError):
            continue


def recipe_of(layout: Layout, base_key: str, digest: str) -> tuple[dict[str, Any], Manifest] | None:
    """Return what the cache remembers of a set: its record there, and the manifest in that."""
    for record in recipes(layout):
        stored = record.get("manifest")
        if isinstance(stored, dict) and is_sealed(stored):
            manifest = Manifest.from_dict(stored)
            if (manifest.digest, manifest.base["key"]) == (digest, base_key):
                return record, manifest
    return None


def manifest_of(mending: Mending, base_key: str, digest: str) -> Manifest | None:
    """Return the manifest that an overlay must have had; None where nothing says it."""
    if remembered := recipe_of(mending.layout, base_key, digest):
        return remembered[1]
    for profile, number, file in _kept(mending.layout, base_key, digest):
        try:
            manifest = _from_lock(mending, profile, number, file)
        except (OSError, VpmError):
            continue
        if manifest.digest == digest:
            return manifest
    return None


def digests_of(profile: Profile, number: int) -> list[str]:
    """Return the digests that a generation may have had, by what points to it and what is told of it."""
    said = [notice.read_from(profile.file(number, "registry")), notice.read(profile.layout)]
    about = [each.digest for each in said if each and (each.base_key, each.generation) == (profile.base_key, number)]
    found = (profiles.known(profile, number).digest, overlay_of(profile, number), *about)
    return list(dict.fromkeys(digest for digest in found if digest))


def overlay_of(profile: Profile, number: int) -> str:
    """Return the digest of the overlay that a generation's symlink names; "" where it names none."""
    return fs.target_of(profile.pointer(number)).rpartition("/")[2]


def generations_of(layout: Layout, base_key: str, digest: str) -> Iterator[tuple[Profile, Generation]]:
    """Yield the generations that are a set, as far as their records can be read."""
    for profile in profiles.all_profiles(layout):
        for number in profiles.numbers(profile) if profile.base_key == base_key else ():
            try:
                generation = profiles.read(profile, number)
            except VpmError:
                continue
            if generation.digest == digest:
                yield profile, generation


def _kept(layout: Layout, base_key: str, digest: str) -> Iterator[tuple[Profile, int, str]]:
    """Yield whose lock may be the set's, and where its config lay: those whose records say so, then what points."""
    for profile, generation in generations_of(layout, base_key, digest):
        yield profile, generation.number, generation.config
    for profile in profiles.all_profiles(layout):
        for name in fs.names_in(join(profile.path, "generations")) if profile.base_key == base_key else ():
            if name.isdigit() and overlay_of(profile, int(name)) == digest:
                yield profile, int(name), join(layout.home, "plugins.yaml")


def _from_lock(mending: Mending, profile: Profile, number: int, file: str) -> Manifest:
    found = mending.scope_of(profile)
    job, lock = job_of(found, profile, number, file, mending.report, offline=True)
    packages = {locked.name: _package(mending, locked) for locked in lock.packages}
    base = describe(found.interpreter, mending.layout, mending.env, engine=found.engine)
    made = describe_set(lock, parts_of(lock, packages, job.config), base)
    return made._replace(accepts=accepts(job.config, lock))


def _package(mending: Mending, locked: LockedPackage) -> Package:
    """Find what a lock names in the store; where several have its name and version, the one that came from there."""
    keys = [key for key in store.keys(mending.layout) if key[33:] == f"{locked.name}-{locked.version}"]
    found = [package for package in (store.get(mending.layout, key) for key in keys) if package]
    origin = {"vcs": locked.vcs, "directory": locked.directory, "archive": locked.archive}
    fitting = [package for package in found if all(package.source.get(name) == origin[name] for name in origin)]
    if not found:
        raise ProfileError(f"`{locked.name} {locked.version}` is not in the store")
    return (fitting or found)[0]
