"""A new generation: what is kept with it, its symlink, and last its record, which makes it count."""

from __future__ import annotations

from os.path import basename, join

from envbuilder import flocks, fs, protocol
from envbuilder import profile as profiles
from envbuilder.contexts import contextmanager
from envbuilder.digest import sha256_bytes
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from envbuilder.paths import Layout
    from envbuilder.profile import Generation, OnWait, Profile

    Beside = Callable[[Generation], None] | None


@contextmanager
def building(profile: Profile, *, wait: float, on_wait: OnWait = None) -> Iterator[None]:
    """Let one build at a time work on the profile, and no gc meanwhile."""
    profiles.require_own(profile)
    flock = join(profile.layout.flocks, f"build-{profile.name}-{profile.base_key}")
    with (
        flocks.locked(flock, wait=wait, on_wait=on_wait),
        flocks.locked(profile.layout.gc_lock, wait=wait, on_wait=on_wait, shared=True),
    ):
        yield


def add(profile: Profile, generation: Generation, *, config: bytes, lock: str, beside: Beside = None) -> Generation:
    """Record a new generation, under the number after the highest, without switching to it; return it numbered.

    `beside` writes what else is kept with it.
    """
    return put(profile, generation._replace(number=_next(profile)), config=config, lock=lock, beside=beside)


def put(profile: Profile, generation: Generation, *, config: bytes, lock: str, beside: Beside = None) -> Generation:
    """Record a generation under its own number: a new one, or one whose record is lost."""
    kept = {"plugins.yaml": config, "pylock.toml": lock.encode()}
    made = generation._replace(kept={suffix: sha256_bytes(content) for suffix, content in kept.items()})
    folder = join(profile.path, "generations")
    fs.make_dirs(folder)
    for suffix, content in kept.items():
        fs.write_atomic(profile.file(made.number, suffix), content, listed=False)
    if beside:
        beside(made)
    protocol.reached("generation", "kept")
    profiles.point(profile, made, listed=False)
    fs.sync_dir(folder)  # once for all of it: nothing of a generation counts before its record does
    protocol.reached("generation", "pointed")
    profiles.rewrite(profile, made)
    protocol.reached("generation", "recorded")
    return made


def remembered(profile: Profile) -> set[int]:
    """Name the generations that are or were current, whether they have records or not.

    What `current` alone names, and nothing points to, is none.
    """
    record, now = profiles.read_order(profile), profiles.current(profile)
    is_there = now is not None and fs.target_of(profile.pointer(now))
    return {*record.get("order", ()), *record.get("before", ()), *((now,) if now is not None and is_there else ())}


def pointing(profile: Profile) -> set[int]:
    """Name the generations that have a symlink, whether they have records or not."""
    return set(leads(profile))


def leads(profile: Profile) -> dict[int, str]:
    """Say where the symlinks of generations lead, whatever their records say: number → digest."""
    folder = join(profile.path, "generations")
    return {int(name): basename(fs.target_of(join(folder, name))) for name in fs.names_in(folder) if name.isdigit()}


def pointed(layout: Layout) -> set[tuple[str, str]]:
    """Name the overlays, `(base key, digest)`, that a symlink of a profile leads to."""
    known = profiles.all_profiles(layout)
    return {(profile.base_key, digest) for profile in known for digest in leads(profile).values()}


def lost(profile: Profile) -> list[int]:
    """Name the generations that had a record and have none: what was current, and what another was recorded after.

    A record is written last, and the next build takes the number of one that never got there.
    """
    known = profiles.numbers(profile)
    had = remembered(profile) | {number for number in pointing(profile) if number < max(known, default=0)}
    return sorted(had - set(known))


def _next(profile: Profile) -> int:
    """Return the number after the highest, that of a lost record included."""
    return 1 + max((*profiles.numbers(profile), *remembered(profile)), default=0)
