"""`vpm-env run --health`: keep one server up, find out whether its set is good, and go back where it is not.

A set is judged by its first good stretch: until then its server's end, its silence or its illness is the set's
failure, unless what is gone back to fails in the same way; after that a server that dies is started again. Of the
server, one process tree is there at a time.
"""

from __future__ import annotations

import os
import time

from envbuilder import events, process
from envbuilder.confidential import secrets_of
from envbuilder.console import flush, let_go
from envbuilder.contexts import suppress
from envbuilder.errors import Busy, UsageError, VpmError
from envbuilder.events import Event, Journal, how_it_ended
from envbuilder.heartbeat import is_taken
from envbuilder.offspring import Offspring
from envbuilder.profile import Profile
from envbuilder.running import enter, in_set
from envbuilder.server import Server
from envbuilder.signals import Signals, StoppedError
from envbuilder.trial import Trial, Watch
from envbuilder.tuples import TYPE_CHECKING, NamedTuple
from envbuilder.verdict import ALONE, BACK, MOVED, Verdict, acquit, clear, condemn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from envbuilder.report import Reporter
    from envbuilder.running import Entered
    from envbuilder.scope import Scope
    from envbuilder.switching import Rebuild
    from envbuilder.tee import Tee

ENDED_ILL = 1
"""The exit code where a server was ended because it was not healthy."""
TOLD_LINES = 20
LONGEST_DELAY = 60.0
_ALONE = "there is no other that could tell whether it is the set"


