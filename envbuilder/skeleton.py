"""What all overlays of one base have in common: made once by virtualenv, then hard-linked.

A skeleton holds no path of the overlay it ends up in: scripts find themselves, `pyvenv.cfg` names only the base.
It lies in the home's cache; deleting it costs the next build half a second. A list of its files is one of them, and
gets into each overlay like the others, so that damage to one is found, which would reach all overlays.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
import sys
from os.path import dirname, isfile, join
from typing import TYPE_CHECKING

from envbuilder import fs, process, space
from envbuilder.digest import sealed, sha256_file, sha256_of
from envbuilder.errors import BaseError
from envbuilder.paths import site_packages
from envbuilder.scripts import entry_script

if TYPE_CHECKING:
    from envbuilder.base import Base
    from envbuilder.paths import Environment, Layout

FORMAT = 3
LIST = "skeleton.json"
ACTIVATORS = "bash,fish"
PROMPT = "vpm-env"
_LAYER = join(dirname(__file__), "_layer.py")
_BASH_SELF = '"$(cd "$(dirname "${BASH_SOURCE:-${(%):-%x}}")/.." > /dev/null && pwd -P)"'
_COMPILE = (
    "import py_compile, sys\n"
    "mode = py_compile.PycInvalidationMode.UNCHECKED_HASH\n"
    "for path in sys.argv[1:]:\n"
    "    py_compile.compile(path, dfile=path.rsplit('/', 1)[1], doraise=True, invalidation_mode=mode)\n"
)


def skeleton(base: Base, layout: Layout, env: Environment) -> str:
    """Return the path of the base's skeleton, made now if there is none. Raise `BaseError` if virtualenv cannot."""
    path = join(layout.cache, "skeletons", _name(base))
    if isfile(join(path, "pyvenv.cfg")):
        return path
    fs.make_dirs(dirname(path))
    with fs.staging(layout.tmp) as stage:
        made = join(stage, "skeleton")
        _virtualenv(base, made, layout, env)
        _refine(made, base, env)
        _list(made)
        fs.publish_dir(made, path)
    return path


def _list(path: str) -> None:
    """Write what there is: `[path, mode, sha256, ""]` of files, `[path, 0, "", target]` of symlinks."""
    rows: list[list[str | int]] = []
    for folder, folders, names in os.walk(path):
        for name in sorted(names + [name for name in folders if os.path.islink(join(folder, name))]):
            found = join(folder, name)
            inner = os.path.relpath(found, path)
            if os.path.islink(found):
                rows.append([inner, 0, "", os.readlink(found)])
            else:
                rows.append([inner, stat.S_IMODE(os.lstat(found).st_mode), sha256_file(found), ""])
    fs.write_plain(join(path, LIST), json.dumps(sealed({"format": FORMAT, "files": sorted(rows)})).encode())


def _name(base: Base) -> str:
    """Name what a skeleton depends on; a changed base gets another."""
    scripts = sorted((name, value) for name, value in _base_scripts(base).items())
    content = [FORMAT, base.python, base.version, base.soabi, base.site_dirs, base.user_site, scripts]
    content += [[name, text.decode()] for name, text in _own_files(base).items()]
    return f"{base.key}-{sha256_of(content)[:12]}"


def _virtualenv(base: Base, path: str, layout: Layout, env: Environment) -> None:
    command = [sys.executable, "-m", "virtualenv", "--no-seed", "--no-periodic-update", "--no-vcs-ignore"]
    command += [
        "--activators",
        ACTIVATORS,
        "--prompt",
        PROMPT,
        "--app-data",
        join(layout.cache, "virtualenv"),
        "--python",
        base.python,
    ]
    variables = {name: value for name, value in env.variables.items() if not name.startswith(("PYTHON", "VIRTUALENV"))}
    # Neither the user's virtualenv.ini nor a user without a home may change what an overlay is.
    own = {"VPM_ENV_DISABLE": "1", "PYTHONDONTWRITEBYTECODE": "1", "VIRTUALENV_CONFIG_FILE": os.devnull}
    if env.user_home is None:
        own["HOME"] = layout.cache
    result = process.run([*command, path], env={**variables, **own}, timeout=120)
    if result.code:
        space.require_nothing_refused(result.output, path)
        raise BaseError(f"virtualenv cannot make an overlay for the base `{base.python}`:\n{result.output.rstrip()}")


