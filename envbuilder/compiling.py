"""Have the base's interpreter compile what lies in some folders, all of them by one start."""

from __future__ import annotations

import os
from os.path import dirname, isdir, join

from envbuilder import process, space
from envbuilder.errors import CommandFailed
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envbuilder.base import Base

_COMPILE = join(dirname(__file__), "_compile.py")
_TIMEOUT = 7200.0
"""Seconds."""


def compile_tree(lib: str, *, base: Base) -> dict[str, str]:
    """Compile every module below `lib` with the base's interpreter: path below `lib` → sha256 of its bytecode.

    One that does not compile is no failure. Nothing in the result depends on where `lib` is now or when it was written.
    """
    return compile_trees([lib], base=base)[0]


def compile_trees(libs: Sequence[str], *, base: Base) -> list[dict[str, str]]:
    """Compile below several folders, some of which may not be there, by one start of the interpreter; as above."""
    there = [lib for lib in libs if isdir(lib)]
    told = iter(_compiled(there, base) if there else ())
    return [next(told) if lib in there else {} for lib in libs]


def _compiled(libs: Sequence[str], base: Base) -> list[dict[str, str]]:
    command = [base.python, "-I", "-S", "-B", "-W", "ignore", _COMPILE, *libs]
    result = process.run(command, env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"}, timeout=_TIMEOUT)
    if result.code:
        space.require_nothing_refused(result.output, libs[0])
    trees = list(_trees(result.stdout))
    if result.code not in (0, 1) or len(trees) != len(libs):
        raise CommandFailed(command=tuple(command), code=result.code, output=result.output)
    return trees


def _trees(told: str) -> Iterator[dict[str, str]]:
    """Read what the compiler tells: a line for each file, and an empty one for the end of each folder."""
    made: dict[str, str] = {}
    for line in told.split("\0")[:-1]:
        digest, _, path = line.partition(" ")
        if line:
            made[path] = digest
        else:
            yield made
            made = {}
