"""The verbs by what people want to do, and the room each runs in. A call imports the room of its verb only."""

from __future__ import annotations

from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from envbuilder.arguments import Run

    Runs = dict[str, Run]


class Verb(NamedTuple):
    """One verb; `room` ends the name of the module it runs in, `summary` is its line in the overview."""

    name: str
    group: str
    room: str
    summary: str


MAKE, MOVE, SEE, USE, KEEP = "Make a set", "Move between sets", "See", "Use", "Keep house"
GROUPS = (MAKE, MOVE, SEE, USE, KEEP)

VERBS = {
    verb.name: verb
    for verb in (
        Verb("init", MAKE, "make", "write a commented plugins.yaml"),
        Verb("build", MAKE, "make", "make what plugins.yaml asks for, and switch to it"),
        Verb("rollback", MOVE, "move", "make the set before current again"),
        Verb("switch", MOVE, "move", "make generation N current"),
        Verb("status", SEE, "see", "would a new engine process get this set?"),
        Verb("history", SEE, "see", "all generations, and what each changed"),
        Verb("list", SEE, "see", "plugins and packages of the current set"),
        Verb("path", SEE, "see", "the folder of the current overlay"),
        Verb("hook", USE, "use", "the start-up hook of the base: install, uninstall, status, show"),
        Verb("run", USE, "use", "run a command with the set, without a hook"),
        Verb("gc", KEEP, "keep", "free the space of sets that nothing needs"),
        Verb("verify", KEEP, "keep", "recompute every key and look at every link"),
        Verb("uninstall", KEEP, "keep", "remove hook and home, and say what is left"),
    )
}


def run_of(verb: Verb) -> Run:
    """Import the room of a verb and return how it runs."""
    return _RUNS[verb.room]()[verb.name]


def _make() -> Runs:
    from envbuilder.verbs_make import RUNS

    return RUNS


def _move() -> Runs:
    from envbuilder.verbs_move import RUNS

    return RUNS


def _see() -> Runs:
    from envbuilder.verbs_see import RUNS

    return RUNS


def _use() -> Runs:
    from envbuilder.verbs_use import RUNS

    return RUNS


def _keep() -> Runs:
    from envbuilder.verbs_keep import RUNS

    return RUNS


_RUNS = {"make": _make, "move": _move, "see": _see, "use": _use, "keep": _keep}
