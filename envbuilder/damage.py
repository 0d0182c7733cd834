"""What can be wrong with a thing in a home, what mends it, and what is no damage at all."""

from __future__ import annotations

import os
import stat

from envbuilder.classes import dataclass, field
from envbuilder.digest import read_bytes
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Any

STRANGERS = 0o002
"""The right to write that makes a folder of a home everybody's."""
_SPECIAL = 0o7000


class Wrong(NamedTuple):
    """One thing that is wrong: with what (`kind`, `name`), what it is, and what mends it.

    `cure` is a word of the room that mends things of that kind, `at` what it needs to know besides.
    """

    kind: str
    name: str
    text: str
    cure: str
    at: Any = None


class Seen(NamedTuple):
    """Something that is not as it was made and does no harm."""

    kind: str
    name: str
    text: str


@dataclass(kw_only=True, slots=True)
class Look:
    """What a look at some things came to.

    `added` are files that somebody put beside ours, `ignored` is what every verb leaves out of account and makes again
    when it is needed.
    """

    wrong: list[Wrong] = field(default_factory=list)
    added: list[Seen] = field(default_factory=list)
    ignored: list[Seen] = field(default_factory=list)

    def take(self, other: Look) -> None:
        """Take in what another look came to."""
        self.wrong += other.wrong
        self.added += other.added
        self.ignored += other.ignored


def is_blank(path: str) -> bool:
    """Tell whether there is nothing in a file: nobody waits for the disk with it, and a power cut left it so."""
    try:
        return not read_bytes(path).strip(b"\0")
    except (OSError, ValueError):
        return False


def owners(home: str, *paths: str) -> frozenset[int]:
    """Return whose things may lie here: root's, this user's, the folders' owners'; empty for a group's home."""
    statuses = [os.stat(path) for path in (home, *paths) if os.path.exists(path)]
    if statuses and statuses[0].st_mode & 0o2020 == 0o2020:
        return frozenset()
    return frozenset({0, os.geteuid(), *(status.st_uid for status in statuses)})


def misplaced_rights(status: os.stat_result, wanted: int | None, allowed: frozenset[int]) -> str:
    """Say what is wrong with mode and owner of a file or folder; "" for nothing.

    Without a `wanted` mode only what lets others write, or gives rights to whoever runs it, is wrong.
    """
    mode = stat.S_IMODE(status.st_mode)
    if allowed and status.st_uid not in allowed:
        return f"belongs to uid {status.st_uid}"
    if wanted is not None:
        return "" if mode == wanted else f"has the mode {mode:o}, not {wanted:o}"
    is_folder = stat.S_ISDIR(status.st_mode)
    if mode & STRANGERS or (mode & _SPECIAL and not is_folder):
        return f"has the mode {mode:o}"
    return ""
