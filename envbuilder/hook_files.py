"""What the start-up hook is made of: a small distribution, as texts, and the record of what was written."""

from __future__ import annotations

import ast
import base64
import csv
import io
import json
import os
from glob import escape, glob
from os.path import basename, dirname, exists, isfile, join, relpath
from typing import Any

from envbuilder import __version__, _ray
from envbuilder.digest import sha256_bytes
from envbuilder.engines import GUARD_ENTRY
from envbuilder.paths import FORMAT, HOOK, Layout
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from envbuilder.base import Base
    from envbuilder.engines import Engine

    Hashes = frozenset[str]

PTH = "_vpm_env_hook.pth"
LINE = b"import _vpm_env_hook\n"
ACTIVATE = "_vpm_env/activate.py"
AUTO = "_vpm_env/auto.py"
BUILDING = "_vpm_env/building.py"
DEVICE_CHECK = "_vpm_env/device_check.py"
GUARD = "_vpm_env/guard.py"
LOOP = "_vpm_env/loop.py"
RAY = "_vpm_env/ray.py"
RAY_NODE = "_vpm_env/ray_node.py"
WITHOUT = "_vpm_env/without.py"
ALLOW = "_vpm_env_allow.py"
HOST_PACKAGE = "envbuilder"
SINGLE_MODULES = (HOOK, ACTIVATE, AUTO, BUILDING, DEVICE_CHECK, GUARD, LOOP, RAY, RAY_NODE, WITHOUT, ALLOW)
MODULES = (*SINGLE_MODULES, *(f"{HOST_PACKAGE}/{name}.py" for name in ("__init__", "_join", "plugins")))
INSTALLER_WORDS = ("pip", "virtualenv", "m venv", "mvenv", "uv", "vpm-env", "envbuilder")
"""What stands in the command line of every installer; others that have it too pay for a closer look, that is all."""

_BEGIN = "# filled in from here\n"
_END = "# filled in to here\n"
_ALLOWING = """
if state not in ("installer", "other-prefix"):
    try:
        __import__("_vpm_env_allow").see_to_it(state, overlay)
    except Exception as error:  # noqa: BLE001 (Python starts, whatever is wrong)
        reason = repr(error)
"""
"""The end of the hook for an engine that loads nothing by itself; for the others it would cost each start of Python."""
_DIST_INFO = f"vpm_env_hook-{__version__}.dist-info"
_HOST_INIT = b'''\
"""What a program in the base needs of vpm-env: `activate`, `envbuilder.plugins`. Part of the start-up hook."""

from envbuilder._join import activate

__all__ = ["activate"]
'''
_METADATA = f"""\
Metadata-Version: 2.1
Name: vpm-env-hook
Version: {__version__}
Summary: Makes the plugin overlay that vpm-env switched to importable; remove it with `vpm-env hook uninstall`
"""
_WHEEL = f"Wheel-Version: 1.0\nGenerator: vpm-env {__version__}\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


class Settings(NamedTuple):
    """What is baked into a hook besides its base.

    `command` starts this vpm-env (absolute). `trust_owner` are uids whose directories the hook trusts besides
    root's and the running user's; `trust_home` lets anybody own the home, and write to it, but not to what is in it.
    `auto` is what to do if a build before an engine's start fails (one of `POLICIES`), "" to build nothing then.
    `rollback_after` is how many starts in a row may fail under a set that nobody found good yet before it is left, 0 to
    count none; a start has not failed that lasts for `good_after` seconds.
    """

    home: str
    profile: str
    command: tuple[str, ...]
    trust_owner: tuple[int, ...] = ()
    trust_home: bool = False
    auto: str = ""
    rollback_after: int = 0
    good_after: float = 0.0


def sources(base: Base, settings: Settings) -> dict[str, bytes]:
    """Return the modules, and the schema that Ray has of them: path in site-packages → content."""
    values = _values(base, settings)
    texts = {HOOK: _filled_in("_hook.py", values), ACTIVATE: _filled_in("_activate.py", values)}
    texts[WITHOUT] = _filled_in("_without.py", values)
    if base.engine.serving:
        texts[AUTO] = _filled_in("_auto.py", values)
        texts[BUILDING] = _template("_building.py")
    if base.engine.serving and settings.rollback_after:
        texts[LOOP] = _filled_in("_loop.py", values)
    if base.engine.guard_group:
        texts[GUARD] = _template("_guard.py")
        texts[DEVICE_CHECK] = _template("_device_check.py")
    if "ray" in base.distributions:
        texts[RAY], texts[RAY_NODE] = _template("_ray.py"), _filled_in("_ray_node.py", values)
        texts[f"{_DIST_INFO}/{_ray.SCHEMA_FILE}"] = f"{json.dumps(_ray.SCHEMA, indent=2)}\n".encode()
    if allow := allow_module(base.engine):
        texts[ALLOW] = allow
        texts[HOOK] += _ALLOWING.encode()
    return {**texts, **_host_package()} if _may_bring_host_package(base) else texts


