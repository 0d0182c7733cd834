"""Profiles: numbered generations, the order in which they became current, and `current` itself.

`profiles/<name>/<base key>/` holds, for each generation N, `generations/N` (a symlink to its overlay), `N.json` (its
record), `N.plugins.yaml` and `N.pylock.toml`; and `order.json` and `current`. The records stay when the overlay is
collected, so a collected set can be rebuilt. Numbers only rise.

A switch is: `order.json`, then `current` by one rename. `order.json` keeps the order before and after, so whichever
of the two a crash leaves `current` at, the order that fits it is there. Of the default profile, what is kept as
`N.registry` becomes the home's `registry.json` too, which `notice` reads and writes, and `registry` makes and mends.

This module is on `rollback`'s path: no dataclass, no pathlib.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from os.path import basename, dirname, isfile, join

from envbuilder import flocks, fs, notice, protocol
from envbuilder.digest import is_sealed, sealed, sha256_bytes
from envbuilder.errors import HomeError, NoSuchGeneration, ProfileError
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any

    from envbuilder.paths import Layout

    OnWait = Callable[[str, float], None] | None

FORMAT = 1
DEFAULT = "default"
STATES = ("untried", "good", "bad")
_REMEMBERED_SWITCHES = 10_000
NOTHING: dict[str, str] = {}
"""What is kept beside records that an older version wrote: nobody knows."""


class Profile(NamedTuple):
    """The history of one profile for one base."""

    layout: Layout
    name: str
    base_key: str

    @property
    def path(self) -> str:
        return self.layout.profile(self.name, self.base_key)

    @property
    def current(self) -> str:
        return join(self.path, "current")

    def file(self, number: int, suffix: str) -> str:
        """Name a generation's file: `json`, `plugins.yaml`, `pylock.toml` or `registry`."""
        return join(self.path, "generations", f"{number}.{suffix}")

    def pointer(self, number: int) -> str:
        """Name a generation's symlink to its overlay."""
        return join(self.path, "generations", str(number))


class Generation(NamedTuple):
    """A numbered revision of a profile.

    `inputs` are the digests of what it was built from; `packages` are `[name, version, plugin, editable]`; `created`
    is an ISO 8601 time in UTC; `base` has `prefix`, `label`, `engine` and `engine_version`; `left_out` is optional
    plugin → why; `state` is one of `STATES`, `why` says what serving had to do with that and `judged` when, in UTC;
    both are "" where nobody but a person judged. `kept` are the sha256 of the files beside the record, by suffix.
    """

    number: int
    digest: str
    base_key: str
    created: str
    state: str
    keep: bool
    config: str
    base: dict[str, str]
    inputs: dict[str, Any]
    packages: list[list[Any]]
    left_out: dict[str, str]
    reason: str
    why: str = ""
    judged: str = ""
    kept: dict[str, str] = NOTHING


class Order(NamedTuple):
    """In which order generations became current (the last one is), whether the profile is held, and when it switched.

    `switches` are `[number, seconds since the epoch, verb]`, oldest first.
    """

    numbers: list[int]
    held: bool
    switches: list[list[Any]]


def locked(profile: Profile, *, wait: float, on_wait: OnWait = None) -> AbstractContextManager[None]:
    """Hold the profile's lock; everything here that writes wants it held."""
    require_own(profile)
    return flocks.locked(
        join(profile.layout.flocks, f"profile-{profile.name}-{profile.base_key}"), wait=wait, on_wait=on_wait
    )


def require_own(profile: Profile) -> None:
    """Raise `HomeError` where somebody else's symlink stands for a folder that is written to."""
    home, above = profile.layout, dirname(profile.path)
    overlays = (home.overlays, join(home.overlays, profile.base_key))
    led = fs.led_away(home.flocks, *overlays, home.profiles, above, profile.path, join(profile.path, "generations"))
    if led:
        hint = "see who put it there; what it leads to is not touched"
        raise HomeError(home=home.home, reason=f"has another user's symlink where `{led}` should be", hint=hint)


@contextmanager
def changing(profile: Profile, *, wait: float, on_wait: OnWait = None) -> Iterator[None]:
    """Hold what a switch needs: gc at bay, so that what is there stays there, and the profile's lock.

    Where the file system is full, what is written meanwhile has the reserve's room.
    """
    require_own(profile)
    with (
        fs.drawing_on(profile.layout.reserve),
        flocks.locked(profile.layout.gc_lock, wait=wait, on_wait=on_wait, shared=True),
        locked(profile, wait=wait, on_wait=on_wait),
    ):
        yield


