"""Data files that a wheel puts beside its code, below the environment's prefix: who finds them depends on the way in.

Under the hook `sys.prefix` is the base's, where they are not; the overlay's own python finds them below its prefix.
"""

from __future__ import annotations

import os
import re
from os.path import dirname, isdir, join
from typing import TYPE_CHECKING

from envbuilder.subject import WARNING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envbuilder.errors import Finding
    from envbuilder.subject import Subject

_FOR_OTHERS = re.compile(
    r"share/(man|doc|docs|info|licenses|bash-completion|zsh|fish|applications|icons|metainfo|jupyter)/"
    r"|etc/(bash_completion\.d|jupyter)/|((share|lib|lib64)/)?(pkgconfig|cmake)/|include/|[^/]+$"
)
"""Manuals, completions, licences at the top, what Jupyter and compilers look for: nothing that an engine opens."""
_LIBRARY = re.compile(r"\.so(\.[\w.]+)?$")
"""A library is found by the RUNPATH of what needs it, and judged there."""


def outside(subjects: Sequence[Subject]) -> Iterator[Finding]:
    """Find packages with data files below the prefix."""
    for subject in subjects:
        root = join(dirname(subject.lib), "data")
        paths = [path for path in _walk(root) if not _FOR_OTHERS.match(path) and not _LIBRARY.search(path)]
        if paths:
            yield _finding(subject, sorted(paths))


def _walk(root: str) -> Iterator[str]:
    for folder, _, names in os.walk(root) if isdir(root) else ():
        yield from (os.path.relpath(join(folder, name), root) for name in names)


def _finding(subject: Subject, paths: Sequence[str]) -> Finding:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return subject.finding(
        "data-outside",
        WARNING,
        what=f"`{subject.label}` puts `{paths[0]}`{more} below the environment's prefix",
        why="under the hook `sys.prefix` is the base's, so code that looks for it there finds nothing",
        way_forward="start the engine with `vpm-env run -- COMMAND`, where it is found, or use a release of "
        f"`{subject.name}` that keeps its data inside its package",
    )
