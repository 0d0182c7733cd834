"""A base with a tiny engine, an index, a home and vpm-env, all set up: for tests that look at one build many times."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import kit
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

GROUP = "vllm.general_plugins"


@dataclass(frozen=True)
class Stand:
    """Everything that one story needs; `env` is the clean environment of whatever runs in the base."""

    folder: Path
    base: kit.Base
    index: kit.Index
    vpm_env: kit.VpmEnv

    def __call__(self, *arguments: str | Path, **options: Any) -> kit.Finished:
        """Run vpm-env, which must succeed unless `check` says otherwise."""
        return self.vpm_env(*arguments, **{"check": True, **options})

    @property
    def env(self) -> dict[str, str]:
        own = ("VPM_ENV_HOME", "VPM_ENV_BASE")
        return {name: value for name, value in self.vpm_env.env.items() if name not in own} | dict(self.base.env)

    @property
    def overlay(self) -> Path:
        """Return the current overlay."""
        return type(self.folder)(self("path").stdout.strip())

    @property
    def profile(self) -> Path:
        """Return the directory that has `current` in it."""
        (found,) = self.vpm_env.home.glob("profiles/default/*")
        return found

    def publish(self, name: str, version: str = "1.0", **options: Any) -> Path:
        """Publish a wheel."""
        return kit.wheel(self.index.folder, name, version, **options)

    def config(self, *names: str, extra: str = "") -> None:
        """Write a config with these plugins of the index."""
        entries = "".join(f"  - {{name: {name}, source: pypi, package: {name}{extra}}}\n" for name in names)
        self.vpm_env.config(f"index: {self.index.url}\nplugins:\n{entries}")

    def build(self, *names: str, extra: str = "") -> kit.Finished:
        """Build a set of these plugins, and switch to it."""
        self.config(*names, extra=extra)
        return self("build")

    def run(
        self, *command: str | Path, env: Mapping[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a user of the base would."""
        done = subprocess.run(
            list(map(str, command)),
            env={**self.env, **(env or {})},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or done.returncode == 0, (
            f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def ask(self, python: Path, code: str, *arguments: str) -> Any:
        """Run code in an interpreter and return the JSON that it printed."""
        return json.loads(self.run(python, "-c", code, *arguments).stdout)


@contextmanager
def stand(
    folder: Path,
    uv_cache: Path,
    *,
    base: kit.Base | None = None,
    registry: Path | None = None,
    network: bool = False,
    **options: Any,
) -> Iterator[Stand]:
    """Set everything up in `folder`; `options` are those of `kit.base`, if the base is not given."""
    registry = registry or folder / "registry"
    for name in ("home", "work"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    base = base or kit.base(folder / "base", home=folder / "home", **options)
    kit.fake_vllm(base)
    env = kit.clean_environment(folder / "home", network=network)
    env |= {"UV_CACHE_DIR": str(uv_cache), "VPM_ENV_HOME": str(registry)}
    vpm_env = kit.VpmEnv(home=registry, folder=folder / "work", env=env).use(base)
    with kit.index(folder / "index") as index:
        yield Stand(folder=folder, base=base, index=index, vpm_env=vpm_env)


def small(folder: Path, **options: Any) -> kit.VpmEnv:
    """Give vpm-env a base with a tiny engine, a home, a folder to work in and lines of 80 columns.

    `options` are those of `kit.base`; wheels are found where a config says so.
    """
    base = kit.base(folder / "base", **options)
    kit.fake_vllm(base, "0.33.0")
    env = kit.clean_environment(folder)
    env |= {"VPM_ENV_HOME": str(folder / "home"), "UV_CACHE_DIR": str(folder / "uv"), "COLUMNS": "80"}
    (folder / "work").mkdir()
    return kit.VpmEnv(home=folder / "home", folder=folder / "work", env=env).use(base)


def gcc() -> str:
    """Return the C compiler; skip the test where there is none."""
    return shutil.which("gcc") or shutil.which("cc") or pytest.skip("no C compiler")


def can_compile() -> bool:
    """Tell whether there is a C compiler."""
    return bool(shutil.which("gcc") or shutil.which("cc"))


def library(folder: Path, name: str, code: str, *flags: str) -> bytes:
    """Compile C into a shared library and return its content."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.c").write_text(code)
    made = folder / name
    subprocess.run(
        [gcc(), "-shared", "-fPIC", "-o", str(made), str(folder / f"{name}.c"), *flags],
        check=True,
        capture_output=True,
        env={"PATH": os.environ["PATH"]},
    )
    return made.read_bytes()


@dataclass(frozen=True)
class Platform:
    """What an interpreter calls its extension modules and wheels, and where its headers are."""

    suffix: str
    tag: str
    include: str

    @classmethod
    def of(cls, base: kit.Base) -> Platform:
        code = "import sysconfig as s; print(s.get_config_var('EXT_SUFFIX'), s.get_config_var('INCLUDEPY'))"
        suffix, include = base.run("-I", "-c", code).stdout.split()
        abi = f"cp{base.python_version.replace('.', '')}"
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        return cls(suffix=suffix, tag=f"{abi}-{abi}-{platform}", include=include)


EXTENSION = """
#include <Python.h>
%(declarations)s
static PyObject *value(PyObject *self, PyObject *args) { return PyLong_FromLong(%(expression)s); }
static PyMethodDef methods[] = {{"value", value, METH_NOARGS, ""}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "%(name)s", NULL, -1, methods};
PyMODINIT_FUNC PyInit_%(name)s(void) { return PyModule_Create(&module); }
"""


def extension(
    folder: Path, base: kit.Base, name: str, expression: str, *flags: str, declarations: str = ""
) -> tuple[str, bytes]:
    """Compile an extension module whose `value()` is a C expression; return its file's name and content."""
    platform = Platform.of(base)
    code = EXTENSION % {"name": name, "expression": expression, "declarations": declarations}
    return name + platform.suffix, library(folder, name, code, f"-I{platform.include}", *flags)
