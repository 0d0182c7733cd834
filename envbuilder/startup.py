"""The start-up hook in a base: install, uninstall, inspect. The only thing that vpm-env ever writes there.

Order makes it safe at every moment: modules, their compiled form, metadata, and last the `.pth` that imports them;
the `.pth` goes first. Nothing is removed but what is as it was written.
"""

from __future__ import annotations

import os
import sys
from os.path import abspath, dirname, exists, isfile, join
from typing import TYPE_CHECKING, Any

from envbuilder import flocks, fs, process
from envbuilder import hook_files as files
from envbuilder import hook_writing as writing
from envbuilder.classes import dataclass
from envbuilder.errors import BaseError, CommandFailed
from envbuilder.hook_files import LINE, PTH, SINGLE_MODULES, Settings
from envbuilder.paths import HOOK, Layout
from envbuilder.report import Reporter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envbuilder.base import Base

GOOD_AFTER = 600.0
"""Seconds that a start lasts that has not failed, unless `hook install --good-after` says otherwise."""
_MADE_FOR = {
    "VERSION": "it is of vpm-env {0}, this is {1}",
    "FORMAT": "it knows homes of format {0}, this vpm-env writes {1}",
    "PREFIX": "it was made for `{0}`, this is `{1}`",
    "BASE_KEY": "it was made for the base {0}, this is {1}",
}
_RAN = "import sys; print(getattr(sys.modules.get('_vpm_env_hook'), '__file__', ''))"
_WORDS = 40
"""How many of the last words of an interpreter are told that does not start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """What `install` wrote: absolute paths, below `folder`."""

    folder: str
    files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class HookStatus:
    """What hook a base has.

    `installed` says that its interpreter imports one when it starts. `version`, `home`, `profile`, `prefix` and
    `base_key` are what stands in it ("" where that cannot be read), `auto` is its policy for builds before an engine's
    start, "" for none; `rollback_after` and `good_after` are as in `Settings`; `problems` are reasons to install it
    again.
    """

    folder: str
    installed: bool
    version: str = ""
    home: str = ""
    profile: str = ""
    prefix: str = ""
    base_key: str = ""
    trust_owner: tuple[int, ...] = ()
    trust_home: bool = False
    auto: str = ""
    rollback_after: int = 0
    good_after: float = 0.0
    problems: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        """Tell whether every file is as it was written, for this base and by this version."""
        return self.installed and not self.problems

    @property
    def options(self) -> tuple[str, ...]:
        """Return the options of `hook install` that make it do what it does besides its base and home."""
        auto = ("--auto",) if self.auto else ()
        policy = (f"--policy {self.auto}",) if self.auto not in ("", "last-good") else ()
        counted = (f"--rollback-after {self.rollback_after}",) if self.rollback_after else ()
        lasts = (f"--good-after {self.good_after:g}s",) if self.rollback_after and self.good_after != GOOD_AFTER else ()
        owners = tuple(f"--trust-owner {uid}" for uid in self.trust_owner)
        return (*auto, *policy, *counted, *lasts, *owners, *(("--trust-home",) if self.trust_home else ()))

    @property
    def text(self) -> str:
        """Say it in one line."""
        if not self.installed:
            return f"not installed in `{self.folder}`"
        told = f"{self.version} in `{self.folder}`, for profile `{self.profile}` of `{self.home}`"
        auto = (f"builds before an engine's start, and if that fails: {self.auto}",) if self.auto else ()
        starts = f"goes back after {self.rollback_after} failed starts, of less than {self.good_after:g} s"
        loops = (starts,) if self.rollback_after else ()
        return "; ".join((told, *auto, *loops, *self.problems))


def install(
    base: Base,
    *,
    layout: Layout,
    profile: str,
    command: tuple[str, ...],
    trust_owner: tuple[int, ...] = (),
    trust_home: bool = False,
    auto: str = "",
    rollback_after: int = 0,
    good_after: float = 0.0,
) -> Installed:
    """Write the hook into the base, over an older one (see `Settings`); raise `BaseError` where that must not be."""
    settings = Settings(layout.home, profile, command, trust_owner, trust_home, auto, rollback_after, good_after)
    _require_writable(base)
    _require_trusted(base, settings)
    try:
        with flocks.folder_held(base.purelib), fs.staging(layout.tmp) as scratch:
            written = writing.write(base, settings, scratch)
    except (OSError, CommandFailed) as error:
        raise BaseError(f"the hook cannot be written into `{base.purelib}`: {error}") from None
    _require_running(base)
    return Installed(folder=base.purelib, files=tuple(join(base.purelib, name) for name in written))


def install_again(base: Base, hook: HookStatus, *, home: str = "", profile: str = "") -> Installed:
    """Write a hook again with all that it had, to call this vpm-env; `home` and `profile` stand in where it names none.

    Raise `BaseError` where that must not be.
    """
    return install(
        base,
        layout=Layout(home=hook.home or home),
        profile=hook.profile or profile,
        command=(sys.executable, "-m", "envbuilder"),
        trust_owner=hook.trust_owner,
        trust_home=hook.trust_home,
        auto=hook.auto,
        rollback_after=hook.rollback_after,
        good_after=hook.good_after,
    )


def show(
    base: Base,
    *,
    layout: Layout,
    profile: str,
    command: tuple[str, ...],
    trust_owner: tuple[int, ...] = (),
    trust_home: bool = False,
    auto: str = "",
    rollback_after: int = 0,
    good_after: float = 0.0,
) -> dict[str, str]:
    """Return every text that `install` writes, by its path."""
    settings = Settings(layout.home, profile, command, trust_owner, trust_home, auto, rollback_after, good_after)
    texts = {**files.sources(base, settings), **files.metadata(base), PTH: LINE}
    return {join(base.purelib, name): text.decode() for name, text in texts.items()}


def uninstall(base: Base, *, reporter: Reporter | None = None) -> tuple[str, ...]:
    """Take the hook out of the base and return the removed paths; what is not as it was written stays, and is told.

    Raise `BaseError` when the `.pth` has other lines than ours, or when the folder cannot be written to.
    """
    if not writing.is_there(base.purelib):
        return ()
    _require_writable(base)
    _require_own_line(base.purelib)
    try:
        with flocks.folder_held(base.purelib):
            return tuple(writing.remove(base.purelib, reporter or Reporter()))
    except OSError as error:
        raise BaseError(f"the hook cannot be removed from `{base.purelib}`: {error}") from None


def planned_removal(base: Base) -> tuple[str, ...]:
    """Return the paths that `uninstall` would remove."""
    folder = base.purelib
    return tuple(join(folder, name) for name in sorted(writing.present(folder))) if writing.is_there(folder) else ()


def inspect(base: Base) -> HookStatus:
    """Say what hook the base has, and what is wrong with it; writes and starts nothing."""
    folder = base.purelib
    line = LINE.strip() in files.content_of(join(folder, PTH)).splitlines()
    if not (line and isfile(join(folder, HOOK))):
        return HookStatus(folder=folder, installed=False)
    known = files.constants(folder)
    return HookStatus(
        folder=folder,
        installed=True,
        version=str(known.get("VERSION", "")),
        home=str(known.get("HOME", "")),
        profile=str(known.get("PROFILE", "")),
        prefix=str(known.get("PREFIX", "")),
        base_key=str(known.get("BASE_KEY", "")),
        trust_owner=tuple(known.get("OWNERS", ())[1:]),
        trust_home=bool(known.get("TRUST_HOME")),
        auto=str(known.get("AUTO", "")),
        rollback_after=int(known.get("ROLLBACK_AFTER") or 0),
        good_after=float(known.get("GOOD_AFTER") or 0),
        problems=tuple(_problems(base, known)),
    )


def pieces(base: Base) -> list[str]:
    """Name what of a hook is there where it is not installed."""
    names = [name for name in (PTH, *SINGLE_MODULES) if exists(join(base.purelib, name))]
    return names + [os.path.basename(path) for path in files.dist_infos(base.purelib)]


def _problems(base: Base, known: Mapping[str, Any]) -> Iterator[str]:
    for name, value in files.expected(base).items():
        if known.get(name) != value:
            yield _MADE_FOR[name].format(known.get(name, "unknown"), value)
    recorded = files.recorded(base.purelib)
    if not recorded:
        yield "its RECORD is missing"
    if "ray" in base.distributions and not isfile(join(base.purelib, files.RAY)):
        yield "the base has got Ray since, and it has no plugin for it"
    for name, digests in recorded.items():
        if not files.is_as_recorded(base.purelib, name, digests):
            yield f"`{name}` is not as it was written"
    if not files.compiled(base.purelib, HOOK, f"cpython-{base.python_version.replace('.', '')}"):
        yield f"it is not compiled for Python {base.python_version}"


def _require_writable(base: Base) -> None:
    folder, without = _nearest(base.purelib), "do without the hook: `vpm-env run -- COMMAND`"
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise BaseError(f"`{folder}` of the base is on a read-only file system", hint=without)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BaseError(
            f"`{folder}` of the base is not writable by this user",
            hint=f"run `vpm-env hook` as its owner, or {without}",
        )


def _require_trusted(base: Base, settings: Settings) -> None:
    """Refuse to let the home's owner run code as everybody who uses the base."""
    home, folder = _nearest(settings.home), _nearest(base.purelib)
    owner, trusted = os.stat(home).st_uid, {0, os.stat(folder).st_uid, *settings.trust_owner}
    if owner not in trusted and not settings.trust_home:
        raise BaseError(
            f"the base `{base.prefix}` belongs to uid {os.stat(folder).st_uid} and `{home}` to uid {owner}: "
            f"the hook would run what uid {owner} puts there as everybody who starts this Python",
            hint=f"name a home of the base's owner with `--home`, or trust this one with `--trust-owner {owner}`",
        )


def _nearest(path: str) -> str:
    """Return the first of `path` and its parents that exists."""
    path = abspath(path)
    while not exists(path):
        path = dirname(path)
    return path


def _require_own_line(folder: str) -> None:
    """Refuse where others rely on the `.pth`: without its module, each start of Python would complain."""
    if files.content_of(join(folder, PTH)) not in (b"", LINE):
        raise BaseError(
            f"`{join(folder, PTH)}` was changed by somebody else",
            hint=f"remove the line `{LINE.decode().strip()}` and keep the rest under another name, then run this again",
        )


def _require_running(base: Base) -> None:
    """Start the base's interpreter and look whether it ran the hook; take it out again if not."""
    told = process.run([base.python, "-B", "-c", _RAN], env=writing.variables(), timeout=120)
    if told.code:
        uninstall(base)
        said = " ".join(told.stderr.split()[-_WORDS:]) or f"it ended with {told.code}"
        raise BaseError(f"`{base.python}` does not start with the hook: {said}")
    if told.stdout.strip() != join(base.purelib, HOOK):
        uninstall(base)
        raise BaseError(
            f"`{base.python}` does not run the `.pth` files of `{base.purelib}`",
            hint="do without the hook: `vpm-env run -- COMMAND`",
        )
