"""The index of rows: each function makes what it needs in an empty folder and returns its lines of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import build_rows
import change_rows
import cold_rows
import engine_rows
import growth_rows
import probe_rows
import resolve_rows
import size_rows
import start_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from table import Row, Skipped

    Rows = Callable[[Path, int], Iterator[Row | Skipped]]

ROWS: dict[str, Rows] = {
    "hook": start_rows.hook,
    "rollback": change_rows.rollback,
    "no-op-build": change_rows.no_op_build,
    "warm-build": build_rows.warm,
    "real-build": build_rows.real,
    "changed": build_rows.changed,
    "cold-build": cold_rows.cold,
    "resolve": resolve_rows.resolving,
    "probe": probe_rows.probing,
    "overlay": size_rows.linking,
    "import": start_rows.use,
    "help-history": change_rows.words,
    "generations": growth_rows.generations,
    "packages": growth_rows.packages,
    "engine-start": engine_rows.engine_start,
}
