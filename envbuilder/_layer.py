# ruff: noqa: PLW0603 (a process has one overlay)
"""Layer an overlay on its base: what the overlay's own python runs at its start. Written by vpm-env.

Put into site-packages as `_vpm_env_layer.py` and imported by `_vpm_env.pth`. It knows only the standard library,
says nothing and never raises.
"""

import os
import site
import sys

BASE_SITE_DIRS: "tuple[str, ...]" = ()
BASE_USER_SITE = False
BASE_KEY = ""
ALLOWS = False
ENGINE_NAMES: "tuple[str, ...]" = ()

state = "error"
reason = digest = overlay = unbuilt = HOME = ""
base_key = BASE_KEY
profile = os.environ.get("VPM_ENV_PROFILE") or "default"
generation = lease = None
"""What the guard asks a start-up hook for, where the base has none."""


def _resolve():
    """Leave the way through `current`: this process and its children know one overlay, by its real path."""
    seen, real = sys.prefix, os.path.realpath(sys.prefix)
    if seen == real:
        return real
    sys.path[:] = [real + path[len(seen) :] if path.startswith(seen + os.sep) else path for path in sys.path]
    sys.prefix = sys.exec_prefix = real
    site.PREFIXES[:] = [real if path == seen else path for path in site.PREFIXES]
    if sys.executable.startswith(seen + os.sep):
        sys.executable = real + sys.executable[len(seen) :]
    return real


def _layer(overlay):
    """Append the base as the base's own python would, and put `override` before it and before the overlay."""
    override = os.path.join(overlay, "override")
    if os.path.isdir(override) and override not in sys.path:
        own = os.path.dirname(os.path.abspath(__file__))
        at = sys.path.index(own) if own in sys.path else len(sys.path)
        sys.path.insert(at, override)
    if BASE_USER_SITE and site.check_enableusersite():
        user_site = site.getusersitepackages()
        if os.path.isdir(user_site):
            site.addsitedir(user_site)
    for folder in BASE_SITE_DIRS:
        site.addsitedir(folder)


def _hold():
    """Tell gc, by a shared lock that lasts as long as this process, that the overlay is in use."""
    global lease
    try:
        import fcntl

        lease = os.open(os.path.join(overlay, ".lease"), os.O_RDONLY | os.O_CLOEXEC)
        _share(fcntl, lease)
    except (ImportError, OSError):
        pass  # where there are no locks, an open file is what others of this machine see


def _share(fcntl, held):
    """Share a lease; who only looks whether anybody has it is done in a moment."""
    for attempt in range(5):
        try:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            __import__("time").sleep(0.001 * attempt)


def activate():
    global overlay, digest, HOME, state, reason
    overlay = _resolve()
    digest, HOME = os.path.basename(overlay), os.path.abspath(os.path.join(overlay, "..", "..", ".."))
    _layer(overlay)
    _hold()
    state, reason = "active", overlay
    if not sys.flags.ignore_environment:
        os.environ["VPM_ENV_PIN"] = BASE_KEY + ":" + digest
    if ALLOWS:
        __import__("_vpm_env_allow").wait(overlay)


try:
    activate()
except Exception as error:  # noqa: BLE001 (an engine must start)
    reason = repr(error)
    if os.environ.get("VPM_ENV_DEBUG"):
        sys.stderr.write(f"vpm-env: the overlay is not layered: {error!r}\n")