def _host_package() -> dict[str, bytes]:
    own = {"__init__.py": _HOST_INIT, **{name: _template(name) for name in ("_join.py", "plugins.py")}}
    return {f"{HOST_PACKAGE}/{name}": content for name, content in own.items()}


def overlay_sources(base: Base) -> dict[str, bytes]:
    """Return what an overlay's own python has of a hook, which its base may not have: path → content."""
    texts = {GUARD: _template("_guard.py"), DEVICE_CHECK: _template("_device_check.py"), **metadata(base)}
    own = texts if base.engine.guard_group else {}
    allow = allow_module(base.engine)
    return {**own, ALLOW: allow} if allow else own


def allow_module(engine: Engine) -> bytes:
    """Return the module that sets the engine's allow-list; empty where the engine loads all plugins by itself."""
    if engine.allow_list is None or engine.loads_unlisted:
        return b""
    values = {"VARIABLE": engine.allow_list, "IMPORT_NAME": engine.import_name, "GUARD": GUARD_ENTRY}
    return _filled_in("_allow.py", values)


def metadata(base: Base) -> dict[str, bytes]:
    """Return what stands in the dist-info but for RECORD: path in site-packages → content."""
    texts = {"INSTALLER": "vpm-env\n", "METADATA": _METADATA, "WHEEL": _WHEEL}
    if base.engine.guard_group:
        texts["entry_points.txt"] = f"[{base.engine.guard_group}]\n{GUARD_ENTRY} = _vpm_env.guard:register\n"
    return {f"{_DIST_INFO}/{name}": text.encode() for name, text in texts.items()}


def record(folder: str, names: Iterable[str]) -> tuple[str, bytes]:
    """Return path and content of RECORD for the files `names` of `folder` and the `.pth`, which is yet to come."""
    return f"{_DIST_INFO}/RECORD", _rows({name: content_of(join(folder, name)) for name in names})


def intention(folder: str, contents: Mapping[str, bytes]) -> tuple[str, bytes]:
    """Return path and content of a RECORD of what is going to be written, and of what it says now."""
    path = f"{_DIST_INFO}/RECORD"
    return path, content_of(join(folder, path)) + _rows(contents)


def recorded(folder: str) -> dict[str, Hashes]:
    """Return what RECORDs of hooks list: path → hashes, several of what is written over; only paths of a hook."""
    rows: dict[str, Hashes] = {}
    for dist_info in dist_infos(folder):
        text = content_of(join(dist_info, "RECORD")).decode("utf-8", "replace")
        for row in csv.reader(io.StringIO(text)):
            if len(row) == 3 and row[1] and _is_ours(row[0]):
                rows[row[0]] = rows.get(row[0], frozenset()) | {row[1]}
    return rows


def dist_infos(folder: str) -> list[str]:
    """Find the metadata directories of hooks, of whatever version."""
    return sorted(glob(join(escape(folder), "vpm_env_hook-*.dist-info")))


def half_written(folder: str) -> list[str]:
    """Find what is being written of a hook, or was when a call died."""
    compiled = [join(dirname(name), "__pycache__", f"{basename(name).removesuffix('.py')}.*") for name in MODULES]
    infos = [join(basename(path), "*") for path in dist_infos(folder)]
    names = [(dirname(name), basename(name)) for name in (*MODULES, PTH, *compiled, *infos)]
    found = {path for parent, name in names for path in glob(join(escape(join(folder, parent)), f".{name}.*.new"))}
    return sorted(found)


def is_as_recorded(folder: str, name: str, digests: Hashes) -> bool:
    """Tell whether a file has a content that RECORD says."""
    path = join(folder, name)
    return isfile(path) and f"sha256={_hash(content_of(path))}" in digests


def compiled(folder: str, module: str, tag: str = "*") -> list[str]:
    """Find the compiled forms of a module: those of the interpreter `tag` (`cpython-311`), or of all."""
    stem = basename(module).removesuffix(".py")
    return sorted(glob(join(escape(join(folder, dirname(module))), "__pycache__", f"{stem}.{tag}*.pyc")))


def constants(folder: str) -> dict[str, Any]:
    """Read what is baked into the hook in `folder`; empty where there is nothing to read."""
    text = content_of(join(folder, ACTIVATE)).decode("utf-8", "replace").partition(_BEGIN)[2].partition(_END)[0]
    try:
        nodes = [node for node in ast.parse(text).body if isinstance(node, ast.Assign)]
        pairs = [(node.targets[0], ast.literal_eval(node.value)) for node in nodes]
    except (SyntaxError, ValueError):
        return {}
    return {target.id: value for target, value in pairs if isinstance(target, ast.Name)}


