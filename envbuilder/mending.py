"""What all repairs have in common: what was mended, what was refused and why, and whose base a set is for."""

from __future__ import annotations

import os
from os.path import join

from envbuilder import fs, overlay, trash
from envbuilder import profile as profiles
from envbuilder.base import describe
from envbuilder.classes import dataclass, field
from envbuilder.contexts import contextmanager
from envbuilder.errors import ProfileError, SystemRefusal, VpmError
from envbuilder.scope import Options, Scope, scope
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.damage import Wrong
    from envbuilder.paths import Environment, Layout
    from envbuilder.profile import Profile
    from envbuilder.report import Reporter


class Mended(NamedTuple):
    """One thing that was wrong and was mended: with what, and what was done; or why it could not be."""

    kind: str
    name: str
    text: str


class NoLongerWrong(Exception):
    """What was to be mended is as it should be: somebody else did something meanwhile."""


@dataclass(kw_only=True, slots=True)
class Mending:
    """One repair of a home: what it may use, and what came of it."""

    layout: Layout
    options: Options
    env: Environment
    report: Reporter
    offline: bool = False
    done: list[Mended] = field(default_factory=list)
    refused: list[Mended] = field(default_factory=list)

    @contextmanager
    def attempt(self, wrong: Wrong, what: str) -> Iterator[None]:
        """Note that `what` was done about something wrong, or why not; one problem never stops the others."""
        try:
            yield
        except NoLongerWrong:
            return
        except (VpmError, OSError) as error:
            told = SystemRefusal.of(error) if isinstance(error, OSError) else error
            self.refuse(wrong, " ".join(told.message.split()))
        else:
            self.done.append(Mended(wrong.kind, wrong.name, what))

    def refuse(self, wrong: Wrong, cause: str) -> None:
        """Note why something cannot be mended, once."""
        entry = Mended(wrong.kind, wrong.name, cause)
        if entry not in self.refused:
            self.refused.append(entry)

    def throw(self, path: str) -> None:
        """Take away what is in the way, or is made again: to the trash, where somebody may look at it."""
        if os.path.lexists(path):
            trash.throw(self.layout, path, f"leftover-{os.path.basename(path).lstrip('.') or 'file'}")

    def scope_of(self, profile: Profile) -> Scope:
        """Return what a build for the base of a profile is about; raise `ProfileError` where that base is not here."""
        for python, engine in self._bases(profile):
            try:
                found = self._scope_with(python, engine, profile)
            except VpmError:
                continue
            if found:
                return found
        raise ProfileError(f"the base `{profile.base_key}` that it is for has changed, or is gone")

    def _scope_with(self, python: str | None, engine: str | None, profile: Profile) -> Scope | None:
        """Return the scope with an interpreter for the base, if it is the profile's, with this engine or another."""
        options = self.options._replace(base=python, profile=profile.name)
        found = scope(options, self.env)._replace(layout=self.layout)
        for named in (found.engine, engine, None):
            if describe(found.interpreter, self.layout, self.env, engine=named).key == profile.base_key:
                return found._replace(engine=named)
        return None

    def _bases(self, profile: Profile) -> Iterator[tuple[str | None, str | None]]:
        """Name interpreters that may be a profile's base, with their engines: the one in scope, then known ones."""
        yield None, None
        for digest in fs.names_in(join(self.layout.overlays, profile.base_key)):
            if manifest := overlay.get(self.layout, profile.base_key, digest):
                yield manifest.base["python"], manifest.base.get("engine")
        for number in profiles.numbers(profile):
            try:
                base = profiles.read(profile, number).base
            except VpmError:
                continue
            yield base.get("python"), base.get("engine")
