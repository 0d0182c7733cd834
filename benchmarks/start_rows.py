"""Rows of what an engine's processes pay: the start-up hook, the first import of plugins, their entry points."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import homes
import kit
from measure import Command, Turns, Unavailable
from rig import PACKAGES, names, publish, synthetic, title
from table import Row

from envbuilder import startup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rig import Rig

MODULES = 20
_MODULES = "import sys; print(*sorted(sys.modules))"
_TIMED = "import time; {before}\nstarted = time.perf_counter()\n{what}\nprint(time.perf_counter() - started)"
_PLAIN = "the same from one plain site-packages"
_LINKED = "the same from a second folder, with one link a package, behind a path line"
_POINTS = "importlib.metadata.entry_points(group='vllm.general_plugins')"


def hook(folder: Path, runs: int) -> Iterator[Row]:
    """What the start-up hook adds to a plain start of the base, in instructions; they hardly vary, so one run does."""
    python = kit.pythons().get("3.11")
    if python is None:
        raise Unavailable("there is no Python 3.11")
    base = homes.vllm_base(folder, python=python)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    start = Command(words=[base.python, "-c", "pass"], env=env, cwd=folder)
    bare, bare_modules = start.instructions(), set(base.code(_MODULES).split())
    for count in (1, PACKAGES):
        rig = homes.Rig.of(base, folder / f"home{count}")
        digest = rig.overlay("one", *(f"package{number}" for number in range(count)))
        rig.generation(1, digest)
        rig.install()
        assert rig.ask()["state"] == "active"
        added = start.instructions() - bare
        modules = sorted(set(base.code(_MODULES).split()) - bare_modules)
        startup.uninstall(rig.facts)
        path_line = base.purelib / "control.pth"
        path_line.write_text(f"{rig.site(digest)}\n")
        control = start.instructions() - bare
        path_line.unlink()
        name = f"hook, {title(count)}"
        yield Row(
            name=name,
            what="instructions added to `python -c pass`, CPython 3.11",
            value=added / 1e6,
            unit="M",
            limit=1.0,
            floor="a `.pth` with the folder's path",
            above=added / control,
            detail={"bare": bare, "path line": control, "imported": modules},
        )
        yield Row(
            name=f"{name}, imports",
            what="modules loaded besides os, sys and the hook itself",
            value=len(set(modules) - {"os", "sys", "_vpm_env_hook"}),
            unit="",
            limit=0,
            floor="none",
        )


def use(folder: Path, runs: int) -> Iterator[Row]:
    """Importing the plugins for the first time, and asking for their entry points, beside a plain environment."""
    with synthetic(folder) as (rig, index):
        publish(index, names(), files=MODULES, plugin=True)
        rig.config(*names())
        rig.vpm_env("build").run()
        rig.vpm_env("hook", "install").run()
        plain = _plain(rig, folder)
        linked = _linked(plain, folder)
        modules = [f"{name.replace('-', '_')}.part0.module{at}" for name in names() for at in range(MODULES - 1)]
        imports = "\n".join(f"import {module}" for module in modules)
        cases = {
            "first import of the plugins": (imports, "pass", f"import of {len(modules)} modules", 3 * runs),
            "entry_points()": (
                f"found = {_POINTS}",
                "import importlib.metadata",
                "the first call in a process",
                9 * runs,
            ),
        }
        for number, (name, (what, before, said, times)) in enumerate(cases.items()):
            script = folder / f"case{number}.py"
            script.write_text(_TIMED.format(before=before, what=what))
            commands = {
                _PLAIN: Command(words=[plain.python, script], env=rig.env, cwd=folder),
                _LINKED: Command(words=[linked.python, script], env=rig.env, cwd=folder),
                "overlay": Command(words=[rig.base.python, script], env=rig.env, cwd=folder),
            }
            turns = Turns.of(commands, runs=times, ask=Command.says)
            compared = f"{said}: time / the same packages in the base's site-packages"
            yield turns.row(name, compared, ours="overlay", peer=_PLAIN, floor=_LINKED, limit=1.05)


def _plain(rig: Rig, folder: Path) -> kit.Base:
    """Make the same base with the same packages installed into it, compiled."""
    made = kit.base(folder / "plain")
    kit.fake_vllm(made)
    requirements = rig.requirements()
    words = rig.uv("pip", "install", "--no-deps", "--compile-bytecode", "--index-url", rig.index or "")
    install = Command(words=[*words, "--python", made.python, "-r", requirements], env=rig.env, cwd=folder)
    install.run()
    return made


def _linked(plain: kit.Base, folder: Path) -> kit.Base:
    """Make the same base with the least that shares packages: a folder that links to them, and a line that names it."""
    made = kit.base(folder / "linked")
    kit.fake_vllm(made)
    links = folder / "links-to-packages"
    links.mkdir()
    for entry in plain.purelib.glob("package_*"):
        if entry.name.endswith(".dist-info"):
            shutil.copytree(entry, links / entry.name, copy_function=os.link)
        else:
            (links / entry.name).symlink_to(os.path.relpath(entry, links))
    (made.purelib / "links.pth").write_text(f"{links}\n")
    return made
