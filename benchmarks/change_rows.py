"""Rows of what makes no package: rollback, switch, a build with nothing to do, help, history."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import grown
from measure import Command, Turns, or_skipped
from peers import Nix
from rig import publish, synthetic
from table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rig import Rig
    from table import Skipped

GENERATIONS = 1000
START = "a bare start (`python -I -c pass`)"
RENAME = "a bare start that makes a link and renames it"
READ = f"a bare start that reads {GENERATIONS} records"
_RENAMING = "import os, sys; os.symlink('set', sys.argv[1]); os.rename(sys.argv[1], sys.argv[2])"
_READING = (
    "import os, sys\nfor entry in os.scandir(sys.argv[1]): entry.name[-5:] == '.json' and open(entry, 'rb').read()"
)


def rollback(folder: Path, runs: int) -> Iterator[Row | Skipped]:
    """`rollback` and `switch` against a bare start of the interpreter, and against Nix's."""
    with synthetic(folder) as (rig, index):
        publish(index, ["one", "two"])
        grown.two_sets(rig)
        forth, back = rig.vpm_env("switch", "2"), rig.vpm_env("switch", "1")
        ours = {
            "rollback": rig.vpm_env("rollback", prepare=forth.run),
            "switch": rig.vpm_env("switch", "2", prepare=back.run),
        }
        floor = rig.python(_RENAMING, rig.work / "new", rig.work / "current")
        for name, command in ours.items():
            turns = Turns.of({START: rig.bare(), RENAME: floor, name: command}, runs=runs)
            yield turns.row(name, "time / bare start", ours=name, peer=START, floor=RENAME)
            yield or_skipped(f"{name}, counted", partial(_counted, rig, name, command, 4))
        nix = Nix(folder / "nix")
        nix.generations(2)
        for name, peer in {"rollback": nix.rollback(), "switch": nix.switch()}.items():
            turns = Turns.of({"nix-env": peer, RENAME: floor, name: ours[name]}, runs=runs)
            title = f"time / `nix-env --{name}`" if name == "rollback" else "time / `nix-env --switch-generation`"
            yield turns.row(name, title, ours=name, peer="nix-env", floor=RENAME, limit=1.0)


def no_op_build(folder: Path, runs: int) -> Iterator[Row | Skipped]:
    """`build` with nothing to do, against a bare start of its interpreter, and uv's sync with nothing to do."""
    with synthetic(folder) as (rig, index):
        publish(index, ["one"])
        rig.config("one")
        rig.vpm_env("build").run()
        requirements = rig.requirements()
        rig.uv_sync(requirements, offline=False).run()
        name, build = "no-op build", rig.vpm_env("build")
        turns = Turns.of({START: rig.bare(), "uv pip sync": rig.uv_again(requirements), name: build}, runs=runs)
        yield turns.row(name, "time / bare start", ours=name, peer=START, floor=START, limit=3)
        yield turns.row(name, "time / `uv pip sync` with nothing to do", ours=name, peer="uv pip sync", floor=START)
        yield or_skipped(f"{name}, counted", lambda: _counted(rig, name, build, 3))


def _counted(rig: Rig, name: str, command: Command, limit: float) -> Row:
    bare, ours = rig.bare().instructions(), command.instructions()
    return Row(
        name=f"{name}, counted",
        what="instructions / bare start's",
        value=ours / bare,
        unit="x",
        limit=limit,
        floor=START,
        above=ours / bare,
        detail={START: bare, name: ours},
    )


def words(folder: Path, runs: int) -> Iterator[Row | Skipped]:
    """`--help`, and the history of 1,000 generations."""
    with synthetic(folder) as (rig, index):
        helped, by_uv = rig.vpm_env("--help"), Command(words=[rig.uv()[0], "--help"], env=rig.env, cwd=rig.work)
        turns = Turns.of({START: rig.bare(), "uv --help": by_uv, "--help": helped}, runs=runs)
        yield turns.row("--help", "time / bare start", ours="--help", peer=START, floor=START, limit=3)
        yield turns.row("--help", "time / `uv --help`", ours="--help", peer="uv --help", floor=START)
        publish(index, ["one", "two"])
        profile = grown.two_sets(rig)
        grown.generations(profile, GENERATIONS)
        reading = rig.python(_READING, f"{profile.path}/generations")
        nix = Nix(folder / "nix")
        nix.generations(GENERATIONS)
        commands = {READ: reading, "nix-env": nix.call("--list-generations"), "history": rig.vpm_env("history")}
        yield Turns.of(commands, runs=runs).row(
            f"history of {GENERATIONS}",
            "time / `nix-env --list-generations`",
            ours="history",
            peer="nix-env",
            floor=READ,
        )
