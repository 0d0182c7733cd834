"""Rows over a base with the real engine; they take what it takes to build one (see `tests/engine`)."""

from __future__ import annotations

import statistics
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from engine import entry, real_vllm
from measure import Command, Turns, Unavailable, spread
from table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engine.entry import Entry

STARTS = 5
"""Pairs of starts of the real engine, of some seconds each."""
_WITHOUT = "the same without vpm-env"


def engine_start(folder: Path, runs: int) -> Iterator[Row]:
    """What vpm-env does in the engine's first process; and starts of the real engine without it and with it."""
    with _entry(folder) as found:
        counts = [
            Command(words=found.words(hooked=hooked), env=found.stand.env, cwd=folder).instructions()
            for hooked in (False, True)
        ]
        yield Row(
            name=f"engine's first process, {entry.PLUGINS} plugins, counted",
            what="instructions of hook, guard and metadata, nothing to build",
            value=(counts[1] - counts[0]) / 1e6,
            unit="M",
            limit=entry.MOST_INSTRUCTIONS / 1e6,
            floor=_WITHOUT,
            above=counts[1] / counts[0],
            detail={"without, with": counts},
        )
        added = [1000 * second for second in found.added_seconds(runs=runs)]
        yield Row(
            name=f"engine's first process, {entry.PLUGINS} plugins",
            what="processor time of the same, median of pairs",
            value=statistics.median(added),
            unit="ms",
            limit=1000 * entry.MOST_SECONDS,
            detail={"ms": spread(added), "pairs": len(added)},
        )
        yield _real_starts(found, folder)


def _real_starts(found: Entry, folder: Path) -> Row:
    """Start the real engine to the point where it has loaded its plugins and made its parser, and no further."""
    script = found.stand.base.scripts / "vllm"
    commands = {
        name: Command(words=[python, script, "serve", "--help"], env=found.stand.env, cwd=folder)
        for name, python in {_WITHOUT: found.bare, "with": found.stand.base.python}.items()
    }
    turns = Turns.of(commands, runs=STARTS)
    return Row(
        name="start of the real engine",
        what="what vpm-env adds to `vllm serve --help`, which loads the plugins: median of pairs",
        value=turns.added("with", _WITHOUT),
        unit="ms",
        floor=_WITHOUT,
        above=turns.ratio("with", _WITHOUT),
        detail=turns.detail(),
    )


@contextmanager
def _entry(folder: Path) -> Iterator[Entry]:
    for name in ("stand", "entry", "uv", "engine"):
        (folder / name).mkdir()
    try:
        with (
            real_vllm.lent(folder / "vllm") as base,
            real_vllm.stand(folder / "stand", base, folder / "uv", folder / "engine") as stand,
        ):
            yield entry.Entry.of(stand, folder / "entry")
    except pytest.skip.Exception as reason:
        raise Unavailable(str(reason)) from None
