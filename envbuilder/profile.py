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

import os
import time
from os.path import basename, dirname, isfile, join, lexists

from envbuilder import flocks, fs, notice, protocol
from envbuilder.contexts import contextmanager
from envbuilder.digest import read as read_record
from envbuilder.digest import read_sealed, sealed
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
_KEY_DIGITS, _HEX = 12, frozenset("0123456789abcdef")
REMEMBERED = 64
"""How many switches a profile remembers, and how far back it can be rolled step by step: no switch gets slower."""
NOTHING: dict[str, str] = {}
"""What is kept beside records that an older version wrote: nobody knows."""
LOST = "its record is lost"
"""The reason of a generation of which only its symlink and its overlay tell."""
REPAIR = "`vpm-env verify --repair` mends what can be mended"
_NO_ORDER: dict[str, Any] = {"order": [], "held": False, "before": [], "held_before": False, "switches": []}


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
    return _lock(profile, wait, on_wait)


def _lock(profile: Profile, wait: float, on_wait: OnWait) -> AbstractContextManager[None]:
    flock = f"profile-{profile.name}-{profile.base_key}"
    return flocks.locked(join(profile.layout.flocks, flock), wait=wait, on_wait=on_wait)


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
        _lock(profile, wait, on_wait),
    ):
        yield


def current(profile: Profile) -> int | None:
    """Return the number of the current generation; None where there is none."""
    name = basename(fs.target_of(profile.current))
    return int(name) if name.isdigit() else None


def numbers(profile: Profile) -> list[int]:
    """List the numbers of all generations, collected ones included, ascending.

    Raise `ProfileError` where something else lies in the place of their folder: nobody knows then which there are.
    """
    folder = join(profile.path, "generations")
    try:
        names = (name[:-5] for name in os.listdir(folder) if name.endswith(".json"))
        return sorted(int(name) for name in names if name.isdigit())
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        text = f"the profile `{profile.name}` is damaged: `{folder}` is no folder, or is in none"
        raise ProfileError(text, hint=REPAIR) from None


def read(profile: Profile, number: int) -> Generation:
    """Return a generation's record; raise `ProfileError` when there is none or it cannot be read."""
    try:
        record = read_record(profile.file(number, "json"))
        if record.pop("format") > FORMAT:
            raise HomeError(home=profile.layout.home, reason="is newer than this vpm-env", hint="upgrade vpm-env")
        record.pop("checksum", None)  # for `verify`: who goes back at night takes what can be read
        return Generation(**record)
    except FileNotFoundError:
        text = f"the profile `{profile.name}` has no generation {number}"
        raise NoSuchGeneration(text, hint="see `vpm-env history`") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProfileError(f"the record of generation {number} cannot be read: {error}", hint=REPAIR) from None


def known(profile: Profile, number: int) -> Generation:
    """Return a generation's record; where that cannot be read, what its symlink and its overlay say."""
    try:
        return read(profile, number)
    except ProfileError:
        from envbuilder import remains  # as a rule nothing is lost

        found = remains.of(profile.pointer(number))
        return Generation(number=number, base_key=profile.base_key, reason=LOST, **found)


def serving(profile: Profile) -> Generation | None:
    """Return the current generation, as far as it is known; None where there is none."""
    number = current(profile)
    return None if number is None else known(profile, number)


def generations(profile: Profile) -> list[Generation]:
    """Return every generation's record, ascending; raise `ProfileError` for one that cannot be read."""
    return [read(profile, number) for number in numbers(profile)]


def newest(profile: Profile) -> Generation | None:
    """Return the generation with the highest number, as far as it is known."""
    now = current(profile)
    number = None if now is None else _newest_from(profile, now)
    if number is None:
        number = next(reversed(numbers(profile)), None)
    return None if number is None else known(profile, number)


def has(profile: Profile, number: int) -> bool:
    """Tell whether there is a record of a generation, whatever is in it."""
    return lexists(profile.file(number, "json"))


