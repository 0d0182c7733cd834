"""Which living processes use which overlays and packages: what `/proc` tells of those that this user may look at.

Certain is what a process has open or mapped, what it runs, and where it works. A plain Python has none of that from
modules that it imported: it is known to have what was current when it started, where its base has the start-up hook.
What lies in a library's path is the package, so whoever mapped one may have any set with that package.

A process in another container is not seen here as a rule; its lease is.
"""

from __future__ import annotations

import os
import re
import time
from glob import glob
from os.path import basename, dirname, exists, join, realpath

from envbuilder import profile as profiles
from envbuilder.overlay import LEASE
from envbuilder.paths import HOOK
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envbuilder.paths import Layout
    from envbuilder.profile import Profile

    Overlay = tuple[str, str]
    Members = Mapping[Overlay, frozenset[str]]

_OURS = re.compile(r"/(?P<rest>(overlays/[0-9a-f]{12}/[0-9a-f]{64}|store/[0-9a-f]{32}-[^/]+)(/.*)?$)")
_SLACK = (2.0, 60.0)
"""Seconds before and after its start in which a Python may have looked for `current`, on a machine that is busy."""


class Use(NamedTuple):
    """That a process uses something, and how: `holds its lease`."""

    pid: int
    how: str

    def __str__(self) -> str:
        return f"process {self.pid} {self.how}"


class Occupants(NamedTuple):
    """Who uses which overlays, `(base key, digest)`, and which packages, by key."""

    overlays: dict[Overlay, list[Use]]
    packages: dict[str, list[Use]]


class _Server(NamedTuple):
    """A base's Python that gives its processes what is current: in which profile, and the digests of its numbers."""

    python: str
    profile: Profile
    digests: dict[int, str]


def occupants(layout: Layout, members: Members) -> Occupants:
    """Look at every process; `members` are the packages of each overlay that may be in use."""
    found = Occupants({}, {})
    servers = list(_servers(layout))
    home = realpath(layout.home)
    for pid in _pids():
        uses = dict(_evidence(pid, home))
        overlays = {_overlay_of(rest): how for rest, how in uses.items() if rest.startswith("overlays/")}
        packages = {rest.split("/")[1]: how for rest, how in uses.items() if rest.startswith("store/")}
        served = dict.fromkeys(_served(pid, servers), "started when it was current") if not overlays else {}
        if packages and not overlays:
            having = {entry for entry, keys in members.items() if keys >= packages.keys()}
            served = {entry: how for entry, how in served.items() if entry in having}
            overlays = served or dict.fromkeys(having, "has mapped or opened files of its packages")
        for entry, how in (overlays or served).items():
            found.overlays.setdefault(entry, []).append(Use(pid, how))
        for key, how in packages.items():
            found.packages.setdefault(key, []).append(Use(pid, how))
    return found


def _pids() -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid())
    except OSError:
        return []


def _overlay_of(rest: str) -> Overlay:
    _, base_key, digest = rest.split("/")[:3]
    return base_key, digest


def _evidence(pid: int, home: str) -> Iterator[tuple[str, str]]:
    """Yield paths below the home, and what the process has to do with each; what says most comes last."""
    folder = f"/proc/{pid}"
    for path, inode in _mapped(folder):
        yield from _below(home, path, inode, "has mapped files of it")
    for name, how in (("cwd", "works in it"), ("exe", "runs its program")):
        yield from _behind(home, join(folder, name), how)
    for name in _names_in(join(folder, "fd")):
        yield from _behind(home, join(folder, "fd", name), "has a file of it open")


def _behind(home: str, link: str, how: str) -> Iterator[tuple[str, str]]:
    try:
        path = os.readlink(link)
        if "/overlays/" not in path and "/store/" not in path:
            return
        inode = os.stat(link).st_ino
    except OSError:
        return  # closed or ended since, or not to be looked at
    yield from _below(home, path, inode, "holds its lease" if basename(path) == LEASE else how)


def _below(home: str, path: str, inode: int, how: str) -> Iterator[tuple[str, str]]:
    """Yield the path below the home; seen from a container, or through a mount, its beginning is another."""
    found = _OURS.search(path.removesuffix(" (deleted)"))
    if found and (path[: found.start()] == home or _inode(join(home, found["rest"])) == inode):
        yield found["rest"], how


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return -1


def _mapped(folder: str) -> Iterator[tuple[str, int]]:
    """Yield path and inode of what a process has mapped."""
    seen = set()
    for line in _read(join(folder, "maps")).splitlines():
        words = line.split(maxsplit=5)
        if len(words) == 6 and words[5] not in seen and ("/overlays/" in line or "/store/" in line):
            seen.add(words[5])
            yield words[5], int(words[4])


def _servers(layout: Layout) -> Iterator[_Server]:
    for profile in profiles.all_profiles(layout):
        known = profiles.generations(profile)
        if known and _has_hook(known[-1].base):
            digests = {generation.number: generation.digest for generation in known}
            yield _Server(known[-1].base.get("python", ""), profile, digests)


def _has_hook(base: Mapping[str, str]) -> bool:
    """Tell whether a base has a start-up hook, in whichever of its folders; several Pythons may share a prefix."""
    prefix = base.get("prefix", "")
    return any(glob(join(prefix, below, "python3*", "*-packages", HOOK)) for below in ("lib", "local/lib", "lib64"))


def _served(pid: int, servers: list[_Server]) -> Iterator[Overlay]:
    """Yield what a Python of a base has, as far as its start says so."""
    mine = [server for server in servers if _runs(pid, server.python)]
    if not mine or _variables(pid).get("VPM_ENV_DISABLE", "0") not in ("", "0"):
        return
    started = _started(pid)
    for server in mine:
        for number in _current_between(server.profile, started - _SLACK[0], started + _SLACK[1]):
            if number in server.digests:
                yield server.profile.base_key, server.digests[number]


def _current_between(profile: Profile, begin: float, end: float) -> set[int]:
    switches = profiles.order(profile).switches
    if len(switches) >= profiles.REMEMBERED and begin < switches[0][1]:
        return set(profiles.numbers(profile))  # what was current then is forgotten
    ends = [*(at for _, at, _ in switches[1:]), float("inf")]
    return {number for (number, at, _), until in zip(switches, ends, strict=True) if at <= end and until >= begin}


def _runs(pid: int, python: str) -> bool:
    """Tell whether a process runs an interpreter, or may: of two with one program, the word that started it says."""
    folder = f"/proc/{pid}"
    try:
        if not python or os.readlink(join(folder, "exe")) != realpath(python):
            return False
        word = _read(join(folder, "cmdline")).partition("\0")[0]
        if os.sep not in word:
            search = _variables(pid).get("PATH", "").split(os.pathsep)
            word = next((join(path, word) for path in search if exists(join(path, word))), "")
        path = join(os.readlink(join(folder, "cwd")), word)
    except OSError:
        return False
    return not word or not exists(path) or realpath(dirname(path)) == realpath(dirname(python))


def _variables(pid: int) -> dict[str, str]:
    pairs = (line.partition("=") for line in _read(f"/proc/{pid}/environ").split("\0"))
    return {name: value for name, _, value in pairs}


def _started(pid: int) -> float:
    """Return when a process started, in seconds since the epoch as the clock counts now."""
    words = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    ago = time.clock_gettime(time.CLOCK_BOOTTIME) - int(words[19]) / os.sysconf("SC_CLK_TCK") if words else 0.0
    return time.time() - ago


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except OSError:
        return ""
