"""The calls that are killed, each on its ground."""

from __future__ import annotations

import shutil
from functools import wraps
from typing import TYPE_CHECKING

import kit
from kills import Story
from worlds import GROUP, plugin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from worlds import World

BUILD = ("build",)


def _once(make: Callable[[World], None]) -> Callable[[World], None]:
    """Let a ground be made the first time that a world needs it, and put back from then on."""
    name = f"the ground {make.__name__}"

    @wraps(make)
    def ground(world: World) -> None:
        kept = world.folder / "kept" / name
        if kept.exists():
            world.put_back(kept)
            return
        make(world)
        world.save(name)

    return ground


@_once
def _hooked(world: World) -> None:
    """Give the base its hook, and take every home away."""
    world.clear()
    world.config()
    world.must("hook", "install")


def _nothing(world: World) -> None:
    _hooked(world)
    world.must("uninstall")
    world.must("hook", "install")
    world.config(one="1.0", two="1.0")


@_once
def _one_set(world: World) -> None:
    _hooked(world)
    world.config(one="1.0")
    world.must(*BUILD)


def _a_change(world: World) -> None:
    _one_set(world)
    world.config(one="2.0")


def _sets(world: World, *names: str) -> None:
    """Make a set for each of some versions of one plugin."""
    _hooked(world)
    for version in names:
        world.config(one=version)
        world.must(*BUILD)


@_once
def _three_sets(world: World) -> None:
    _sets(world, "1.0", "2.0", "3.0")


@_once
def _unneeded(world: World) -> None:
    """Have a set that was never current, and nothing needs."""
    _one_set(world)
    world.config(one="2.0", two="1.0")
    world.must(*BUILD, "--no-switch")
    world.config(one="3.0")
    world.must(*BUILD)


def _thrown_away(world: World) -> None:
    _unneeded(world)
    world.must("gc", "--grace", "1h")
    for path in (world.home / "trash").iterdir():
        label, _, rest = path.name.rpartition(".")
        path.rename(path.with_name(f"{label}.1-{rest.split('-')[-1]}"))


def _collected(world: World) -> None:
    _unneeded(world)
    world.must("gc")


@_once
def _pushed(world: World) -> None:
    """Have a cache that names a set which is here no more."""
    _one_set(world)
    world.config(one="2.0", two="1.0")
    world.must(*BUILD, "--no-switch")
    (world.folder / "work" / "cache").mkdir(exist_ok=True)
    world.must("push", "cache", "2", "--unsigned", "--channel", "prod")
    world.must("gc")


def _unpushed(world: World) -> None:
    _pushed(world)
    shutil.rmtree(world.folder / "work" / "cache")
    (world.folder / "work" / "cache").mkdir()


def _sources(world: World) -> None:
    """Ask for a plugin of a local folder and one of git, beside one of an index."""
    _one_set(world)
    project(world.folder / "work" / "ours", "ours")
    (world.folder / "repository").mkdir(exist_ok=True)
    folder = world.folder / "repository"
    if not (folder / ".git").exists():
        project(folder, "theirs")
        kit.git_repository(folder)
    world.config(
        f"  - {{name: ours, source: local, path: ours}}\n  - {{name: theirs, source: git, url: '{folder.as_uri()}'}}\n",
        one="1.0",
        built="1.0",
    )


def project(folder: Path, name: str) -> None:
    """Write a plugin's source tree."""
    code = {f"{name}/__init__.py": plugin("1.0")}
    kit.project(folder, name, files=code, entry_points={GROUP: {name: f"{name}:register"}})


def _kept(world: World) -> None:
    _three_sets(world)
    world.must("keep", "1")


def _unhooked(world: World) -> None:
    _one_set(world)
    world.must("hook", "uninstall")


def _disabled(world: World) -> None:
    _one_set(world)
    world.must("disable", "one")


def _damaged(world: World) -> None:
    """Have a package with a file that is another, an overlay without its manifest, and a lost lock."""
    _one_set(world)
    (data,) = world.home.glob("store/*-one-1.0/lib/one/data.txt")
    data.chmod(0o644)
    data.write_text("another")
    for path in world.home.glob("overlays/*/*/overlay.json"):
        path.unlink()
    for path in world.home.glob("profiles/default/*/generations/1.pylock.toml"):
        path.unlink()


STORIES = (
    Story("switch", ("switch", "1"), _three_sets),
    Story("rollback", ("rollback",), _three_sets, moves_on=True),
    Story("rollback --bad", ("rollback", "--bad"), _three_sets, moves_on=True, short=3),
    Story("keep", ("keep", "1"), _three_sets),
    Story("unkeep", ("unkeep", "1"), _kept, short=2),
    Story("gc", ("gc",), _unneeded, short=9),
    Story("gc --grace 1h", ("gc", "--grace", "1h"), _unneeded, short=4),
    Story("gc, the grace is over", ("gc",), _thrown_away, short=12),
    Story("disable", ("disable", "one"), _one_set),
    Story("enable", ("enable", "one"), _disabled),
    Story("add", ("add", "two"), _one_set),
    Story("remove", ("remove", "one"), _one_set, again=(0, 2)),
    Story("hook install", ("hook", "install"), _unhooked, short=40),
    Story("hook install, over another", ("hook", "install", "--trust-home"), _one_set, short=50),
    Story("hook install, then uninstall", ("hook", "install"), _unhooked, then=("hook", "uninstall"), short=50),
    Story("hook uninstall", ("hook", "uninstall"), _one_set, short=9),
    Story("uninstall", ("uninstall",), _one_set, short=40),
    Story("verify --repair", ("verify", "--repair"), _damaged, is_damaged=True, short=40),
    Story("build of a change", BUILD, _a_change, short=30),
    Story("build, automatic", ("build", "--auto"), _a_change, is_variant=True, short=100, long=5),
    Story("build --no-switch", (*BUILD, "--no-switch"), _a_change, is_variant=True, short=100, long=5),
    Story("switch to a collected set", ("switch", "2"), _collected, is_variant=True, short=100, long=2),
    Story("pull", ("pull", "cache", "prod", "--unsigned"), _pushed, is_variant=True, short=100, long=2),
    Story("push", ("push", "cache", "1", "--unsigned", "--channel", "next"), _unpushed, is_variant=True, short=60),
    Story("the first build", BUILD, _nothing, is_variant=True, short=150, long=3),
    Story("build of sources", BUILD, _sources, is_variant=True, short=150, long=3),
)
"""Each is killed at every step, but for variants, and of all changes at every `short`th (`long`th in the long run)."""

RANDOM = {"build of sources": 3, "the first build": 1, "build of a change": 9, "switch": 10, "rollback": 5, "gc": 12}
"""What is killed at random moments, and how often of 40 times."""
