"""Extensions that were compiled against another torch than the base's: functions of it that they need, and it lacks.

torch promises no stable C++ interface: an extension for one release names functions that another has with other
arguments, which is another name for the linker. Extensions of the stable interface name C functions, which stay.
"""

from __future__ import annotations

import os
import re
from os.path import basename, dirname, isdir, join
from typing import TYPE_CHECKING

from envbuilder import symbols
from envbuilder.abi import severity_of, some

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from envbuilder.base import Base
    from envbuilder.compiled import Library
    from envbuilder.errors import Finding
    from envbuilder.subject import Subject

_LINKED = re.compile(r"lib(c10|torch)")
_ITS_OWN = re.compile(r"_Z(?:T[ISV])?N?[RO]?K?(?:3c10|2at|5torch)\d?")
"""Names of what lies in torch's own namespaces, as the linker spells them."""


def other_torch(
    subjects: Sequence[Subject], compiled: Mapping[str, Sequence[Library]], base: Base
) -> Iterator[Finding]:
    """Find extensions that need functions which the base's torch does not have.

    One that needs a library which it does not have is told of in `libraries`.
    """
    folder = _folder(subjects, base)
    for subject in subjects if folder else ():
        linked = [library for library in compiled[subject.name] if any(map(_LINKED.match, library.needed))]
        if linked and subject.name != "torch":
            yield from _judged(subject, linked, compiled[subject.name], folder, base)


def _folder(subjects: Sequence[Subject], base: Base) -> str:
    """Return where torch's libraries are: the set's, if it has one, else the base's."""
    own = [subject.locate("torch/lib") for subject in subjects if subject.name == "torch"]
    return next(filter(isdir, (*own, *(join(path, "torch", "lib") for path in base.path))), "")


def _judged(
    subject: Subject, linked: Sequence[Library], every: Sequence[Library], folder: str, base: Base
) -> Iterator[Finding]:
    its_libraries = [join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".so")]
    own = [_path(subject, library) for library in every]
    held = {basename(path) for path in (*its_libraries, *own)}
    lacking: dict[str, list[str]] = {}
    for library in (each for each in linked if _has_all(each, held)):
        wanted = filter(_ITS_OWN.match, symbols.wanted(_path(subject, library)))
        names = symbols.lacking(wanted, (*its_libraries, *own))
        if names:
            lacking[library.path] = names
    if lacking:
        affected = [library for library in linked if library.path in lacking]
        yield _finding(subject, affected, every, lacking[affected[0].path], base)


def _has_all(library: Library, held: set[str]) -> bool:
    """Tell whether the libraries of torch that it needs are there."""
    return held.issuperset(name for name in library.needed if _LINKED.match(name))


def _path(subject: Subject, library: Library) -> str:
    if library.is_in_lib:
        return subject.locate(library.path.partition("/")[2])
    return join(dirname(subject.lib), library.path)


def _finding(
    subject: Subject, affected: Sequence[Library], every: Sequence[Library], names: Sequence[str], base: Base
) -> Finding:
    has = base.distributions.get("torch")
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return subject.finding(
        "compiled-torch",
        severity_of(affected, every),
        what=f"{some(affected)} of `{subject.label}` needs `{names[0]}`{more}, which "
        f"torch{f' {has.version}' if has else ''} does not have",
        why="it was compiled against another torch, so it cannot be loaded",
        way_forward=f"use a build of `{subject.name}` for the base's torch, or build it here with "
        "`build_isolation: false`",
    )
