# vpm-env: builds the plugins before an engine starts, if that was asked for; remove it with `vpm-env hook uninstall`
"""Bring the plugins up to date in the first process of an engine, before that imports anything.

Copied into a base's site-packages as `_vpm_env/auto.py`, with the constants below filled in; `_vpm_env.activate`, which
every function here gets as its `host`, calls `build` if `hook install --auto` or VPM_ENV_AUTO says so. It runs
`vpm-env build`, which alone knows whether there is anything to do, and passes on what that says as plain lines on
standard error; but not where that noted before that there is nothing to do, and all that it looked at is as it was.
Standard library only, and hardly any of it where nothing is built.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # it would take `typing` to import that
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

# filled in from here
PYTHON = ""
CONFIG_FOLDER = ""
COMMAND_MODULES: tuple[str, ...] = ()
SERVING: tuple[str, ...] = ()
# filled in to here

POLICIES = ("last-good", "bare", "fail")
CONFIG_VARIABLES = ("VPM_ENV_CONFIG", "VLLM_PLUGIN_CONFIG")
INFORMING = ("-h", "--help", "--version")
"""Options with which an engine says something and ends."""


class FailedError(Exception):
    """Why the plugins could not be built: a sentence."""


def build(host: Any, asked: str, module: str, environment: dict[str, str]) -> None:
    """Build what the config asks for if this process is going to serve; `module` is what `-m` names, "" for a script.

    `asked` is a policy, or `1` for the one of the installation. `environment` gets, as `built`, the generation that a
    build was about. After a failure return where the current set will do; else raise `host.InactiveError`, or end this
    process.
    """
    if not is_serving(module, sys.argv[1:]):
        return
    policy = asked if asked in POLICIES else host.AUTO or POLICIES[0]
    try:
        require_known(asked)
        if bring_up_to_date(host, environment):
            renew(host)
            host.require_home()
            host.choose(environment)
        return
    except FailedError as failed:
        state, problem = "build-failed", str(failed)
    except host.InactiveError as inactive:
        state, problem = inactive.args
    except Exception as error:  # noqa: BLE001 (the policy says what happens then too)
        state, problem = "error", f"{type(error).__name__}: {error}"
    fall_back(host, policy, state, problem, environment)


def bring_up_to_date(host: Any, environment: dict[str, str]) -> bool:
    """Build where there may be anything to do; tell whether there has to be a set now."""
    profile = environment.get("VPM_ENV_PROFILE") or host.PROFILE
    if not host.is_name(profile):
        raise FailedError(f"VPM_ENV_PROFILE is `{profile}`, which is no profile's name")
    named = named_config()
    if is_as_noted(host, profile, named):
        return True
    config = named or known_config(host, profile)
    if not config or not may_build(host, profile, config):
        return False
    environment["built"] = run(host, command(host, profile, config))
    return bool(environment["built"])


def require_known(asked: str) -> None:
    if asked not in (*POLICIES, "1"):
        raise FailedError(f"VPM_ENV_AUTO is `{asked}`, which is neither 0 nor 1 nor {', '.join(POLICIES)}")


def is_serving(module: str, words: Sequence[str]) -> bool:
    """Tell whether the engine will load a model: by the first word, where it takes one."""
    if any(word.partition("=")[0] in INFORMING for word in words):
        return False
    takes_word = not module or any(f"{module}.".startswith(f"{known}.") for known in COMMAND_MODULES)
    return not takes_word or next((word for word in words if not word.startswith("-")), "") in SERVING


def named_config() -> str:
    """Return the path of the config that a variable names, "" where none does."""
    for name in () if sys.flags.ignore_environment else CONFIG_VARIABLES:
        if os.environ.get(name):
            path = os.path.abspath(os.path.expanduser(os.environ[name]))
            if not os.path.isfile(path):
                raise FailedError(f"there is no file `{path}`, which {name} names")
            return path
    return ""


def is_as_noted(host: Any, profile: str, named: str) -> bool:
    """Tell whether everything is as it was when vpm-env found that there was nothing to do."""
    parts = os.fsdecode(content_of(f"{host.HOME}/cache/starts/{host.BASE_KEY}-{profile}")).split("\0")
    seen = list(zip(parts[::2], parts[1::2], strict=False))
    same = bool(seen) and named in ("", parts[0]) and host.exists(host.BASE_MARK)
    return same and all(seen_of(path) == known for path, known in seen)


def seen_of(path: str) -> str:
    """Say in short which file or folder there is, and when it was changed; "" for none."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{status.st_ino} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_size}"


def known_config(host: Any, profile: str) -> str:
    """Name the config of the newest generation, else the user's own; "" for none.

    Working directories do not count: an engine may be started anywhere.
    """
    recorded, own = str(record(host, profile).get("config", "")), own_config()
    found = next((path for path in (recorded, own) if os.path.isfile(path)), "")
    if recorded and found != recorded:
        kept = f"`{found}` counts" if found else "the plugins stay as they were built"
        host.tell(f"WARNING: there is no `{recorded}` any more, which the set was built from; {kept}")
    return found


