"""Whether compiled code can be loaded here at all: its Python, its processor, the C and C++ libraries it wants."""

from __future__ import annotations

import os
import re
from os.path import isfile, join
from typing import TYPE_CHECKING

from envbuilder import elf
from envbuilder.subject import ERROR, WARNING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from packaging.tags import Tag

    from envbuilder.base import Base
    from envbuilder.compiled import Library
    from envbuilder.errors import Finding
    from envbuilder.places import Loader
    from envbuilder.subject import Subject

_MACHINES = {"x86_64": 62, "aarch64": 183}
_NAMES = {62: "x86-64", 183: "aarch64", 3: "x86", 40: "ARM", 21: "PowerPC", 22: "s390", 243: "RISC-V"}
_LIBPYTHON = re.compile(r"libpython3\.(?P<minor>\d+)(?P<flags>[a-z]*)\.so")
_CPP = {"GLIBCXX": "libstdc++.so.6", "CXXABI": "libstdc++.so.6"}
_PLATFORM = re.compile(r"(?:manylinux\d*|musllinux|linux|macosx)_(?:\d+_\d+_)?(?P<machine>\w+)|any")


def severity_of(affected: Iterable[Library], every: Iterable[Library]) -> str:
    """Tell how bad it is that some libraries cannot be loaded: an error if no extension module is left.

    What stands beside others may be a choice of several, or for a device that is not here.
    """
    modules = {library.path for library in every if library.tag}
    return ERROR if modules and modules <= {library.path for library in affected} else WARNING


def some(libraries: Sequence[Library]) -> str:
    """Name libraries for a reader: the first, and how many more."""
    more = f" and {len(libraries) - 1} more" if len(libraries) > 1 else ""
    return f"`{libraries[0].path.partition('/')[2]}`{more}"


def native(libraries: Iterable[Library], base: Base) -> list[Library]:
    """Return those that are for the base's processor; all where it is none that is known."""
    machine = _MACHINES.get(base.platform.rpartition("-")[2])
    return [library for library in libraries if machine in (None, library.machine)]


def unfit(
    subjects: Sequence[Subject], compiled: Mapping[str, Sequence[Library]], base: Base, loader: Loader
) -> Iterator[Finding]:
    """Find compiled code for another Python, another processor, or newer C and C++ libraries."""
    for subject in subjects:
        libraries = compiled[subject.name]
        if not libraries:
            continue
        yield from _tags(subject, base)
        yield from _python(subject, libraries, base)
        own = native(libraries, base)
        yield from _versions(subject, own, loader) if own else [_other_machine(subject, libraries, base)]


def _python(subject: Subject, libraries: Sequence[Library], base: Base) -> Iterator[Finding]:
    modules = [library for library in libraries if library.tag and library.is_in_lib]
    fitting = {module.stem for module in modules if _is_importable(module.tag, base.soabi)}
    unfitting = [module for module in modules if module.stem not in fitting and not _has_source(subject, module)]
    if unfitting:
        named = ", ".join(sorted({f"`{module.tag}`" for module in unfitting}))
        yield _for_python(subject, unfitting, libraries, f"is for {named}, and the base's Python is `{base.soabi}`")
    minor = base.python_version.partition(".")[2]
    for name in sorted({name for library in libraries for name in library.needed if _is_other(name, minor)}):
        linked = [library for library in libraries if name in library.needed]
        yield _for_python(subject, linked, libraries, f"needs `{name}`, and the base has Python {base.python_version}")


def _is_importable(tag: str, soabi: str) -> bool:
    is_free_threaded = re.match(r"cpython-\d+t", soabi) is not None
    return (tag == "abi3" and not is_free_threaded) or tag == soabi or soabi.startswith(f"{tag}-")


def _is_other(name: str, minor: str) -> bool:
    found = _LIBPYTHON.match(name)
    return found is not None and found["minor"] != minor


def _has_source(subject: Subject, module: Library) -> bool:
    inner = (f"{module.stem}.py", join(module.stem, "__init__.py"))
    return any(isfile(subject.locate(join(module.folder, name))) for name in inner)


def _for_python(subject: Subject, affected: Sequence[Library], every: Sequence[Library], said: str) -> Finding:
    return subject.finding(
        "compiled-python",
        severity_of(affected, every),
        what=f"{some(affected)} of `{subject.label}` {said}",
        why="another Python's extension modules are not found, or cannot be loaded",
        way_forward=f"use a build of `{subject.name}` for the base's Python",
    )


