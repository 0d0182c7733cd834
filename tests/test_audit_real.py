"""What the audit says of compiled code, beside what the dynamic loader does with it; and real plugins of the index."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

import kit
import pytest
import stands
from audited import Ground, venv

from envbuilder.audit import audit
from envbuilder.package import Package
from envbuilder.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stands import Stand

LINKED = "int linked(void) { return 40; }"
GONE = '__asm__("_ZN3c104goneEv")'
"""A name that only torch has: `c10::gone()`."""


@pytest.fixture
def stand(tmp_path: Path, uv_cache: Path) -> Iterator[Stand]:
    stands.gcc()
    with stands.stand(tmp_path, uv_cache) as made:
        made("hook", "install")
        yield made


def publish(stand: Stand, name: str, *flags: str, code: str = "int linked(void);", call: str = "linked()") -> None:
    """Publish a wheel with an extension that calls a function of a library."""
    file, module = stands.extension(stand.folder / "c", stand.base, f"_{name}", call, *flags, declarations=code)
    files = {f"{name}/__init__.py": f"from {name}._{name} import value\n", f"{name}/{file}": module}
    stand.publish(name, files=files, tag=stands.Platform.of(stand.base).tag)


def fitting(stand: Stand, library: str) -> list[str]:
    """Compile a library, and return the flags that link an extension with it."""
    folder = stand.folder / "c"
    stands.library(folder, f"lib{library}.so", LINKED, f"-Wl,-soname,lib{library}.so")
    return [f"-L{folder}", f"-l{library}"]


def found(stand: Stand) -> list[str]:
    return [f"{finding['code']} {finding['severity']}" for finding in stand("audit", "--json").json["findings"]]


def loads(stand: Stand, name: str) -> list[bool]:
    """Tell whether an extension can be imported by the overlay's own python, and by the hooked base's."""
    pythons = (stand.overlay / "bin" / "python", stand.base.python)
    return [stand.run(python, "-c", f"import {name}", check=False).returncode == 0 for python in pythons]


@pytest.mark.long
def test_a_runpath_below_the_prefix_finds_the_data_files_of_another_wheel(stand: Stand) -> None:
    flags = fitting(stand, "mkl")
    publish(stand, "near", *flags, "-Wl,-rpath,$ORIGIN/../../..")
    stand.publish("mkl", data={"lib/libmkl.so": (stand.folder / "c" / "libmkl.so").read_bytes()})
    stand.build("near", "mkl")
    assert (found(stand), loads(stand, "near")) == ([], [True, True])

    alone = stand.build("near")
    assert "warning: runpath-nowhere: `near/_near" in alone.stderr
    assert "looks for it in `lib`, where it is not" in alone.stderr
    assert (found(stand), loads(stand, "near")) == (["runpath-nowhere warning"], [False, False])


@pytest.mark.long
def test_a_library_that_nothing_has_and_one_that_the_base_has_loaded(stand: Stand) -> None:
    publish(stand, "lost", *fitting(stand, "lost"))
    stand.build("lost")
    assert (found(stand), loads(stand, "lost")) == (["library-missing warning"], [False, False])

    torch = {
        "torch/__init__.py": "import ctypes, os\n"
        "path = os.path.join(os.path.dirname(__file__), 'lib', 'libtorch_cpu.so')\n"
        "ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)\n",
    }
    flags = fitting(stand, "torch_cpu")
    torch["torch/lib/libtorch_cpu.so"] = (stand.folder / "c" / "libtorch_cpu.so").read_bytes()  # type: ignore[assignment]
    kit.install(stand.base, kit.wheel(stand.folder / "own", "torch", "2.14.0", files=torch))
    publish(stand, "ready", *flags)
    stand.build("ready")
    overlay = stand.overlay / "bin" / "python"
    assert found(stand) == []
    assert stand.run(overlay, "-c", "import torch, ready; assert ready.value() == 40").returncode == 0


@pytest.mark.long
def test_an_extension_for_another_torch_is_refused_and_cannot_be_loaded(stand: Stand) -> None:
    folder = stand.folder / "c"
    old = f"int gone(void) {GONE}; int gone(void) {{ return 1; }}"
    stands.library(folder, "libc10.so", old, "-Wl,-soname,libc10.so")
    publish(stand, "older", f"-L{folder}", "-lc10", code=f"int gone(void) {GONE};", call="gone()")
    new = stands.library(folder / "new", "libc10.so", LINKED, "-Wl,-soname,libc10.so")
    files = {"torch/__init__.py": "", "torch/lib/libc10.so": new}
    kit.install(stand.base, kit.wheel(stand.folder / "own", "torch", "2.14.0", files=files))

    stand.config("older")
    refused = stand("build", check=False)
    assert refused.exit == 1
    assert "error: compiled-torch: `older/_older" in refused.stderr
    assert "needs `_ZN3c104goneEv`, which torch 2.14.0 does not have: it was compiled against another" in refused.stderr
    stand.config("older", extra=", accept: [compiled-torch]")
    stand("build")
    preloaded = {"LD_PRELOAD": str(stand.base.purelib / "torch" / "lib" / "libc10.so")}
    done = stand.run(stand.overlay / "bin" / "python", "-c", "import older", env=preloaded, check=False)
    assert "undefined symbol: _ZN3c104goneEv" in done.stderr


@pytest.mark.network
def test_a_real_plugin_has_a_processor_for_runner_v1(tmp_path: Path) -> None:
    from test_audit_plugins import LOADER

    ground = Ground(tmp_path, venv(tmp_path))
    ground.wheel("vllm", "0.33.0", files=LOADER)
    ground.wheel("triton", "3.5.0")
    lib = tmp_path / "lib"
    wanted = ["--no-deps", "--target", str(lib), "vllm-plugin-meralion2==0.3.0"]
    env = {**os.environ, "UV_CACHE_DIR": str(tmp_path / "uv")}
    subprocess.run([sys.executable, "-m", "uv", "pip", "install", "-q", *wanted], check=True, env=env)
    (dist_info,) = lib.glob("*.dist-info")
    points: dict[str, dict[str, str]] = {}
    for point in metadata.Distribution.at(dist_info).entry_points:
        points.setdefault(point.group, {})[point.name] = point.value
    package = Package.of((), name="meralion2", version="0.3.0", dist_info=dist_info.name, entry_points=points)
    package = package._replace(top_level=frozenset(path.name for path in lib.iterdir()))

    findings = audit([Subject(package=package, lib=str(lib))], ground.base())
    (finding,) = [finding for finding in findings if finding.code == "logits-processor"]
    assert finding.severity == "error"
    assert "`NoRepeatNGramLogitsProcessor` of `meralion2 0.3.0` is none for vLLM's model runner V2" in finding.what
