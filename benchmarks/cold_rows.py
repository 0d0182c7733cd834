"""Rows of a first build, with nothing in any cache: its time, and its memory."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from build_rows import OURS
from measure import Command, Turns
from rig import FILES, PACKAGES, names, publish, synthetic, title
from table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rig import Rig

UV = "uv pip install --target --compile-bytecode"
COPIED = "the same by uv, where nothing that others can write to shares its files (`--link-mode copy`)"
_MIB = 1 << 20


def cold(folder: Path, runs: int) -> Iterator[Row]:
    """A first build of 60 packages (30,000 modules) from an index on loopback."""
    with synthetic(folder) as (rig, index):
        publish(index, names(), files=FILES // PACKAGES)
        rig.config(*names())
        rig.vpm_env("build").run()
        by_uv, copied = _by_uv(rig), _by_uv(rig, "--link-mode", "copy")
        build = rig.vpm_env("build", prepare=lambda: _forget(rig))
        commands = {UV: by_uv, COPIED: copied, OURS: build}
        turns = Turns.of(commands, runs=min(runs, 3))
        name = f"cold build, {title(PACKAGES)}"
        yield turns.row(name, f"time / `{UV}`, local index", ours=OURS, peer=UV, floor=COPIED, limit=1.15)
        peaks = {UV: by_uv.peak(), OURS: build.peak()}
        yield Row(
            name="memory of a cold build",
            what="the most that one of its processes has, more than uv's",
            value=(peaks[OURS] - peaks[UV]) / _MIB,
            unit="MiB",
            limit=80,
            floor="uv's own",
            above=peaks[OURS] / peaks[UV],
            detail={f"{name}, MiB": round(peak / _MIB, 1) for name, peak in peaks.items()},
        )


def _by_uv(rig: Rig, *more: str) -> Command:
    target, cache = rig.folder / "target", rig.folder / "cold-cache"
    where = ("--target", target, "--cache-dir", cache, "--index-url", rig.index or "", "--python", rig.base.python)
    words = rig.uv("pip", "install", "--compile-bytecode", "--no-deps", *more, *where, "-r", rig.requirements())

    def forget() -> None:
        for path in (target, cache):
            shutil.rmtree(path, ignore_errors=True)
        os.sync()

    return Command(words=words, env=rig.env, cwd=rig.work, prepare=forget)


def _forget(rig: Rig) -> None:
    """Begin anew; nobody's build waits for what another wrote."""
    for path in (rig.folder / "uv-cache", rig.home):
        shutil.rmtree(path, ignore_errors=True)
    (rig.work / "pylock.plugins.toml").unlink(missing_ok=True)
    os.sync()
