"""Measure what a fleet is promised: pulls, pushes and looks of many machines at one cache, as whole processes.

Usage: python benchmarks/fleet.py [--only NAME]... [--runs N] [--scratch DIR] [--save DIR]

Needs the development tools (`bash .ci/test` makes .venv with them), and `zstd` and `tar`. Everything is on this one
machine: the cache's web server on loopback, the nodes as homes of their own. Memory for 64 pulls at once is 6 GB.

Prints a Markdown table and writes it, all numbers as JSON, and charts as SVG to `benchmarks/results/`; ends with 1 when
a figure is missed or a row fails.
"""

from __future__ import annotations

import sys

import run  # it finds the rooms and the kit for all of us
from fleet_rows import ROWS

if __name__ == "__main__":
    vars(run).update(ROWS=ROWS, __doc__=__doc__)
    sys.exit(run.main())
