"""Rows of growth: what is waited for stays as it is with years of use, what looks at everything grows as that does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import grown
import homes
from fit import power
from measure import Command, Turns, or_skipped
from rig import publish, synthetic
from table import Row

from envbuilder import startup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from rig import Rig
    from table import Skipped

FEW, MANY = 10, 1000
"""Generations."""
SIZES = (100, 1_000, 10_000)
"""Packages."""
FLAT = 1.1
"""How many times what it was is flat; and the exponent of what is linear."""
REMOVED = "removing the same files (`rm -rf`)"
HASHED = "hashing the same files (`sha256sum`)"


def generations(folder: Path, runs: int) -> Iterator[Row | Skipped]:
    """Hook, rollback and a build with nothing to do: with 10 generations, and with 1,000 as builds leave them."""
    commands = [_with_many_generations(folder / f"generations{count:04}", count) for count in (FEW, MANY)]
    yield from _flat("generations", (FEW, MANY), *commands, runs=runs)
    yield or_skipped("hook, growth", lambda: _hook(folder, "generations", (FEW, MANY), _with_generations))


def _with_many_generations(folder: Path, count: int) -> Mapping[str, Command]:
    folder.mkdir()
    with synthetic(folder) as (rig, index):
        publish(index, ["one", "two"])
        grown.generations(grown.two_sets(rig), count)
        return _verbs(rig, newest=count)


def _with_many_packages(folder: Path, home: Path) -> Mapping[str, Command]:
    folder.mkdir()
    with synthetic(folder) as (rig, index):
        publish(index, ["one", "two"])
        _renew(rig.home, home)
        grown.two_sets(rig)
        warm = rig.vpm_env("build", "--offline", prepare=rig.forgetting("overlays", "profiles"))
        return {**_verbs(rig, newest=2), "warm build": warm}


def _verbs(rig: Rig, *, newest: int) -> dict[str, Command]:
    forth = rig.vpm_env("switch", str(newest))
    return {
        "no-op build": rig.vpm_env("build", "--offline"),
        "rollback": rig.vpm_env("rollback", prepare=forth.run),
    }


def _flat(
    what: str, sizes: tuple[int, int], few: Mapping[str, Command], many: Mapping[str, Command], *, runs: int
) -> Iterator[Row | Skipped]:
    """Compare what is waited for where there is little and where there is much; in the order given."""
    names = [f"with {size}" for size in sizes]
    for verb, command in few.items():
        title = f"{verb}, {sizes[0]} → {sizes[1]} {what}"
        turns = Turns.of({names[0]: command, names[1]: many[verb]}, runs=runs)
        yield turns.row(title, "time / that with few", ours=names[1], peer=names[0], floor=names[0], limit=FLAT)
        count = partial(_instructions, title, command, many[verb], names[0])
        yield or_skipped(title, count)


def _instructions(title: str, few: Command, many: Command, floor: str) -> Row:
    return _counted(title, few.instructions(), many.instructions(), floor=floor)


def _counted(title: str, few: int, many: int, floor: str) -> Row:
    return Row(
        name=title,
        what="instructions / those with few",
        value=many / few,
        unit="x",
        limit=FLAT,
        floor=floor,
        above=many / few,
        detail={"few": few, "many": many},
    )


def _hook(folder: Path, what: str, sizes: tuple[int, int], grow: Callable[[homes.Rig, int], None]) -> Row:
    """Count what the hook adds to a start, over a home in `folder` that is small and over one that has grown."""
    place = folder / "hooked"
    place.mkdir()
    base = homes.vllm_base(place, python=sys.executable)
    start = Command(words=[base.python, "-c", "pass"], env={"PATH": "/usr/bin:/bin", "HOME": str(place)}, cwd=place)
    bare = start.instructions()
    added = []
    for size in sizes:
        rig = homes.Rig.of(base, _home(folder, size))
        grow(rig, size)
        rig.install()
        assert rig.ask()["state"] == "active"
        added.append(start.instructions() - bare)
        startup.uninstall(rig.facts)
    return _counted(f"hook, {sizes[0]} → {sizes[1]} {what}", added[0], added[1], floor=f"with {sizes[0]}")


def _with_generations(rig: homes.Rig, count: int) -> None:
    digests = [rig.overlay(label, "package") for label in ("one", "two")]
    for number in range(1, count + 1):
        rig.generation(number, digests[number % 2], switch=number == count)


def _with_packages(rig: homes.Rig, count: int) -> None:
    assert len(list((rig.home / "store").iterdir())) == 2 * count
    _with_generations(rig, 2)


def packages(folder: Path, runs: int) -> Iterator[Row | Skipped]:
    """`gc` that deletes a whole store, `verify` that reads one, the rest beside one: 100 to 10,000 tiny packages."""
    with synthetic(folder) as (rig, _):
        for size in (0, *SIZES):
            grown.packages(_home(folder, size), size)
        few = min(runs, 3)
        yield _grows("verify", "verify", *_measured(rig, few, _verifying, _hashing), floor=HASHED)
        yield _grows("gc", "gc that deletes all", *_measured(rig, few, _collecting, _removing), floor=REMOVED)
    ends = (SIZES[0], SIZES[-1])
    commands = [_with_many_packages(folder / f"beside{size:05}", _home(folder, size)) for size in ends]
    yield from _flat("packages", ends, *commands, runs=runs)
    yield or_skipped("hook, growth", lambda: _hook(folder, "packages", ends, _with_packages))


def _home(folder: Path, size: int) -> Path:
    return folder / f"home{size:05}"


def _measured(
    rig: Rig, runs: int, verb: Callable[[Rig, int], Command], floor: Callable[[Rig], Command]
) -> tuple[Turns, Turns]:
    """Measure a verb over homes of every size, and what it comes to at least over the largest."""
    turns = Turns.of({str(size): verb(rig, size) for size in (0, *SIZES)}, runs=runs)
    return turns, Turns.of({"": floor(rig)}, runs=runs)


def _grows(name: str, said: str, turns: Turns, least: Turns, *, floor: str) -> Row:
    points = tuple((float(size), turns.added(str(size), "0") / 1000) for size in SIZES)
    exponent, factor = power(points)
    return Row(
        name=f"{name}, {SIZES[0]} → {SIZES[-1]} packages",
        what=f"exponent of the time that packages add to `{said}`",
        value=exponent,
        unit="",
        limit=FLAT,
        floor=floor,
        above=points[-1][1] / least.median(""),
        points=points,
        detail={**turns.detail(), "factor": factor, floor: least.detail()},
    )


def _verifying(rig: Rig, size: int) -> Command:
    return rig.vpm_env("verify", home=_home(rig.folder, size))


def _hashing(rig: Rig) -> Command:
    store = _home(rig.folder, SIZES[-1]) / "store"
    script = 'find "$1" -type f -print0 | xargs -0 sha256sum'
    return Command(words=["/bin/sh", "-c", script, "sh", store], env=rig.env, cwd=rig.work)


def _collecting(rig: Rig, size: int) -> Command:
    copy = rig.folder / f"copy{size:05}"
    return rig.vpm_env("gc", home=copy, prepare=lambda: _renew(copy, _home(rig.folder, size)))


def _removing(rig: Rig) -> Command:
    copy = rig.folder / "removed"
    return Command(
        words=["rm", "-rf", copy],
        env=rig.env,
        cwd=rig.work,
        prepare=lambda: _renew(copy, _home(rig.folder, SIZES[-1])),
    )


def _renew(copy: Path, home: Path) -> None:
    shutil.rmtree(copy, ignore_errors=True)
    subprocess.run(["cp", "-a", home, copy], check=True)
