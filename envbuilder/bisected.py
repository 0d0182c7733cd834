"""What a bisection is asked, and what it says: data."""

from __future__ import annotations

from envbuilder.classes import dataclass
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from envbuilder.changes import Step
    from envbuilder.profile import Generation


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What to find out: which command, between which generations, and when it fails.

    `good` is None for the bare engine, `bad` for the current generation. `kept` are plugins that are in all sets. After
    `limit` seconds the command is ended: it has failed then, or passed if it `stays_up` as servers do; None: it may
    take as long as it takes. `verbose` passes on what it says.
    """

    command: list[str]
    good: str | None = None
    bad: str | None = None
    kept: tuple[str, ...] = ()
    limit: float | None = None
    stays_up: bool = False
    verbose: bool = False


class Try(NamedTuple):
    """One run of the command, in the set that has some of the `steps`; `without` are the others.

    `again` says that this set was tried before. `outcome` is `passes`, `fails` or `unjudged`; `code` is None where its
    time was over. `output` are its last lines.
    """

    number: int
    steps: tuple[Step, ...]
    without: tuple[Step, ...]
    digest: str
    again: bool
    outcome: str
    code: int | None
    seconds: float
    output: tuple[str, ...]


class Culprit(NamedTuple):
    """Changes that make the command fail together; `is_exact` says that with one of them less it does not.

    `cure` are those to undo, `required` those that others of them require. `output` are the last lines of the command
    with these changes alone.
    """

    steps: tuple[Step, ...]
    is_exact: bool
    cure: tuple[Step, ...]
    required: tuple[Step, ...]
    output: tuple[str, ...]


class Bisected(NamedTuple):
    """What was found: why the command fails; `is_cured` says that with all cures it was seen to pass."""

    good: Generation | None
    bad: Generation
    steps: tuple[Step, ...]
    tries: tuple[Try, ...]
    culprits: tuple[Culprit, ...]
    is_cured: bool
