"""Checks of the home: its format and what was left behind, who may write to it, and the current set's scripts."""

from __future__ import annotations

import os
import stat
from os.path import exists, isdir, isfile, islink, join, lexists
from typing import TYPE_CHECKING

from envbuilder import flocks, fs, overlay, process, startup, store
from envbuilder.belongings import staged
from envbuilder.health import ERROR, Answer, NotApplicable, Trouble
from envbuilder.package import SHORT
from envbuilder.paths import FORMAT
from envbuilder.planning import counted
from envbuilder.verification import verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.health import Mend, Situation
    from envbuilder.manifest import Manifest
    from envbuilder.paths import Layout

_REASON = "the start-up hook takes nothing from a folder that others could have put it into"
_BUILD = "run `vpm-env build --force`"


def check_home(situation: Situation) -> Answer:
    """Look at the home's format, at what interrupted calls left behind, and at short names that lead nowhere."""
    error = situation.refused.get("home")
    if error:
        raise error
    layout = situation.need_layout()
    if not isfile(layout.format):
        raise NotApplicable(f"there is no home `{layout.home}` yet; the first build makes it")
    keys, overlays = store.keys(layout), list(overlay.all_overlays(layout))
    unfinished = [entry for entry in overlays if not isfile(join(layout.overlay(*entry), overlay.MANIFEST))]
    facts = [f"unfinished: {layout.overlay(*entry)}" for entry in unfinished]
    facts += [f"in the trash: {counted(len(fs.names_in(layout.trash)), 'thing')}"] if isdir(layout.trash) else []
    said = f"`{layout.home}`, format {FORMAT}, {counted(len(keys), 'package')}, {counted(len(overlays), 'overlay')}"
    return Answer(
        said=said,
        troubles=(*_left_behind(layout), *_nameless(layout, keys), *_taken_back(layout, keys)),
        facts=tuple(facts),
    )


def _left_behind(layout: Layout) -> Iterator[Trouble]:
    left = staged(layout)
    if not left:
        return

    def mend() -> str:
        # A build that is at work holds the same lock, and what it stages stays whatever is found out about it.
        with flocks.locked(layout.gc_lock, wait=0):
            for path in left:
                fs.remove_tree(path, within=layout.home)
        return f"removed {counted(len(left), 'left-over folder')} from `{layout.tmp}`"

    yield Trouble(
        what=f"interrupted calls left {counted(len(left), 'folder')} in `{layout.tmp}`",
        why="they take space, and nobody comes back for them",
        way_forward="run `vpm-env gc`",
        mend=mend,
    )


def _nameless(layout: Layout, keys: list[str]) -> Iterator[Trouble]:
    for key in keys:
        if not exists(join(layout.store, key[:SHORT])) and store.get(layout, key):
            yield Trouble(
                what=f"the package `{key}` has lost its short name `{key[:SHORT]}`",
                why="overlays link to packages by their short names: this one cannot be imported",
                way_forward="`vpm-env doctor home --fix` gives it back",
                severity=ERROR,
                mend=_naming(layout, key),
            )


def _taken_back(layout: Layout, keys: list[str]) -> Iterator[Trouble]:
    """Tell of packages that another home lent, and has no more."""
    for key in keys:
        lent = fs.target_of(layout.package(key))
        if lent and not exists(layout.package(key)):
            yield Trouble(
                what=f"the package `{key}` is lent by `{lent}`, which is gone",
                why="sets that link to it cannot be imported",
                way_forward="bring that home back, or run `vpm-env build --force` to fetch the package anew",
                severity=ERROR,
            )


def _naming(layout: Layout, key: str) -> Mend:
    def mend() -> str:
        store.name_again(layout, key)
        return f"gave `{key}` its short name back"

    return mend


