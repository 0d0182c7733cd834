"""What is wrong with a profile: its pointers, its records, and what is kept beside them."""

from __future__ import annotations

import os
from os.path import isdir, isfile, islink, join, lexists
from typing import TYPE_CHECKING

from envbuilder import notice, recording
from envbuilder import profile as profiles
from envbuilder.damage import Look, Seen, Wrong, is_blank
from envbuilder.digest import read, read_bytes, read_sealed, sha256_bytes
from envbuilder.errors import ProfileError
from envbuilder.profile import DEFAULT, STATES, read_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.profile import Generation, Profile

    Problems = Iterator[tuple[str, str, object]]

KIND = "profile"
CURRENT, ORDER, POINTER, RECORD, KEPT, REGISTRY = "current", "order", "pointer", "record", "kept", "registry"
FOLDER = "folder"
"""Cures: `current`; its order; a generation's pointer, its record, a file kept with it, or its registry anew; the
folder that all of them lie in."""


def look(profile: Profile) -> Look:
    """Look at one profile for one base; raise `HomeError` for a record that a newer vpm-env wrote."""
    name = name_of(profile)
    if path := _no_folder(profile):
        text = f"`{path}` is no folder: which generations there are is not known"
        return Look(wrong=[Wrong(KIND, name, text, FOLDER, (profile, path))])
    records = {number: sound_record(profile, number) for number in profiles.numbers(profile)}
    lost = recording.lost(profile)
    current = list(_of_current(profile, records, lost))
    is_known = not any(cure == CURRENT for _, cure, _ in current)
    problems = [*_of_records(records), *_of_lost(lost), *current, *_of_order(profile, is_known=is_known)]
    for record in filter(None, records.values()):
        problems += [*_of_pointer(profile, record), *_of_kept(profile, record)]
    unfinished = sorted(recording.pointing(profile) - records.keys() - set(lost))
    ignored = [f"generation {number} was never finished" for number in unfinished]
    for number, is_needed in _unpointed(profile, records):
        if is_needed:
            problems.append((f"generation {number} has its overlay and no pointer to it", POINTER, number))
        else:
            ignored.append(f"generation {number} has its overlay and no pointer to it")
    return Look(
        wrong=[Wrong(KIND, name, text, cure, (profile, at)) for text, cure, at in problems],
        ignored=[Seen(KIND, name, text) for text in ignored],
    )


def name_of(profile: Profile) -> str:
    """Name a profile to a reader."""
    return f"{profile.name} ({profile.base_key})"


def sound_record(profile: Profile, number: int) -> Generation | None:
    """Return a generation's record if it is as it was written; None else. What older versions wrote has no checksum.

    Raise `HomeError` for one that a newer vpm-env wrote.
    """
    path = profile.file(number, "json")
    try:
        if "checksum" in read(path):
            read_sealed(path)
        found = profiles.read(profile, number)
    except (OSError, ValueError, ProfileError):
        return None
    fits = (found.number, found.base_key) == (number, profile.base_key) and found.state in STATES
    return found if fits else None


def _no_folder(profile: Profile) -> str:
    """Name what lies in the place of a folder of the profile; "" where nothing does."""
    folders = (profile.path, join(profile.path, "generations"))
    return next((path for path in folders if lexists(path) and not isdir(path)), "")


def _of_records(records: dict[int, Generation | None]) -> Problems:
    for number, record in records.items():
        if record is None:
            yield f"the record of generation {number} is not as it was written", RECORD, number


def _of_lost(lost: list[int]) -> Problems:
    for number in lost:
        yield f"the record of generation {number} is missing", RECORD, number


def _of_current(profile: Profile, records: dict[int, Generation | None], lost: list[int]) -> Problems:
    number = profiles.current(profile)
    if text := _wrong_current(profile, {*records, *lost}):
        yield text, CURRENT, None
    elif number is not None and records.get(number) and not lexists(profile.pointer(number)):
        yield f"`current` names generation {number}, whose overlay is gone", POINTER, number


