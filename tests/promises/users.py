"""Processes that use a set, each in its own way; a `Scene` has the set that they use, and moves on from it."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import kit
import stands

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SAY = "print('here', flush=True)\nimport sys; sys.stdin.read()\n"
IMPORT = "import one\n"

FORKED = f"""
import os
{IMPORT}
if os.fork():
    os._exit(0)
{SAY}
"""

EXECUTED = f"""
import os, sys
{IMPORT}
os.execv(sys.executable, [sys.executable, "-c", {IMPORT + SAY!r}])
"""

RENAMED = f"""
import ctypes
{IMPORT}
words = open("/proc/self/stat").read().rpartition(")")[2].split()
begin, end = int(words[45]), int(words[48])
ctypes.memset(begin, 0, end - begin)
ctypes.memmove(begin, b"VLLM::EngineCore", 16)
ctypes.CDLL(None).prctl(15, b"VLLM::EngineCore", 0, 0, 0)
assert open("/proc/self/cmdline").read().startswith("VLLM::EngineCore")
{SAY}
"""

GC = """
import sys
from envbuilder import gc, occupants
from envbuilder.cli import main
gc.DAY = 0.0
sys.exit(main(sys.argv[1:]))
"""
"""Call a verb as it would be a day later, but for what processes say."""


@dataclass
class Scene:
    """A hooked base and three sets; `used` is the first one's overlay, which processes use.

    `before` are words that every call has first.
    """

    folder: Path
    vpm_env: kit.VpmEnv
    base: Path
    used: Path
    before: Sequence[str] = ()
    env: dict[str, str] = field(default_factory=dict)

    @property
    def plain(self) -> dict[str, str]:
        """Return the environment of processes."""
        own = ("VPM_ENV_HOME", "VPM_ENV_BASE")
        return {name: value for name, value in self.vpm_env.env.items() if name not in own}

    def go_to_first(self) -> None:
        self.vpm_env("switch", "1", check=True)

    def move_on(self) -> None:
        """Let nothing but processes speak for the first set."""
        for number in ("2", "3"):
            self.vpm_env("switch", number, check=True)

    def collect(self, *words: str) -> dict[str, Any]:
        """Collect what may go, and return what gc says."""
        return json.loads(self.call("gc", "--json", *words).stdout)

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Call a verb as if it were a day later."""
        done = subprocess.run(
            [*self.before, sys.executable, "-c", GC, *words],
            env={**self.vpm_env.env, "PYTHONPATH": str(kit.ROOT), **self.env},
            cwd=self.vpm_env.folder,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    @contextmanager
    def living(self, *words: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> Iterator[int]:
        """Start a process, wait until it says that it is there, and let it end in the end."""
        child = subprocess.Popen(
            list(map(str, words)),
            env={**self.plain, **(env or {})},
            cwd=cwd or self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stderr is not None
        with child:
            try:
                said = child.stdout.readline()
                assert said == "here\n", said or child.stderr.read()
                yield child.pid
            finally:
                child.stdin.close()
                child.stdout.read()  # until all who have it have ended

    def script(self, code: str, name: str = "vllm") -> Path:
        """Write what an engine's script runs."""
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
        return path

    @property
    def library(self) -> Path:
        """Return a shared library of the first set, as its processes open it."""
        (found,) = self.used.glob("lib/python*/site-packages/one/one.so")
        return found


def scene(folder: Path) -> Scene:
    """Make three sets, the first with a library, and a base with the hook."""
    vpm_env = stands.small(folder)
    library = stands.library(folder / "c", "one.so", "int one(void) { return 1; }")
    files = {"one/__init__.py": "VALUE = 1\n", "one/late.py": "VALUE = 1\n", "one/one.so": library}
    kit.wheel(folder / "links", "one", files=files)
    for name in ("two", "three"):
        kit.wheel(folder / "links", name)
    for name in ("one", "two", "three"):
        write_config(vpm_env, name)
        vpm_env("build", "--offline", check=True)
    vpm_env("hook", "install", check=True)
    (used,) = vpm_env.home.glob("profiles/default/*/generations/1")
    return Scene(folder, vpm_env, folder / "base" / "bin" / "python", used.resolve())


def write_config(vpm_env: kit.VpmEnv, *names: str) -> None:
    """Let the config ask for these plugins."""
    entries = "".join(f"  - {{name: {name}, source: pypi}}\n" for name in names)
    links = vpm_env.folder.parent / "links"
    vpm_env.config(f"find_links: {links}\nindex: http://127.0.0.1:9/none\nplugins:\n{entries}")
