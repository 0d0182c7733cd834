"""Checks of the file system that the home lies on: locks, links, mounts, space. Tried out, not guessed."""

from __future__ import annotations

import os
import sys
from os.path import exists, islink, join, samefile
from typing import TYPE_CHECKING

from envbuilder import flocks, fs, process
from envbuilder.errors import NoLocks
from envbuilder.health import ERROR, WARNING, Answer, Trouble
from envbuilder.ledger import shares
from envbuilder.mounts import mount_of
from envbuilder.planning import size_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.health import Situation
    from envbuilder.paths import Layout

_TRY = """
import fcntl, sys
for mode in (fcntl.LOCK_SH, fcntl.LOCK_EX):
    with open(sys.argv[1], "r+") as stream:
        try:
            fcntl.flock(stream, mode | fcntl.LOCK_NB)
            print("had")
        except BlockingIOError:
            print("refused")
"""
_HAD, _REFUSED = "had", "refused"
_LOCKS_WHY = "two builds, or gc and a running engine, would not keep out of each other's way"
_LOCKS_WAY = "put the home on a file system with working flock (a local one, or NFS 4), or use it one call at a time"
_NO_LOCKS_WHY = (
    "engines cannot say which set they use, so gc takes nothing; builds and switches keep out of each other's way by "
    "files in `flocks`, which a file system that several machines share may show too late"
)
_NO_LOCKS_WAY = "put the home, which may be moved as it is, on a file system with working flock"
_SCARCE, _VERY_SCARCE = 1 << 30, 100 << 20
"""Bytes: below the first a build of some size may fail, below the second any."""


def check_locks(situation: Situation) -> Answer:
    """Take locks in the home with two processes, and look whether one keeps the other out."""
    layout = situation.need_writable_home()
    mount = mount_of(layout.home)
    kind = mount.kind if mount else "unknown"
    if refused := _refused(layout):
        return Answer(said=f"there are none ({kind})", troubles=(refused,))
    wrong = _attempts(layout, situation)
    if wrong:
        what = f"locks do not hold on `{layout.home}` ({kind}): {wrong}"
        trouble = Trouble(what=what, why=_LOCKS_WHY, way_forward=_LOCKS_WAY, severity=ERROR)
        return Answer(said="they do not hold between two processes", troubles=(trouble,))
    if mount and mount.locks_stay_here:
        what = f"`{mount.point}` ({kind}) is mounted so that locks are not seen by other machines"
        trouble = Trouble(what=what, why=_LOCKS_WHY, way_forward="mount it without `nolock` and `local_lock`")
        return Answer(said="they hold on this machine only", troubles=(trouble,))
    remote = "; between machines it was not tried" if mount and mount.is_remote else ""
    layered = "; who uses the layers below this mount does not see them" if kind == "overlay" else ""
    return Answer(said=f"they hold between two processes ({kind}){remote}{layered}")


def _refused(layout: Layout) -> Trouble | None:
    """Try a lock that has no second: whether there are any."""
    fs.make_dirs(layout.tmp)
    with fs.staging(layout.tmp) as folder:
        fs.write_plain(join(folder, "lock"), b"")
        try:
            flocks.require_locks(join(folder, "lock"))
        except NoLocks as error:
            what = f"files in `{layout.home}` cannot be locked: {error.why}"
            return Trouble(what=what, why=_NO_LOCKS_WHY, way_forward=_NO_LOCKS_WAY, severity=ERROR)
    return None


def _attempts(layout: Layout, situation: Situation) -> str:
    """Return what went otherwise than it should; "" for nothing."""
    fs.make_dirs(layout.tmp)
    with fs.staging(layout.tmp) as folder:
        lock = join(folder, "lock")
        with flocks.locked(lock, wait=0):
            alone = _child(lock, situation)
        with flocks.locked(lock, wait=0, shared=True):
            shared = _child(lock, situation)
        free = _child(lock, situation)
    if _HAD in alone:
        return "a second process gets a lock that the first holds alone"
    if shared == [_HAD, _HAD]:
        return "a second process gets alone what the first shares"
    expected = ([_REFUSED, _REFUSED], [_HAD, _REFUSED], [_HAD, _HAD])
    return "" if (alone, shared, free) == expected else "a free lock cannot be had"