def _refine(path: str, base: Base, env: Environment) -> None:
    """Make what virtualenv wrote relocatable, and add the layer over the base and the base's console scripts."""
    farm = site_packages(path, base.python_version)
    for name in os.listdir(farm):
        fs.remove_tree(join(farm, name))
    _relocate(join(path, "bin"), path)
    for name, script in _base_scripts(base).items():
        if not isfile(join(path, "bin", name)):
            fs.write_plain(join(path, "bin", name), script.encode(), mode=0o755)
    fs.write_plain(join(farm, "_vpm_env.pth"), b"import _vpm_env_layer\n")
    for name, text in _own_files(base).items():
        fs.make_dirs(dirname(join(farm, name)))
        fs.write_plain(join(farm, name), text)
    paths = [join(farm, name) for name in _own_files(base) if name.endswith(".py")]
    process.check([base.python, "-I", "-S", "-B", "-c", _COMPILE, *paths], env=env.variables)
    _write_config(join(path, "pyvenv.cfg"), base)
    fs.remove(join(path, ".gitignore"))
    fs.remove(join(path, "CACHEDIR.TAG"))


def _baked_layer(base: Base) -> str:
    from envbuilder.hook_files import engine_names

    with open(_LAYER, encoding="utf-8") as stream:
        text = stream.read()
    own_dirs = tuple(folder for folder in base.site_dirs if folder != base.user_site)
    for name, value in (
        ('BASE_SITE_DIRS: "tuple[str, ...]" = ()', f"BASE_SITE_DIRS = {own_dirs!r}"),
        ("BASE_USER_SITE = False", f"BASE_USER_SITE = {bool(base.user_site)}"),
        ('BASE_KEY = ""', f"BASE_KEY = {base.key!r}"),
        ("ALLOWS = False", f"ALLOWS = {not base.engine.loads_unlisted}"),
        ('ENGINE_NAMES: "tuple[str, ...]" = ()', f"ENGINE_NAMES = {engine_names(base)!r}"),
    ):
        text = text.replace(name, value, 1)
    return text


def _own_files(base: Base) -> dict[str, bytes]:
    """Return what is ours: the layer, the guard, and what sets the engine's allow-list; path → content."""
    from envbuilder import hook_files  # only a whole build makes skeletons

    return {"_vpm_env_layer.py": _baked_layer(base).encode(), **hook_files.overlay_sources(base)}


def _relocate(scripts: str, path: str) -> None:
    """Let activation scripts find the environment they lie in, instead of naming where they were made."""
    places = {"activate": _BASH_SELF, "activate.fish": "(builtin realpath (status dirname)/..)"}
    for name in sorted(os.listdir(scripts)):
        script = join(scripts, name)
        if os.path.islink(script) or not isfile(script):
            continue
        with open(script, encoding="utf-8") as stream:
            text = stream.read()
        if name in places:
            text = text.replace(f"'{path}'", places[name]).replace(shlex.quote(path), places[name])
        if path in text:
            fs.remove(script)
        else:
            fs.write_plain(script, text.encode())


def _base_scripts(base: Base) -> dict[str, str]:
    found: dict[str, str] = {}
    for dist in base.distributions.values():
        for group, name, value in dist.entry_points:
            script = entry_script(value) if group == "console_scripts" and "/" not in name else None
            if script:
                found.setdefault(name, script.decode())
    return found


def _write_config(path: str, base: Base) -> None:
    """Keep what Python and other tools read, and say over which environment this one lies (as uv does)."""
    with open(path, encoding="utf-8") as stream:
        kept = [line.rstrip() for line in stream if line.split(" = ")[0] in ("home", "version", "base-executable")]
    lines = [*kept, "include-system-site-packages = false", f"extends-environment = {base.prefix}"]
    fs.write_plain(path, ("\n".join(lines) + "\n").encode())
