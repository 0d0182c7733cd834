"""Which interpreter is the base: the rules, in their order, and what is remembered of it; nothing but a few stats.

`rollback` and a `build` that has nothing to do import this module, so it knows no dataclass and starts no process.
"""

from __future__ import annotations

import os
import sys
from os.path import abspath, dirname, expanduser, isdir, isfile, join

from envbuilder import fs
from envbuilder.digest import read, sealed, sha256_of
from envbuilder.engines import ENGINES
from envbuilder.errors import BaseError
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from envbuilder.paths import Environment, Layout

FORMAT = 1


class Interpreter(NamedTuple):
    """An interpreter (absolute path, symlinks kept: they tell a venv) and the rule that chose it."""

    python: str
    rule: str


class Look(NamedTuple):
    """One rule looked at: what it is called, the path it gave or None, and what there was instead."""

    rule: str
    python: str | None
    found: str


def find_base(*, option: str | None, configured: str | None, env: Environment) -> Interpreter:
    """Choose the base by the first rule that names one.

    `option` is `--base`, `configured` the config's `base:` (absolute). Raise `BaseError` when a rule names something
    that is no interpreter, or when no rule names anything.
    """
    looked: list[str] = []
    for look in _rules(option, configured, env):
        if look.python is not None:
            return Interpreter(python=look.python, rule=look.rule)
        looked.append(f"{look.rule}: {look.found}")
    raise BaseError(
        "no base was found: no interpreter with an engine, and no `python3` on PATH",
        looked_at=tuple(looked),
        hint="name the engine's interpreter with `--base /path/to/python`",
    )


def _rules(option: str | None, configured: str | None, env: Environment) -> Iterator[Look]:
    yield _named("`--base`", option)
    yield _named("`$VPM_ENV_BASE`", env.get("VPM_ENV_BASE"))
    yield _named("`base:` of the config", configured)
    yield _own()
    yield _prefix("`$VIRTUAL_ENV`", env.get("VIRTUAL_ENV"))
    yield _prefix("`$CONDA_PREFIX`", env.get("CONDA_PREFIX"))
    search = (env.get("PATH") or os.defpath).split(os.pathsep)
    for engine in ENGINES:
        yield _script(engine.script, search)
    yield _on_path(search)


def _named(rule: str, path: str | None) -> Look:
    """Take what a user named: an interpreter or a folder; what is neither is an error, not a reason to look on."""
    if not path:
        return Look(rule, None, "not set")
    named = abspath(expanduser(path))
    python = _python_in(named) if isdir(named) else named
    if python is None or not (isfile(python) and os.access(python, os.X_OK)):
        if _is_forbidden(named):
            raise BaseError(f"{rule} names `{path}`, which this user may not execute: permission denied")
        raise BaseError(f"{rule} names `{path}`, which is no interpreter and no folder of one", looked_at=())
    return Look(rule, python, "found")


def _is_forbidden(path: str) -> bool:
    """Tell whether a path, or the interpreter in a folder, is out of this user's reach."""
    for candidate in (path, join(path, "bin", "python")):
        try:
            os.stat(candidate)
        except PermissionError:
            return True
        except OSError:
            continue
        if not os.access(candidate, os.X_OK):
            return True
    return False


def _own() -> Look:
    rule = "the interpreter that runs vpm-env"
    names = {name for engine in ENGINES for name in engine.installed_names}
    held = any(_dist_name(entry) in names for folder in sys.path if isdir(folder) for entry in os.listdir(folder))
    return Look(rule, sys.executable, "found") if held else Look(rule, None, f"`{sys.executable}` has no engine")


def _dist_name(entry: str) -> str:
    """Return the normalized name of a `NAME-VERSION.dist-info` entry, "" for another."""
    return entry.split("-", 1)[0].replace("_", "-").lower() if entry.endswith(".dist-info") else ""


def _prefix(rule: str, folder: str | None) -> Look:
    if not folder:
        return Look(rule, None, "not set")
    python = _base_of(folder) or _python_in(folder)
    # vpm-env's own environment is often the active one; it is a base only where it has an engine.
    if python and abspath(folder) == abspath(sys.prefix):
        return Look(rule, None, f"`{folder}` is the environment of vpm-env and has no engine")
    return Look(rule, python, "found" if python else f"`{folder}` has no `bin/python`")


def _base_of(folder: str) -> str | None:
    """Return the interpreter of the base that an overlay is layered on; None for what is no overlay."""
    try:
        return str(read(join(folder, "overlay.json"))["base"]["python"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _script(name: str, search: list[str]) -> Look:
    rule = f"the interpreter of `{name}` on PATH"
    script = next((join(folder, name) for folder in search if isfile(join(folder, name))), None)
    if script is None:
        return Look(rule, None, "no such script")
    with open(script, "rb") as stream:
        words = stream.readline(4096).decode("utf-8", "replace").removeprefix("#!").split()
    python = words[0] if words and isfile(words[0]) and "python" in os.path.basename(words[0]) else _sibling(script)
    return Look(rule, python, "found" if python else f"`{script}` names no interpreter")


def _sibling(script: str) -> str | None:
    """Return the python beside a script's real path: for scripts that are `/bin/sh` polyglots."""
    return _python_in(os.path.dirname(os.path.dirname(os.path.realpath(script))))


def _on_path(search: list[str]) -> Look:
    rule = "the first `python3` on PATH"
    python = next((join(folder, "python3") for folder in search if os.access(join(folder, "python3"), os.X_OK)), None)
    return Look(rule, python, "found" if python else "none")


def _python_in(folder: str) -> str | None:
    candidates = (join(folder, "bin", name) for name in ("python", "python3"))
    return next((abspath(path) for path in candidates if isfile(path) and os.access(path, os.X_OK)), None)


def recall(interpreter: Interpreter, layout: Layout, engine: str | None) -> dict[str, Any] | None:
    """Return what was remembered of a base (`key`, `digest`, `stats`, `facts`), if its stats are what they were.

    `engine` is the config's own word on which engine it is, which is part of a base's key.
    """
    try:
        record = read(_memory(interpreter, layout, engine))
        return record if record["stats"] == _stats(interpreter.python, record["facts"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(
    interpreter: Interpreter, layout: Layout, engine: str | None, *, key: str, digest: str, facts: dict[str, Any]
) -> None:
    """Keep a base's facts; a home that is read-only or not there yet is no reason to stop."""
    if not isdir(layout.home):
        return
    path = _memory(interpreter, layout, engine)
    try:
        fs.make_dirs(dirname(path))
        stats = _stats(interpreter.python, facts)
        fs.write_json(path, sealed({"key": key, "digest": digest, "stats": stats, "facts": facts}))
    except OSError:
        pass


def _memory(interpreter: Interpreter, layout: Layout, engine: str | None) -> str:
    return join(layout.cache, "bases", f"{sha256_of([FORMAT, interpreter.python, engine])[:16]}.json")


def watched(python: str, facts: dict[str, Any]) -> list[str]:
    """Name the files and folders that a base's facts depend on."""
    return [python, join(facts["prefix"], "pyvenv.cfg"), *facts["path"], *facts["site_dirs"]]


def _stats(python: str, facts: dict[str, Any]) -> list[list[int] | None]:
    """Fingerprint what the facts depend on. Change times are included because image layers normalise mtimes."""
    return [_stat(path) for path in watched(python, facts)]


def _stat(path: str) -> list[int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
