"""The least that makes a set which survives a power cut: a bare start that makes its system calls, and nothing else."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from measure import Command
    from rig import Rig

_CALLS = """
import os, sys
from _ctypes import CFuncPtr, FUNCFLAG_CDECL, dlopen, dlsym

class Function(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL

def on(path, call):
    descriptor = os.open(path, os.O_RDONLY)
    call(descriptor)
    os.close(descriptor)

def write(path, source):
    with open(source, "rb") as stream:
        content = stream.read()
    descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(descriptor, content)
    os.fsync(descriptor)
    os.close(descriptor)
    os.rename(path + ".new", path)

def point(path, target):
    os.symlink(target, path + ".new")
    os.rename(path + ".new", path)

def read(path, _):
    with open(path, "rb", buffering=0) as stream:
        stream.read()

calls = {
    "read": read,
    "folder": lambda path, _: os.mkdir(path),
    "link": lambda path, target: os.symlink(target, path),
    "name": lambda path, source: os.link(source, path),
    "write": write,
    "point": point,
    "settle": lambda path, _: on(path, os.fsync),
    "settle all": lambda path, _: on(path, Function(dlsym(dlopen(None, 0), "syncfs"))),
}
os.chdir(sys.argv[2])
with open(sys.argv[1]) as stream:
    for line in stream:
        kind, path, other = line[:-1].split("\\t")
        calls[kind](path, other)
os._exit(0)
"""


_ROOMS = "import envbuilder.again, envbuilder.build_view, envbuilder.cli, envbuilder.recipe, envbuilder.verbs_make"
"""Rooms that load those that such a build enters."""


def least(rig: Rig, *, knows_how: bool) -> Command:
    """Return the making of what the current generation is: records read, the same folders and links, records written.

    One that `knows_how` loads what vpm-env is written in, too, and calls none of it. A tree is synced before the record
    that makes it count is written, a record before it gets its name, and a folder where a name in it has to be there
    before the next step: as often as that order asks for, and no more.
    """
    copy, steps = rig.folder / "least", rig.folder / "least.txt"
    steps.write_text("".join("\t".join(step) + "\n" for step in _steps(rig)))

    def prepare() -> None:
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()

    code = f"import gc; gc.set_threshold(50_000)\n{_ROOMS}\n{_CALLS}" if knows_how else _CALLS
    return replace(rig.python(code, steps, copy), prepare=prepare)


def _steps(rig: Rig) -> Iterator[tuple[str, str, str]]:
    """Name the calls that make the overlay and the generation, in a folder that is empty."""
    (current,) = (rig.home / "profiles").glob("default/*/current")
    records = (rig.home / "store").glob("*/package.json")
    for path in (rig.work / "plugins.yaml", rig.work / "pylock.plugins.toml", *sorted(records)):
        yield "read", str(path), ""
    yield "folder", "set", ""
    yield from _tree(rig.overlay)
    yield "settle all", "set", ""
    yield "write", "set/overlay.json", str(rig.overlay / "overlay.json")
    yield "settle", "set", ""
    for folder in ("profile", "profile/generations"):
        yield "folder", folder, ""
    generations = current.parent / "generations"
    for suffix in ("plugins.yaml", "pylock.toml"):
        yield "write", f"profile/generations/1.{suffix}", str(next(generations.glob(f"*.{suffix}")))
    yield "point", "profile/generations/1", "../../set"
    yield "settle", "profile/generations", ""
    yield "write", "profile/generations/1.json", str(next(generations.glob("*.json")))
    yield "settle", "profile/generations", ""
    yield "write", "profile/order.json", str(current.parent / "order.json")
    yield "settle", "profile", ""
    yield "point", "profile/current", "generations/1"
    yield "settle", "profile", ""


def _tree(overlay: Path) -> Iterator[tuple[str, str, str]]:
    """Name the calls that make a tree as this one is; its files get one more name each."""
    for folder, folders, files in os.walk(overlay):
        inner = os.path.join("set", os.path.relpath(folder, overlay))
        for name in sorted(folders + files):
            source, made = os.path.join(folder, name), os.path.normpath(os.path.join(inner, name))
            if os.path.islink(source):
                yield "link", made, os.readlink(source)
            elif os.path.isdir(source):
                yield "folder", made, ""
            elif name not in ("overlay.json", ".lease"):
                yield "name", made, source
