"""The mark `keep` of generations, which gc respects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder import profile as profiles
from envbuilder.classes import dataclass
from envbuilder.errors import ProfileError, SeveralErrors
from envbuilder.switching import named

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envbuilder.profile import Generation, OnWait, Profile


@dataclass(frozen=True, kw_only=True, slots=True)
class Marked:
    """A generation with its mark; `changed` if it was another before, `on_disk` if its overlay is there."""

    generation: Generation
    changed: bool
    on_disk: bool


def mark(
    profile: Profile, names: Iterable[str], *, keep: bool, wait: float, on_wait: OnWait = None
) -> tuple[Marked, ...]:
    """Keep generations, or let them go again; all of them, or none where a name names none (all such are told).

    gc is held at bay meanwhile: what is kept now is not collected by one that has chosen already.
    """
    numbers = [generation.number for generation in _all_named(profile, names)]
    with profiles.changing(profile, wait=wait, on_wait=on_wait):
        found = [profiles.read(profile, number) for number in numbers]
        for generation in found:
            if keep and profiles.is_on_disk(profile, generation):
                profiles.point(profile, generation)  # a gc that was killed may have unpointed it
            if generation.keep != keep:
                profiles.rewrite(profile, generation._replace(keep=keep))
        return tuple(
            Marked(
                generation=generation._replace(keep=keep),
                changed=generation.keep != keep,
                on_disk=profiles.is_on_disk(profile, generation),
            )
            for generation in found
        )


def _all_named(profile: Profile, names: Iterable[str]) -> list[Generation]:
    found: dict[int, Generation] = {}
    errors = []
    for name in names:
        try:
            generation = named(profile, name)
            found[generation.number] = generation
        except ProfileError as error:
            errors.append(error)
    if len(errors) > 1:
        raise SeveralErrors(tuple(errors))
    if errors:
        raise errors[0]
    return list(found.values())
