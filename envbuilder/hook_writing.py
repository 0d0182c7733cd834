"""The hook's files in the base: written and removed in an order that is safe whenever it ends.

What is going to be written is recorded first, so that whatever dies, the next `install` or `uninstall` knows all that
lies there as vpm-env's; the record itself goes last.
"""

from __future__ import annotations

import json
import os
from os.path import basename, dirname, exists, isdir, isfile, join, relpath
from typing import TYPE_CHECKING

from envbuilder import fs, halves, process, protocol
from envbuilder import hook_files as files
from envbuilder.contexts import suppress
from envbuilder.hook_files import LINE, PTH, SINGLE_MODULES
from envbuilder.paths import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envbuilder.base import Base
    from envbuilder.hook_files import Hashes, Settings
    from envbuilder.report import Reporter

# The hook runs at every start, under -O and -OO too; without its .pyc each would cost milliseconds more, and to read
# docstrings costs as well. A hash that is not checked holds where image layers normalise the times of files.
# It is compiled elsewhere, so that what is written into the base is known before, and written by nobody else.
_COMPILE = """
import importlib.util, json, py_compile, sys
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
made = {}
for staged, path in zip(sys.argv[1::2], sys.argv[2::2]):
    compiled = py_compile.compile(staged, staged + "c", path, doraise=True, optimize=2, invalidation_mode=mode)
    made.update({importlib.util.cache_from_source(path, optimization=level): compiled for level in ("", 1, 2)})
print(json.dumps(made))
"""


def write(base: Base, settings: Settings, scratch: str) -> list[str]:
    """Write everything in its order, and what an older hook had and this one has not goes last; return the paths.

    `scratch` is a folder to compile in.
    """
    folder = base.purelib
    before = present(folder)
    sources, metadata = files.sources(base, settings), files.metadata(base)
    sources |= _compiled(base, sources, scratch)
    protocol.reached("hook", "compiled")
    _begin(folder, {**sources, **metadata})
    for name, content in sources.items():
        _write_file(folder, name, content)
    protocol.reached("hook", "written")
    for name, content in metadata.items():
        _write_file(folder, name, content)
    names = [*sources, *metadata]
    record, content = files.record(folder, names)
    _write_file(folder, record, content)
    protocol.reached("hook", "described")
    _write_file(folder, PTH, LINE)
    protocol.reached("hook", "hooked")
    written = [*names, record, PTH]
    for name in sorted(before - set(written), key=_turn):
        _take(folder, name)
    return written


def remove(folder: str, reporter: Reporter) -> Iterator[str]:
    """Remove what is as it was written, and yield its paths; the rest stays, and is told."""
    recorded = files.recorded(folder)
    for name in sorted(present(folder), key=_turn):
        if name == PTH or _turn(name)[0] == _RECORDS or _is_removable(folder, name, recorded):
            _take(folder, name)
            yield join(folder, name)
        else:
            reporter.warn(f"`{join(folder, name)}` stays: it is not as it was written")
        if name == PTH:
            fs.sync_dir(folder)  # a line that a power cut brings back would import what is not there
            protocol.reached("hook", "unhooked")
    for path in _folders(folder):
        with suppress(OSError):
            fs.remove_empty_dir(path)
    protocol.reached("hook", "removed")


def present(folder: str) -> set[str]:
    """Name every file of a hook that is there: what RECORD lists, what it forgot to, and what was begun."""
    paths = [join(folder, name) for name in (*SINGLE_MODULES, PTH, *files.recorded(folder))]
    paths += [join(dist_info, name) for dist_info in files.dist_infos(folder) for name in os.listdir(dist_info)]
    paths += [path for module in SINGLE_MODULES for path in files.compiled(folder, module)]
    return {relpath(path, folder) for path in paths if isfile(path)} | set(_begun(folder))


def is_there(folder: str) -> bool:
    """Tell whether there is anything of a hook."""
    return exists(join(folder, PTH)) or bool(files.dist_infos(folder)) or bool(_begun(folder))


def variables() -> dict[str, str]:
    """Return the environment for the base's interpreter: without what steers Python, and with the hook off."""
    kept = {name: value for name, value in environment().variables.items() if not name.startswith("PYTHON")}
    return {**kept, "VPM_ENV_DISABLE": "1"}


_FIRST, _POINTS, _MODULES, _METADATA, _RECORDS = range(5)


def _turn(name: str) -> tuple[int, str]:
    """Say when a file goes: what leads to others before these, and last what says whose they are."""
    if name == PTH:
        return _FIRST, name
    last = {"entry_points.txt": _POINTS, "METADATA": _METADATA, "RECORD": _RECORDS}
    return last.get(basename(name), _MODULES), name


def _begin(folder: str, contents: Mapping[str, bytes]) -> None:
    """Record what is going to be written, beside what is: from here on all of it is known."""
    record, content = files.intention(folder, contents)
    _write_file(folder, record, content)
    first = next(name for name in contents if basename(name) == "METADATA")
    _write_file(folder, first, contents[first])
    protocol.reached("hook", "begun")


def _write_file(folder: str, name: str, content: bytes) -> None:
    """Write one file, readable for all whatever the umask: others than the writer start this Python too."""
    path = join(folder, name)
    _make_dir(dirname(path))
    fs.write_atomic(path, content)
    fs.set_mode(path, 0o644)


def _make_dir(path: str) -> None:
    if not isdir(path):
        fs.make_dirs(path)
        fs.set_mode(path, 0o755)


def _compiled(base: Base, sources: Mapping[str, bytes], scratch: str) -> dict[str, bytes]:
    """Let the base's own interpreter compile the modules in `scratch`; return path in site-packages → content."""
    pairs: list[str] = []
    for number, (name, content) in enumerate(sources.items()):
        if not name.endswith(".py"):
            continue
        staged = join(scratch, f"{number}.py")
        fs.write_plain(staged, content)
        pairs += [staged, join(base.purelib, name)]
    told = process.check([base.python, "-I", "-B", "-c", _COMPILE, *pairs], env=variables(), timeout=120)
    made: dict[str, str] = json.loads(told)
    return {relpath(path, base.purelib): files.content_of(compiled) for path, compiled in made.items()}


def _take(folder: str, name: str) -> None:
    """Remove a file, and the folder that it was the last in."""
    path = join(folder, name)
    fs.remove(path)
    if dirname(name):
        with suppress(OSError):
            fs.remove_empty_dir(dirname(path))


def _is_removable(folder: str, name: str, recorded: Mapping[str, Hashes]) -> bool:
    """Tell whether a file is as it was written; a compiled one goes with the module that it is made of."""
    if name.endswith(".new"):
        return True
    if name.endswith(".pyc"):
        parent, _, file = name.rpartition("__pycache__/")
        name = f"{parent}{file.split('.')[0]}.py"
        return not exists(join(folder, name)) or files.is_as_recorded(folder, name, recorded.get(name, frozenset()))
    return files.is_as_recorded(folder, name, recorded.get(name, frozenset()))


def _begun(folder: str) -> list[str]:
    """Name what a call that died was writing of a hook."""
    return [relpath(path, folder) for path in files.half_written(folder) if halves.is_left(path)]


def _folders(folder: str) -> list[str]:
    """Name the folders that a hook brings, inner ones first; a removal that died may have emptied them."""
    inner = {join(folder, dirname(name)) for name in files.MODULES if dirname(name)}
    caches = [join(path, "__pycache__") for path in (*inner, folder)]
    return [*caches, *inner, *files.dist_infos(folder)]