def content_of(path: str) -> bytes:
    """Read a file; one that is missing is empty."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return b""


def expected(base: Base) -> dict[str, object]:
    """Return what must be baked into a hook of this version for `base`."""
    return {"VERSION": __version__, "FORMAT": FORMAT, "PREFIX": base.prefix, "BASE_KEY": base.key}


def _values(base: Base, settings: Settings) -> dict[str, object]:
    layout = Layout(settings.home)
    engine, dist = base.engine, base.distributions.get(base.engine_name)
    modules = tuple(dict.fromkeys(module.split(".")[0] for module in engine.entry_modules))
    return {
        **expected(base),
        "HOME": settings.home,
        "FORMAT_FILE": layout.format,
        "FORMAT_LINE": b"%d\n" % FORMAT,
        "CLOSED": (layout.home, layout.profiles, layout.overlays, layout.store),
        "GENERATIONS": layout.profile(settings.profile, base.key) + "/",
        "LINK_BEGIN": f"../../../../overlays/{base.key}/",
        "OVERLAYS": layout.overlay(base.key, ""),
        "PROFILE": settings.profile,
        "BASE_MARK": dist.path if dist and dist.path else base.prefix,
        "OWNERS": (0, *settings.trust_owner),
        "TRUST_HOME": settings.trust_home,
        "SITE": f"/lib/python{base.python_version}/site-packages",
        "ENGINE_NAMES": engine_names(base),
        "ENTRY_SCRIPTS": tuple(filter(None, (engine.script,))),
        "ENTRY_MODULES": engine.entry_modules,
        "WORDS": tuple(dict.fromkeys((*INSTALLER_WORDS, *filter(None, (engine.script,)), *modules))),
        "COMMAND": settings.command,
        "AUTO": settings.auto,
        "ROLLBACK_AFTER": settings.rollback_after if engine.serving else 0,
        "GOOD_AFTER": settings.good_after,
        "SERVES": bool(engine.serving),
        "PYTHON": base.python,
        "CONFIG_FOLDER": engine.name,
        "COMMAND_MODULES": engine.command_modules,
        "SERVING": engine.serving,
    }


def engine_names(base: Base) -> tuple[str, ...]:
    """Name the base's engine: its canonical name, and the one that it is installed by."""
    return tuple(dict.fromkeys(filter(None, (base.engine.distribution, base.engine_name))))


def _filled_in(name: str, values: Mapping[str, object]) -> bytes:
    """Return a template's text with the constants that it declares; ASCII, whatever the paths are."""
    head, _, rest = _template(name).decode().partition(_BEGIN)
    declared, _, tail = rest.partition(_END)
    *lines, indent = declared.split("\n")
    names = [line.replace(":", " ").split()[0] for line in lines]
    text = "".join(f"{indent}{name} = {values[name.upper()]!a}\n" for name in names)
    return f"{head}{_BEGIN}{text}{indent}{_END}{tail}".encode()


def _template(name: str) -> bytes:
    return content_of(join(dirname(__file__), name))


def _may_bring_host_package(base: Base) -> bool:
    """Tell whether the base has no package of that name but the one that a hook brought."""
    found = [join(folder, HOST_PACKAGE) for folder in base.path if exists(join(folder, HOST_PACKAGE))]
    return not found or (found == [join(base.purelib, HOST_PACKAGE)] and _is_whole(base.purelib))


def _is_whole(folder: str) -> bool:
    """Tell whether the host package is as a hook wrote it: with another file in it, it is somebody else's by now."""
    names = {f"{HOST_PACKAGE}/{name}" for name in os.listdir(join(folder, HOST_PACKAGE)) if name != "__pycache__"}
    names -= {relpath(path, folder) for path in half_written(folder)}
    ours, none = recorded(folder), frozenset[str]()
    own = {name: {f"sha256={_hash(text)}"} for name, text in _host_package().items()}  # RECORD may be lost
    known = {name: ours.get(name, none) | own.get(name, none) for name in names}
    return bool(names) and all(is_as_recorded(folder, name, digests) for name, digests in known.items())


def _is_ours(name: str) -> bool:
    """Tell whether a hook can have a file of this name: RECORD is a file that anybody may have edited."""
    if name == PTH or name in MODULES:
        return True
    folder, _, file = name.rpartition("/")
    if folder.endswith("__pycache__"):
        module = join(folder.removesuffix("__pycache__"), f"{file.split('.')[0]}.py")
        return module in MODULES and file.endswith(".pyc")
    return "/" not in folder and folder.startswith("vpm_env_hook-") and folder.endswith(".dist-info")


def _rows(contents: Mapping[str, bytes]) -> bytes:
    """Return the lines of a RECORD: of these files, of the `.pth`, and of itself."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows = {**contents, PTH: LINE}.items()
    writer.writerows([name, f"sha256={_hash(content)}", len(content)] for name, content in rows)
    writer.writerow([f"{_DIST_INFO}/RECORD", "", ""])
    return text.getvalue().encode()


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(sha256_bytes(content))).rstrip(b"=").decode()
