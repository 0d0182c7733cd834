"""Code that Python runs by itself: start-up files (`*.pth`, `*.start`), `sitecustomize` and `usercustomize`."""

from __future__ import annotations

import os
from os.path import isfile, join
from typing import TYPE_CHECKING

from envbuilder.subject import ERROR, WARNING, import_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from envbuilder.errors import Finding
    from envbuilder.package import Package
    from envbuilder.subject import Subject

ALLOWED = "startup-code"
"""The code of what is found where the config allows it."""

_SITE_MODULES = frozenset({"sitecustomize", "usercustomize"})
_HARMLESS = frozenset({"distutils-precedence.pth"})
_SHOWN_LINES, _SHOWN_CHARACTERS = 5, 200


def unasked(subjects: Sequence[Subject], allowed: Collection[str]) -> Iterator[Finding]:
    """Find what Python would run at its start, or does not run where its author relies on it.

    `allowed` are names of packages that may have start-up files.
    """
    for subject in subjects:
        judged = _start_up_file if subject.name in allowed else _not_allowed
        yield from (_site_module(subject, name) for name in _site_modules(subject.package))
        for entry in _start_up_files(subject.package):
            yield judged(subject, entry, _text(subject.locate(entry)))


def never(package: Package) -> Iterator[str]:
    """Say what of a package would run in every process, whatever the config says."""
    for name in _site_modules(package):
        yield f"its module `{name}` would run in every process; no config can allow it"


def told(package: Package, lib: str) -> Iterator[str]:
    """Say of a package, whose modules lie in `lib`, what start-up files it has, with their text."""
    for entry in _start_up_files(package):
        yield f"its start-up file `{entry}` would run in every process:"
        yield from (f"  {line}" for line in _text(join(lib, entry)))


def without(name: str) -> str:
    """Say what is left to do about a package with a module that no config can allow."""
    return f"use a release of `{name}` that does without it"


def way_forward(name: str) -> str:
    """Say how a package's start-up files would be allowed."""
    return f"`startup_code: [{name}]` in the config lets them run, if you know what they do"


def _site_modules(package: Package) -> list[str]:
    return sorted(_SITE_MODULES & set(map(import_name, package.top_level)))


def _start_up_files(package: Package) -> list[str]:
    found = (entry for entry in package.top_level if entry.lower().endswith((".pth", ".start")))
    return sorted(entry for entry in found if not _is_harmless(package, entry))


def _text(path: str) -> tuple[str, ...]:
    """Return the first lines of a file, fit to be shown."""
    if not isfile(path):
        return ()
    with open(path, "rb") as stream:
        content = stream.read(_SHOWN_LINES * _SHOWN_CHARACTERS)
    more = os.path.getsize(path) > len(content)
    lines = [_shown(line) for line in content.decode("utf-8", "backslashreplace").splitlines() if line.strip()]
    return (*lines[:_SHOWN_LINES], *(["…"] if more or len(lines) > _SHOWN_LINES else ()))


def _shown(line: str) -> str:
    plain = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
    return plain if len(plain) <= _SHOWN_CHARACTERS else plain[:_SHOWN_CHARACTERS] + "…"


def _is_harmless(package: Package, entry: str) -> bool:
    return (entry in _HARMLESS and package.name == "setuptools") or bool(
        package.editable and entry.startswith("__editable__")
    )


def _start_up_file(subject: Subject, entry: str, text: tuple[str, ...]) -> Finding:
    return subject.finding(
        "startup-code",
        WARNING,
        what=_named(subject, entry, text),
        why="an engine process does not run start-up files of plugins, so what it sets up is missing there",
        way_forward=f"check that `{subject.name}` works without it",
    )


def _named(subject: Subject, entry: str, text: tuple[str, ...]) -> str:
    says = f"which says `{'; '.join(text)}`" if text else "which is empty"
    return f"`{subject.label}` has the start-up file `{entry}`, {says}"


def _not_allowed(subject: Subject, entry: str, text: tuple[str, ...]) -> Finding:
    return subject.finding(
        "startup-code-unallowed",
        ERROR,
        what=_named(subject, entry, text),
        why="Python runs it in every process of the overlay, before anything else",
        way_forward=way_forward(subject.name),
    )


def _site_module(subject: Subject, name: str) -> Finding:
    return subject.finding(
        "site-module",
        ERROR,
        what=f"`{subject.label}` has a module `{name}`",
        why=f"Python runs the first `{name}` that it finds in every process, so this one and the machine's own exclude "
        "each other",
        way_forward=f"use a release of `{subject.name}` that does without `{name}`",
    )