def _child(lock: str, situation: Situation) -> list[str]:
    result = process.run([sys.executable, "-I", "-S", "-c", _TRY, lock], env=situation.env.variables, timeout=60)
    if result.code:
        raise OSError(0, (result.stderr.strip().splitlines() or [f"a child ended with {result.code}"])[-1])
    return result.stdout.split()


def check_filesystem(situation: Situation) -> Answer:
    """Try links and names in the home, and look how it is mounted."""
    layout = situation.need_writable_home()
    mount = mount_of(layout.home)
    fs.make_dirs(layout.tmp)
    with fs.staging(layout.tmp) as folder:
        troubles = tuple(_of_links(folder))
    troubles = (*troubles, *of_mounts(layout))
    said = f"{mount.kind} at `{mount.point}`" if mount else "of a kind that the system does not tell"
    return Answer(said=said, troubles=troubles)


def _of_links(folder: str) -> Iterator[Trouble]:
    file = join(folder, "file")
    fs.write_plain(file, b"")
    if not _can_symlink(folder):
        yield Trouble(
            what="symbolic links cannot be made in the home",
            why="overlays are made of them",
            way_forward="put the home on another file system",
            severity=ERROR,
        )
        return
    fs.hard_link(file, join(folder, "second"))
    if islink(join(folder, "second")) or not samefile(file, join(folder, "second")):
        yield Trouble(
            what="hard links cannot be made in the home",
            why="symbolic ones take their place: sets work, and take a file each where they could share one",
            way_forward="nothing need be done; a file system with hard links saves inodes",
        )
    if exists(join(folder, "FILE")):
        yield Trouble(
            what="names in the home do not tell upper case from lower case",
            why="packages with files that differ in case only are damaged there",
            way_forward="put the home on a case-sensitive file system",
        )


def _can_symlink(folder: str) -> bool:
    try:
        fs.link("file", join(folder, "link"))
    except OSError:
        return False
    return True


def of_mounts(layout: Layout) -> Iterator[Trouble]:
    """Judge what is mounted where in a home."""
    own = os.stat(layout.home).st_dev
    parts = (layout.store, layout.overlays, layout.profiles, layout.sources, layout.tmp, layout.trash)
    for path in parts:
        if exists(path) and os.stat(path).st_dev != own:
            yield Trouble(
                what=f"`{path}` is on another file system than `{layout.home}`",
                why="what is made in one is published in the other by a rename, which stays on one file system",
                way_forward="mount one file system over the whole home",
                severity=ERROR,
            )
    if os.statvfs(layout.home).f_flag & getattr(os, "ST_NOEXEC", 0):
        yield Trouble(
            what=f"`{layout.home}` is mounted `noexec`",
            why="scripts of a set do not start from there, and its compiled modules do not load",
            way_forward="mount it without `noexec`, or name another home with `VPM_ENV_HOME`",
            severity=ERROR,
        )


def check_disk(situation: Situation) -> Answer:
    """Count free bytes and inodes, and what the home's parts take."""
    layout = situation.need_home()
    room = os.statvfs(layout.home)
    free, total = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    sizes = shares(layout.home)
    inodes = f", {room.f_favail} inodes" if room.f_files else ""
    facts = tuple(f"{name}: {size_text(size)}" for name, size in sizes.items())
    return Answer(
        said=f"{size_text(free)} free{inodes}; the home takes {size_text(sum(sizes.values()))}",
        troubles=tuple(of_room(layout.home, free=free, total=total, inodes=room.f_favail, all_inodes=room.f_files)),
        facts=facts,
    )


def of_room(path: str, *, free: int, total: int, inodes: int, all_inodes: int) -> Iterator[Trouble]:
    """Judge what is free on the file system of `path`: bytes, and inodes where it counts them."""
    way = "`vpm-env gc --dry-run` says what can go"
    if free < min(_SCARCE, total // 20):
        yield Trouble(
            what=f"{size_text(free)} of {size_text(total)} are free on the file system of `{path}`",
            why="a build that runs out of space fails; what is current stays so",
            way_forward=way,
            severity=ERROR if free < _VERY_SCARCE else WARNING,
        )
    if all_inodes and inodes < all_inodes // 50:
        yield Trouble(
            what=f"{inodes} of {all_inodes} inodes are free on the file system of `{path}`",
            why="each file takes one, and a package may have thousands",
            way_forward=way,
            severity=ERROR if inodes < 1000 else WARNING,
        )
