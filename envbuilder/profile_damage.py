"""What is wrong with a profile: its pointers, its records, and what is kept beside them."""

from __future__ import annotations

import json
import os
from os.path import isdir, isfile, islink, join, lexists
from typing import TYPE_CHECKING, Any

from envbuilder import fs, notice
from envbuilder import profile as profiles
from envbuilder.damage import Look, Seen, Wrong, is_blank
from envbuilder.digest import is_sealed, sha256_file
from envbuilder.errors import VpmError
from envbuilder.profile import DEFAULT, STATES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.profile import Generation, Profile

KIND = "profile"
CURRENT, ORDER, POINTER, RECORD, KEPT, REGISTRY = "current", "order", "pointer", "record", "kept", "registry"
"""Cures: `current`; its order; a generation's pointer, its record, a file kept with it, or its registry anew."""


def look(profile: Profile) -> Look:
    """Look at one profile for one base."""
    found, name = Look(), name_of(profile)
    records = {}
    for number in profiles.numbers(profile):
        record = sound_record(profile, number)
        if record is None:
            text = f"the record of generation {number} is not as it was written"
            found.wrong.append(Wrong(KIND, name, text, RECORD, (profile, number)))
        else:
            records[number] = record
    for text, cure, at in (*_of_current(profile, records), *_of_order(profile)):
        found.wrong.append(Wrong(KIND, name, text, cure, (profile, at)))
    for record in records.values():
        for text, cure, at in (*_of_pointer(profile, record), *_of_kept(profile, record)):
            found.wrong.append(Wrong(KIND, name, text, cure, (profile, at)))
    found.ignored += [Seen(KIND, name, f"generation {number} was never finished") for number in _unfinished(profile)]
    return found


def name_of(profile: Profile) -> str:
    """Name a profile to a reader."""
    return f"{profile.name} ({profile.base_key})"


def sound_record(profile: Profile, number: int) -> Generation | None:
    """Return a generation's record if it is as it was written; None else. What older versions wrote has no checksum."""
    try:
        with open(profile.file(number, "json"), encoding="utf-8") as stream:
            record = json.load(stream)
        found = profiles.read(profile, number)
    except (OSError, ValueError, VpmError):
        return None
    is_whole = is_sealed(record) or "checksum" not in record
    fits = (found.number, found.base_key) == (number, profile.base_key) and found.state in STATES
    return found if is_whole and fits else None


def read_order(profile: Profile) -> dict[str, Any]:
    """Return what `order.json` says; empty where it is missing or damaged."""
    try:
        with open(join(profile.path, "order.json"), encoding="utf-8") as stream:
            record = json.load(stream)
        return record if is_sealed(record) else {}
    except (OSError, ValueError):
        return {}


def _of_current(profile: Profile, records: dict[int, Generation]) -> Iterator[tuple[str, str, object]]:
    path, number = profile.current, profiles.current(profile)
    if not lexists(path):
        if _was_switched(profile):
            yield "`current` is missing", CURRENT, None
    elif not islink(path):
        yield "`current` is no link", CURRENT, None
    elif number is None or os.readlink(path) != f"generations/{number}":
        yield f"`current` leads to `{os.readlink(path)}`, which is no generation", CURRENT, None
    elif number not in profiles.numbers(profile):
        yield f"`current` names generation {number}, which there is not", CURRENT, None
    elif number in records and not lexists(profile.pointer(number)):
        yield f"`current` names generation {number}, whose overlay is gone", POINTER, number


def _was_switched(profile: Profile) -> bool:
    """Tell whether something was current; not where the first switch of all was recorded and did not happen."""
    record, said = read_order(profile), notice.read(profile.layout)
    is_told = profile.name == DEFAULT and said is not None and said.base_key == profile.base_key
    return bool(record.get("order")) and (bool(record.get("before")) or (is_told and bool(said and said.generation)))


def _of_order(profile: Profile) -> Iterator[tuple[str, str, object]]:
    number = profiles.current(profile)
    path = join(profile.path, "order.json")
    if lexists(path) and not read_order(profile):
        yield "`order.json` is damaged", ORDER, None
    elif number is not None and islink(profile.current):
        record = read_order(profile)
        ends = [record[name][-1:] for name in ("order", "before") if name in record]
        if [number] not in ends:
            what = "does not end with the current generation" if record else "is missing"
            yield f"`order.json` {what}", ORDER, None


def _of_pointer(profile: Profile, record: Generation) -> Iterator[tuple[str, str, object]]:
    path = profile.pointer(record.number)
    wanted = profile.layout.overlay(profile.base_key, record.digest)
    if not lexists(path):
        return  # collected; of the current one that is told elsewhere
    if not islink(path) or os.path.normpath(join(path, "..", os.readlink(path))) != wanted:
        yield f"the pointer of generation {record.number} does not lead to its overlay", POINTER, record.number
    elif not isdir(wanted):
        yield f"the overlay of generation {record.number} is gone", POINTER, record.number


def _of_kept(profile: Profile, record: Generation) -> Iterator[tuple[str, str, object]]:
    for suffix, digest in record.kept.items():
        path = profile.file(record.number, suffix)
        if not isfile(path) or islink(path) or sha256_file(path) != digest:
            what = "is not as it was kept" if lexists(path) else "is missing"
            yield f"`{record.number}.{suffix}` {what}", KEPT, (record.number, suffix)
    path = profile.file(record.number, "registry")
    if profile.name == DEFAULT and lexists(path) and not _is_registry_of(path, record):
        yield f"`{record.number}.registry` is not as it was written", REGISTRY, record.number


def _is_registry_of(path: str, record: Generation) -> bool:
    if islink(path) or not isfile(path):
        return False
    said = notice.read_from(path)
    return is_blank(path) or (said is not None and said.generation == record.number)


def _unfinished(profile: Profile) -> list[int]:
    """Name the generations that have a pointer and no record, which is written last."""
    names = fs.names_in(join(profile.path, "generations"))
    return sorted({int(name) for name in names if name.isdigit()} - set(profiles.numbers(profile)))
