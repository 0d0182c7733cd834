"""Move `current`: switch and roll back. No network, no resolver, no engine, no YAML.

A generation whose overlay was collected is rebuilt by the `rebuild` that the caller hands in, so that this module
need not know how; it is what the on-call person waits for.
"""

from __future__ import annotations

from os.path import join

from envbuilder import profile as profiles
from envbuilder.digest import read_sealed
from envbuilder.errors import NoSuchGeneration, ProfileError
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from envbuilder.profile import Generation, Profile

    Rebuild = Callable[[Profile, Generation], None]

_LISTED = 5


class Switched(NamedTuple):
    """What a switch did: the generation now current, the one before (None: there was none), and what is to be told.

    `warnings` are about what could not be read on the way, and was left as it is.
    """

    generation: Generation
    before: Generation | None
    rebuilt: bool
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def rollback(
    profile: Profile, *, to: int | None, bad: bool, wait: float, rebuild: Rebuild, wait_told: profiles.OnWait = None
) -> Switched:
    """Make the generation before current again, past bad ones, or `to`; mark the one left `bad` if so asked.

    The profile is held afterwards: no build without changed input undoes this. A generation whose record cannot be
    read is no way back, and no obstacle. Raise `ProfileError` when there is nothing to go back to.
    """
    with profiles.changing(profile, wait=wait, on_wait=wait_told):
        left = profiles.serving(profile)
        if left is None:
            raise ProfileError(*_nothing(profile))
        if to is not None:
            _require(profile, to)
        after, passed = way_back(profile, left) if to is None else (rollback_order(profile, to), ())
        target = profiles.read(profile, after[-1])
        rebuilt = ensure(profile, target, rebuild)
        unmarked = mark(profile, left.number, state="bad") if bad else ()
        notes = () if bad and target.digest == left.digest else _given_another_chance(profile, target)
        profiles.switch(profile, target.number, verb="rollback", hold=True, after=after)
        return Switched(target, left, rebuilt, (*notes, *_editable_notes(target)), (*passed, *unmarked))


def switch(
    profile: Profile, number: int, *, wait: float, rebuild: Rebuild, wait_told: profiles.OnWait = None
) -> Switched:
    """Make generation `number` current and hold the profile there; a bad one is untried again.

    Raise `ProfileError` if there is no such one.
    """
    with profiles.changing(profile, wait=wait, on_wait=wait_told):
        before = profiles.serving(profile)
        target = _require(profile, number)
        rebuilt = ensure(profile, target, rebuild)
        notes = _given_another_chance(profile, target)
        profiles.switch(profile, number, verb="switch", hold=True)
        return Switched(target, before, rebuilt, (*notes, *_editable_notes(target)))


def way_back(profile: Profile, left: Generation) -> tuple[list[int], tuple[str, ...]]:
    """Return the order after a rollback, past bad generations and the set that is `left`; its last is the target.

    With it comes what is to be told of records that could not be read. Raise `ProfileError` when there is nothing to
    go back to.
    """
    numbers = profiles.order(profile).numbers
    rest = numbers[:-1]
    warnings: list[str] = []
    while rest:
        try:
            found = profiles.read(profile, rest[-1])
        except ProfileError as error:
            warnings.append(f"passed over generation {rest[-1]}: {error.message}")
        else:
            if found.state != "bad" and found.digest != left.digest:
                return rest, tuple(warnings)
        rest = rest[:-1]
    hint = profiles.REPAIR if warnings else "see `vpm-env history`"
    text = f"the profile `{profile.name}` has no earlier generation to roll back to"
    raise ProfileError("; ".join((text, *warnings)), hint=hint)


def rollback_order(profile: Profile, to: int | None = None) -> list[int]:
    """Return the order after a rollback, its last the target; raise as `rollback` does."""
    if to is None:
        left = profiles.serving(profile)
        if left is None:
            raise ProfileError(*_nothing(profile))
        return way_back(profile, left)[0]
    profiles.read(profile, to)
    numbers = profiles.order(profile).numbers
    at = next((at for at in range(len(numbers) - 1, -1, -1) if numbers[at] == to), None)
    return profiles.pushed(numbers, to) if at is None else numbers[: at + 1]


def rollback_target(profile: Profile) -> int | None:
    """Return the generation that a rollback would make current, if there is one."""
    try:
        return rollback_order(profile)[-1]
    except ProfileError:
        return None


def mark(profile: Profile, number: int, *, state: str, why: str = "", judged: str = "") -> tuple[str, ...]:
    """Set a generation's state, and that of all others that are the same set; return of which that failed, and why."""
    digest, warnings = profiles.known(profile, number).digest, []
    for each in sorted({*profiles.numbers(profile), number}):
        generation = profiles.known(profile, each)
        if generation.digest == digest and generation.reason == profiles.LOST:
            warnings.append(f"generation {each} is not marked {state}: its record cannot be read")
        elif generation.digest == digest:
            profiles.rewrite(profile, generation._replace(state=state, why=why, judged=judged))
    return tuple(warnings)


def is_sound(profile: Profile, generation: Generation) -> bool:
    """Tell whether a generation's overlay is on disk, and says of itself what it was made to say."""
    try:
        read_sealed(join(profile.layout.overlay(profile.base_key, generation.digest), "overlay.json"))
    except (OSError, ValueError):
        return False
    return not profiles.lost_packages(profile, generation)


