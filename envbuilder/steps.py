"""What each generation changed against the one before it, in words.

A history may be long: overlays are looked into only where two generations have the same versions and are not the same.
"""

from __future__ import annotations

from functools import lru_cache

from envbuilder import overlay
from envbuilder.planning import ABSENT, changes
from envbuilder.profile import LOST
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from envbuilder.manifest import Manifest, Member
    from envbuilder.profile import Generation, Profile


def steps(profile: Profile, generations: Iterable[Generation]) -> Iterator[tuple[str, ...]]:
    """Say of each of a profile's generations, oldest first, what it changed against the last that is known."""

    @lru_cache(maxsize=2)
    def manifest(digest: str) -> Manifest | None:
        return overlay.get(profile.layout, profile.base_key, digest)

    before = None
    for after in generations:
        if after.reason == LOST:
            yield (LOST,)
            continue
        yield tuple(_said(before, after, manifest)) or ("same versions, not the same set",)
        before = after


def _said(before: Generation | None, after: Generation, manifest: Callable[[str], Manifest | None]) -> Iterable[str]:
    versions = _versions(before, after)
    if versions or before is None:
        return versions or ("no packages",)
    if before.digest == after.digest:
        return ("same packages",)
    old, new = manifest(before.digest), manifest(after.digest)
    return _contents(old, new) if old and new else _modes(before, after)


def _versions(before: Generation | None, after: Generation) -> tuple[str, ...]:
    old = {name: (version, "", 0) for name, version, _, _ in before.packages} if before else {}
    new: dict[str, tuple[str, str, int | None]] = {name: (version, "", 0) for name, version, _, _ in after.packages}
    return tuple(map(str, changes(old, new)))


def _modes(before: Generation, after: Generation) -> tuple[str, ...]:
    """Say what became editable, or is no longer: that is known of collected ones too."""
    was = {name: editable for name, _, _, editable in before.packages}
    return tuple(
        _flip(name, editable) for name, _, _, editable in after.packages if was.get(name, editable) != editable
    )


def _contents(before: Manifest, after: Manifest) -> Iterator[str]:
    """Say how two sets of the same versions differ: in all that is in a digest."""
    was = {member.name: member for member in before.members}
    for member in after.members:
        yield from _member(was.get(member.name, member), member)
        if before.selection.get(member.name) != after.selection.get(member.name):
            yield f"other entry points of {member.name}"
    facts = [
        f"{name} {before.facts.get(name, ABSENT)} → {after.facts.get(name, ABSENT)}"
        for name in sorted(before.facts.keys() | after.facts.keys())
        if before.facts.get(name) != after.facts.get(name)
    ]
    if facts:
        yield f"base: {', '.join(facts)}"


def _member(old: Member, new: Member) -> Iterator[str]:
    if old.editable != new.editable:
        yield _flip(new.name, new.editable)
    elif old.key != new.key:
        yield f"other content of {new.name}"
    if old.override != new.override:
        yield f"{new.name} {'may' if new.override else 'may no longer'} shadow the base"


def _flip(name: str, editable: bool) -> str:
    return f"{name} is {'' if editable else 'no longer '}editable"
