"""A home for calls that only look: the one in scope, or one for as long as the call takes, which borrows from that.

Whoever may not write to a home, which may be another user's or an image's, can still find out what a build would do in
it. Where there is no home yet, none is made for a question.
"""

from __future__ import annotations

import os
from os.path import isdir, isfile, join
from typing import TYPE_CHECKING

from envbuilder import fs
from envbuilder.contexts import contextmanager
from envbuilder.lending import can_lend
from envbuilder.paths import Layout
from envbuilder.recording import building
from envbuilder.scope import make_home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from envbuilder.profile import Profile
    from envbuilder.scope import Scope


@contextmanager
def lodged(found: Scope) -> Iterator[Scope]:
    """Lend a scope whose home may be written to; what is not there when it is asked for goes when it is given back."""
    if may_write(found.layout):
        make_home(found.layout)
        yield found
        return
    with fs.staging(found.env.get("TMPDIR") or "/tmp") as folder:  # noqa: S108 (unless told otherwise)
        lent = (found.layout.home,) if can_lend(found.layout) else ()
        layout = Layout(home=join(folder, "home"), stores=lent)
        make_home(layout)
        yield found._replace(layout=layout)


@contextmanager
def undisturbed(profile: Profile, at: Scope, on_wait: Callable[[str, float], None] | None) -> Iterator[None]:
    """Let one build at a time look at a profile, and no gc meanwhile; in a home of its own nobody disturbs anybody."""
    if profile.layout.home != at.layout.home:
        yield
        return
    with building(profile, wait=at.lock_wait, on_wait=on_wait):
        yield


def may_write(layout: Layout) -> bool:
    """Tell whether there is a home that this user may write to, in all its parts."""
    parts = (layout.home, layout.store, layout.overlays, layout.sources, layout.tmp, layout.flocks)
    return isfile(layout.format) and all(os.access(path, os.W_OK | os.X_OK) for path in parts if isdir(path))
