"""Shared libraries that compiled code needs, and that nothing provides, or only in another version.

A package may carry a build for each device, CUDA or transport, of which code loads one by its path. What is no
extension module, and is needed by none, is therefore no finding as long as something of its kind is left that loads.
"""

from __future__ import annotations

import re

from envbuilder.abi import severity_of, some
from envbuilder.subject import WARNING
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from envbuilder.compiled import Library
    from envbuilder.errors import Finding
    from envbuilder.places import Loader, Places
    from envbuilder.subject import Subject

_LOADERS_OWN = re.compile(r"(ld-linux|ld64|linux-vdso|libc\.so|libm\.so|libdl\.so|librt\.so|libpthread\.so)")
_PYTHON = re.compile(r"libpython3")
_DRIVERS = re.compile(r"lib(cuda|nvidia-[\w-]+|nvcuvid|amdhip64|hsa-runtime64|ascend_hal|ze_loader|mlu\w*)\.so")
"""Libraries that come with a device's driver: where an image is built there is none."""
_CUDA = re.compile(r"lib(cu[a-z]|nv|nccl|npp)")
_TORCH = re.compile(r"lib(c10|torch|shm)")
_LOADED = re.compile(r"(torch|nvidia-.*|cuda-.*|triton) ")
"""Distributions whose libraries are there before any plugin is: an engine imports torch first, and torch loads them."""
_KIND = re.compile(r"[^._\d-]+")
"""What builds of one library have in common: `libops_cuda12.so` and `libops_cpu.so`."""
_NUMBERED = re.compile(r"(?P<stem>.+\.so\.)\d[\d.]*")


class _Lack(NamedTuple):
    """A library that is not found: the finding's code, its name, what is there instead, and where RUNPATHs lead."""

    code: str
    name: str
    instead: str
    away: tuple[str, ...]
    needing: tuple[Library, ...]


def missing(
    subjects: Sequence[Subject], compiled: Mapping[str, Sequence[Library]], places: Places, loader: Loader
) -> Iterator[Finding]:
    """Find the libraries that compiled code of the set needs and that no place has: a finding a package and code."""
    for subject in subjects:
        every = compiled[subject.name]
        lacks = list(_lacks(subject, every, places, loader))
        needed = _mattering({library for lack in lacks for library in lack.needing}, every)
        lacks = [left for lack in lacks if (left := _only(lack, needed)).needing]
        for code in dict.fromkeys(lack.code for lack in lacks):
            yield _finding(subject, [lack for lack in lacks if lack.code == code], every)


def _lacks(subject: Subject, every: Sequence[Library], places: Places, loader: Loader) -> Iterator[_Lack]:
    """Tell what is lacking, once for each code and name."""
    found: dict[tuple[str, str], _Lack] = {}
    for library, name in ((each, name) for each in every for name in each.needed):
        if lack := _lack(subject, library, name, places, loader):
            known = found.get((lack.code, name))
            found[lack.code, name] = known._replace(needing=(*known.needing, library)) if known else lack
    yield from found.values()


def _only(lack: _Lack, needed: Collection[Library]) -> _Lack:
    return lack._replace(needing=tuple(library for library in lack.needing if library in needed))


def _mattering(affected: set[Library], every: Sequence[Library]) -> set[Library]:
    """Return those of `affected` without which something is lost: in place of the others, something else loads."""
    failing = _needing(affected, every)
    modules = [library for library in every if library.tag]
    left = [library for library in every if library not in failing]
    behind = {name for module in modules for name in _behind(module, every)}
    kinds = {_kind(library) for library in left if library.name not in behind}
    is_left = any(library.tag for library in left)
    return {
        library
        for library in affected
        if library.tag or library.name in behind or not (is_left or _kind(library) in kinds)
    }


def _needing(affected: set[Library], every: Sequence[Library]) -> set[Library]:
    """Return `affected` and what of the package needs them, directly or not."""
    found, size = set(affected), 0
    while len(found) > size:
        size = len(found)
        names = {name for library in found for name in (library.name, library.soname)}
        found |= {library for library in every if not names.isdisjoint(library.needed)}
    return found


