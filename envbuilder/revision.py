"""All there is to know of one generation: its record, its overlay's manifest, its lock, its config, and its bytes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from envbuilder import gc, overlay, store
from envbuilder import lock as locks
from envbuilder import profile as profiles
from envbuilder.classes import dataclass
from envbuilder.config import read_kept
from envbuilder.errors import ProfileError, VpmError
from envbuilder.ledger import occupied
from envbuilder.switching import chosen, named

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envbuilder.config import Config
    from envbuilder.lock import Lock
    from envbuilder.manifest import Manifest
    from envbuilder.paths import Environment
    from envbuilder.profile import Generation, Profile


@dataclass(frozen=True, kw_only=True, slots=True)
class Revision:
    """One generation; `manifest` is None where its overlay was collected or is damaged, `lock` where it is gone."""

    profile: Profile
    generation: Generation
    manifest: Manifest | None
    lock: Lock | None

    @property
    def overlay(self) -> str:
        """Return where its overlay is, or was."""
        return self.profile.layout.overlay(self.profile.base_key, self.generation.digest)

    @property
    def facts(self) -> dict[str, str]:
        """Return the base distributions that it relies on, name → version."""
        return self.manifest.facts if self.manifest else self.lock.facts if self.lock else {}

    @property
    def keys(self) -> frozenset[str]:
        """Return the keys of its packages; none where they are not known any more."""
        return frozenset(member.key for member in self.manifest.members) if self.manifest else frozenset()

    def config(self, env: Environment) -> Config | None:
        """Parse the config that it was built from; None where that cannot be done any more."""
        try:
            kept = self.profile.file(self.generation.number, "plugins.yaml")
            return read_kept(kept, file=self.generation.config, env=env)
        except (OSError, VpmError):
            return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Bytes of a generation that is on disk.

    `files` is what its packages' files add up to; `disk` the space that `paths` take, files with several names
    counted once; `own` the part that nothing else needs: what collecting it would free.
    """

    files: int
    disk: int
    own: int


def revision(profile: Profile, name: str | None) -> Revision:
    """Return what is known of the generation that `name` names, or of the current one; it may be collected."""
    generation = named(profile, name) if name is not None else _current(profile)
    try:
        lock = locks.read(profile.file(generation.number, "pylock.toml"))
    except VpmError:
        lock = None
    manifest = overlay.get(profile.layout, profile.base_key, generation.digest)
    return Revision(profile=profile, generation=generation, manifest=manifest, lock=lock)


def manifest_of(found: Revision) -> Manifest:
    """Return its manifest; raise `ProfileError` where its overlay was collected or is damaged."""
    if found.manifest is not None:
        return found.manifest
    number = chosen(found.profile, found.generation.number).number
    raise ProfileError(f"the overlay of generation {number} is damaged", hint="run `vpm-env verify --repair`")


def sizes(found: Revision) -> Sizes | None:
    """Measure a generation; None where its overlay is not on disk."""
    if found.manifest is None:
        return None
    files = sum(member.size for member in found.manifest.members)
    return Sizes(files=files, disk=occupied(paths(found)), own=gc.freed(own_paths(found)))


def paths(found: Revision) -> list[str]:
    """Return what is on disk for its sake: its pointer, its overlay, its packages, and what leads to those."""
    return _paths(found, found.keys)


def own_paths(found: Revision) -> list[str]:
    """Return its `paths` as far as no other generation needs them: what gc would take with it."""
    layout, own = found.profile.layout, (found.profile.base_key, found.generation.digest)
    if found.manifest is None:
        return []
    if _is_shared(found):
        return [_pointer(found)]
    needed: set[str] = set()
    for base_key, digest in gc.holders(layout, gc.Policy(), now=time.time()):
        manifest = overlay.get(layout, base_key, digest) if (base_key, digest) != own else None
        needed |= {member.key for member in manifest.members} if manifest else set()
    return _paths(found, found.keys - needed)


def _current(profile: Profile) -> Generation:
    return profiles.serving(profile) or chosen(profile, None)


def _is_shared(found: Revision) -> bool:
    """Tell whether another generation, of any profile, has the same overlay."""
    own, mine = (found.profile.base_key, found.generation.digest), (found.profile, found.generation.number)
    return bool(gc.holders(found.profile.layout, gc.Policy(), now=time.time()).get(own, set()) - {mine})


def _paths(found: Revision, keys: Iterable[str]) -> list[str]:
    layout, traces = found.profile.layout, store.traces(found.profile.layout)
    packages = [path for key in sorted(keys) for path in (*traces.get(key, ()), layout.package(key))]
    return [_pointer(found), found.overlay, *packages]


def _pointer(found: Revision) -> str:
    return found.profile.pointer(found.generation.number)
