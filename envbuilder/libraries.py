"""Shared libraries that compiled code needs, and that nothing provides, or only in another version."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from envbuilder.abi import severity_of, some
from envbuilder.subject import WARNING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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
_NUMBERED = re.compile(r"(?P<stem>.+\.so\.)\d[\d.]*")


class _Lack(NamedTuple):
    """Why a library is not found: the finding's code, what is there instead, and where the RUNPATH leads."""

    code: str
    name: str
    instead: str
    away: tuple[str, ...]


def missing(
    subjects: Sequence[Subject], compiled: Mapping[str, Sequence[Library]], places: Places, loader: Loader
) -> Iterator[Finding]:
    """Find the libraries that compiled code of the set needs and that no place has."""
    for subject in subjects:
        lacks: dict[_Lack, list[Library]] = {}
        for library, name in ((each, name) for each in compiled[subject.name] for name in each.needed):
            if lack := _lack(subject, library, name, places, loader):
                lacks.setdefault(lack, []).append(library)
        for lack, libraries in lacks.items():
            yield _finding(subject, lack, libraries, compiled[subject.name])


def _lack(subject: Subject, library: Library, name: str, places: Places, loader: Loader) -> _Lack | None:
    if any(known.match(name) for known in (_LOADERS_OWN, _PYTHON, _DRIVERS)) or "/" in name:
        return None
    if places.leads(subject, library, name) or loader.found(name):
        return None
    away = places.away(subject, library)
    holder = places.held(name) or places.held_by_base(name)
    if holder:  # one that looks nowhere else relies on it being loaded; one that does, perhaps not
        return _Lack("runpath-nowhere", name, holder, away) if away and not _LOADED.match(holder) else None
    instead = _other(name, places, loader)
    if _CUDA.match(name) and instead:
        return _Lack("compiled-cuda", name, instead, ())
    if _TORCH.match(name):
        return _Lack("compiled-torch", name, instead, ())
    return _Lack("runpath-nowhere" if away else "library-missing", name, "" if away else instead, away)


def _other(name: str, places: Places, loader: Loader) -> str:
    numbered = _NUMBERED.fullmatch(name)
    if numbered is None:
        return ""
    stem = numbered["stem"]
    of_machine = loader.other(stem)
    return places.other(stem) or (f"`{of_machine}`" if of_machine else "")


def _finding(subject: Subject, lack: _Lack, libraries: list[Library], every: Sequence[Library]) -> Finding:
    needing = f"{some(libraries)} of `{subject.label}` needs `{lack.name}`"
    if lack.code == "runpath-nowhere":
        return _runpath(subject, lack, needing)
    if lack.code == "compiled-cuda":
        return subject.finding(
            lack.code,
            severity_of(libraries, every),
            what=f"{needing}, and there is {lack.instead}",
            why="it was built for another CUDA, so it cannot be loaded here",
            way_forward=f"use a build of `{subject.name}` for the base's CUDA",
        )
    if lack.code == "compiled-torch":
        return subject.finding(
            lack.code,
            WARNING,
            what=f"{needing}, and the base's torch has no such library",
            why="it was built for another kind of torch, so it cannot be loaded here",
            way_forward=f"use a build of `{subject.name}` for the base's torch",
        )
    there = f"; there is {lack.instead}" if lack.instead else ""
    return subject.finding(
        lack.code,
        WARNING,
        what=f"{needing}, and neither the set nor the base nor this machine has it{there}",
        why="what needs it cannot be loaded",
        way_forward=f"install what has `{lack.name}`, or use a build of `{subject.name}` that brings it",
    )


def _runpath(subject: Subject, lack: _Lack, needing: str) -> Finding:
    looked = ", ".join(f"`{aim}`" for aim in lack.away)
    held = f"; `{lack.instead}` has it" if lack.instead else ""
    why = "it loads only if something has loaded that library before" if held else "what needs it cannot be loaded"
    way = f"let `{subject.name}` import what loads it first, or name its folder in LD_LIBRARY_PATH"
    if not held:
        way = f"let `{subject.name}` require the package that has it, or use another build"
    return subject.finding(
        lack.code,
        WARNING,
        what=f"{needing} and looks for it in {looked}, where it is not{held}",
        why=why,
        way_forward=way,
    )