@contextmanager
def building(profile: Profile, *, wait: float, on_wait: OnWait = None) -> Iterator[None]:
    """Let one build at a time work on the profile, and no gc meanwhile."""
    require_own(profile)
    flock = join(profile.layout.flocks, f"build-{profile.name}-{profile.base_key}")
    with (
        flocks.locked(flock, wait=wait, on_wait=on_wait),
        flocks.locked(profile.layout.gc_lock, wait=wait, on_wait=on_wait, shared=True),
    ):
        yield


def current(profile: Profile) -> int | None:
    """Return the number of the current generation; None where there is none."""
    name = basename(fs.target_of(profile.current))
    return int(name) if name.isdigit() else None


def numbers(profile: Profile) -> list[int]:
    """List the numbers of all generations, collected ones included, ascending."""
    names = (name[:-5] for name in fs.names_in(join(profile.path, "generations")) if name.endswith(".json"))
    return sorted(int(name) for name in names if name.isdigit())


def read(profile: Profile, number: int) -> Generation:
    """Return a generation's record; raise `ProfileError` when there is none or it cannot be read."""
    try:
        with open(profile.file(number, "json"), encoding="utf-8") as stream:
            record = json.load(stream)
        if record.pop("format") > FORMAT:
            raise HomeError(home=profile.layout.home, reason="is newer than this vpm-env", hint="upgrade vpm-env")
        record.pop("checksum", None)  # for `verify`: who goes back at night takes what can be read
        return Generation(**record)
    except FileNotFoundError:
        raise NoSuchGeneration(
            f"the profile `{profile.name}` has no generation {number}", hint="see `vpm-env history`"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProfileError(f"the record of generation {number} cannot be read: {error}") from None


def generations(profile: Profile) -> list[Generation]:
    """Return every generation's record, ascending."""
    return [read(profile, number) for number in numbers(profile)]


def newest(profile: Profile) -> Generation | None:
    """Return the generation with the highest number."""
    known = numbers(profile)
    return read(profile, known[-1]) if known else None


def order(profile: Profile) -> Order:
    """Return the order that fits `current`, whichever side of a crash it is on."""
    record = _read_order(profile)
    now = current(profile)
    if now is None:
        return Order(numbers=[], held=False, switches=record["switches"][:-1])
    if record["order"] and record["order"][-1] == now:
        return Order(numbers=record["order"], held=record["held"], switches=record["switches"])
    happened = record["switches"][:-1]  # the last was recorded, and then there was no rename
    if record["before"] and record["before"][-1] == now:
        return Order(numbers=record["before"], held=record["held_before"], switches=happened)
    return Order(numbers=[now], held=False, switches=happened)


def add(
    profile: Profile,
    generation: Generation,
    *,
    config: bytes,
    lock: str,
    beside: Callable[[Generation], None] | None = None,
) -> Generation:
    """Record a new generation, under the number after the highest, without switching to it; return it numbered.

    `beside` writes what else is kept with it: the record that makes it count comes last.
    """
    number = max(numbers(profile), default=0) + 1
    kept = {"plugins.yaml": config, "pylock.toml": lock.encode()}
    digests = {suffix: sha256_bytes(content) for suffix, content in kept.items()}
    numbered = generation._replace(number=number, kept=digests)
    fs.make_dirs(join(profile.path, "generations"))
    for suffix, content in kept.items():
        fs.write_atomic(profile.file(number, suffix), content)
    if beside:
        beside(numbered)
    protocol.reached("generation", "kept")
    _point(profile, number, generation.digest)
    protocol.reached("generation", "pointed")
    rewrite(profile, numbered)
    protocol.reached("generation", "recorded")
    return numbered


def rewrite(profile: Profile, generation: Generation) -> None:
    """Write a generation's record, or write it again: its inputs were seen to lead to the same set."""
    fs.write_json(profile.file(generation.number, "json"), sealed({"format": FORMAT, **generation._asdict()}))


def point(profile: Profile, generation: Generation) -> None:
    """Make a generation's symlink again, after its overlay was collected and rebuilt."""
    _point(profile, generation.number, generation.digest)


def unpoint(profile: Profile, number: int) -> None:
    """Remove a generation's symlink: its overlay is to be collected."""
    fs.remove(profile.pointer(number))


def switch(profile: Profile, number: int, *, verb: str, hold: bool, after: list[int] | None = None) -> None:
    """Make a generation current: record the order, then one rename.

    `after` is the whole order afterwards (a rollback's is shorter); by default the generation goes on top.
    """
    before = order(profile)
    numbers_then = after if after is not None else _pushed(before.numbers, number)
    switches = [*before.switches, [number, time.time(), verb]][-_REMEMBERED_SWITCHES:]
    record = {
        "format": FORMAT,
        "order": numbers_then,
        "held": hold,
        "before": before.numbers,
        "held_before": before.held,
        "switches": switches,
    }
    fs.write_json(join(profile.path, "order.json"), sealed(record))
    protocol.reached("switch", "ordered")
    fs.replace_symlink(profile.current, f"generations/{number}")
    protocol.reached("switch", "switched")
    tell(profile, number)
    protocol.reached("switch", "told")


def tell(profile: Profile, number: int) -> None:
    """Let `registry.json` be what is kept of a generation, if it is the default profile's."""
    if profile.name == DEFAULT:
        notice.write(profile.layout, profile.file(number, "registry"))


def is_told(layout: Layout, *, with_failures: bool = True) -> bool:
    """Tell whether `registry.json` says what is current, for the base that it is about.

    Unless `with_failures`, it must not tell of a build that failed since: one has succeeded.
    """
    said = notice.read(layout)
    if said is None:
        return not os.path.isdir(join(layout.profiles, DEFAULT))
    is_sound = with_failures or not said.has_failed
    return is_sound and said.generation == current(Profile(layout, DEFAULT, said.base_key))


def rollback_order(profile: Profile, to: int | None = None) -> list[int]:
    """Return the order after a rollback: past bad generations and the set that is left, or back to `to`.

    Its last is the target. Raise `ProfileError` when there is nothing to go back to.
    """
    numbers_then = order(profile).numbers
    if to is not None:
        read(profile, to)
        at = _last_index(numbers_then, to)
        return numbers_then[: at + 1] if at is not None else _pushed(numbers_then, to)
    rest = numbers_then[:-1]
    left = read(profile, numbers_then[-1]).digest if rest else ""
    while rest and _is_passed(read(profile, rest[-1]), left):
        rest = rest[:-1]
    if not rest:
        raise ProfileError(
            f"the profile `{profile.name}` has no earlier generation to roll back to", hint="see `vpm-env history`"
        )
    return rest


def _is_passed(generation: Generation, left: str) -> bool:
    """Tell whether a rollback goes past a generation: a bad one, or one that is the very set that is left."""
    return generation.state == "bad" or generation.digest == left


def rollback_target(profile: Profile) -> int | None:
    """Return the generation that a rollback would make current, if there is one."""
    try:
        return rollback_order(profile)[-1]
    except ProfileError:
        return None


def mark(profile: Profile, number: int, *, state: str, why: str = "", judged: str = "") -> None:
    """Set a generation's state, and that of all others that are the same set."""
    digest = read(profile, number).digest
    for generation in generations(profile):
        if generation.digest == digest:
            rewrite(profile, generation._replace(state=state, why=why, judged=judged))


def is_on_disk(profile: Profile, generation: Generation) -> bool:
    """Tell whether a generation's overlay is there and finished, and other homes' packages in it are too."""
    return isfile(_seal(profile, generation)) and not lost_packages(profile, generation)


def is_sound(profile: Profile, generation: Generation) -> bool:
    """Tell whether a generation's overlay is on disk, and says of itself what it was made to say."""
    try:
        with open(_seal(profile, generation), encoding="utf-8") as stream:
            return is_sealed(json.load(stream)) and not lost_packages(profile, generation)
    except (OSError, ValueError):
        return False


def lost_packages(profile: Profile, generation: Generation) -> list[str]:
    """Return the keys of a generation's packages that another home's store lent and no longer has."""
    lent = generation.inputs.get("borrowed", ())
    return [key for key in lent if not isfile(join(profile.layout.package(key), "package.json"))]


def all_profiles(layout: Layout) -> Iterator[Profile]:
    """Name every profile for every base."""
    for name in fs.names_in(layout.profiles):
        for base_key in fs.names_in(join(layout.profiles, name)):
            yield Profile(layout=layout, name=name, base_key=base_key)


def _seal(profile: Profile, generation: Generation) -> str:
    return join(profile.layout.overlay(profile.base_key, generation.digest), "overlay.json")


def _point(profile: Profile, number: int, digest: str) -> None:
    target = os.path.relpath(profile.layout.overlay(profile.base_key, digest), join(profile.path, "generations"))
    if fs.target_of(profile.pointer(number)) != target:
        fs.replace_symlink(profile.pointer(number), target)


def _pushed(numbers_then: list[int], number: int) -> list[int]:
    return numbers_then if numbers_then[-1:] == [number] else [*numbers_then, number]


def _last_index(numbers_then: list[int], number: int) -> int | None:
    return next((at for at in range(len(numbers_then) - 1, -1, -1) if numbers_then[at] == number), None)


def _read_order(profile: Profile) -> dict[str, Any]:
    empty: dict[str, Any] = {"order": [], "held": False, "before": [], "held_before": False, "switches": []}
    try:
        with open(join(profile.path, "order.json"), encoding="utf-8") as stream:
            record = json.load(stream)
        return record if is_sealed(record) else empty
    except (OSError, ValueError, TypeError):
        return empty
