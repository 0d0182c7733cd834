"""Rows of the probe: the engine's own import and that of its plugins, paid once for a set and kept with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from measure import Command, Turns
from rig import synthetic
from table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rig import Rig
    from shelf import Shelf

PLUGINS = 10
ENGINE = "a start of the base's interpreter that imports the engine and the plugins"
_FIRST = ("overlays", "profiles", "cache/recipes")


def probing(folder: Path, runs: int) -> Iterator[Row]:
    """What a build takes more that probes 10 plugins, and how many entry points the next build of the set loads."""
    with synthetic(folder) as (rig, index):
        names = [f"plugin-{number}" for number in range(PLUGINS)]
        mark = folder / "loaded"
        for name in names:
            _publish(index, name, mark)
        rig.config(*names)
        rig.vpm_env("build").run()
        site = next(rig.overlay.glob("lib/*/site-packages"))
        code = f"import sys; sys.path.append({str(site)!r}); import vllm, {', '.join(map(_module, names))}"
        commands = {
            "without": rig.vpm_env("build", prepare=lambda: _prepare(rig, names, "probe: none\n")),
            "with": rig.vpm_env("build", prepare=lambda: _prepare(rig, names)),
            ENGINE: Command(words=[rig.base.python, "-c", code], env=rig.env, cwd=rig.work),
        }
        turns = Turns.of(commands, runs=runs)
        added = turns.added("with", "without")
        yield Row(
            name=f"probe of {PLUGINS} plugins",
            what="what the first build of a set takes more for it, with an engine that imports in no time",
            value=added,
            unit="ms",
            floor=ENGINE,
            above=added / (1000 * turns.median(ENGINE)),
            detail=turns.detail(),
        )
        mark.unlink()
        rig.forget("overlays", "profiles")
        rig.vpm_env("build").run()
        yield Row(
            name=f"probe of {PLUGINS} plugins, again",
            what="entry points that the next build of the same set loads",
            value=len(mark.read_text()) if mark.exists() else 0,
            unit="",
            limit=0,
            floor="none",
        )


def _publish(index: Shelf, name: str, mark: Path) -> None:
    code = f"with open({str(mark)!r}, 'a') as stream: stream.write('x')\ndef register(): pass\n"
    points = {"vllm.general_plugins": {name: f"{_module(name)}:register"}}
    index.add(name, files={f"{_module(name)}.py": code}, entry_points=points)


def _module(name: str) -> str:
    return name.replace("-", "_")


def _prepare(rig: Rig, names: list[str], head: str = "") -> None:
    rig.config(*names, head=head)
    rig.forget(*_FIRST)
