"""A home on a disk that loses its power, and what must be true of it when the power is back."""

from __future__ import annotations

import ctypes
import hashlib
import marshal
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import kit
import stands

from envbuilder import overlay, package_damage, store
from envbuilder import profile as profiles
from envbuilder.paths import Layout
from envbuilder.profile import Profile
from envbuilder.switching import rollback_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from disks import Disk

GROUP = "vllm.general_plugins"
FILES = 50
"""Files of a plugin."""

KILLED = -int(signal.SIGKILL)
BUILD = ("build", "--offline")
DAYS = 3 * 86400.0
"""Seconds after which gc spares nothing for having been current lately."""


@dataclass
class House:
    """A home on a disk, a config beside it, and plugins elsewhere that it asks for."""

    disk: Disk
    workshop: kit.Workshop
    vpm_env: kit.VpmEnv
    links: Path
    versions: dict[str, int] = field(default_factory=lambda: {"ash": 0, "birch": 0})
    proper: dict[str, set[str]] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        return Layout(str(self.vpm_env.home))

    def call(self, *words: str, fault: kit.Fault | None = None, unsynced: bool = False) -> kit.Ended:
        """Call a verb; nothing of it is left when this returns. A gc comes days later."""
        later = DAYS if words[0] == "gc" else 0.0
        options = {"env": self.vpm_env.env, "cwd": self.vpm_env.folder, "later": later, "unsynced": unsynced}
        ended = self._finish(self.workshop.start(*words, fault=fault, **options))
        if ended.code == 0 and words is BUILD:
            self._learn()
        return ended

    def call_for(self, seconds: float, kind: str, *words: str) -> kit.Ended:
        """Call a verb and cut the power after some time, wherever it is."""
        pid = self.workshop.start(*words, env=self.vpm_env.env, cwd=self.vpm_env.folder)
        time.sleep(seconds)
        self.disk.cut(kind)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        return self._finish(pid)

    def _finish(self, pid: int) -> kit.Ended:
        ended = self.workshop.finish(pid)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what it started writes no more
        return ended

    def must(self, *words: str) -> kit.Ended:
        """Call a verb that has to succeed."""
        ended = self.call(*words)
        assert ended.code == 0, f"{words}: {ended.code}\n{ended.stdout}{ended.stderr}"
        return ended

    def want(self, *names: str) -> None:
        """Ask for new versions of some plugins, and those of the others that are there."""
        for name in names:
            self.versions[name] += 1
            publish(self.links, name, f"1.{self.versions[name]}")
        entries = "".join(
            f"  - {{name: {name}, source: pypi, version: '1.{number}'}}\n" for name, number in self.versions.items()
        )
        path = self.vpm_env.config(f"find_links: {self.links}\nindex: http://127.0.0.1:9/none\nplugins:\n{entries}")
        sync(path, path.parent)

    def current(self) -> str:
        """Say which set is current; "" for none."""
        for link in Path(self.layout.profiles).glob("default/*/current"):
            return os.path.basename(os.path.realpath(link))
        return ""

    @property
    def profile(self) -> Profile:
        """Return the only one."""
        (path,) = Path(self.layout.profiles).glob("default/*")
        return Profile(self.layout, "default", path.name)

    def behind(self) -> str:
        """Say which set a rollback goes to; "" for none."""
        if not self.current():
            return ""
        number = rollback_target(self.profile)
        return profiles.read(self.profile, number).digest if number else ""

    def imports(self) -> str:
        """Import the plugins of the current set in its own python; "" if all is well."""
        link = Path(self.profile.current)
        code = "import ash.m7, birch.m7, importlib.metadata as m; m.distribution('ash').read_text('METADATA')"
        done = subprocess.run(
            [str(link / "bin" / "python"), "-c", code],
            env={"PATH": os.defpath},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stderr

    def starts(self) -> str:
        """Start a plain Python of the base, with a hook or without; "" if all is well."""
        done = subprocess.run(
            [self.vpm_env.env["VPM_ENV_BASE"], "-c", "import vllm"],
            env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stderr

    def _learn(self) -> None:
        """Remember what the files of skeletons are like, now that none is there that a cut can have met."""
        for inner, path in _skeleton_files(self.layout):
            self.proper.setdefault(inner, set()).add(_digest(path))

    def bad_files(self) -> list[str]:
        """Name every bad file of a package or an overlay that says it is whole, and of a skeleton that is used."""
        found = []
        for key in store.keys(self.layout):
            if store.get(self.layout, key) is not None:
                found += [f"package {key}: {problem}" for problem in package_damage.problems(self.layout, key)]
                found += [f"package {key}: {problem}" for problem in _bad_bytecode(Path(self.layout.package(key)))]
        for entry in overlay.all_overlays(self.layout):
            manifest = overlay.get(self.layout, *entry)
            if manifest is not None:
                path = self.layout.overlay(*entry)
                lost = [member.key for member in manifest.members if store.get(self.layout, member.key) is None]
                found += [f"overlay {entry[1][:12]}: its package {key} is none" for key in lost]
                found += [f"overlay {entry[1][:12]}: {problem}" for problem in self._bad_in_overlay(path)]
        skeletons = [inner for inner, path in _skeleton_files(self.layout) if self._is_strange(inner, path)]
        return found + [f"skeleton: `{inner}` is bad" for inner in skeletons]

    def _is_strange(self, inner: str, path: Path) -> bool:
        return inner in self.proper and _digest(path) not in self.proper[inner]

    def _bad_in_overlay(self, path: str) -> Iterator[str]:
        for folder, folders, names in os.walk(path):
            for name in folders + names:
                file = Path(folder, name)
                inner = str(file.relative_to(path))
                if not file.exists():
                    yield f"`{inner}` leads nowhere"
                elif file.is_file() and self._is_strange(inner, file):
                    yield f"`{inner}` has another content than the skeleton's"
                elif file.is_file() and name != overlay.LEASE and not file.read_bytes().strip(b"\0"):
                    yield f"`{inner}` is empty"


def house(folder: Path, disk: Disk, workshop: kit.Workshop) -> House:
    """Set up a base, a home and a config on a disk, and plugins off it."""
    vpm_env = stands.small(disk.mount / "site")
    os.sync()
    return House(disk, workshop, vpm_env, folder / "links")


def publish(links: Path, name: str, version: str) -> Path:
    """Make a wheel of some fifty files, none of them empty."""
    code = f"VALUE = {version!r}\n" + "\n".join(f"def f{n}():\n    return {n}\n" for n in range(30))
    files = {f"{name}/m{number}.py": f"{code}# {number}\n" for number in range(FILES - 2)}
    files |= {
        f"{name}/__init__.py": f"VALUE = {version!r}\n\n\ndef register():\n    pass\n",
        f"{name}/d.txt": "x" * 9000,
    }
    points = {GROUP: {name: f"{name}:register"}, "console_scripts": {name: f"{name}:register"}}
    return kit.wheel(links, name, version, files=files, entry_points=points)


def sync(*paths: Path) -> None:
    """Bring files and folders to the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def start_writing(path: Path) -> None:
    """Bring the content of a file to the disk, and nothing of the journal."""
    kept_going = 1 | 2 | 4  # SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE, _WAIT_AFTER
    descriptor = os.open(path, os.O_RDONLY)
    call = ctypes.CDLL(None, use_errno=True).sync_file_range
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    assert call(descriptor, 0, 0, kept_going) == 0, os.strerror(ctypes.get_errno())
    os.close(descriptor)


def _skeleton_files(layout: Layout) -> Iterator[tuple[str, Path]]:
    for top in Path(layout.cache, "skeletons").glob("*"):
        if (top / "pyvenv.cfg").exists():
            for path in top.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    yield str(path.relative_to(top)), path


def _bad_bytecode(package: Path) -> Iterator[str]:
    """Name bytecode of this Python that does not load, in a package that says it is compiled for it."""
    tag = sys.implementation.cache_tag
    if not list(package.glob(f"{store.COMPILED}{tag}*")):
        return
    for path in package.rglob(f"*.{tag}.pyc"):
        try:
            marshal.loads(path.read_bytes()[16:])
        except (EOFError, ValueError, TypeError):
            yield f"`{path.relative_to(package)}` does not load"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
