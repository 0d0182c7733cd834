# vpm-env start-up hook: makes the active plugin overlay importable; remove it with `vpm-env hook uninstall`
"""Make the current overlay of one home importable in this process.

`vpm-env hook install` copies this file into a base's site-packages as `_vpm_env_hook.py`, with the constants below
filled in; a `.pth` file there imports it whenever that interpreter starts. It starts no process, writes no file,
prints nothing and never raises. It knows the plain case only, in one go, because every function, class and exception
would cost each start of Python; where anything is out of the ordinary, `_vpm_env_activate` is imported and decides.

Its globals are its answer, for the guard and for `vpm-env status`. `state` is `active`; or `disabled`, `other-prefix`,
`installer` (not meant here); or `no-generation`, `base-changed`, `newer-format`, `untrusted`, `pin-missing`,
`invalid`, `error` (meant, and not to be had); `reason` is a sentence.
"""

import os
import sys

# filled in from here
PREFIX = ""
PROFILE = ""
BASE_KEY = ""
BASE_MARK = ""
FORMAT_FILE = ""
FORMAT_LINE = b""
CLOSED = ()  # type: tuple[str, ...]
OWNERS = ()  # type: tuple[int, ...]
GENERATIONS = ""
LINK = ""
OVERLAYS = ""
SITE = ""
WORDS = ()  # type: tuple[str, ...]
# filled in to here

state = "error"
reason = ""
profile = PROFILE
base_key = BASE_KEY
digest = overlay = ""
generation = None  # type: int | None
lease = None  # type: int | None
pinned = False


def is_plain() -> bool:
    """Add what `current` names to `sys.path`; False, and nothing done, where anything is out of the ordinary."""
    global digest, generation, overlay
    # One lookup in `os.environ` of what is not there costs more than all calls of the system below.
    variables = getattr(os.environ, "_data", os.environb)
    if sys.prefix != PREFIX or b"VPM_ENV_DISABLE" in variables or b"VPM_ENV_DEBUG" in variables:
        return False
    if b"VPM_ENV_PIN" in variables or b"VPM_ENV_PROFILE" in variables:
        return False
    command = " ".join(sys.orig_argv[1:])
    for word in WORDS:
        if word in command:
            return False
    number = os.readlink(GENERATIONS + "current")[12:]
    link = os.readlink(f"{GENERATIONS}generations/{number}")
    name = link[-64:]
    if not number.isdigit() or link != LINK + name or len(name) != 64 or name.strip("0123456789abcdef"):
        return False
    # In a folder that is closed to strangers there is nothing of theirs.
    for path in CLOSED:
        status = os.stat(path)
        if status.st_mode & 0o022 or (status.st_uid not in OWNERS and status.st_uid != os.geteuid()):
            return False
    file = os.open(FORMAT_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    text = os.read(file, 16)
    os.close(file)
    found = OVERLAYS + name
    if text != FORMAT_LINE or not os.access(BASE_MARK, 0) or not os.access(found + "/overlay.json", 0):
        return False
    if os.access(found + "/override", 0):
        return False
    generation, digest, overlay = int(number), name, found
    packages = found + SITE
    if packages not in sys.path:
        sys.path.append(packages)
    return True


try:
    plain = is_plain()
except Exception:  # noqa: BLE001 (what it was is found out below)
    plain = False
try:
    if plain:
        state, reason = "active", overlay
    else:
        __import__("_vpm_env_activate").run(sys.modules[__name__])
except Exception as error:  # noqa: BLE001 (Python starts, whatever is wrong)
    reason = repr(error)
