"""Worlds to end calls in: a hooked base, a home, a config and plugins of every sort, put back for each try.

A `World` always lies at the same place, because a base is known by its path. What must be after a call that died is
said here once, by `World.wrong`, whatever the call was.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import kit
import stands

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

GROUP = "vllm.general_plugins"
ASK = "import importlib.util as u; print(*[n + '=' + __import__(n).VALUE for n in {names!r} if u.find_spec(n)])"
NAMES = ("one", "two", "built", "ours", "theirs")
"""The plugins: three of an index, of which one has to be built, one from a local folder, and one from git."""

_KEPT = ("home", "work")
_HALF = re.compile(r"\..+\.new|.+\.py[co]?\.\d+|.+\.lock\.\w+|tmp_(obj|pack|idx)_\w+")
"""Names of what is being written: ours, Python's compiler's, git's."""


@dataclass
class World:
    """A base with its hook, a home, and a config; `workshop` calls verbs in it."""

    folder: Path
    vpm_env: kit.VpmEnv
    workshop: kit.Workshop
    links: Path
    python: Path
    index: str

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def site(self) -> Path:
        (found,) = (self.folder / "base" / "lib").glob("python*/site-packages")
        return found

    def config(self, text: str = "", **versions: str) -> None:
        """Let the config ask for plugins of these versions, and for what `text` says."""
        entries = "".join(
            f"  - {{name: {name}, source: pypi, version: '{version}'}}\n" for name, version in versions.items()
        )
        self.vpm_env.config(f"index: {self.index}\nplugins:\n{entries}{text}")

    def __call__(self, *words: str, fault: kit.Fault | None = None) -> kit.Ended:
        """Call a verb in the workshop."""
        return self.workshop(*words, env=self.vpm_env.env, cwd=self.vpm_env.folder, fault=fault)

    def must(self, *words: str) -> kit.Ended:
        """Call a verb that has to succeed."""
        ended = self(*words)
        assert ended.code == 0, f"{words}: {ended.code}\n{ended.stdout}{ended.stderr}"
        return ended

    def clear(self) -> None:
        """Take away home and config, and what was asked for before."""
        self("hook", "uninstall")
        for part in _KEPT:
            _remove(self.folder / part)
        (self.folder / "work").mkdir()

    def save(self, name: str) -> Path:
        """Keep the world as it is; `put_back` makes it so again."""
        kept = self.folder / "kept" / name
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        for part in (*_KEPT, "base"):
            if (self.folder / part).exists():
                _copy(self.folder / part, kept)
        return kept

    def put_back(self, kept: Path) -> None:
        """Make the world what it was; the base is touched only where it is another, for its files' times are facts."""
        for part in _KEPT:
            _remove(self.folder / part)
            if (kept / part).exists():
                _copy(kept / part, self.folder)
        before = files_of(kept / "base")
        if files_of(self.folder / "base") != before:
            _remove(self.folder / "base")
            _copy(kept / "base", self.folder)

    def current(self) -> str:
        """Say which set is current, by its generation's digest; "" for none."""
        for link in self.home.glob("profiles/default/*/current"):
            return os.path.basename(os.path.realpath(link))
        return ""

    def seen(self) -> subprocess.CompletedProcess[str]:
        """Ask a plain Python of the base which plugins it can import, and in which versions."""
        command = [str(self.python), "-c", ASK.format(names=NAMES)]
        return subprocess.run(
            command,
            env={key: value for key, value in self.vpm_env.env.items() if not key.startswith("VPM_ENV_")},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def broken(
        self, allowed: set[str], sets: dict[str, str], *, is_damaged: bool = False, may_be_empty: bool = False
    ) -> list[str]:
        """Say what is wrong right after a call died: `allowed` are the sets that may be current.

        `sets` says what a Python sees under each; "" is none. Of a home that `is_damaged`, only what must be even so;
        one that `may_be_empty` may also be gone.
        """
        now = self.current()
        wrong = [] if now in allowed else [f"{now[:12] or 'nothing'} is current"]
        seen = self.seen()
        if seen.returncode or seen.stderr:
            wrong.append(f"a plain python ended with {seen.returncode} and said {seen.stderr!r}")
        elif seen.stdout.strip() not in {sets[one] for one in {*allowed, ""} & sets.keys()}:
            wrong.append(f"a plain python imports {seen.stdout.strip()!r}")
        elif self.has_hook and now in sets and not is_damaged and seen.stdout.strip() != sets[now]:
            wrong.append(f"a plain python imports {seen.stdout.strip()!r}, and {sets[now]!r} is current")
        if is_damaged or (may_be_empty and self.is_empty):
            return wrong
        verified = self("verify")
        return wrong if verified.code == 0 else [*wrong, f"verify: {verified.stdout}{verified.stderr}"]

    @property
    def is_empty(self) -> bool:
        """Tell whether there is no home."""
        return not _names(self.home)

    @property
    def has_hook(self) -> bool:
        return (self.site / "_vpm_env_hook.pth").exists()

    def strays(self) -> list[str]:
        """Name what no finished call leaves behind, in home, base, and the config's folder."""
        found = [os.path.join("home", part, name) for part in ("tmp", "trash") for name in _names(self.home / part)]
        for part in (*_KEPT, "base"):
            for folder, folders, names in os.walk(self.folder / part):
                found += [os.path.join(folder, name) for name in folders + names if _HALF.fullmatch(name)]
        for overlay in self.home.glob("overlays/*/*"):
            found += [] if (overlay / "overlay.json").exists() else [f"{overlay} has no manifest"]
        return [str(path).replace(str(self.folder), "") for path in found]

    def names(self) -> set[str]:
        """Name everything in the home that a call of this kind always leaves the same; and the config's folder."""
        found = set()
        for part in _KEPT:
            for folder, folders, names in os.walk(self.folder / part):
                found.update(os.path.relpath(os.path.join(folder, name), self.folder) for name in folders + names)
        return {name for name in found if not _VARYING.search(name)}

    def base_files(self, *, with_hook: bool = False) -> dict[str, str]:
        """Describe the base's files but for the hook's own."""
        found = files_of(self.folder / "base").items()
        return {path: what for path, what in found if with_hook or not _is_hooks(path)}


_VARYING = re.compile(r"cache/(git|virtualenv|failures)/|/objects/|__pycache__|home/(reserve|trash)(/|$)")
"""What depends on more than the calls: packs of git, virtualenv's own cache, what room there was to set aside.

And where things were thrown away is a folder from then on: `strays` looks into it.
"""


def _is_hooks(path: str) -> bool:
    name = path.split("site-packages/", 1)[-1]
    own = ("_vpm_env", "vpm_env_hook-", "envbuilder", "__pycache__/_vpm_env")
    return name != path and (name.startswith(own) or name == "__pycache__")


def files_of(folder: Path) -> dict[str, str]:
    """Describe a tree: path → kind and mode, size and time, or target."""
    found = {}
    for top, folders, names in os.walk(folder):
        for name in folders + names:
            path = os.path.join(top, name)
            status = os.lstat(path)
            target = os.readlink(path) if os.path.islink(path) else ""
            is_folder = os.path.isdir(path) and not target
            of_file = "" if is_folder else f"{status.st_size} {status.st_mtime_ns} {target}"
            found[os.path.relpath(path, folder)] = f"{status.st_mode:o} {of_file}"
    return found


@contextmanager
def world(folder: Path, workshop: kit.Workshop) -> Iterator[World]:
    """Make a world with an index of plugins to choose from; nothing is built."""
    vpm_env = stands.small(folder)
    links = folder / "links"
    for name in ("one", "two"):
        for version in ("1.0", "2.0", "3.0"):
            kit.wheel(
                links,
                name,
                version,
                files={f"{name}/__init__.py": plugin(version), f"{name}/more/__init__.py": "", f"{name}/data.txt": "x"},
                entry_points={GROUP: {name: f"{name}:register"}},
            )
    points = {GROUP: {"built": "built:register"}}
    kit.sdist(links, "built", files={"built/__init__.py": plugin("1.0")}, entry_points=points)
    python = type(folder)(vpm_env.env["VPM_ENV_BASE"])
    with kit.index(links) as index:
        yield World(folder, vpm_env, workshop, links, python, index.url)


def plugin(version: str) -> str:
    """Return the code of a plugin."""
    return f"VALUE = {version!r}\n\n\ndef register():\n    pass\n"


def _names(folder: Path) -> Sequence[str]:
    return sorted(os.listdir(folder)) if folder.is_dir() else ()


def _copy(source: Path, into: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(into)], check=True)


def _remove(path: Path) -> None:
    subprocess.run(["rm", "-rf", str(path)], check=True)


if sys.platform != "linux":
    raise ImportError("worlds need `cp -a`")
