"""Which set a living process has: what `/proc` tells of it, and what that does not tell.

A lease that it holds open is certain, as are files of an overlay that it has mapped. The pin that it was started with
counts for a Python. Anything else is no answer, and said to be none.
"""

from __future__ import annotations

import os
import re
from os.path import basename, isdir, join

from envbuilder import overlay
from envbuilder import profile as profiles
from envbuilder.errors import UsageError
from envbuilder.overlay import LEASE
from envbuilder.process import redact
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.paths import Layout

_OVERLAY = re.compile(r"(?P<home>/.*)/overlays/(?P<base_key>[0-9a-f]{12})/(?P<digest>[0-9a-f]{64})(?=/|$)")
_PIN = re.compile(r"(?P<base_key>[0-9a-f]{12}):(?P<digest>[0-9a-f]{64}|none)")
_PYTHON = re.compile(r"python[0-9.]*t?")
_LONGEST = 4
"""Words of a command that are shown; options may hold what is nobody's business."""


class Place(NamedTuple):
    """A generation that is a process's set; `is_current` says that a new process would get it too."""

    profile: str
    number: int
    is_current: bool


class Living(NamedTuple):
    """The set of a process, or why it is not known.

    `evidence` is `lease`, `map` or `pin`, "" where nothing says; then `why` is a sentence. `digest` is "" where it is
    not known, or where it is known that there is none; `home` is where the overlay lies, if that is known too.
    `without` is what the set lacks of the generations that are its `places`.
    """

    pid: int
    command: str
    evidence: str = ""
    base_key: str = ""
    digest: str = ""
    home: str = ""
    places: tuple[Place, ...] = ()
    why: str = ""
    without: tuple[str, ...] = ()


class _Seen(NamedTuple):
    """What `/proc` shows of a process; None for what this user may not see."""

    executable: str | None
    variables: dict[str, str] | None
    leases: list[str] | None
    maps: list[str] | None


def living(layout: Layout, pid: int) -> Living:
    """Look at process `pid`; raise `UsageError` where there is none, or no `/proc` to look at."""
    folder = f"/proc/{pid}"
    if not isdir("/proc/self"):
        raise UsageError("this system has no `/proc`, which says what a process has")
    if not isdir(folder):
        raise UsageError(f"there is no process {pid}")
    known = Living(pid, _command(folder))
    seen = _Seen(_executable(folder), _variables(folder), _open_leases(folder), _mapped(folder))
    for evidence, paths in (("lease", seen.leases), ("map", seen.maps)):
        found = {match.groups(): match for match in map(_OVERLAY.match, paths or ()) if match}
        if len(found) == 1:
            return _having(known, evidence, next(iter(found.values())), layout)
        if found:
            digests = ", ".join(sorted(match["digest"][:12] for match in found.values()))
            return known._replace(why=f"it uses several sets: {digests}")
    return _by_pin(known, seen, layout)


def _having(known: Living, evidence: str, found: re.Match[str], layout: Layout) -> Living:
    """Name the set that was found, and the generations that are it."""
    named = found.groupdict()
    places = tuple(_places(layout, named["base_key"], named["digest"]))
    without: tuple[str, ...] = ()
    if not places and (manifest := overlay.get(layout, named["base_key"], named["digest"])):
        without = tuple(manifest.derived.get("without", ()))
        places = tuple(_places(layout, named["base_key"], manifest.derived["digest"])) if without else ()
    return known._replace(
        evidence=evidence,
        base_key=named["base_key"],
        digest=named["digest"],
        home=named.get("home", ""),
        places=places,
        without=without,
    )


def _by_pin(known: Living, seen: _Seen, layout: Layout) -> Living:
    if seen.variables is None or seen.leases is None:
        return known._replace(why="it is another user's, or has ended: this user may not look at it")
    if not _PYTHON.fullmatch(basename(seen.executable or "")):
        return known._replace(why=f"it is no Python: it runs `{seen.executable or 'nothing'}`")
    if seen.variables.get("VPM_ENV_DISABLE", "0") not in ("", "0"):
        return known._replace(evidence="pin", why="it was started with `VPM_ENV_DISABLE`, so it has none")
    pin = _PIN.fullmatch(seen.variables.get("VPM_ENV_PIN", ""))
    if pin is None:
        return known._replace(
            why="it holds no lease and was started without a pin, as does a Python that is no engine: if the start-up "
            "hook is in its base, it has what was current when it started"
        )
    if pin["digest"] == "none":
        return known._replace(evidence="pin", why="the engine that started it has none, so it has none")
    return _having(known, "pin", pin, layout)


def _places(layout: Layout, base_key: str, digest: str) -> Iterator[Place]:
    for profile in (each for each in profiles.all_profiles(layout) if each.base_key == base_key):
        current = profiles.current(profile)
        numbers = [entry.number for entry in profiles.generations(profile) if entry.digest == digest]
        yield from (Place(profile.name, number, number == current) for number in numbers)


def _command(folder: str) -> str:
    """Return how a process was started, as far as its first option; its name where it does not say."""
    words = _read(join(folder, "cmdline")) or ""
    shown: list[str] = []
    for word in words.rstrip("\0").split("\0")[:_LONGEST]:
        if word.startswith("--"):
            break
        shown.append(word)
        if word == "-c":
            break  # and what follows is a program
    return redact(" ".join(filter(None, shown))) or (_read(join(folder, "comm")) or "").strip()


def _executable(folder: str) -> str | None:
    try:
        return os.readlink(join(folder, "exe"))
    except OSError:
        return None


def _variables(folder: str) -> dict[str, str] | None:
    """Return the variables that a process was started with; what it set itself nobody sees."""
    text = _read(join(folder, "environ"))
    if text is None:
        return None
    return {name: value for name, _, value in (line.partition("=") for line in text.split("\0"))}


def _open_leases(folder: str) -> list[str] | None:
    try:
        numbers = os.listdir(join(folder, "fd"))
    except OSError:
        return None
    return [path for number in numbers if (path := _target(join(folder, "fd", number))).endswith("/" + LEASE)]


def _target(path: str) -> str:
    try:
        return os.readlink(path).removesuffix(" (deleted)")
    except OSError:
        return ""  # closed since


def _mapped(folder: str) -> list[str] | None:
    text = _read(join(folder, "maps"))
    return None if text is None else [line[line.index("/") :] for line in text.splitlines() if "/overlays/" in line]


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return None
