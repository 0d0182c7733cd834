"""A lease, by which living processes tell gc that they use an overlay, taken for good."""

from __future__ import annotations

from contextlib import nullcontext
from os.path import isfile
from typing import TYPE_CHECKING

from envbuilder import flocks
from envbuilder.errors import NoLocks
from envbuilder.holders import having_open

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any


def exclusive(path: str) -> AbstractContextManager[Any] | None:
    """Hold a lease file alone; None if a process has it. One that is not there holds nobody off.

    Where there are no locks, the processes of this machine are looked at. Raise `OSError` where the disk cannot tell.
    """
    try:
        held = flocks.try_exclusive(path)
    except NoLocks:
        return None if having_open(path) else nullcontext()
    return held or (None if isfile(path) else nullcontext())


def is_held(path: str) -> bool:
    """Tell whether a living process holds a lease file."""
    held = exclusive(path)
    if held is None:
        return True
    with held:
        return False
