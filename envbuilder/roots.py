"""Why something is on disk: which generations and processes keep an overlay or a package, and through what.

Data: what `gc` spares, seen from the other end.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from os.path import join
from typing import TYPE_CHECKING, NamedTuple

from envbuilder import gc, overlay, store
from envbuilder import profile as profiles
from envbuilder.errors import UsageError
from envbuilder.ledger import occupied
from envbuilder.overlay import LEASE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.gc import Policy
    from envbuilder.paths import Layout

SHORTEST = 4
_LISTED = 5
_LOCKED = re.compile(r"\bFLOCK\s+ADVISORY\s+READ\s+(?P<pid>\d+)\s+(?P<major>\w+):(?P<minor>\w+):(?P<inode>\d+)\b")


class Holder(NamedTuple):
    """One thing that keeps another: `what` names it, `why` is the reason that spares it, "" where none does."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """An overlay (named by digest) or a package (by key), who keeps it, and the bytes that it takes on disk."""

    kind: str
    name: str
    holders: tuple[Holder, ...]
    bytes: int

    @property
    def stays(self) -> bool:
        """Tell whether gc would leave it."""
        return any(holder.why for holder in self.holders)


def why_kept(layout: Layout, text: str, policy: Policy) -> tuple[Kept, ...]:
    """Say what keeps that which `text` names: a generation by number, an overlay or package by a prefix, or by name.

    Several may be meant, of several bases or versions. Raise `UsageError` where nothing on disk is.
    """
    overlays = list(overlay.all_overlays(layout))
    meant = [entry for entry in overlays if len(text) >= SHORTEST and entry[1].startswith(text.lower())]
    packages = [key for key in store.keys(layout) if _is_meant(text, key)]
    if text.isdigit() and not meant and not packages:
        numbered = {
            (profile.base_key, profiles.read(profile, int(text)).digest)
            for profile in profiles.all_profiles(layout)
            if int(text) in profiles.numbers(profile)
        }
        meant = [entry for entry in overlays if entry in numbered]
    if not meant and not packages:
        raise UsageError(f"nothing in the store is called `{text}`", hint=_near(text, layout))
    now = time.time()
    holders = {entry: tuple(_holders(layout, *entry, policy, now)) for entry in overlays}
    found = [
        Kept(kind="overlay", name=entry[1], holders=holders[entry], bytes=occupied([layout.overlay(*entry)]))
        for entry in meant
    ]
    for key in packages:
        users = [entry for entry in overlays if key in _members(layout, *entry)]
        through = tuple(
            Holder(f"{holder.what} through {entry[1][:12]}", holder.why)
            for entry in users
            for holder in holders[entry] or (Holder("an overlay that nothing points to,", ""),)
        )
        found.append(Kept(kind="package", name=key, holders=through, bytes=occupied([layout.package(key)])))
    return tuple(found)


def _is_meant(text: str, key: str) -> bool:
    """Tell whether `text` names a package: by the beginning of its key, its name, or name and version."""
    digits, _, rest = key.partition("-")
    names = {rest, rest.rpartition("-")[0]}
    return (len(text) >= SHORTEST and (digits.startswith(text.lower()) or key == text)) or text.lower() in names


def _holders(layout: Layout, base_key: str, digest: str, policy: Policy, now: float) -> Iterator[Holder]:
    for profile in profiles.all_profiles(layout):
        if profile.base_key != base_key:
            continue
        reasons = gc.spared(profile, policy, now=now)
        for generation in profiles.generations(profile):
            if generation.digest == digest and os.path.lexists(profile.pointer(generation.number)):
                name = f"generation {generation.number} of profile {profile.name}"
                yield Holder(name, reasons.get(generation.number, ""))
    if overlay.is_leased(layout, base_key, digest):
        pids = ", ".join(map(str, _leasing(join(layout.overlay(base_key, digest), LEASE))))
        yield Holder(f"process {pids}" if pids else "a process", "uses it")


def _leasing(lease: str) -> list[int]:
    """Name the processes that hold a lease, as far as /proc tells."""
    try:
        status = os.stat(lease)
        with open("/proc/locks", encoding="ascii") as stream:
            text = stream.read()
    except OSError:
        return []
    return sorted({int(found["pid"]) for found in _LOCKED.finditer(text) if int(found["inode"]) == status.st_ino})


def _members(layout: Layout, base_key: str, digest: str) -> set[str]:
    manifest = overlay.get(layout, base_key, digest)
    return {member.key for member in manifest.members} if manifest else set()


def _near(text: str, layout: Layout) -> str:
    from difflib import get_close_matches  # only a mistake pays for it

    names = [key.partition("-")[2].rpartition("-")[0] for key in store.keys(layout)]
    near = get_close_matches(text, names, n=1)
    return f"did you mean `{near[0]}`?" if near else "see `vpm-env history` for digests, `vpm-env list` for packages"
