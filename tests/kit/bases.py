"""Bases: interpreters with site directories, of every kind that vpm-env must get on with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kit import _backend
from kit.machine import MACHINE, is_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

KINDS = ("venv", "uv", "system-site", "conda", "system")

_SITES = """
import json, os, site, sys, sysconfig
root = getattr(sys, "_base_executable", None) or sys.executable
print(json.dumps({
    "version": "%d.%d.%d" % sys.version_info[:3],
    "root": os.path.realpath(root),
    "prefix": sys.prefix,
    "base_prefix": sys.base_prefix,
    "stdlib": sysconfig.get_path("stdlib"),
    "purelib": sysconfig.get_path("purelib"),
    "scripts": sysconfig.get_path("scripts"),
    "site_dirs": site.getsitepackages(),
    "user_site": site.getusersitepackages() if site.ENABLE_USER_SITE else None,
}))
"""

_SECOND_SITE = """
import os, site, sys

_own = site.getsitepackages


folder = os.path.join(sys.base_prefix, "local", "lib", "python%d.%d" % sys.version_info[:2], "dist-packages")


def _both(prefixes=None):
    second = [folder] if sys.base_prefix in (prefixes or site.PREFIXES) else []
    return _own(prefixes) + second


site.getsitepackages = _both
site.addsitedir(folder)
"""


@dataclass(frozen=True)
class Base:
    """An interpreter to layer on; `env` are the variables that it needs, `user_site` is set where it is on."""

    prefix: Path
    python: Path
    kind: str
    version: str
    purelib: Path
    scripts: Path
    site_dirs: tuple[Path, ...]
    user_site: Path | None
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def python_version(self) -> str:
        """Return `3.11`."""
        return ".".join(self.version.split(".")[:2])

    def run(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        check: bool = True,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run the base's python on `arguments`; `env` is added to the variables of this process."""
        done = subprocess.run(
            [str(self.python), *map(str, arguments)],
            env={**os.environ, **self.env, **(env or {})},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def code(self, code: str, *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
        """Run `python -c CODE` and return what it printed, stripped."""
        return self.run("-c", code, env=env, cwd=cwd).stdout.strip()


def base(
    folder: Path,
    *,
    kind: str = "venv",
    python: str | Path = sys.executable,
    dists: Iterable[str] = (),
    home: Path | None = None,
    pip: bool = False,
) -> Base:
    """Make a base in `folder`.

    `kind` is one of `KINDS`: `venv`; `uv` (made by uv); `system-site` (a venv that sees its interpreter's own site
    directories and user site: that interpreter is a `system` one beside it); `conda` (a prefix of its own, user site
    on, below `home`, else $HOME); `system` (a prefix of its own with two site directories, Debian's own rules where
    `python` is Debian's). `dists` are metadata-only distributions, `name==version`. `pip` unpacks the pip that
    CPython bundles.
    """
    made = _MAKERS[kind](folder, Path(python), home)
    for dist in dists:
        name, _, version = dist.partition("==")
        dist_info(made, name, version or "1.0")
    if pip:
        install(made, bundled(made, "pip"))
    return made


def _venv(folder: Path, python: Path, _home: Path | None) -> Base:
    _call([python, "-I", "-m", "venv", "--without-pip", folder])
    return describe(folder / "bin" / "python", kind="venv")


def _uv(folder: Path, python: Path, _home: Path | None) -> Base:
    from uv import find_uv_bin

    cache = Path(os.environ.get("UV_CACHE_DIR") or folder.parent / ".uv-cache")
    _call([find_uv_bin(), "venv", "--quiet", "--no-config", "--offline", "--cache-dir", cache, "-p", python, folder])
    return describe(folder / "bin" / "python", kind="uv")


def _system_site(folder: Path, python: Path, home: Path | None) -> Base:
    system = _system(folder.with_name(f"{folder.name}-system"), python, home)
    _call([system.python, "-I", "-m", "venv", "--without-pip", "--system-site-packages", folder], **system.env)
    return describe(folder / "bin" / "python", kind="system-site", env=system.env)


def _conda(folder: Path, python: Path, home: Path | None) -> Base:
    relocate(folder, python)
    (folder / "conda-meta").mkdir()
    (folder / "conda-meta" / "history").write_text("")
    return _with_user_site(folder, "conda", home)


def _system(folder: Path, python: Path, home: Path | None) -> Base:
    own = relocate(folder, python)
    first = own.site_dirs[0]
    first.mkdir(parents=True, exist_ok=True)
    if "dist-packages" not in str(first):
        (first / "_second_site.py").write_text(_SECOND_SITE)
        (first / "_second_site.pth").write_text("import _second_site\n")
        (folder / "local" / "lib" / f"python{own.python_version}" / "dist-packages").mkdir(parents=True)
    for site_dir in own.site_dirs[:2]:
        site_dir.mkdir(parents=True, exist_ok=True)
    return _with_user_site(folder, "system", home)


def _with_user_site(folder: Path, kind: str, home: Path | None) -> Base:
    env = {"HOME": str(home)} if home else {}
    made = describe(folder / "bin" / "python", kind=kind, env=env)
    if made.user_site:
        made.user_site.mkdir(parents=True, exist_ok=True)
    return made


_MAKERS: dict[str, Callable[[Path, Path, Path | None], Base]] = {
    "venv": _venv,
    "uv": _uv,
    "system-site": _system_site,
    "conda": _conda,
    "system": _system,
}


def relocate(folder: Path, python: Path) -> Base:
    """Make an interpreter whose own prefix is `folder`: a copy of the binary, and links to its standard library."""
    facts = _sites(python, {})
    stdlib = Path(facts["stdlib"])
    version = ".".join(facts["version"].split(".")[:2])
    target = folder / "lib" / f"python{version}"
    (folder / "bin").mkdir(parents=True)
    (target / "site-packages").mkdir(parents=True)
    shutil.copy2(facts["root"], folder / "bin" / f"python{version}")
    for name in ("python", "python3"):
        (folder / "bin" / name).symlink_to(f"python{version}")
    for entry in stdlib.iterdir():
        # EXTERNALLY-MANAGED would make pip refuse; the sitecustomize of a distributor is not under test.
        if entry.name not in (
            "site-packages",
            "dist-packages",
            "EXTERNALLY-MANAGED",
            "sitecustomize.py",
            "__pycache__",
        ):
            (target / entry.name).symlink_to(entry)
    _link_libraries(Path(facts["root"]).parent.parent / "lib", folder / "lib")
    return describe(folder / "bin" / "python", kind="relocated")


def _link_libraries(source: Path, target: Path) -> None:
    for library in source.glob("libpython*"):
        (target / library.name).symlink_to(library)


def describe(python: Path, *, kind: str = "found", env: Mapping[str, str] | None = None) -> Base:
    """Ask an interpreter where its things are."""
    facts = _sites(python, env or {})
    return Base(
        prefix=Path(facts["prefix"]),
        python=python,
        kind=kind,
        version=facts["version"],
        purelib=Path(facts["purelib"]),
        scripts=Path(facts["scripts"]),
        site_dirs=tuple(map(Path, facts["site_dirs"])),
        user_site=Path(facts["user_site"]) if facts["user_site"] else None,
        env=dict(env or {}),
    )


def install(base: Base, *wheels: Path, into: Path | None = None) -> None:
    """Unpack wheels into the base's purelib (or `into`), scripts and data included, as an installer would; fast."""
    purelib = into or base.purelib
    purelib.mkdir(parents=True, exist_ok=True)
    for path in wheels:
        with zipfile.ZipFile(path) as archive:
            _unpack(archive, base, purelib)


def _unpack(archive: zipfile.ZipFile, base: Base, purelib: Path) -> None:
    lines = {}
    dist_info = next(name.split("/")[0] for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
    for member in archive.infolist():
        if member.is_dir():
            continue
        target = _target(member.filename, base, purelib)
        target.parent.mkdir(parents=True, exist_ok=True)
        content = archive.read(member)
        if "/scripts/" in member.filename and content.startswith(b"#!python"):
            content = f"#!{base.python}\n".encode() + content.partition(b"\n")[2]
        target.write_bytes(content)
        target.chmod((member.external_attr >> 16) & 0o777 or 0o644)
        name = os.path.relpath(target, purelib)
        lines[name] = f"{name},{_backend.record_hash(content)},{len(content)}\n"
    for script in _write_scripts(purelib / dist_info / "entry_points.txt", base):
        lines[str(script)] = f"{os.path.relpath(script, purelib)},,\n"
    (purelib / dist_info / "INSTALLER").write_text("kit\n")
    lines[f"{dist_info}/INSTALLER"] = f"{dist_info}/INSTALLER,,\n"
    lines[f"{dist_info}/RECORD"] = f"{dist_info}/RECORD,,\n"
    (purelib / dist_info / "RECORD").write_text("".join(lines.values()))


def _target(name: str, base: Base, purelib: Path) -> Path:
    first, _, rest = name.partition("/")
    if not first.endswith(".data"):
        return purelib / name
    scheme, _, inner = rest.partition("/")
    roots = {"scripts": base.scripts, "data": base.prefix, "headers": base.prefix / "include"}
    return roots.get(scheme, purelib) / inner


def _write_scripts(entry_points: Path, base: Base) -> list[Path]:
    if not entry_points.exists():
        return []
    section, made = "", []
    for line in entry_points.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[] ")
        elif section == "console_scripts" and "=" in line:
            name, _, value = (part.strip() for part in line.partition("="))
            module, _, function = value.partition(":")
            made.append(base.scripts / name)
            made[-1].parent.mkdir(parents=True, exist_ok=True)
            made[-1].write_text(
                f"#!{base.python}\nimport sys\nfrom {module} import {function}\n"
                f"if __name__ == '__main__':\n    sys.exit({function}())\n"
            )
            made[-1].chmod(0o755)
    return made


def dist_info(
    base: Base,
    name: str,
    version: str,
    requires: Sequence[str] = (),
    *,
    extras: Mapping[str, Sequence[str]] | None = None,
    entry_points: Mapping[str, Mapping[str, str]] | None = None,
    metadata: str | None = None,
    into: Path | None = None,
) -> Path:
    """Write a distribution that is nothing but its metadata; return its dist-info. `metadata` replaces METADATA."""
    purelib = into or base.purelib
    folder = purelib / f"{_backend.file_name(name)}-{version}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    if metadata is None:
        metadata = _backend.metadata_text(name, version, requires, extras)
    files = {"METADATA": metadata, "INSTALLER": "kit\n", "WHEEL": _backend.wheel_text()}
    if entry_points:
        files["entry_points.txt"] = _backend.entry_points_text(entry_points)
    for inner, text in files.items():
        (folder / inner).write_text(text)
    lines = [f"{folder.name}/{inner},,\n" for inner in [*files, "RECORD"]]
    (folder / "RECORD").write_text("".join(lines))
    return folder


_FAKE_VLLM = {
    "vllm/__init__.py": """\
from vllm.version import __version__
""",
    "vllm/plugins/__init__.py": '''\
"""Load the plugins that distributions announce; a stand-in with the groups and the allow-list of the real engine."""

import importlib.metadata
import os

DEFAULT_PLUGINS_GROUP = "vllm.general_plugins"
loaded = []


def load_plugins_by_group(group):
    listed = os.environ.get("VLLM_PLUGINS")
    allowed = None if listed is None else listed.split(",")
    points = {point.name: point for point in importlib.metadata.entry_points(group=group)}
    return {name: point.load() for name, point in points.items() if allowed is None or name in allowed}


def load_general_plugins():
    for name, function in load_plugins_by_group(DEFAULT_PLUGINS_GROUP).items():
        function()
        loaded.append(name)
''',
    "vllm/cli.py": '''\
"""`vllm serve`: load the plugins and say what there is, as one JSON object."""

import json
import os
import sys


def main():
    import vllm
    from vllm import plugins

    plugins.load_general_plugins()
    told = {"argv": sys.argv[1:], "executable": sys.executable, "loaded": plugins.loaded, "version": vllm.__version__}
    told["pin"] = os.environ.get("VPM_ENV_PIN")
    print(json.dumps(told))
''',
}


def fake_vllm(
    base: Base, version: str = "0.33.0", *, name: str = "vllm", requires: Sequence[str] = (), into: Path | None = None
) -> None:
    """Install a tiny `vllm` (as the distribution `name`) with its plugin loader and its `bin/vllm`."""
    from kit.artifacts import wheel

    folder = base.prefix.parent / f".wheel-{name}-{version}"
    files = {**_FAKE_VLLM, "vllm/version.py": f"__version__ = {version!r}\n"}
    scripts = {"console_scripts": {"vllm": "vllm.cli:main"}}
    install(base, wheel(folder, name, version, files=files, requires=requires, entry_points=scripts), into=into)
    shutil.rmtree(folder)


def bundled(base: Base, name: str) -> Path:
    """Return the wheel of pip or setuptools that CPython (or Debian) bundles; skip the test where there is none."""
    import pytest

    stdlib = Path(_sites(base.python, base.env)["stdlib"])
    for folder in (stdlib / "ensurepip" / "_bundled", Path("/usr/share/python-wheels")):
        for path in sorted(folder.glob(f"{name}-*.whl")):
            return path
    return pytest.skip(f"this Python bundles no {name}")


def _sites(python: Path, env: Mapping[str, str]) -> dict[str, str]:
    done = _call([python, "-c", _SITES], **env)
    return dict(json.loads(done.stdout))


def _call(command: Sequence[str | Path], **env: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in {**MACHINE, **os.environ}.items() if not is_ours(name)}
    done = subprocess.run(
        list(map(str, command)),
        env={**variables, "VPM_ENV_DISABLE": "1", **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done