def record(host: Any, profile: str) -> dict[str, Any]:
    """Return the record of the newest generation; empty where there is none."""
    import json

    try:
        found = json.loads(content_of(newest(host, profile) + ".json"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def own_config() -> str:
    """Name the config in the user's config folder, "" for a user without one."""
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    is_known = CONFIG_FOLDER and os.path.isabs(folder) and folder != "/.config"
    return os.path.join(folder, CONFIG_FOLDER, "plugins.yaml") if is_known else ""


def newest(host: Any, profile: str) -> str:
    """Return what the names of the newest generation's files begin with."""
    folder = f"{host.HOME}/profiles/{profile}/{host.BASE_KEY}/generations"
    try:
        names = [name[:-5] for name in os.listdir(folder) if name.endswith(".json")]
    except OSError:
        names = []
    return f"{folder}/{max((int(name) for name in names if name.isdigit()), default=0)}"


def may_build(host: Any, profile: str, config: str) -> bool:
    """Tell whether the home is ours to change; raise `FailedError` if it is not, and something is to be built.

    Raise `host.InactiveError` for a home that would not be trusted afterwards.
    """
    if host.exists(host.HOME):
        host.require_home()
    blocked = next((path for path in places(host) if not os.access(path, os.W_OK | os.X_OK)), "")
    if blocked and is_wanted(config, record(host, profile)):
        raise FailedError(f"nothing can be built: `{blocked}` cannot be written to by this user")
    return not blocked


def is_wanted(config: str, built: dict[str, Any]) -> bool:
    """Tell whether a config asks for another set than the one that was built; as far as its bytes can tell."""
    import hashlib
    import re

    content = content_of(config)
    inputs = built.get("inputs")
    known = inputs.get("config_sha256") if isinstance(inputs, dict) else ""
    is_off = re.search(rb"^auto:[ \t]*(false|no|off)\b", content, re.MULTILINE | re.IGNORECASE)
    return not is_off and hashlib.sha256(content).hexdigest() != known


def places(host: Any) -> Iterator[str]:
    """Name the folders that a build writes to: the home's, or where it is to be made."""
    folder = host.HOME
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    yield folder
    names = ("store", "overlays", f"overlays/{host.BASE_KEY}", "profiles", "sources", "flocks", "tmp")
    yield from (path for path in (f"{host.HOME}/{name}" for name in names) if os.path.exists(path))


def content_of(path: str) -> bytes:
    """Read a file; one that cannot be read is empty."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return b""


def command(host: Any, profile: str, config: str) -> list[str]:
    """Return the words of the build."""
    scope = ("--config", config, "--base", PYTHON, "--home", host.HOME, "--profile", profile)
    return [*host.COMMAND, "build", "--auto", *scope]


def variables() -> dict[str, str]:
    """Return the environment of the build: without what steers this Python or names another set.

    Waiting for another build has no end but that build's, and an engine that this one starts builds nothing.
    """
    ours = ("VPM_ENV_PIN", "VPM_ENV_PROFILE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON") and name not in ours}
    kept.setdefault("VPM_ENV_LOCK_TIMEOUT", "inf")
    return {**kept, "VPM_ENV_AUTO": "0"}


def run(host: Any, words: Sequence[str]) -> str:
    """Run the build to its end, and return the number of the generation that it is about, "" where it did nothing.

    Raise `FailedError` if it fails.
    """
    problem, told = __import__("_vpm_env.building").building.run(words, variables(), host.tell)
    if problem:
        raise FailedError(problem)
    return told if told.isdigit() and told.isascii() else ""


def fall_back(host: Any, policy: str, state: str, problem: str, environment: dict[str, str]) -> None:
    """Do what the policy says after a failure, and say it in one line."""
    if policy == "fail":
        host.tell(f"ERROR: {problem}; the engine is not started")
        os._exit(1)  # an exception would make this Python explain why it has no `site`
    environment.pop("built", None)
    kept = "" if policy == "bare" else current(host, environment)
    host.tell(f"ERROR: {problem}; starting {f'with {kept}' if kept else 'without plugins'}")
    if not kept:
        raise host.InactiveError(state, problem)
    host.unbuilt = problem


def current(host: Any, environment: dict[str, str]) -> str:
    """Name the set that this process gets without a build, "" for none."""
    try:
        host.require_home()
        host.choose(environment)
    except host.InactiveError:
        return ""
    named = "a part of the current set" if host.generation is None else f"generation {host.generation}"
    return f"{named} ({host.digest[:12]})" if host.exists(host.BASE_MARK) else ""


def renew(host: Any) -> None:
    """Take over what the build wrote into the hook: it does so where the engine was upgraded."""
    if not host.exists(host.BASE_MARK):
        import importlib

        importlib.reload(host)
