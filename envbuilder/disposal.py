"""How an overlay goes: to the trash, unless a living process uses it."""

from __future__ import annotations

from os.path import join
from typing import TYPE_CHECKING

from envbuilder import trash
from envbuilder.lease import exclusive, is_held
from envbuilder.overlay import LEASE

if TYPE_CHECKING:
    from envbuilder.paths import Layout


def discard(layout: Layout, base_key: str, digest: str, *, until: float = 0.0) -> bool:
    """Move an overlay to the trash, to be deleted after `until`, unless a living process holds its lease.

    Tell whether it went.
    """
    path = layout.overlay(base_key, digest)
    held = exclusive(join(path, LEASE))
    if held is None:
        return False
    with held:
        trash.throw(layout, path, f"overlay-{digest[:12]}", until=until)
    return True


def is_leased(layout: Layout, base_key: str, digest: str) -> bool:
    """Tell whether a living process holds an overlay's lease."""
    return is_held(join(layout.overlay(base_key, digest), LEASE))