def check_permissions(situation: Situation) -> Answer:
    """Look at owners and modes of the home's folders, by the rules of the start-up hook."""
    layout = situation.need_home()
    trusted, trust_home = {0, os.geteuid()}, False
    if situation.base:
        hook = startup.inspect(situation.base)
        trusted, trust_home = trusted | set(hook.trust_owner), hook.trust_home
    paths = [path for path in _judged(layout, situation) if isdir(path)]
    troubles = [
        trouble
        for path in paths
        if not (path == layout.home and trust_home)
        for trouble in _of_folder(path, trusted, is_ours=path != layout.home)
    ]
    writable = "" if os.access(layout.home, os.W_OK) else "; this user may only read"
    return Answer(said=f"{counted(len(paths), 'folder')} looked at{writable}", troubles=tuple(troubles))


def _judged(layout: Layout, situation: Situation) -> Iterator[str]:
    yield from (layout.home, layout.profiles, layout.overlays, layout.store)
    profile, current = situation.profile, situation.current
    if profile:
        yield join(layout.profiles, profile.name)
        yield profile.path
        yield join(profile.path, "generations")
        yield join(layout.overlays, profile.base_key)
        if current:
            yield layout.overlay(profile.base_key, current.digest)


def _of_folder(path: str, trusted: set[int], *, is_ours: bool) -> Iterator[Trouble]:
    status = os.stat(path)
    if not os.access(path, os.R_OK | os.X_OK):
        yield Trouble(
            what=f"`{path}` cannot be read by this user (uid {os.geteuid()})",
            why="an engine of this user finds no set there",
            way_forward=f"give read access to it: `chmod a+rx '{path}'`",
            severity=ERROR,
        )
    if status.st_uid not in trusted:
        yield Trouble(
            what=f"`{path}` belongs to uid {status.st_uid}, and this is uid {os.geteuid()}",
            why=_REASON,
            way_forward=f"run `vpm-env hook install --trust-owner {status.st_uid}`, or give it to this user or root",
            severity=ERROR,
        )
    if may_be_written_by_strangers(path, status, is_ours=is_ours):
        yield _open_to_others(path, stat.S_IMODE(status.st_mode), mendable=status.st_uid == os.geteuid())


def may_be_written_by_strangers(path: str, status: os.stat_result, *, is_ours: bool) -> bool:
    """Tell what the start-up hook would (`_activate.require_trusted`), so that no check says otherwise."""
    if not status.st_mode & 0o022 or (not status.st_mode & 0o002 and _is_own_group(status)):
        return False
    return is_ours or not (status.st_mode & 0o1000 or os.stat(join(path, "..")).st_dev != status.st_dev)


def _is_own_group(status: os.stat_result) -> bool:
    if status.st_gid in (0, status.st_uid):
        return True
    return bool(status.st_mode & 0o2000) and status.st_gid in {os.getegid(), *os.getgroups()}


def _open_to_others(path: str, mode: int, *, mendable: bool) -> Trouble:
    tight = mode & ~0o022

    def mend() -> str:
        fs.set_mode(path, tight)
        return f"changed the mode of `{path}` from {mode:o} to {tight:o}"

    return Trouble(
        what=f"`{path}` may be written by others (mode {mode:o})",
        why=_REASON,
        way_forward=f"take that from them: `chmod go-w '{path}'`",
        severity=ERROR,
        mend=mend if mendable else None,
    )


def check_scripts(situation: Situation) -> Answer:
    """Look whether the current set's interpreter starts, and its console scripts find theirs."""
    profile, current, _ = situation.need_set()
    path = profile.layout.overlay(profile.base_key, current.digest)
    troubles = [*_of_interpreter(path, situation), *_of_shell(situation)]
    scripts = [name for name in fs.names_in(join(path, "bin")) if not islink(join(path, "bin", name))]
    scripts = [name for name in scripts if not name.startswith("activate")]
    troubles += [trouble for name in scripts for trouble in _of_script(join(path, "bin", name))]
    if situation.base and situation.base.engine.script:
        troubles += _of_script(join(situation.base.scripts, situation.base.engine.script))
    said = f"{counted(len(scripts), 'script')} beside the interpreter of generation {current.number}"
    return Answer(said=said, troubles=tuple(troubles), facts=(f"folder: {join(path, 'bin')}",))


