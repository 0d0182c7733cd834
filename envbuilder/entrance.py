"""What no package may bring into the store: names that an environment has for itself, and code that runs unasked."""

from __future__ import annotations

import re
from os.path import join
from typing import TYPE_CHECKING

from envbuilder import startup_code
from envbuilder.digest import RECORD_LIMIT
from envbuilder.engines import SCRIPT_GROUPS
from envbuilder.errors import PackageError
from envbuilder.members import MAX_NAME, has_hidden, is_interpreter, is_own_data
from envbuilder.notation import canonical
from envbuilder.record import HARMFUL, refuse

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from envbuilder.package import Package

_OURS = re.compile(r"_vpm_env.*|_virtualenv\.(py|pth)|__pycache__", re.IGNORECASE)
_MOST_LISTED = RECORD_LIMIT // 2
"""Bytes of the list of a package's files; that of its bytecode may be somewhat longer."""

_MOST_SAID = 16 << 20
"""Bytes of its entry points, requirements and the like: a set's record has those of all its packages."""

_PER_FILE, _PER_LETTER = 110, 6
"""Bytes of a file's entry in the list, at most: of its digest and numbers, and of each letter as JSON spells it."""


def require_fit(made: Package, target: str, *, startup_allowed: Collection[str]) -> None:
    """Refuse a package that was made in `target` with what it must not have; raise `PackageError` with all of it.

    `startup_allowed` are names of packages that may have start-up files.
    """
    refuse(made.name, [*_names(made), *_scripts(made), *_sizes(made)], hint=HARMFUL)
    never = tuple(startup_code.never(made))
    told = () if made.name in startup_allowed else tuple(startup_code.told(made, join(target, "lib")))
    if never or told:
        hint = startup_code.without(made.name) if never else startup_code.way_forward(made.name)
        raise PackageError(package=made.name, problems=(*never, *told), hint=hint)


def _names(made: Package) -> Iterator[str]:
    for name in sorted(made.top_level):
        if _OURS.fullmatch(name):
            yield f"its `{name}` would take the place of the environment's own"
    for room, _, path in (file.path.partition("/") for file in made.files):
        if room == "bin" and is_interpreter(path):
            yield f"its script `{path}` would take the place of the environment's own"
        if room == "data" and is_own_data(path.split("/")):
            yield f"its data file `{path}` would lie where the environment's own files are"


def _scripts(made: Package) -> Iterator[str]:
    for name in (name for group in SCRIPT_GROUPS for name in made.entry_points.get(group, {})):
        if "/" in name or name in (".", "..") or has_hidden(name) or len(name.encode()) > MAX_NAME:
            yield f"its command {name[:60]!r} has a name that no file may have"
        elif is_interpreter(name):
            yield f"its command `{name}` would take the place of the environment's own"


def _sizes(made: Package) -> Iterator[str]:
    """Refuse what could be written into the store and not be read there again."""
    most = sum(_PER_FILE + _PER_LETTER * len(file.path) for file in made.files)
    if most > _MOST_LISTED and (size := len(made.files.to_bytes())) > _MOST_LISTED:
        yield f"the list of its files would have {size} bytes, and {_MOST_LISTED} are the limit"
    if (size := len(canonical(made.to_dict()))) > _MOST_SAID:
        yield f"what it says of itself would have {size} bytes, and {_MOST_SAID} are the limit"
