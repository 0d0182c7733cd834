"""What the machine has that tests use: interpreters, and the settings that hermetic tests must not see."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

MACHINE = dict(os.environ)
"""The environment that pytest was started with."""

VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
OURS = ("VPM_ENV_", "VLLM_", "FD_", "SGLANG_", "UV_", "PIP_", "PYTHON", "GIT_")
OURS_EXACT = frozenset({"VIRTUAL_ENV", "CONDA_PREFIX", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "NETRC"})
NETWORK = ("UV_", "PIP_")
NO_NETWORK = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1,localhost", "UV_HTTP_RETRIES": "0"}
"""Make a test without the `network` marker that asks the real index fail at once."""


def is_ours(name: str) -> bool:
    """Tell whether a variable steers vpm-env, an engine, or a tool that vpm-env calls."""
    return name.startswith(OURS) or name in OURS_EXACT


def network_settings() -> dict[str, str]:
    """Return the machine's settings for pip, uv and certificates; user files are named, because HOME is another."""
    found = {
        name: value
        for name, value in MACHINE.items()
        if name.startswith(NETWORK) or "CERT" in name or name.lower().endswith("_proxy") or "CA_" in name
    }
    home = Path(MACHINE.get("HOME", "/nonexistent"))
    config = Path(MACHINE.get("XDG_CONFIG_HOME", home / ".config"))
    for variable, paths in {
        "PIP_CONFIG_FILE": (config / "pip" / "pip.conf", home / ".pip" / "pip.conf"),
        "UV_CONFIG_FILE": (config / "uv" / "uv.toml",),
    }.items():
        for path in paths:
            if path.is_file():
                found.setdefault(variable, str(path))
    return found


def clean_environment(home: Path, *, network: bool = False) -> dict[str, str]:
    """Return the environment of a child: HOME is `home`, and nothing of the machine steers pip, uv, git or vpm-env."""
    search = [folder for folder in MACHINE.get("PATH", os.defpath).split(os.pathsep) if "pyenv" not in folder]
    kept = {
        "HOME": str(home),
        "PATH": os.pathsep.join(search),
        "LANG": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }
    if "TMPDIR" in MACHINE:
        kept["TMPDIR"] = MACHINE["TMPDIR"]
    return {**kept, **(network_settings() if network else NO_NETWORK)}


def _candidates(version: str) -> Iterator[str]:
    if "{}.{}".format(*sys.version_info) == version:
        yield sys.executable
    home = Path(MACHINE.get("HOME", "/nonexistent"))
    pyenv = Path(MACHINE.get("PYENV_ROOT", home / ".pyenv"))
    for folder in sorted(pyenv.glob(f"versions/{version}.*")):
        yield str(folder / "bin" / "python")
    for directory in MACHINE.get("PATH", os.defpath).split(os.pathsep):
        if found := shutil.which(f"python{version}", path=directory):
            yield found


def _answers(python: str, version: str) -> bool:
    code = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.split() == ["cpython", version]


@functools.cache
def pythons() -> Mapping[str, Path]:
    """Find the CPythons of this machine by asking them: `3.11` → interpreter, for every supported one that is here."""
    found = {}
    for version in VERSIONS:
        python = next((path for path in _candidates(version) if _answers(path, version)), None)
        if python is not None:
            found[version] = Path(python)
    return found


@functools.cache
def debian_python() -> Path | None:
    """Return the system's interpreter if it is one with Debian's two `dist-packages` directories."""
    code = "import site, sys; print(sys.version_info >= (3, 10) and 'dist-packages' in site.getsitepackages()[0])"
    path = "/usr/bin/python3"
    if not os.access(path, os.X_OK):
        return None
    done = subprocess.run([path, "-I", "-c", code], capture_output=True, text=True, timeout=30, check=False)
    return Path(path) if done.stdout.strip() == "True" else None


def allocated(folder: Path) -> int:
    """Return the bytes that a tree occupies, in whole KiB: as `du` counts them, each file once."""
    done = subprocess.run(["du", "-sk", str(folder)], capture_output=True, text=True, check=True)
    return 1024 * int(done.stdout.split()[0])


def tree_hash(folder: Path, *, ignore: Collection[str] = ()) -> str:
    """Hash a tree: paths, kinds, modes, contents and link targets; without `__pycache__` and the hook's files.

    `ignore` are names left out too, such as the `.lock` that uv leaves in an environment it installs into.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in _entries(folder) if path.name not in ignore):
        status = path.lstat()
        digest.update(f"{path.relative_to(folder)}\0{status.st_mode:o}\0".encode())
        if stat.S_ISLNK(status.st_mode):
            digest.update(os.readlink(path).encode())
        elif stat.S_ISREG(status.st_mode):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _entries(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _is_hooks(name) and name != "__pycache__"]
        for name in folders + [name for name in names if not _is_hooks(name)]:
            yield Path(parent, name)


def _is_hooks(name: str) -> bool:
    return name.startswith(("_vpm_env_", "vpm_env_hook-")) or name in ("_vpm_env", "envbuilder")
