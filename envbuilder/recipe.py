"""What a config came to on a base the last time: enough to make the set again from the store alone.

It holds while nothing has changed that the set was made from: the bytes of config and lock, local sources, what lies
in the base's folders, and vpm-env itself. One is kept for a config and a base, in the home's cache; deleting it costs
the next build a look at everything.
"""

from __future__ import annotations

from os.path import dirname, join

from envbuilder import __version__, fs
from envbuilder.digest import read_sealed, sealed, sha256_of
from envbuilder.manifest import Manifest
from envbuilder.notation import dumps
from envbuilder.tuples import TYPE_CHECKING, NamedTuple
from envbuilder.unchanged import same_inputs

if TYPE_CHECKING:
    from typing import Any

    from envbuilder.scope import Scope
    from envbuilder.unchanged import Seen

FORMAT = 1


class Recipe(NamedTuple):
    """A set that was made, with what its generation records.

    `notes` are what the reader of the config should hear, `config` is the text that is kept of it, `skeleton` the
    path of the base's skeleton.
    """

    manifest: Manifest
    inputs: dict[str, Any]
    notes: tuple[str, ...]
    config: str
    skeleton: str


def keep(found: Scope, seen: Seen, recipe: Recipe) -> None:
    """Remember how a set was made; a home that is read-only is no reason to stop."""
    path = _path(found, seen)
    record = {**recipe._asdict(), "manifest": recipe.manifest.to_dict(), "for": _purpose(found, seen)}
    try:
        fs.make_dirs(dirname(path))
        fs.write_plain(path, dumps(sealed(record)).encode())
    except OSError:
        pass


def find(found: Scope, seen: Seen) -> Recipe | None:
    """Return how the set was made, if it would be made so again."""
    try:
        record = read_sealed(_path(found, seen))
        if record["for"] != _purpose(found, seen):
            return None
        recipe = Recipe(
            manifest=Manifest.from_dict(record["manifest"]),
            inputs=record["inputs"],
            notes=tuple(record["notes"]),
            config=record["config"],
            skeleton=record["skeleton"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return recipe if same_inputs(recipe.inputs, seen, found.env) else None


def _path(found: Scope, seen: Seen) -> str:
    return join(found.layout.cache, "recipes", f"{sha256_of([seen.config_file, seen.profile.base_key])[:16]}.json")


def _purpose(found: Scope, seen: Seen) -> str:
    """Name all that must be the same besides the inputs of a generation."""
    return sha256_of([FORMAT, __version__, seen.config_file, found.env.user_home, seen.base["stats"]])
