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


MAKE, CHANGE, MOVE, SHARE, SEE, USE, KEEP = (
    "Make a set",
    "Change plugins.yaml",
    "Move between sets",
    "Bring sets to other machines",
    "See",
    "Use",
    "Keep house",
)
GROUPS = (MAKE, CHANGE, MOVE, SHARE, SEE, USE, KEEP)

VERBS = {
    verb.name: verb
    for verb in (
        Verb("init", MAKE, "make", "write a commented plugins.yaml"),
        Verb("build", MAKE, "make", "make what plugins.yaml asks for, and switch to it"),
        Verb("check", MAKE, "check", "would the config make a set for these bases? switches nothing"),
        Verb("new", MAKE, "write", "begin a plugin of your own, with a test that passes"),
        Verb("upgrade", MAKE, "edit", "build with newer versions: of what is named, or of everything"),
        Verb("add", CHANGE, "edit", "add plugins to plugins.yaml, or change what it says of them"),
        Verb("remove", CHANGE, "edit", "remove plugins from plugins.yaml"),
        Verb("enable", CHANGE, "edit", "switch plugins on in plugins.yaml"),
        Verb("disable", CHANGE, "edit", "switch plugins off in plugins.yaml, and keep their entries"),
        Verb("rollback", MOVE, "move", "make the set before current again"),
        Verb("switch", MOVE, "move", "make generation N current"),
        Verb("push", SHARE, "share", "put a generation's set into a cache"),
        Verb("pull", SHARE, "share", "have a set of a cache, linked over this machine's base"),
        Verb("follow", SHARE, "share", "keep this machine on the set that a channel names"),
        Verb("cache", SHARE, "share", "make a key, list a cache, move a channel for a whole fleet"),
        Verb("export", SHARE, "share", "a generation's set in one file, for a machine without network"),
        Verb("import", SHARE, "share", "have the set that is in such a file"),
        Verb("status", SEE, "see", "would a new engine process get this set?"),
        Verb("history", SEE, "see", "all generations, and what each changed"),
        Verb("list", SEE, "see", "plugins and packages of the current set"),
        Verb("show", SEE, "look", "all of one generation"),
        Verb("diff", SEE, "look", "how two generations differ"),
        Verb("tree", SEE, "look", "plugins, what they require, and what the base provides of that"),
        Verb("why", SEE, "look", "who needs a package"),
        Verb("plugins", SEE, "look", "entry points as the engine sees them, and its allow-list"),
        Verb("outdated", SEE, "look", "what could be newer, and what keeps it back"),
        Verb("audit", SEE, "check", "what reading finds wrong with the set on the base as it is now"),
        Verb("sbom", SEE, "health", "a software bill of materials of the set (CycloneDX)"),
        Verb("path", SEE, "see", "the folder of the current overlay"),
        Verb("info", SEE, "look", "places, the rules that chose them, versions and sizes"),
        Verb("hook", USE, "use", "the start-up hook of the base: install, uninstall, status, show"),
        Verb("run", USE, "use", "run a command with the set, without a hook"),
        Verb("bisect", USE, "bisect", "find the plugin or change that makes a command fail"),
        Verb("shell", USE, "use", "a shell with the set, without a hook"),
        Verb("template", USE, "write", "a Dockerfile, manifest, unit or modulefile for this engine and set"),
        Verb("completion", USE, "use", "a completion script for bash, zsh or fish"),
        Verb("doctor", KEEP, "health", "checks of base, home and machine: what is wrong, why, what to do"),
        Verb("keep", KEEP, "keep", "let gc spare generation N, whatever happens"),
        Verb("unkeep", KEEP, "keep", "take the mark of `keep` away"),
        Verb("gc", KEEP, "keep", "free the space of sets that nothing needs"),
        Verb("verify", KEEP, "keep", "find what is damaged, and repair it from its source"),
        Verb("uninstall", KEEP, "keep", "remove hook and home, and say what is left"),
    )
}


ALIASES = {
    "apply": "build",
    "bom": "sbom",
    "clean": "gc",
    "cleanup": "gc",
    "compare": "diff",
    "delete": "remove",
    "diff-closures": "diff",
    "exec": "run",
    "fsck": "verify",
    "generations": "history",
    "health": "doctor",
    "list-generations": "history",
    "log": "history",
    "ls": "list",
    "pin": "keep",
    "prune": "gc",
    "rm": "remove",
    "switch-generation": "switch",
    "sync": "build",
    "undo": "rollback",
    "unpin": "unkeep",
    "update": "upgrade",
    "where": "path",
    "which": "path",
    "why-depends": "why",
}
"""Words of other tools that mean the same here."""

_TO_ACTIVATE = "`source $(vpm-env path)/bin/activate` takes the set into a shell, `vpm-env shell` starts one with it"

WAYS = {
    "activate": _TO_ACTIVATE,
    "env": _TO_ACTIVATE,
    "freeze": "`vpm-env list --json` lists what is in the set; the lock beside the config pins it",
    "install": "`vpm-env add NAME` puts a plugin into plugins.yaml, and `vpm-env build` makes the set",
    "lock": "`vpm-env build` writes the lock, `vpm-env build --locked` checks it",
    "plan": "`vpm-env build --dry-run` shows what a build would change",
    "repair": "`vpm-env verify` says what is damaged, `vpm-env verify --repair` has it again",
    "shell-hook": _TO_ACTIVATE,
    "wipe-history": "`vpm-env gc --older-than 30d` frees what was not current for 30 days; the records stay",
}
"""Words of other tools that mean something else here, or several things: what to do instead."""


def run_of(verb: Verb) -> Run:
    """Import the room of a verb and return how it runs."""
    return _RUNS[verb.room]()[verb.name]


def _make() -> Runs:
    from envbuilder.verbs_make import RUNS

    return RUNS


def _edit() -> Runs:
    from envbuilder.verbs_edit import RUNS

    return RUNS


def _check() -> Runs:
    from envbuilder.verbs_check import RUNS

    return RUNS


def _move() -> Runs:
    from envbuilder.verbs_move import RUNS

    return RUNS


def _health() -> Runs:
    from envbuilder.verbs_health import RUNS

    return RUNS


def _see() -> Runs:
    from envbuilder.verbs_see import RUNS

    return RUNS


def _look() -> Runs:
    from envbuilder.verbs_look import RUNS

    return RUNS


def _bisect() -> Runs:
    from envbuilder.verbs_bisect import RUNS

    return RUNS


def _use() -> Runs:
    from envbuilder.verbs_use import RUNS

    return RUNS


def _write() -> Runs:
    from envbuilder.verbs_write import RUNS

    return RUNS


def _share() -> Runs:
    from envbuilder.verbs_share import RUNS

    return RUNS


def _keep() -> Runs:
    from envbuilder.verbs_keep import RUNS

    return RUNS


_RUNS = {
    "make": _make,
    "check": _check,
    "edit": _edit,
    "health": _health,
    "move": _move,
    "see": _see,
    "look": _look,
    "use": _use,
    "bisect": _bisect,
    "keep": _keep,
    "share": _share,
    "write": _write,
}
