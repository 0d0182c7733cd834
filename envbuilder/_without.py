# vpm-env: finds the set that VPM_ENV_WITHOUT leaves; remove it with `vpm-env hook uninstall`
"""Find the current set without the plugins that VPM_ENV_WITHOUT names, or have it made before an engine imports any.

Copied into a base's site-packages as `_vpm_env/without.py`, with the constants below filled in; `_vpm_env.activate`,
which every function here gets as its `host`, calls `find` where the variable is set and no pin is. What was made once
is noted in the home; else vpm-env makes it, of what lies in the store. Standard library only.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # it would take `typing` to import that
if TYPE_CHECKING:
    from typing import Any

# filled in from here
PYTHON = ""
# filled in to here

LONGEST = 300.0
"""Seconds that it may take: as long as a lock is waited for."""


class FailedError(Exception):
    """Why nothing could be left out: a sentence."""


def find(host: Any, asked: str) -> tuple[str, str]:
    """Return the digest of the set that is left, and ""; where there is none to be had, the whole one's and why."""
    names = spelled(asked)
    if not names:
        return host.digest, ""
    try:
        return noted(host, names) or made(host), ""
    except FailedError as failed:
        if host.is_entry(*host.program_of(sys.orig_argv)):
            host.tell(f"ERROR: VPM_ENV_WITHOUT={asked}: {failed}; starting with the whole generation {host.generation}")
        return host.digest, str(failed)


def spelled(asked: str) -> str:
    """Spell the names as they are noted: normalized (PEP 503) and sorted, with commas between them."""
    words = asked.lower().replace("_", "-").replace(".", "-").replace(",", " ").split()
    return ",".join(sorted({"-".join(filter(None, word.split("-"))) for word in words}))


def noted(host: Any, names: str) -> str:
    """Return the digest that was noted for these names, if that set is still there; else ""."""
    folder = f"{host.HOME}/cache/without/{host.BASE_KEY}/{host.digest}"
    try:
        digest = os.readlink(f"{folder}/{names}")
        for path in (f"{host.HOME}/cache", f"{host.HOME}/cache/without", os.path.dirname(folder), folder):
            host.require_trusted(path)
    except (OSError, host.InactiveError):
        return ""
    return digest if is_there(host, digest) else ""


def is_there(host: Any, digest: str) -> bool:
    return bool(host.is_hex(digest, 64) and host.exists(f"{host.HOME}/overlays/{host.BASE_KEY}/{digest}/overlay.json"))


def made(host: Any) -> str:
    """Let vpm-env make the set, and return its digest; what it warns of is passed on."""
    import subprocess

    try:
        done = subprocess.run(
            command(host),
            cwd="/",
            env=variables(),
            umask=umask() | 0o022,  # the hook trusts no folder that others may write to
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LONGEST,
            start_new_session=True,
            check=False,
        )
    except OSError as error:
        raise FailedError(f"`{host.COMMAND[0]}` cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise FailedError(f"`vpm-env path` did not end within {LONGEST:.0f} s") from None
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    if done.returncode:
        errors = [line[7:] for line in lines if line.startswith("error: ")]
        raise FailedError(errors[0] if errors else f"`vpm-env path` ended with {done.returncode}")
    for line in lines:
        host.tell(line)
    digest = os.path.basename(os.fsdecode(done.stdout).rstrip("\n"))
    if not is_there(host, digest):
        raise FailedError(f"`vpm-env path` says `{digest}`, which is no set here")
    return digest


def command(host: Any) -> list[str]:
    """Return the words that make it, of the very generation that is current: another may be by then.

    The config is the one that it was built from: whatever happened to that since, this one can be read.
    """
    number = str(host.generation)
    kept = f"{host.HOME}/profiles/{host.profile}/{host.BASE_KEY}/generations/{number}.plugins.yaml"
    scope = ("--config", kept, "--base", PYTHON, "--home", host.HOME, "--profile", host.profile)
    return [*host.COMMAND, "path", number, "--quiet", *scope]


def variables() -> dict[str, str]:
    """Return the environment of vpm-env: without what steers this Python."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def umask() -> int:
    """Return this process's own, which can only be read by setting it."""
    now = os.umask(0o077)
    os.umask(now)
    return now
