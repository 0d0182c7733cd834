"""What no package may bring into the store: names that an environment has for itself, and code that runs unasked."""

from __future__ import annotations

import re
from os.path import join
from typing import TYPE_CHECKING

from envbuilder import startup_code
from envbuilder.engines import SCRIPT_GROUPS
from envbuilder.errors import PackageError
from envbuilder.members import has_hidden, is_interpreter, is_own_data
from envbuilder.record import refuse

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from envbuilder.package import Package

_OURS = re.compile(r"_vpm_env.*|_virtualenv\.(py|pth)|__pycache__", re.IGNORECASE)


def require_fit(made: Package, target: str, *, startup_allowed: Collection[str]) -> None:
    """Refuse a package that was made in `target` with what it must not have; raise `PackageError` with all of it.

    `startup_allowed` are names of packages that may have start-up files.
    """
    refuse(made.name, [*_names(made), *_scripts(made)])
    told = () if made.name in startup_allowed else tuple(startup_code.told(made, join(target, "lib")))
    if told:
        raise PackageError(package=made.name, problems=told, hint=startup_code.way_forward(made.name))


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
    for group in SCRIPT_GROUPS:
        for name in made.entry_points.get(group, {}):
            if "/" in name or name in (".", "..") or has_hidden(name) or len(name.encode()) > 255:
                yield f"its command {name[:60]!r} has a name that no file may have"
            elif is_interpreter(name):
                yield f"its command `{name}` would take the place of the environment's own"
