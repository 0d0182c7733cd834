"""Whose commands a set has: those of the base and of the machine stay theirs, for a set's stand first on PATH."""

from __future__ import annotations

import re
from os.path import dirname, join, lexists
from typing import TYPE_CHECKING

from envbuilder import fs
from envbuilder.engines import SCRIPT_GROUPS
from envbuilder.subject import ERROR, WARNING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envbuilder.base import Base
    from envbuilder.base_files import BaseFiles
    from envbuilder.errors import Finding
    from envbuilder.subject import Subject

# fmt: off
_OF_MACHINE = frozenset({
    "awk", "basename", "bash", "busybox", "c++", "cat", "cc", "chmod", "chown", "cp", "curl", "cut", "dash", "date",
    "dirname", "echo", "env", "false", "find", "g++", "gcc", "git", "grep", "gzip", "head", "hostname", "id", "kill",
    "ld", "ldconfig", "ldd", "ln", "ls", "mkdir", "mount", "mv", "nohup", "nvcc", "nvidia-smi", "pkill", "ps", "pwd",
    "readlink", "realpath", "rm", "rocm-smi", "scp", "sed", "setsid", "sh", "sleep", "sort", "ssh", "stat", "su",
    "sudo", "tail", "tar", "taskset", "tee", "test", "timeout", "touch", "tr", "true", "umount", "uname", "wc", "wget",
    "which", "xargs", "zsh",
})
# fmt: on
"""What scripts and launchers of engines start by name; a longer list would refuse what somebody needs."""

_OF_PIP = re.compile(r"pip[\d.]*")
_OF_PROJECT = {"uv": "uv", "uvx": "uv", "vpm-env": "vpm-env"}
"""Commands that install packages: their own projects alone may bring them."""


def taken(subjects: Sequence[Subject], base: Base, files: BaseFiles) -> Iterator[Finding]:
    """Find commands that the base's distributions have too, unless an override takes their place, or the machine.

    The engine's are an error. Others are often in two projects that belong together, as `fastapi` is in fastapi-cli.
    """
    brought = {subject.name: _commands(subject) for subject in subjects}
    if not any(brought.values()):
        return
    shadowed = {subject.name for subject in subjects if subject.override}
    owners = _owners(base, shadowed)
    # that what the base has, too, has the same commands goes without saying
    others = [subject for subject in subjects if subject.name not in base.distributions or subject.override]
    for subject, name in [(each, name) for each in others for name in brought[each.name]]:
        if owner := owners.get(name) or _by_record(name, base, files, shadowed):
            is_engines = owner.partition(" ")[0] in base.engine.distributions
            yield _in_base(subject, name, owner, ERROR if is_engines else WARNING)
        elif _is_of_machine(name, subject):
            yield _of_machine(subject, name)


def in_two_packages(subjects: Sequence[Subject]) -> Iterator[Finding]:
    """Find commands that two packages of the set have."""
    first: dict[str, Subject] = {}
    for subject in subjects:
        for name in _commands(subject):
            other = first.setdefault(name, subject)
            if other is not subject:
                yield _duplicate(subject, other, name)


def _commands(subject: Subject) -> list[str]:
    """Name the commands of a package: of its entry points, and the scripts that it has as files."""
    points = {name for group in SCRIPT_GROUPS for name in subject.package.entry_points.get(group, {})}
    return sorted(points.union(fs.names_in(join(dirname(subject.lib), "bin"))))


def _owners(base: Base, shadowed: set[str]) -> dict[str, str]:
    """Return command → the distribution of the base that has it as an entry point; the engine's are its own."""
    dists = [dist for dist in base.distributions.values() if dist.name not in shadowed]
    dists.sort(key=lambda dist: dist.name in base.engine.distributions)
    return {
        name: f"{dist.name} {dist.version}"
        for dist in dists
        for group, name, _ in dist.entry_points
        if group in SCRIPT_GROUPS
    }


def _by_record(name: str, base: Base, files: BaseFiles, shadowed: set[str]) -> str:
    """Name the distribution whose RECORD has a script of that name; "" where the base has no such script."""
    owner = files.script_owner(name) if lexists(join(base.scripts, name)) else ""
    return "" if owner.partition(" ")[0] in shadowed else owner


def _is_of_machine(name: str, subject: Subject) -> bool:
    project = "pip" if _OF_PIP.fullmatch(name) else _OF_PROJECT.get(name, subject.name)
    return name in _OF_MACHINE or project != subject.name


def _in_base(subject: Subject, name: str, owner: str, severity: str) -> Finding:
    return subject.finding(
        "command-in-base",
        severity,
        what=f"`{subject.label}` has the command `{name}`, which is that of the base's `{owner}`",
        why=f"a set's commands stand first on PATH, so `{name}` would start this package's code",
        way_forward=f"use a release of `{subject.name}` that does without the command `{name}`",
    )


def _of_machine(subject: Subject, name: str) -> Finding:
    return subject.finding(
        "command-of-machine",
        ERROR,
        what=f"`{subject.label}` has the command `{name}`, which is the machine's",
        why=f"a set's commands stand first on PATH, so every script that says `{name}` would start this package's code",
        way_forward=f"use a release of `{subject.name}` that does without the command `{name}`",
    )


def _duplicate(subject: Subject, other: Subject, name: str) -> Finding:
    winner = other if other.override and not subject.override else subject
    return subject.finding(
        "duplicate-entry-point",
        WARNING,
        what=f"`{subject.label}` and `{other.label}` both have the command `{name}`",
        why=f"only one can be found by that name: that of `{winner.label}`",
        way_forward=f"call the other one with `python -m`, if you need `{name}`",
    )