def _behind(module: Library, every: Sequence[Library]) -> set[str]:
    """Name the package's libraries that a module needs, directly or not."""
    named = {name: library for library in every for name in (library.name, library.soname) if name}
    found: set[str] = set()
    pending = [module]
    while pending:
        own = {named[name] for name in pending.pop().needed if name in named}
        pending += [library for library in own if library.name not in found]
        found |= {library.name for library in own}
    return found


def _kind(library: Library) -> tuple[str, str]:
    found = _KIND.match(library.name)
    return library.folder, found[0] if found else library.name


def _lack(subject: Subject, library: Library, name: str, places: Places, loader: Loader) -> _Lack | None:
    if any(known.match(name) for known in (_LOADERS_OWN, _PYTHON, _DRIVERS)) or "/" in name:
        return None
    if places.leads(subject, library, name) or loader.found(name):
        return None
    away = places.away(subject, library)
    holder = places.held(name) or places.held_by_base(name)
    if holder:  # one that looks nowhere else relies on it being loaded; one that does, perhaps not
        is_told = away and not _LOADED.match(holder)
        return _Lack("runpath-nowhere", name, holder, away, (library,)) if is_told else None
    instead = _other(name, places, loader)
    if _CUDA.match(name) and instead:
        return _Lack("compiled-cuda", name, instead, (), (library,))
    if _TORCH.match(name):
        return _Lack("compiled-torch", name, instead, (), (library,))
    if away:
        return _Lack("runpath-nowhere", name, "", away, (library,))
    return _Lack("library-missing", name, instead, (), (library,))


def _other(name: str, places: Places, loader: Loader) -> str:
    numbered = _NUMBERED.fullmatch(name)
    if numbered is None:
        return ""
    stem = numbered["stem"]
    of_machine = loader.other(stem)
    return places.other(stem) or (f"`{of_machine}`" if of_machine else "")


def _finding(subject: Subject, lacks: Sequence[_Lack], every: Sequence[Library]) -> Finding:
    """Make one finding of what is lacking in the same way: the first in words, the others counted."""
    first = lacks[0]
    told = tuple(_told(subject, lack) for lack in lacks)
    more = f"; so it is with {len(lacks) - 1} more that it needs" if len(lacks) > 1 else ""
    needing = {library for lack in lacks for library in lack.needing}
    why, way_forward = _reasons(subject, first)
    return subject.finding(
        first.code,
        severity_of(needing, every) if first.code == "compiled-cuda" else WARNING,
        what=told[0] + more,
        why=why,
        way_forward=way_forward,
        details=told if more else (),
    )


def _told(subject: Subject, lack: _Lack) -> str:
    """Say what is lacking, and what there is."""
    needing = f"{some(lack.needing)} of `{subject.label}` needs `{lack.name}`"
    if lack.code == "compiled-cuda":
        return f"{needing}, and there is {lack.instead}"
    if lack.code == "compiled-torch":
        return f"{needing}, and the base's torch has no such library"
    if lack.code == "runpath-nowhere":
        looked = ", ".join(f"`{aim}`" for aim in lack.away)
        held = f"; `{lack.instead}` has it" if lack.instead else ""
        return f"{needing} and looks for it in {looked}, where it is not{held}"
    there = f"; there is {lack.instead}" if lack.instead else ""
    return f"{needing}, and neither the set nor the base nor this machine has it{there}"


def _reasons(subject: Subject, lack: _Lack) -> tuple[str, str]:
    """Say why it hurts, and what to do."""
    name = subject.name
    if lack.code == "compiled-cuda":
        return (
            "it was built for another CUDA, so it cannot be loaded here",
            f"use a build of `{name}` for the base's CUDA",
        )
    if lack.code == "compiled-torch":
        why = "it was built for another kind of torch, so it cannot be loaded here"
        return why, f"use a build of `{name}` for the base's torch"
    if lack.code == "library-missing":
        way = f"install what has `{lack.name}`, or use a build of `{name}` that brings it"
        return "what needs it cannot be loaded", way
    if lack.instead:
        why = "it loads only if something has loaded that library before"
        return why, f"let `{name}` import what loads it first, or name its folder in LD_LIBRARY_PATH"
    way = f"let `{name}` require the package that has it, or use another build"
    return "what needs it cannot be loaded", way
