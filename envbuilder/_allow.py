# vpm-env: lets the engine load its plugins where it would load none; remove it with `vpm-env hook uninstall`
"""Give an engine's allow-list, when the engine is imported, the names of the plugins that this process has.

For engines that load nothing where the variable is not set, and that know entry points by their exact names only.
What somebody else put there is respected: blanks are taken off, and a distribution's name becomes those of its entry
points. What is ours is marked as such, so that a child renews it. Standard library only; it never raises.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# filled in from here
VARIABLE = ""
IMPORT_NAME = ""
GUARD = ""
# filled in to here

MARK = "VPM_ENV_ALLOWED"
"""`OURS`, or `OURS=THEIRS` where the variable was set: what we made of it, and what it was."""
SCRIPTS = ("console_scripts", "gui_scripts")


class Waiting:
    """A finder that finds nothing: it only sees the engine being imported, and then goes."""

    def __init__(self, overlay: str) -> None:
        self.overlay = overlay

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:  # noqa: ARG002 (its protocol)
        if name == IMPORT_NAME:
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            offer(self.overlay)


def see_to_it(state: str, overlay: str) -> None:
    """Do what the hook's `state` asks for: a process without a set loads what the base has, and the guard tells why."""
    if state == "disabled":
        give_back()
    else:
        wait(overlay if state == "active" else "")


def give_back() -> None:
    """Leave to an engine that is to be as it came what was there before us."""
    theirs = before()
    if theirs is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = theirs
    os.environ.pop(MARK, None)


def wait(overlay: str) -> None:
    """Set the variable as soon as the engine is imported, and now if it is already; `overlay` is "" for none."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Waiting)]
    if IMPORT_NAME in sys.modules:
        offer(overlay)
    else:
        sys.meta_path.insert(0, Waiting(overlay))


def offer(overlay: str) -> None:
    """Set the variable to what this process should load, and mark it; do nothing if that cannot be found out."""
    try:
        theirs = before()
        ours = value(theirs, dict(plugins(overlay)), GUARD)
    except Exception:  # noqa: BLE001 (the engine starts, and its log says what it did not load)
        return
    if ours:
        os.environ[VARIABLE] = ours
        os.environ[MARK] = ours if theirs is None else f"{ours}={theirs}"


def before() -> "str | None":
    """Return what the variable held before any process of ours set it; None for not set."""
    present = os.environ.get(VARIABLE)
    ours, was_set, theirs = os.environ.get(MARK, "").partition("=")
    if ours and present == ours:
        return theirs if was_set else None
    return present


def plugins(overlay: str) -> "Iterator[tuple[str, tuple[str, ...]]]":
    """Yield each distribution with plugins, by its normalized name, and the names of their entry points."""
    from importlib.metadata import distributions

    for dist in distributions():
        is_inside = bool(overlay) and str(dist.locate_file("")).startswith(overlay)
        text = dist.read_text("entry_points.txt") or ""
        if is_inside or f"[{IMPORT_NAME}." in text:
            names = tuple(point.name for point in dist.entry_points if is_plugin(point.group, is_inside=is_inside))
            if names:
                yield normalized(dist.metadata["Name"]), names


def is_plugin(group: str, *, is_inside: bool) -> bool:
    """Tell whether a group holds plugins: the engine's, and those that a plugin of the overlay made up."""
    return group.startswith(IMPORT_NAME + ".") or (is_inside and group not in SCRIPTS)


def value(theirs: "str | None", owners: "Mapping[str, Iterable[str]]", guard: str) -> str:
    """Return what the variable should hold, "" to leave it: all names where it is not set, else those it means."""
    if theirs is None:
        return ",".join(sorted({name for names in owners.values() for name in names}))
    meant = expanded(words(theirs), owners)
    return ",".join(dict.fromkeys((*meant, guard))) if meant else ""


def words(text: str) -> "tuple[str, ...]":
    """Split a list at its commas; blanks count for nothing."""
    return tuple(filter(None, map(str.strip, text.split(","))))


def expanded(chosen: "Iterable[str]", owners: "Mapping[str, Iterable[str]]") -> "tuple[str, ...]":
    """Put a distribution's entry points (`owners` has them by its name) in its place, unless one is called as it is."""
    known = {name for names in owners.values() for name in names}
    meant = ((word,) if word in known else owners.get(normalized(word), (word,)) for word in chosen)
    return tuple(dict.fromkeys(name for names in meant for name in names))


def normalized(name: str) -> str:
    """Spell a distribution's name as all its spellings are compared."""
    return "-".join(filter(None, name.lower().replace("_", "-").replace(".", "-").split("-")))
