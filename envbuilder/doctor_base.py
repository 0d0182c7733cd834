"""Checks of the base, and of what a new engine process of it would get."""

from __future__ import annotations

from os.path import dirname
from typing import TYPE_CHECKING

from envbuilder import profile as profiles
from envbuilder import startup
from envbuilder.health import ERROR, WARNING, Answer, NotApplicable, Trouble
from envbuilder.status import status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.base import Base
    from envbuilder.errors import VpmError
    from envbuilder.health import Situation
    from envbuilder.status import Status


def check_base(situation: Situation) -> Answer:
    """Look at the interpreter with the engine: found, answering, supported, its metadata whole."""
    error = situation.refused.get("base")
    if error:
        return _absent(error)
    base = situation.need_base()
    facts = (
        f"python: {base.python}",
        f"key: {base.key}",
        f"distributions: {len(base.distributions)}",
        *(f"hidden: {dist.name} {dist.version} in `{dirname(dist.path)}`" for dist in base.duplicates),
    )
    return Answer(said=f"{base.label}, chosen by {base.rule}", troubles=tuple(_of_base(situation, base)), facts=facts)


def _absent(error: VpmError) -> Answer:
    trouble = Trouble(
        what=error.message,
        why="without a base no set can be built, and none be looked at",
        way_forward=error.hint or "name the engine's interpreter with `--base`",
        severity=ERROR,
    )
    return Answer(said=error.message.partition("\n")[0], troubles=(trouble,))


def _of_base(situation: Situation, base: Base) -> Iterator[Trouble]:
    if not base.engine_name and not (situation.config and situation.config.engine == base.engine.name):
        yield Trouble(
            what=f"`{base.python}` holds no engine that vpm-env knows",
            why="plugins are checked against the engine of the base, and here there is none",
            way_forward="name the engine's interpreter with `--base`, or set `engine: generic` in the config",
        )
    yield from _twice(base)
    for dist in base.distributions.values():
        if dist.broken:
            yield Trouble(
                what=f"the metadata of `{dist.name}` cannot be read: `{dist.path}`",
                why="a plugin that requires it cannot be checked against it",
                way_forward=f"install `{dist.name}` again with the installer of the base, or remove that folder",
            )


def _twice(base: Base) -> Iterator[Trouble]:
    """Tell of two versions in one folder; one that hides another folder's, or its own twin, is as it should be."""
    for hidden in base.duplicates:
        first = base.distributions.get(hidden.name)
        if first and first.version != hidden.version and dirname(first.path) == dirname(hidden.path):
            yield Trouble(
                what=f"`{hidden.name}` is there twice in `{dirname(first.path)}`: {first.version} and {hidden.version}",
                why="which of the two its files are, nobody can tell; the resolver takes the first",
                way_forward=f"install `{hidden.name}` again with the installer of the base",
            )


def check_active(situation: Situation) -> Answer:
    """Ask a new process of the base whether it gets the current set."""
    found, base = situation.need_scope(), situation.need_base()
    if "current" in situation.refused:
        raise situation.refused["current"]
    told = status(found)
    if told.current is None and not _has_sets(situation):
        raise NotApplicable("no set was built yet; `vpm-env build` makes one")
    troubles = [_drifted(change) for change in told.drift]
    if not told.active:
        troubles.insert(0, _inactive(told, bool(told.manifest) and not startup.inspect(base).installed))
    facts = ("the config has changed since the last build",) if told.config_changed else ()
    return Answer(said=_said(told), troubles=tuple(troubles), facts=facts)


def _said(told: Status) -> str:
    if told.active and told.current:
        return f"a new engine process gets generation {told.current.number} ({told.current.digest[:12]})"
    return "a new engine process gets no set"


def _inactive(told: Status, for_want_of_a_hook: bool) -> Trouble:
    return Trouble(
        what=told.headline,
        why="it serves without the plugins",
        way_forward=told.way_forward,
        # `vpm-env run` needs no hook, and who uses it has nothing to mend.
        severity=WARNING if for_want_of_a_hook else ERROR,
    )


def _drifted(change: str) -> Trouble:
    return Trouble(
        what=f"the base has changed: {change}",
        why="the set was resolved against what was there before",
        way_forward="run `vpm-env build` to make a set for the base as it is now",
    )


def _has_sets(situation: Situation) -> bool:
    profile = situation.profile
    if profile is None:
        return False
    others = profiles.all_profiles(profile.layout)
    return any(profiles.numbers(other) for other in others if other.name == profile.name)