class End(NamedTuple):
    """How a server ended: its exit code (negative: a signal), what is wrong with that ("": nothing), its last lines.

    `way` is the same for ends that may have the same cause.
    """

    code: int
    problem: str = ""
    log: tuple[str, ...] = ()
    way: str = ""


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
        self._found_bad: dict[str, Verdict] = {}
        """way to fail -> what was found bad for it, and nothing has served well since"""
        self._unjudged: set[str] = set()
        """ways to fail that are not the sets'"""
        self._is_heard = True
        self._said: Tee | None = None

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
            if not self._is_heard and not self._signals.briefly(flush):
                let_go()
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
        """Take the set, and see that nobody else is in the server's place: that would be judged for it."""
        entered = enter(self._found, number=number, report=self._report)
        patience = self._watch.pace.patience
        deadline = time.monotonic() + patience
        while is_taken(self._watch.target, patience):
            if time.monotonic() > deadline:
                raise UsageError(
                    f"somebody listens at `{self._watch.target.url}` already, before a server was started",
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
        self._said = server.tee
        trial = Trial(server, self._watch, must_prove=entered.generation.state != "good" and not entered.without)
        try:
            self._note(events.STARTED, entered, pid=server.pid)
            problem = self._watched(server, trial, entered)
            seconds = server.seconds
        finally:
            code = server.end(self._watch.grace)
            entered.leave()
        secrets = secrets_of(self._command, entered.variables)
        log = server.tee.last_lines(TOLD_LINES, lambda line: process.redact(line, secrets=secrets))
        when = "later" if trial.was_healthy else "at first"
        if problem:
            return End(ENDED_ILL, problem, log, f"{when}: not healthy")
        return End(code, self._problem(code, seconds), log, f"{when}: {how_it_ended(code)}")

    def _problem(self, code: int, seconds: float) -> str:
        """Say what is wrong with the end of a server that ended by itself; "" if that was its own or our wish."""
        if code == 0 or self._signals.explain(code):
            return ""
        return f"it ended with {how_it_ended(code)} after {seconds:.1f} s"

    def _watched(self, server: Server, trial: Trial, entered: Entered) -> str:
        """Stay with a server until it has ended; or until it must be ended, and return why."""
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
        self._found_bad.clear()
        self._unjudged.clear()
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
        next_one = self._judged(entered, end) if self._watch.rollback and not entered.without else entered
        if next_one is None:
            self._failures = 0
            return False
        entered = next_one
        if self._failures >= self._watch.retries:
            restarts = f"{self._failures} restart{'' if self._failures == 1 else 's'} did not help"
            self._note(events.GAVE_UP, entered, code=end.code, reason=restarts if self._failures else "no retries")
            return True
        delay = min(self._watch.first_delay * 2**self._failures, LONGEST_DELAY)
        self._failures += 1
        told = {"delay": delay, "attempt": self._failures, "retries": self._watch.retries}
        self._note(events.RESTARTING, entered, **told)
        self._signals.sleep(delay)
        return False

    def _judged(self, entered: Entered, end: End) -> Entered | None:
        """Let the set's failure count; return which one is to be tried again, or None if that was gone back from."""
        if end.way in self._unjudged:
            return entered
        before = self._found_bad.get(end.way)
        try:
            if before and before.failed.digest != entered.generation.digest:
                return self._clear(before, entered, end)
            verdict = condemn(
                self._profile(entered),
                entered.generation.number,
                end.problem,
                wait=self._found.lock_wait,
                rebuild=self._rebuild,
                wait_told=self._report.waiting,
                marks_alone=False,
            )
        except (OSError, VpmError) as error:
            self._warn(f"generation {entered.generation.number} stays current, and is not marked: {error}")
            return entered
        return None if self._is_elsewhere(verdict, entered, end) else entered

    def _is_elsewhere(self, verdict: Verdict, entered: Entered, end: End) -> bool:
        """Tell what came of a failure, and whether another set is current now: that one is the control."""
        if verdict.kind == ALONE:
            self._unjudged.add(end.way)
            self._note(events.UNJUDGED, entered, reason=_ALONE, current=entered.generation.number)
        if verdict.kind not in (MOVED, BACK):
            return False
        self._found_bad[end.way] = verdict
        if entered.generation.state != "bad":
            self._note(events.BAD, entered)
        if verdict.target:
            self._note(events.ROLLED_BACK, entered, to=verdict.target.number, to_digest=verdict.target.digest)
        return True

    def _clear(self, before: Verdict, entered: Entered, end: End) -> Entered:
        """Take a verdict back: the control fails in the same way, so no set is judged by that any more.

        Return what is current then.
        """
        name = f"generation {entered.generation.number} ({entered.generation.digest[:12]})"
        known = ", which is good," if entered.generation.state == "good" else ""
        why = f"{name}{known} fails in the same way, so it is not the set"
        failed = before.failed
        now = clear(
            self._profile(entered),
            before,
            f"{end.problem}; but {why}",
            wait=self._found.lock_wait,
            wait_told=self._report.waiting,
        )
        self._unjudged.add(end.way)
        self._found_bad.pop(end.way)
        way = f"`vpm-env switch {failed.number}` takes it again" if now != failed.number else "it is current again"
        cleared = entered._replace(generation=failed)
        self._note(events.UNJUDGED, cleared, reason=f"{why}; {way}", current=now)
        return cleared if now == failed.number else entered

    def _profile(self, entered: Entered) -> Profile:
        return Profile(self._found.layout, entered.profile, entered.generation.base_key)

    def _warn(self, text: str) -> None:
        with suppress(OSError):  # nobody reads it: that is no reason to leave the server alone
            self._briefly(lambda: self._report.warn(text))

    def _note(self, kind: str, entered: Entered, **details: object) -> None:
        event = Event(kind, entered.generation.number, entered.generation.digest, details)
        is_mid_line = self._said is not None and self._said.begin_line()
        self._briefly(lambda: self._journal.record(event, is_mid_line=is_mid_line))
        self._briefly(lambda: self._journal.tell(event))

    def _briefly(self, tell: Callable[[], None]) -> None:
        """Tell something; one who does not read is no reason to be deaf to signals."""
        self._is_heard = self._signals.briefly(tell) and self._is_heard


def require_movable(profile: Profile) -> None:
    """Raise `UsageError` where a rollback would fail for want of a right, before a server relies on it."""
    path = next(path for path in (profile.path, profile.layout.home, "/") if os.path.isdir(path))
    if not os.access(path, os.W_OK | os.X_OK):
        raise UsageError(f"`--rollback` has to write to `{path}`, and this user may not", hint="leave `--rollback` out")