def _other_machine(subject: Subject, libraries: Sequence[Library], base: Base) -> Finding:
    machines = ", ".join(sorted({_NAMES.get(library.machine, str(library.machine)) for library in libraries}))
    return subject.finding(
        "compiled-machine",
        severity_of(libraries, libraries),
        what=f"the compiled code of `{subject.label}` is for {machines}, and the base is `{base.platform}`",
        why="none of it can be loaded here",
        way_forward=f"use a build of `{subject.name}` for `{base.platform}`",
    )


def _versions(subject: Subject, libraries: Sequence[Library], loader: Loader) -> Iterator[Finding]:
    """Find what wants newer libraries; told is the newest version of each library that is too old."""
    wanting: dict[str, list[Library]] = {}
    for library in libraries:
        for version in library.versions:
            wanting.setdefault(version, []).append(library)
    lacking = {version: has for version in sorted(wanting, key=elf.ordered) if (has := _too_old(version, loader))}
    newest = {elf.ordered(version)[0]: version for version in lacking}
    if newest:
        affected = [library for library in libraries if not lacking.keys().isdisjoint(library.versions)]
        told = tuple(_wants(subject, version, lacking[version], wanting[version]) for version in newest.values())
        yield _newer(subject, told, severity_of(affected, libraries))


def _too_old(version: str, loader: Loader) -> str:
    """Say what this machine has where it lacks a version; "" where it has it, or where nobody knows."""
    kind, _ = elf.ordered(version)
    if kind == "GLIBC":
        has = glibc()
        return f"glibc {has}" if has and elf.ordered(version) > elf.ordered(f"GLIBC_{has}") else ""
    if kind not in _CPP:
        return ""
    offered = [elf.provided(path) for path in loader.found(_CPP[kind])]
    if not any(offered) or any(version in versions for versions in offered):
        return ""
    best = max((each for versions in offered for each in versions if each.startswith(f"{kind}_")), key=elf.ordered)
    return f"up to `{best}` in `{_CPP[kind]}`"


def glibc() -> str:
    """Return the version of this machine's glibc; "" where it has another C library."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        return ""
    return version if name == "glibc" else ""


def _wants(subject: Subject, version: str, has: str, affected: Sequence[Library]) -> str:
    return f"{some(affected)} of `{subject.label}` wants `{version}`, and this machine has {has}"


def _newer(subject: Subject, told: tuple[str, ...], severity: str) -> Finding:
    return subject.finding(
        "compiled-version",
        severity,
        what="; ".join(told),
        why="the dynamic loader refuses it",
        way_forward=f"use a build of `{subject.name}` for older systems (another manylinux tag), or build it here",
    )


def _tags(subject: Subject, base: Base) -> Iterator[Finding]:
    """Compare the tags in WHEEL with the base; an installer refuses such a wheel, but not a home that moved."""
    try:
        with open(join(subject.lib, subject.package.dist_info, "WHEEL"), encoding="utf-8", errors="replace") as stream:
            told = [line.partition(":")[2].strip() for line in stream if line.startswith("Tag:")]
    except OSError:
        return
    if told and not any(_is_for(tag, base) for tag in told):
        yield subject.finding(
            "wheel-tag",
            WARNING,
            what=f"the wheel of `{subject.label}` is for `{told[0]}`, and the base is `{base.soabi}`",
            why="no installer would have taken it for this base",
            way_forward=f"build the set again here (`vpm-env build --force`), or use another `{subject.name}`",
        )


def _is_for(tag: str, base: Base) -> bool:
    from packaging.tags import parse_tag  # with logging and more: only for compiled code

    try:
        return any(_fits(one, base) for one in parse_tag(tag))
    except ValueError:
        return False


def _fits(tag: Tag, base: Base) -> bool:
    """Tell whether an installer would take a tag: its Python and its interface as packaging says, and its processor."""
    from packaging.tags import compatible_tags, cpython_tags

    found = _PLATFORM.fullmatch(tag.platform)
    if found is None or (found["machine"] and not _same_machine(found["machine"], base)):
        return False
    major, _, minor = base.python_version.partition(".")
    version, digits = (int(major), int(minor)), f"{major}{minor}"
    known = (
        *cpython_tags(version, abis=_abis(base, digits), platforms=["here"]),
        *compatible_tags(version, f"cp{digits}", platforms=["here"]),
    )
    return (tag.interpreter, tag.abi) in {(one.interpreter, one.abi) for one in known}


def _same_machine(named: str, base: Base) -> bool:
    return named in ("universal2", "intel") or named == base.platform.rpartition("-")[2].replace("-", "_")


def _abis(base: Base, version: str) -> tuple[str, ...]:
    is_free_threaded = base.soabi.startswith(f"cpython-{version}t")
    return (f"cp{version}t" if is_free_threaded else f"cp{version}",)
