"""Code that Python runs by itself: start-up files (`*.pth`, `*.start`), `sitecustomize` and `usercustomize`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder.subject import ERROR, WARNING, import_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envbuilder.errors import Finding
    from envbuilder.subject import Subject

_SITE_MODULES = frozenset({"sitecustomize", "usercustomize"})
_HARMLESS = frozenset({"distutils-precedence.pth"})


def unasked(subjects: Sequence[Subject]) -> Iterator[Finding]:
    """Find what Python would run at its start, or does not run where its author relies on it."""
    for subject in subjects:
        for entry in sorted(subject.package.top_level):
            yield from _judged(subject, entry)


def _judged(subject: Subject, entry: str) -> Iterator[Finding]:
    if import_name(entry) in _SITE_MODULES:
        yield _site_module(subject, import_name(entry))
    elif entry.endswith((".pth", ".start")) and not _is_harmless(subject, entry):
        yield _start_up_file(subject, entry)


def _is_harmless(subject: Subject, entry: str) -> bool:
    return entry in _HARMLESS or bool(subject.package.editable and entry.startswith("__editable__"))


def _start_up_file(subject: Subject, entry: str) -> Finding:
    return subject.finding(
        "startup-code",
        WARNING,
        what=f"`{subject.label}` has the start-up file `{entry}`",
        why="an engine process does not run start-up files of plugins, so what it sets up is missing there",
        way_forward=f"check that `{subject.name}` works without it",
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