def _of_interpreter(path: str, situation: Situation) -> Iterator[Trouble]:
    python = join(path, "bin", "python")
    variables = {name: value for name, value in situation.env.variables.items() if not name.startswith("PYTHON")}
    result = process.run([python, "-B", "-c", "import sys; print(sys.prefix)"], env=variables, timeout=60)
    if result.code == 0 and result.stdout.strip():
        return
    last = (result.stderr.strip().splitlines() or [f"it ended with {result.code}"])[-1]
    gone = f": `{fs.target_of(python)}` is gone" if not exists(python) else f": {last}"
    yield Trouble(
        what=f"`{python}` does not start{gone}",
        why="`vpm-env run` and the set's own scripts start with it",
        way_forward=f"put that Python back, or {_BUILD} for the one that is there now",
        severity=ERROR,
    )


def _of_shell(situation: Situation) -> Iterator[Trouble]:
    search = (situation.env.get("PATH") or os.defpath).split(os.pathsep)
    if not any(os.access(join(folder, "realpath"), os.X_OK) for folder in search):
        yield Trouble(
            what="there is no `realpath` on PATH",
            why="console scripts find their interpreter with it",
            way_forward="install coreutils, or start modules with `python -m`",
        )


def _of_script(path: str) -> Iterator[Trouble]:
    if not isfile(path):
        return
    with open(path, "rb") as stream:
        line = stream.readline(4096)
    words = line[2:].decode("utf-8", "replace").split() if line.startswith(b"#!") else []
    if words and not exists(words[0]):
        yield Trouble(
            what=f"`{path}` is for `{words[0]}`, which is gone",
            why="the script does not start: what it belongs to was moved, or lost its Python",
            way_forward=f"{_BUILD}; a script of the base is for the base's own installer to write again",
            severity=ERROR,
        )
    elif not os.access(path, os.X_OK):
        yield Trouble(
            what=f"`{path}` may not be executed", why="the script does not start", way_forward=f"`chmod +x '{path}'`"
        )


def check_editable(situation: Situation) -> Answer:
    """Look whether the folders that editable plugins are links into are still there."""
    profile, _, manifest = situation.need_set()
    names = [member.name for member in manifest.members if member.editable]
    if not names:
        raise NotApplicable("no plugin of the current set is editable")
    facts = [f"{name}: {path}" for name, path in _folders(profile.layout, manifest)]
    lost = [(name, path) for name, path in _folders(profile.layout, manifest) if not lexists(path)]
    troubles = tuple(
        Trouble(
            what=f"`{name}` is editable, and `{path}` is gone",
            why="it cannot be imported",
            way_forward="put the folder back, or `vpm-env rollback` to a set without it",
            severity=ERROR,
        )
        for name, path in lost
    )
    return Answer(said=f"{counted(len(names), 'editable plugin')}", troubles=troubles, facts=tuple(facts))


def _folders(layout: Layout, manifest: Manifest) -> Iterator[tuple[str, str]]:
    for member in manifest.members:
        package = store.get(layout, member.key) if member.editable else None
        yield from ((member.name, path) for path in sorted(package.editable.values())) if package else ()


def check_verify(situation: Situation) -> Answer:
    """Recompute every key of the home and look at every link."""
    verified = verify(situation.need_home())
    troubles = tuple(
        Trouble(
            what=f"{entry.kind} {entry.name}: {problem}",
            why="what is imported from there is not what was checked",
            way_forward="run `vpm-env verify --repair`",
            severity=ERROR,
        )
        for entry in verified.damage
        for problem in entry.problems
    )
    looked_at = f"{counted(verified.packages, 'package')}, {counted(verified.overlays, 'overlay')}"
    return Answer(said=f"{looked_at} looked at", troubles=troubles)