def named(profile: Profile, text: str) -> Generation:
    """Return the generation that `text` names: its number, or the beginning of its digest.

    A text of digits alone is a number first. Of several generations of one digest it is the newest. Raise
    `NoSuchGeneration` where there is none, or where several digests begin so.
    """
    number = int(text) if text.isdigit() else None
    if number is not None and profiles.has(profile, number):
        return profiles.read(profile, number)
    matching = _beginning(profile, text)
    if len(matching) == 1:
        return next(iter(matching.values()))
    if matching:
        raise NoSuchGeneration(
            f"`{text}` is ambiguous: the digests of {_listed(matching)} begin so", hint="write more of it"
        )
    if number is not None:
        return _require(profile, number)
    known = {generation.digest: generation for generation in _readable(profile)}
    hint = f"there are {_listed(known)}" if known else "see `vpm-env history`"
    raise NoSuchGeneration(
        f"the profile `{profile.name}` has no generation whose digest begins with `{text}`", hint=hint
    )


def chosen(profile: Profile, name: int | str | None) -> Generation:
    """Return the generation that `name` names, or the current one.

    Raise `ProfileError` if there is none or its overlay is gone.
    """
    now = profiles.current(profile) if name is None else name
    if now is None:
        raise ProfileError(*_nothing(profile), hint="run `vpm-env build`")
    generation = named(profile, str(now))
    if not profiles.is_on_disk(profile, generation):
        way = f"`vpm-env switch {generation.number}` rebuilds it from its lock, and makes it current"
        raise ProfileError(missing(profile, generation), hint=way)
    return generation


def missing(profile: Profile, generation: Generation) -> str:
    """Say why the set of a generation cannot be used as it is on disk."""
    if lost := profiles.lost_packages(profile, generation):
        packages = f"{len(lost)} package{'' if len(lost) == 1 else 's'}"
        return f"a store that lent {packages} of generation {generation.number} is gone"
    return f"the overlay of generation {generation.number} was collected"


def _require(profile: Profile, number: int) -> Generation:
    """Return generation `number` of this base; one that another base has is refused, naming both."""
    if profiles.has(profile, number):
        return profiles.read(profile, number)
    for other in profiles.all_profiles(profile.layout):
        if other.name == profile.name and number in profiles.numbers(other):
            theirs = profiles.read(other, number).base["label"]
            raise ProfileError(
                f"generation {number} is for the base `{theirs}`, not for this one (`{profile.base_key}`)",
                hint="name that base with `--base`, or run `vpm-env build` to make a set for this one",
            )
    near = sorted(profiles.numbers(profile), key=lambda known: abs(known - number))[:_LISTED]
    if not near:
        return profiles.read(profile, number)
    hint = f"there {'is' if len(near) == 1 else 'are'} {_joined(map(str, sorted(near)))}: see `vpm-env history`"
    raise NoSuchGeneration(f"the profile `{profile.name}` has no generation {number}", hint=hint)


def _beginning(profile: Profile, prefix: str) -> dict[str, Generation]:
    """Find the generations, by digest, whose digest begins with `prefix`; the newest of each digest."""
    known = _readable(profile)
    return {generation.digest: generation for generation in known if generation.digest.startswith(prefix.lower())}


def _readable(profile: Profile) -> Iterator[Generation]:
    for number in profiles.numbers(profile):
        try:
            yield profiles.read(profile, number)
        except ProfileError:
            continue


def _listed(known: dict[str, Generation]) -> str:
    """Name the newest of some generations: `1 (3d6a7f12ab90) and 2 (…)`."""
    newest = sorted(known.values(), key=lambda generation: generation.number)[-_LISTED:]
    return _joined(f"{generation.number} ({generation.digest[:12]})" for generation in newest)


def _joined(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def _nothing(profile: Profile) -> tuple[str]:
    for other in profiles.all_profiles(profile.layout):
        if other.name == profile.name and other.base_key != profile.base_key and profiles.numbers(other):
            theirs = profiles.newest(other)
            label = theirs.base["label"] if theirs else other.base_key
            return (f"nothing is current for this base (`{profile.base_key}`); the profile has a set for `{label}`",)
    return (f"nothing is current in the profile `{profile.name}`",)


def ensure(profile: Profile, generation: Generation, rebuild: Rebuild) -> bool:
    """See to it that the generation's overlay is on disk and sound; tell whether it had to be rebuilt."""
    if is_sound(profile, generation):
        profiles.point(profile, generation)
        return False
    rebuild(profile, generation)
    profiles.point(profile, generation)
    return True


def _given_another_chance(profile: Profile, generation: Generation) -> tuple[str, ...]:
    """Take the mark off a bad generation, which somebody wants all the same, and say so."""
    if generation.state != "bad":
        return ()
    mark(profile, generation.number, state="untried")
    return (f"generation {generation.number} was marked bad; it is untried again",)


def _editable_notes(generation: Generation) -> tuple[str, ...]:
    editable = [name for name, _, _, is_editable in generation.packages if is_editable]
    return tuple(
        f"`{name}` is editable: its code is as it stands in its folder, and does not roll back" for name in editable
    )
