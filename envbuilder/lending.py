"""Other homes whose packages a build may link to: a site-wide one for all users of a cluster, for instance.

In the home's own store such a package is a symlink to where it lies. So whoever looks at packages finds it where all
are; to gc it is a link of no size, and one whose store is gone is a missing package, which the next build fetches.
"""

from __future__ import annotations

from os.path import isdir
from typing import TYPE_CHECKING

from envbuilder import fs
from envbuilder.paths import FORMAT, Layout
from envbuilder.scope import format_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envbuilder.report import Reporter


def lenders(homes: Iterable[str], own: Layout, report: Reporter) -> tuple[str, ...]:
    """Return those of `homes` that can lend, and what lends to `own` already.

    The others are told, and no reason to stop: everything can be fetched.
    """
    usable = list(own.stores)
    for home in homes:
        reason = _unfit(Layout(home))
        if reason:
            report.warn(f"the store `{home}` is not used: it {reason}")
        elif home not in (own.home, *own.stores):
            usable.append(home)
    return tuple(usable)


def can_lend(other: Layout) -> bool:
    """Tell whether packages may be linked to that lie in `other`."""
    return not _unfit(other)


def _unfit(other: Layout) -> str:
    """Say why a home cannot lend; "" where it can."""
    if not isdir(other.store):
        return "is not there, or is no home of vpm-env"
    folders = (other.home, other.store, other.sources)
    if not all(fs.is_trusted(folder) for folder in folders):
        return "is not root's or this user's, or others may write to it"
    try:
        return "" if format_of(other) <= FORMAT else "is newer than this vpm-env"
    except (OSError, ValueError):
        return "has no readable `format` file"
