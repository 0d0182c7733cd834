"""What an engine's start looks at before it asks vpm-env to build: the files whose change could mean work.

`_auto` reads the note with nothing but stats; without a note, or after any change, it asks. So a note may only be there
where a build would find nothing to do.
"""

from __future__ import annotations

import os
from os.path import dirname, join

from envbuilder import fs
from envbuilder._auto import seen_of
from envbuilder.interpreter import watched
from envbuilder.overlay import MANIFEST
from envbuilder.paths import policy_files
from envbuilder.tuples import TYPE_CHECKING
from envbuilder.unchanged import look, prefixes_of, unchanged

if TYPE_CHECKING:
    from envbuilder.profile import Generation
    from envbuilder.scope import Scope
    from envbuilder.unchanged import Seen


def note(found: Scope) -> None:
    """Note what an engine's next start must find as it is now; nothing where it should ask in any case."""
    first = _settled(found)
    if first is None:
        return
    seen, newest = first
    overlay = found.layout.overlay(newest.base_key, newest.digest)
    base = watched(found.interpreter.python, seen.base["facts"])
    generations = dirname(seen.profile.file(newest.number, "json"))
    own = (seen.config_file, newest.inputs["lock_file"], seen.profile.current, generations, join(overlay, MANIFEST))
    policies = policy_files(prefixes_of(seen))
    parts = [part for path in (*own, *base, *policies) for part in (path, seen_of(path))]
    if _settled(found) != first:
        return  # what changed meanwhile may have been looked at before or after that
    file = found.layout.start(found.profile_name, newest.base_key)
    try:
        fs.make_dirs(dirname(file))
        fs.write_atomic(file, os.fsencode("\0".join(parts)))
    except OSError:
        pass  # the next start asks again


def _settled(found: Scope) -> tuple[Seen, Generation] | None:
    """Return what a build sees if it has nothing to do or to say, and stats can tell that of the next one."""
    seen = look(found)
    same = unchanged(found, seen) if seen else None
    if seen is None or same is None or same.current != same.generation.number:
        return None
    inputs = same.generation.inputs
    return None if inputs["local_sources"] or inputs.get("borrowed") else (seen, same.generation)
