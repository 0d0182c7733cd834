"""`vpm-env run --health`: keep one server up, find out whether its set is good, and go back where it is not.

A set is judged by its first good stretch: until then its server's end, its silence or its illness is the set's
failure; after that a server that dies is started again. Of the server, one process tree is there at a time.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from envbuilder import events, process
from envbuilder.errors import Busy, UsageError, VpmError
from envbuilder.events import Event, Journal, how_it_ended
from envbuilder.heartbeat import illness
from envbuilder.offspring import Offspring
from envbuilder.profile import Profile
from envbuilder.running import enter, in_set
from envbuilder.server import Server
from envbuilder.signals import Signals, StoppedError
from envbuilder.trial import Trial, Watch
from envbuilder.verdict import ALONE, BACK, MOVED, SPARED, acquit, condemn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envbuilder.report import Reporter
    from envbuilder.running import Entered
    from envbuilder.scope import Scope
    from envbuilder.switching import Rebuild

ENDED_ILL = 1
"""The exit code where a server was ended because it was not healthy."""
TOLD_LINES = 20
LONGEST_DELAY = 60.0
_ALONE = "there is no other to go back to"


class End(NamedTuple):
    """How a server ended: its exit code (negative: a signal), what is wrong with that ("": nothing), its last lines."""

    code: int
    problem: str = ""
    log: tuple[str, ...] = ()


class Supervisor:
    """One call of `vpm-env run --health`; `run` returns how the last server ended."""

    def __init__(
        self, found: Scope, command: Sequence[str], watch: Watch, journal: Journal, rebuild: Rebuild, report: Reporter
    ) -> None:
        self._found, self._command, self._watch, self._journal = found, list(command), watch, journal
        self._rebuild, self._report = rebuild, report
        self._offspring = Offspring.from_now_on()
        self._signals = Signals()
        self._failures = 0

    def run(self, *, number: int | str | None = None) -> int:
        """Serve until the server stops or is given up; return its exit code, or the signal that ended it, negative.

        The generation is the current one at each start, unless `number` names one. Raise `VpmError` where no server
        can be started at all.
        """
        process.adopt_orphans()
        with self._signals:
            code = None
            while code is None:
                try:
                    code = self._serve_once(number)
                except StoppedError as stopped:
                    code = -stopped.number
        return code

    def _serve_once(self, number: int | str | None) -> int | None:
        """Serve until a server ends; return how, or None where another one is to be started."""
        with self._signals.without_server():
            entered = self._enter(number)
        end = self._serve(entered)
        if not end.problem:
            self._note(events.STOPPED, entered, code=end.code)
            return end.code
        with self._signals.without_server():
            return end.code if self._is_over(entered, end) else None

    def _enter(self, number: int | str | None) -> Entered:
        """Take the set, and see that nobody else answers in the server's place: that would be judged for it."""
        entered = enter(self._found, number=number, report=self._report)
        patience = self._watch.pace.patience
        deadline = time.monotonic() + patience
        while not illness(self._watch.target, patience):
            if time.monotonic() > deadline:
                raise UsageError(
                    f"`{self._watch.target.url}` is answered already, before a server was started",
                    hint="end what runs there, or name another port",
                )
            self._signals.sleep(0.2)
        return entered

    def _serve(self, entered: Entered) -> End:
        """Start a server and stay with it to its end; nothing of it is left then."""
        try:
            server = Server(in_set(self._command, entered), entered.variables, self._offspring, self._signals)
        except FileNotFoundError:
            raise UsageError(f"there is no command `{self._command[0]}` in the set, in the base or on PATH") from None
        except OSError as error:
            raise UsageError(f"`{self._command[0]}` cannot be started: {error.strerror}") from None
        try:
            self._note(events.STARTED, entered, pid=server.pid)
            problem = self._watched(server, entered)
            seconds = server.seconds
        finally:
            code = server.end(self._watch.grace)
            entered.leave()
        secrets = _secrets(self._command, entered.variables)
        log = tuple(process.redact(line, secrets=secrets) for line in server.tee.last_lines(TOLD_LINES))
        if problem:
            return End(ENDED_ILL, problem, log)
        return End(code, self._problem(code, seconds), log)

    def _problem(self, code: int, seconds: float) -> str:
        """Say what is wrong with the end of a server that ended by itself; "" if that was its own or our wish."""
        if code == 0 or self._signals.explain(code):
            return ""
        return f"it ended with {how_it_ended(code)} after {seconds:.1f} s"

    def _watched(self, server: Server, entered: Entered) -> str:
        """Stay with a server until it has ended; or until it must be ended, and return why."""
        trial = Trial(server, self._watch)
        while not server.reap():
            for number in self._signals.take():
                server.pass_on(number)
            if not self._signals.explain(0):  # if it was asked to end, its answers say nothing any more
                if problem := trial.look():
                    return problem
                self._tell(trial, entered)
            self._signals.wait(trial.left)
        return ""

    def _tell(self, trial: Trial, entered: Entered) -> None:
        """Tell what a server has come to."""
        if trial.is_healthy and not trial.is_told:
            trial.is_told = True
            self._note(events.HEALTHY, entered, seconds=trial.seconds)
        if trial.is_proven and not trial.is_settled:
            trial.is_settled = self._is_good(entered)

    def _is_good(self, entered: Entered) -> bool:
        """Mark the set good, and forget earlier failures; tell whether that is settled, one way or the other."""
        self._failures = 0
        try:
            if entered.without:
                return True  # what was left out may be what is bad
            why = f"its server was healthy for {self._watch.good_after:g} s"
            if acquit(self._profile(entered), entered.generation.number, why, wait=0.0):
                self._note(events.GOOD, entered, seconds=self._watch.good_after)
        except Busy:
            return False
        except (OSError, VpmError) as error:
            self._warn(f"generation {entered.generation.number} cannot be marked good: {error}")
        return True

    def _is_over(self, entered: Entered, end: End) -> bool:
        """Decide what comes after the end of a server: another one, or nothing; wait where another one has to."""
        self._note(events.FAILED, entered, code=end.code, reason=end.problem, log=list(end.log))
        if self._watch.rollback and self._has_moved(entered, end):
            self._failures = 0
            return False
        if self._failures >= self._watch.retries:
            restarts = f"{self._failures} restart{'' if self._failures == 1 else 's'}"
            self._note(events.GAVE_UP, entered, code=end.code, reason=f"{restarts} did not help")
            return True
        delay = min(self._watch.first_delay * 2**self._failures, LONGEST_DELAY)
        self._failures += 1
        told = {"delay": delay, "attempt": self._failures, "retries": self._watch.retries}
        self._note(events.RESTARTING, entered, **told)
        self._signals.sleep(delay)
        return False

    def _has_moved(self, entered: Entered, end: End) -> bool:
        """Let the set's failure count; tell whether another one is current now. One that is not whole is no set."""
        number = entered.generation.number
        if entered.without:
            return False
        try:
            verdict = condemn(
                self._profile(entered),
                number,
                end.problem,
                wait=self._found.lock_wait,
                rebuild=self._rebuild,
                wait_told=self._report.waiting,
            )
        except (OSError, VpmError) as error:
            self._warn(f"generation {number} stays current, and is not marked: {error}")
            return False
        if verdict.kind != SPARED and entered.generation.state != "bad":
            self._note(events.BAD, entered, reason=_ALONE if verdict.kind == ALONE else "")
        if verdict.kind == BACK and verdict.target:
            self._note(events.ROLLED_BACK, entered, to=verdict.target.number, to_digest=verdict.target.digest)
        return verdict.kind in (MOVED, BACK)

    def _profile(self, entered: Entered) -> Profile:
        return Profile(self._found.layout, entered.profile, entered.generation.base_key)

    def _warn(self, text: str) -> None:
        with suppress(OSError):  # nobody reads it: that is no reason to leave the server alone
            self._report.warn(text)

    def _note(self, kind: str, entered: Entered, **details: object) -> None:
        self._journal.note(Event(kind, entered.generation.number, entered.generation.digest, details))


def _secrets(command: Sequence[str], variables: dict[str, str]) -> list[str]:
    """Name what of a command's words and variables must not be shown: by what those are called."""
    found = [value for name, value in variables.items() if _is_secret(name)]
    for at, word in enumerate(command):
        name, _, value = word.partition("=")
        if name.startswith("--") and _is_secret(name):
            found.append(value or "".join(command[at + 1 : at + 2]))
    return [value for value in found if len(value) >= 6]


def _is_secret(name: str) -> bool:
    words = name.upper().replace("-", "_").split("_")
    return bool({"KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIALS"}.intersection(words))


def require_movable(profile: Profile) -> None:
    """Raise `UsageError` where a rollback would fail for want of a right, before a server relies on it."""
    path = next(path for path in (profile.path, profile.layout.home, "/") if os.path.isdir(path))
    if not os.access(path, os.W_OK | os.X_OK):
        raise UsageError(f"`--rollback` has to write to `{path}`, and this user may not", hint="leave `--rollback` out")
