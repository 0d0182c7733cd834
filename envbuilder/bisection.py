"""`vpm-env bisect`: the plugin, or the change between two sets, that makes a command fail.

The command is tried with some of the changes, each time in a set of its own that is linked from the store; nothing is
switched. Sets that were made for it go when it is over.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from envbuilder import disposal, fs, overlay
from envbuilder.attempt import attempt
from envbuilder.base import describe
from envbuilder.bisected import Bisected, Culprit, Question, Try
from envbuilder.bracket import generation_of, left_as_bad, newest_bad, require_writable
from envbuilder.changes import Menu
from envbuilder.classes import dataclass, field
from envbuilder.contexts import suppress
from envbuilder.errors import BisectError, UsageError
from envbuilder.narrowing import FAILS, PASSES, UNJUDGED, narrow
from envbuilder.revision import revision
from envbuilder.running import entered_at, in_set
from envbuilder.scope import profile_of
from envbuilder.variant import Held, Kitchen, hold, make

if TYPE_CHECKING:
    from collections.abc import Callable

    from envbuilder.base import Base
    from envbuilder.changes import Step
    from envbuilder.narrowing import Cause
    from envbuilder.profile import Generation, Profile
    from envbuilder.report import Reporter
    from envbuilder.scope import Scope

SKIP = 125
"""The exit code that says: this set cannot be judged."""
_SAID = {FAILS: "fails", PASSES: "passes", UNJUDGED: "cannot be judged"}
_CANNOT_RUN = {126: "it cannot be executed", 127: "it was not found"}


def bisect(found: Scope, question: Question, *, tell: Callable[[Bisection, Try], None], report: Reporter) -> Bisected:
    """Find what makes the command fail; `tell` is called after each try.

    Raise `BisectError` where it is not the changes, or where the command does not always end the same.
    """
    require_writable(found)
    base = describe(found.interpreter, found.layout, found.env, engine=found.engine)
    profile = profile_of(found, base)
    bad = generation_of(question.bad or left_as_bad(profile, report), found, profile, report)
    good = generation_of(question.good, found, profile, report) if question.good is not None else None
    if good is not None and good.digest == bad.digest:
        raise UsageError(f"generation {good.number} and generation {bad.number} are the same set")
    kitchen = Kitchen(base, found.env)
    start = kitchen.stock(revision(profile, str(good.number))) if good else None
    menu = Menu(kitchen, start, kitchen.stock(revision(profile, str(bad.number))), question.kept)
    if not menu.steps:
        raise BisectError(_without_changes(good, bad))
    if question.limit is None and _serves(question.command, base):
        report.warn("a server that works never ends: with `--stays-up 2m`, one that still runs after that passes")
    with fs.staging(found.layout.tmp) as scratch:
        search = Bisection(
            found=found,
            base=base,
            profile=profile,
            question=question,
            menu=menu,
            good=good,
            bad=bad,
            tell=tell,
            report=report,
            scratch=scratch,
        )
        try:
            return search.run()
        finally:
            search.tidy()


@dataclass(kw_only=True, slots=True)
class Bisection:
    """A search under way."""

    found: Scope
    base: Base
    profile: Profile
    question: Question
    menu: Menu
    good: Generation | None
    bad: Generation
    tell: Callable[[Bisection, Try], None]
    report: Reporter
    scratch: str
    tries: list[Try] = field(default_factory=list)
    made: dict[str, str] = field(default_factory=dict)
    _known: dict[str, Try] = field(default_factory=dict)
    _sure: set[str] = field(default_factory=set)

    def run(self) -> Bisected:
        """Look at both ends, narrow it down, and look once more at what that rests on."""
        count = len(self.menu.steps)
        self._require(frozenset(range(count)), FAILS)
        self._require(frozenset(), PASSES)
        narrowed = narrow(count, self._check)
        culprits = tuple(map(self._culprit, narrowed.causes))
        if narrowed.is_cured:
            self._again(frozenset(range(count)).difference(*(cause.cure for cause in narrowed.causes)), PASSES)
        for cause in narrowed.causes:
            self._require_innocent(cause)
        return Bisected(self.good, self.bad, self.menu.steps, tuple(self.tries), culprits, narrowed.is_cured)

    def tidy(self) -> None:
        """Throw away the sets that were made and that nobody else has come to use; the rest is gc's."""
        from envbuilder import trash

        if not self.made:
            return
        for digest in self.made:
            disposal.discard(self.found.layout, self.base.key, digest)
        with suppress(OSError):
            trash.empty(self.found.layout, 0.0, wait=0.0, on_wait=None)

    def _culprit(self, cause: Cause) -> Culprit:
        steps, cure, required = self._steps(cause.things), self._steps(cause.cure), self.menu.required(cause.things)
        return Culprit(steps, cause.is_exact, cure, required, self._again(frozenset(cause.things), FAILS))

    def _require_innocent(self, cause: Cause) -> None:
        """Look once more at the passes that made a cause one of several things: each with all but one of them."""
        things = frozenset(cause.things)
        for thing in cause.things if len(things) > 1 else ():
            others = set(self._steps(tuple(things - {thing})))
            lacking = (one for one in self.tries if one.outcome == PASSES and others <= set(one.steps))
            if one := next((one for one in lacking if self.menu.steps[thing] in one.without), None):
                self._again(frozenset(at for at, step in enumerate(self.menu.steps) if step in one.steps), PASSES)

    def _steps(self, things: tuple[int, ...]) -> tuple[Step, ...]:
        return tuple(self.menu.steps[thing] for thing in things)

    def _require(self, things: frozenset[int], outcome: str) -> None:
        one = self._tried(things)
        if one.outcome != outcome:
            raise self._unfit(one, at_the_end=outcome == FAILS)

    def _unfit(self, one: Try, *, at_the_end: bool) -> BisectError:
        """Say why there is nothing to look for."""
        command = self.question.command[0]
        where = f"generation {self.bad.number}" if at_the_end else self._start
        if one.outcome == UNJUDGED:
            return BisectError(f"`{command}` ends with {SKIP} in {where}: it cannot be judged there", output=one.output)
        if at_the_end:
            other = newest_bad(self.profile, self.bad.digest)
            hint = f"generation {other} is marked bad: `--bad {other}`" if other else None
            return BisectError(f"`{command}` passes with {where}: there is nothing to find", hint=hint)
        if self.good is not None:
            return BisectError(
                f"`{command}` fails with {where} too: it is not what changed since",
                output=one.output,
                hint="name an earlier generation with `--good`, or look through all plugins without it",
            )
        return BisectError(
            f"`{command}` fails {where} too: it is not the set",
            output=one.output,
            hint="if it needs a plugin, keep that in all tries with `--with NAME`",
        )

    @property
    def _start(self) -> str:
        if self.good is not None:
            return f"generation {self.good.number}"
        return (
            f"with {' and '.join(f'`{name}`' for name in self.question.kept)} alone"
            if self.question.kept
            else ("without any plugin")
        )

    def _check(self, things: frozenset[int]) -> str:
        """Judge a set; one that does not fit together is not tried."""
        return UNJUDGED if self.menu.variant(self.menu.made(things)).unmet else self._tried(things).outcome

    def _again(self, things: frozenset[int], outcome: str) -> tuple[str, ...]:
        """Run the command once more, unless that was done, with what it is known to do; return its last lines."""
        one = self._tried(things)
        if one.digest not in self._sure:
            one = self._tried(things, again=True)
            self._sure.add(one.digest)
        if one.outcome != outcome:
            before = next(other for other in self.tries if other.digest == one.digest)
            raise BisectError(
                f"`{self.question.command[0]}` does not always end the same: try {before.number} "
                f"{_SAID[before.outcome]}, and try {one.number} with the same set {_SAID[one.outcome]}",
                output=before.output or one.output,
                hint="give it a command that does, such as one that runs it several times",
            )
        return one.output

    def _tried(self, things: frozenset[int], *, again: bool = False) -> Try:
        possible = self.menu.made(things)
        held = self._held(possible)
        digest = os.path.basename(held.path)
        try:
            if again or digest not in self._known:
                self._known[digest] = self._try(held, possible)
        finally:
            os.close(held.lease)
        return self._known[digest]

    def _held(self, things: frozenset[int]) -> Held:
        """Hold the set with some of the changes; the ends are the generations themselves."""
        ends = {len(self.menu.steps): self.bad, 0: self.good}
        generation = ends.get(len(things))
        layout = self.found.layout
        if generation and (held := hold(layout.overlay(self.base.key, generation.digest))):
            return held
        variant = self.menu.variant(things)
        path = layout.overlay(self.base.key, variant.manifest.digest)
        is_new = overlay.read(path) is None
        held = make(variant, self.base, layout, self.found.env, self.report)
        if is_new:
            self.made[variant.manifest.digest] = path
        return held

    def _try(self, held: Held, things: frozenset[int]) -> Try:
        asked = self.question
        entered = entered_at(held.path, held.lease, self.base, self.profile, self.bad, self.found.env)
        command = in_set(asked.command, entered)
        variables = {name: value for name, value in entered.variables.items() if name != "VPM_ENV_WITHOUT"}
        try:
            ended = attempt(command, env=variables, limit=asked.limit, scratch=None if asked.verbose else self.scratch)
        except OSError as error:
            raise self._not_run(things, f"it cannot be started: {(error.strerror or str(error)).lower()}") from None
        if ended.code in _CANNOT_RUN:
            raise self._not_run(things, f"{_CANNOT_RUN[ended.code]} (exit {ended.code})", ended.output)
        steps = self.menu.steps
        one = Try(
            number=len(self.tries) + 1,
            steps=tuple(step for thing, step in enumerate(steps) if thing in things),
            without=tuple(step for thing, step in enumerate(steps) if thing not in things),
            digest=os.path.basename(held.path),
            again=os.path.basename(held.path) in self._known,
            outcome=_judged(ended.code, asked),
            code=ended.code,
            seconds=ended.seconds,
            output=ended.output,
        )
        self.tries.append(one)
        self.tell(self, one)
        return one

    def _not_run(self, things: frozenset[int], why: str, output: tuple[str, ...] = ()) -> BisectError:
        hint = None
        if len(things) < len(self.menu.steps):
            hint = "if a plugin brings it, keep that in all tries with `--with NAME`"
        return BisectError(f"`{self.question.command[0]}`: {why}", output=output, hint=hint)


def _serves(command: list[str], base: Base) -> bool:
    """Tell whether a command is the engine's own that serves."""
    return os.path.basename(command[0]) == base.engine.script and command[1:2] in (
        [word] for word in base.engine.serving
    )


def _judged(code: int | None, asked: Question) -> str:
    if code is None:
        return PASSES if asked.stays_up else FAILS
    if code == SKIP:
        return UNJUDGED
    return FAILS if code or asked.stays_up else PASSES


def _without_changes(good: Generation | None, bad: Generation) -> str:
    if good is not None:
        return f"generation {good.number} and generation {bad.number} have the same plugins and packages"
    return f"generation {bad.number} has no plugins that could be left out"