def _wrong_current(profile: Profile, numbers: set[int]) -> str:
    """Say what is wrong with `current` itself; "" if nothing is, or nothing was ever current."""
    path, number = profile.current, profiles.current(profile)
    if not lexists(path):
        return "`current` is missing" if _was_switched(profile) else ""
    if not islink(path):
        return "`current` is no link"
    if number is None or os.readlink(path) != f"generations/{number}":
        return f"`current` leads to `{os.readlink(path)}`, which is no generation"
    return "" if number in numbers else f"`current` names generation {number}, which there is not"


def _was_switched(profile: Profile) -> bool:
    """Tell whether something was current; not where the first switch of all was recorded and did not happen."""
    record, said = read_order(profile), notice.read(profile.layout)
    if record.get("order") and record.get("before"):
        return True
    is_told = profile.name == DEFAULT and said is not None and said.base_key == profile.base_key
    return is_told and said is not None and said.generation in profiles.numbers(profile)


def _of_order(profile: Profile, *, is_known: bool) -> Problems:
    """Look at the order; whether it ends with what is current can be told only where that `is_known`."""
    number = profiles.current(profile) if is_known else None
    path = join(profile.path, "order.json")
    if lexists(path) and not read_order(profile):
        yield "`order.json` is damaged", ORDER, None
    elif number is not None and islink(profile.current):
        record = read_order(profile)
        ends = [record[name][-1:] for name in ("order", "before") if name in record]
        if [number] not in ends:
            what = "does not end with the current generation" if record else "is missing"
            yield f"`order.json` {what}", ORDER, None


def _of_pointer(profile: Profile, record: Generation) -> Problems:
    path = profile.pointer(record.number)
    wanted = profile.layout.overlay(profile.base_key, record.digest)
    if not lexists(path):
        return  # collected; of the current one that is told elsewhere
    if not islink(path) or os.path.normpath(join(path, "..", os.readlink(path))) != wanted:
        yield f"the pointer of generation {record.number} does not lead to its overlay", POINTER, record.number
    elif not isdir(wanted):
        yield f"the overlay of generation {record.number} is gone", POINTER, record.number


def _unpointed(profile: Profile, records: dict[int, Generation | None]) -> Iterator[tuple[int, bool]]:
    """Yield the generations without a pointer whose overlays are there, and whether no gc can have left them so.

    One that was killed may have: it unpoints what it takes first, but nothing that is kept, and not the newest. What
    another generation points to is safe, and of the current one it is told elsewhere.
    """
    for number, record in records.items():
        if record is None or number == profiles.current(profile) or lexists(profile.pointer(number)):
            continue
        if profiles.is_on_disk(profile, record) and not _is_pointed_to(profile, record.digest):
            yield number, record.keep or (number == max(records) and record.state != "bad")


def _is_pointed_to(profile: Profile, digest: str) -> bool:
    return (profile.base_key, digest) in recording.pointed(profile.layout)


def _of_kept(profile: Profile, record: Generation) -> Problems:
    for suffix, digest in record.kept.items():
        path = profile.file(record.number, suffix)
        if islink(path) or kept_digest(path) != digest:
            what = "is not as it was kept" if lexists(path) else "is missing"
            yield f"`{record.number}.{suffix}` {what}", KEPT, (record.number, suffix)
    path = profile.file(record.number, "registry")
    if profile.name == DEFAULT and lexists(path) and not _is_registry_of(path, record):
        yield f"`{record.number}.registry` is not as it was written", REGISTRY, record.number


def kept_digest(path: str) -> str:
    """Digest a file that is kept with a generation; "" where there is no regular file, or none that may be one."""
    try:
        return sha256_bytes(read_bytes(path))
    except (OSError, ValueError):
        return ""


def _is_registry_of(path: str, record: Generation) -> bool:
    if islink(path) or not isfile(path):
        return False
    said = notice.read_from(path)
    return is_blank(path) or (said is not None and said.generation == record.number)