def _newest_from(profile: Profile, number: int) -> int | None:
    """Go from a generation to the newest; None where only the list of all can tell, which grows with them.

    Their numbers follow each other. Where a record is missing and something else of that generation is there, more may
    come.
    """
    if not has(profile, number):
        return None
    while has(profile, number := number + 1):
        pass
    is_lost = lexists(profile.pointer(number)) or lexists(profile.file(number, "pylock.toml"))
    return None if is_lost else number - 1


def read_order(profile: Profile) -> dict[str, Any]:
    """Return what `order.json` says; nothing where it is missing or damaged."""
    try:
        return read_sealed(join(profile.path, "order.json"))
    except (OSError, ValueError):
        return {}


def order(profile: Profile) -> Order:
    """Return the order that fits `current`, whichever side of a crash it is on."""
    record = {**_NO_ORDER, **read_order(profile)}
    now = current(profile)
    if now is None:
        return Order(numbers=[], held=False, switches=record["switches"][:-1])
    if record["order"][-1:] == [now]:
        return Order(numbers=record["order"], held=record["held"], switches=record["switches"])
    happened = record["switches"][:-1]  # the last was recorded, and then there was no rename
    if record["before"][-1:] == [now]:
        return Order(numbers=record["before"], held=record["held_before"], switches=happened)
    return Order(numbers=[now], held=numbers(profile)[-1:] != [now], switches=happened)  # an undo stays one


def rewrite(profile: Profile, generation: Generation) -> None:
    """Write a generation's record, or write it again: its inputs were seen to lead to the same set."""
    fs.write_json(profile.file(generation.number, "json"), sealed({"format": FORMAT, **generation._asdict()}))


def point(profile: Profile, generation: Generation, *, listed: bool = True) -> None:
    """Make a generation's symlink again, after its overlay was collected and rebuilt."""
    overlay = profile.layout.overlay(profile.base_key, generation.digest)
    target = os.path.relpath(overlay, join(profile.path, "generations"))
    if fs.target_of(profile.pointer(generation.number)) != target:
        fs.replace_symlink(profile.pointer(generation.number), target, listed=listed)


def switch(profile: Profile, number: int, *, verb: str, hold: bool, after: list[int] | None = None) -> None:
    """Make a generation current: record the order, then one rename.

    `after` is the whole order afterwards (a rollback's is shorter); by default the generation goes on top.
    """
    before = order(profile)
    if before.numbers and not before.switches:
        from envbuilder import remains  # as a rule nothing is lost

        before = before._replace(switches=remains.switches(numbers(profile), profile.current))
    switches = [*before.switches, [number, time.time(), verb]][-REMEMBERED:]
    record = {
        "format": FORMAT,
        "order": pushed(before.numbers, number) if after is None else after,
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


def is_on_disk(profile: Profile, generation: Generation) -> bool:
    """Tell whether a generation's overlay is there and finished, and other homes' packages in it are too."""
    seal = join(profile.layout.overlay(profile.base_key, generation.digest), "overlay.json")
    return isfile(seal) and not lost_packages(profile, generation)


def lost_packages(profile: Profile, generation: Generation) -> list[str]:
    """Return the keys of a generation's packages that another home's store lent and no longer has."""
    lent = generation.inputs.get("borrowed", ())
    return [key for key in lent if not isfile(join(profile.layout.package(key), "package.json"))]


def all_profiles(layout: Layout) -> Iterator[Profile]:
    """Name every profile for every base; what else lies there is not ours."""
    for name in fs.names_in(layout.profiles):
        for base_key in fs.names_in(join(layout.profiles, name)):
            if len(base_key) == _KEY_DIGITS and _HEX.issuperset(base_key):
                yield Profile(layout=layout, name=name, base_key=base_key)


def pushed(numbers_then: list[int], number: int) -> list[int]:
    """Return an order with a generation on top; the oldest of a long one goes."""
    return numbers_then if numbers_then[-1:] == [number] else [*numbers_then, number][-REMEMBERED:]
