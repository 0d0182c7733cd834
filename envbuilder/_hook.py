# vpm-env start-up hook: makes the active plugin overlay importable; remove it with `vpm-env hook uninstall`
"""Make the current overlay of one home importable in this process.

`vpm-env hook install` copies this file into a base's site-packages as `_vpm_env_hook.py`, with the constants below
filled in; a `.pth` file there imports it whenever that interpreter starts. It starts no process, writes no file,
prints nothing and never raises. It knows the plain case only, in one go, because every function, class and exception
would cost each start of Python; where anything is out of the ordinary, `_vpm_env.activate` is imported and decides.

Its globals are its answer, for the guard and for `vpm-env status`. `state` is `active`; or `disabled`, `other-prefix`,
`installer` (not meant here); or `no-generation`, `build-failed`, `base-changed`, `newer-format`, `untrusted`,
`pin-missing`, `invalid`, `error` (meant, and not to be had); `reason` is a sentence.
"""

import os
import sys

state = "error"
reason = digest = overlay = ""
generation = lease = None  # type: int | None


def is_plain() -> bool:
    """Add what `current` names to `sys.path`; False, and nothing done, where anything is out of the ordinary."""
    global digest, generation, overlay
    # filled in from here
    prefix = ""
    base_mark = ""
    closed = ()  # type: tuple[str, ...]
    owners = ()  # type: tuple[int, ...]
    format_file = ""
    format_line = b""
    generations = ""
    link_begin = ""
    overlays = ""
    site = ""
    words = ()  # type: tuple[str, ...]
    # filled in to here

    # To ask `os.environ` for what is not there costs more than all calls of the system below.
    variables = os.environ._data  # type: ignore[attr-defined]  # noqa: SLF001
    if sys.prefix != prefix or b"VPM_ENV_DISABLE" in variables or b"VPM_ENV_DEBUG" in variables:
        return False
    if b"VPM_ENV_PIN" in variables or b"VPM_ENV_PROFILE" in variables or b"VPM_ENV_WITHOUT" in variables:
        return False
    command = " ".join(sys.orig_argv[1:])
    for word in words:
        if word in command:
            return False

    number = os.readlink(generations + "current")[12:]
    link = os.readlink(f"{generations}generations/{number}")
    name = link[-64:]
    for path in closed:
        status = os.stat(path)
        if status.st_mode & 0o022 or (status.st_uid not in owners and status.st_uid != os.geteuid()):
            return False
    file = os.open(format_file, os.O_NONBLOCK)
    text = os.read(file, 16)
    os.close(file)
    found = overlays + name
    if text != format_line or link != link_begin + name or os.access(found + "/override", 0):
        return False
    if not os.access(base_mark, 0) or not os.access(found + "/overlay.json", 0):
        return False

    generation, digest, overlay = int(number), name, found
    packages = found + site
    if packages not in sys.path:
        sys.path.append(packages)
        foresee(packages)
    return True


def foresee(packages: str) -> None:
    """Make the finder for a folder that Python would make, but for its answer to `site`, whose import comes next.

    `site` asks for `sitecustomize`, which no overlay has. For that, Python would list the folder, and keep every name.
    """
    model = sys.path_importer_cache.get(__file__[: -len("/_vpm_env_hook.py")])
    if model is None or "_path_mtime" not in getattr(model, "__dict__", ()):
        return
    finder = sys.path_importer_cache[packages] = model.__new__(type(model))

    def find_spec(name, target=None):
        del finder.find_spec
        return None if name == "sitecustomize" else finder.find_spec(name, target)

    vars(finder).update(vars(model), path=packages, _path_mtime=-1, find_spec=find_spec)


try:
    plain = is_plain()
except Exception:  # noqa: BLE001 (what it was is found out below)
    plain = False
try:
    if plain:
        state, reason = "active", overlay
    else:
        __import__("_vpm_env.activate").activate.run(sys.modules[__name__])
except Exception as error:  # noqa: BLE001 (Python starts, whatever is wrong)
    reason = repr(error)
