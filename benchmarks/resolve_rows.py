"""Rows of the resolve: of plugins over a base of 200 distributions, which uv alone takes from the index instead."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import kit
from measure import Command, Turns
from rig import publish, synthetic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rig import Rig
    from shelf import Shelf
    from table import Row

LIBRARIES = 200
PLUGINS = 60
EACH = 5
"""Libraries that a plugin requires."""
UV = "uv pip compile"
OURS = "vpm-env build --dry-run"
STAGE = "the resolve in it"
_STAGE = """
import sys, time
from envbuilder import resolve
from envbuilder.cli import main
inner = resolve.resolve
def timed(**given):
    global took
    started = time.perf_counter()
    try:
        return inner(**given)
    finally:
        took = time.perf_counter() - started
resolve.resolve = timed
code = main(sys.argv[1:])
print(took)
sys.exit(code)
"""
_PROCESS = """
import subprocess, sys, time
started = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdin=subprocess.DEVNULL, capture_output=True)
print(time.perf_counter() - started)
"""
_READ = """
import subprocess, sys, time, tomllib
started = time.perf_counter()
subprocess.run(sys.argv[2:], check=True, stdin=subprocess.DEVNULL, capture_output=True)
with open(sys.argv[1], "rb") as stream:
    tomllib.load(stream)
print(time.perf_counter() - started)
"""
READ = f"{UV}, told of each of the 200 by a wheel, and the standard library's reading of what it says of the plugins"


def resolving(folder: Path, runs: int) -> Iterator[Row]:
    """60 plugins, of which each requires 5 of 200 libraries: all in the base, and all in the index; caches are warm."""
    with synthetic(folder) as (rig, index):
        libraries = [f"library-{number:03}" for number in range(LIBRARIES)]
        publish(index, libraries)
        for name in libraries:
            kit.dist_info(rig.base, name, "1.0")
        plugins = [f"plugin-{number:02}" for number in range(PLUGINS)]
        for at, name in enumerate(plugins):
            needed = [libraries[(7 * at + 41 * step) % LIBRARIES] for step in range(EACH)]
            index.add(name, requires=[f"{library}>=1" for library in needed])
        rig.config(plugins[0])
        rig.vpm_env("build").run()
        (rig.work / "pylock.plugins.toml").unlink()
        rig.config(*plugins)
        rig.vpm_env("build", "--dry-run").run()
        _compiled(rig, plugins).run()
        theirs = _compiled(rig, plugins, "--offline")
        ours = rig.vpm_env("build", "--dry-run", "--offline", "--quiet")
        name = f"resolve of {PLUGINS} plugins, {LIBRARIES} distributions in the base"
        read = _read(rig, _compiled(rig, plugins, "--offline", *_told(rig, index, libraries)))
        read.run()
        said = Turns.of({UV: _said(theirs), READ: read, STAGE: _staged(rig, ours)}, runs=runs, ask=Command.says)
        what = f"the resolve alone, uv's part in it included / `{UV}` of the same from the index"
        yield said.row(name, what, ours=STAGE, peer=UV, floor=READ, limit=1.2)
        whole = Turns.of({UV: theirs, OURS: ours}, runs=runs)
        what = f"the whole of `{OURS}` without a lock / `{UV}`"
        yield whole.row(name, what, ours=OURS, peer=UV, floor=UV)


def _compiled(rig: Rig, plugins: list[str], *more: str | Path) -> Command:
    """Return uv's resolve of the same to the same kind of file, for an interpreter that has nothing."""
    asked, lock = rig.work / "plugins.in", _lock(rig)
    asked.write_text("".join(f"{name}\n" for name in plugins))
    where = ("--index-url", rig.index or "", "--python", rig.tool.python)
    words = rig.uv("pip", "compile", asked, *where, "--format", "pylock.toml", "-o", lock, *more)
    return Command(words=words, env=rig.env, cwd=rig.work, prepare=lambda: lock.unlink(missing_ok=True))


def _told(rig: Rig, index: Shelf, libraries: list[str]) -> list[str | Path]:
    """Return what makes uv take these libraries from files, and say nothing of them."""
    facts = rig.work / "facts.in"
    facts.write_text(
        "".join(f"{name} @ file://{next((index.folder / 'simple' / name).glob('*.whl'))}\n" for name in libraries)
    )
    return ["--constraint", facts, *(word for name in libraries for word in ("--no-emit-package", name))]


def _lock(rig: Rig) -> Path:
    return rig.work / "pylock.by-uv.toml"


def _read(rig: Rig, command: Command) -> Command:
    """Let a process like ours start the command, read what it wrote, and say what both took."""
    words = [sys.executable, "-c", _READ, _lock(rig), *command.words]
    return Command(words=words, env=command.env, cwd=command.cwd, prepare=command.prepare)


def _said(command: Command) -> Command:
    """Let a process like ours start the command, and say what that took."""
    words = [sys.executable, "-c", _PROCESS, *command.words]
    return Command(words=words, env=command.env, cwd=command.cwd, prepare=command.prepare)


def _staged(rig: Rig, command: Command) -> Command:
    """Let vpm-env say what the resolve took of a call of it."""
    return Command(words=[rig.tool.python, "-c", _STAGE, *command.words[2:]], env=command.env, cwd=command.cwd)
