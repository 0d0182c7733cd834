"""The wheel of vpm-env itself: what is in it, and that it works where it is installed."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import kit
import pytest

from envbuilder.paths import template

TEMPLATES = sorted(
    str(path.relative_to(kit.ROOT / "templates")) for path in (kit.ROOT / "templates").rglob("*") if path.is_file()
)
BUILD = "import sys; from hatchling.build import build_{kind} as build; print(build(sys.argv[1]))"

pytestmark = pytest.mark.skipif(find_spec("hatchling") is None, reason="hatchling is not installed")


def built(kind: str, folder: Path) -> Path:
    """Build the checkout's wheel or sdist, as an installer would: by calling the backend."""
    command = [sys.executable, "-c", BUILD.format(kind=kind), str(folder)]
    done = subprocess.run(command, cwd=kit.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", tmp_path_factory.mktemp("dist"))


@pytest.fixture
def installed(wheel: Path, base: kit.Base) -> kit.Base:
    """Install the wheel into a venv that shares nothing with the checkout, without its dependencies."""
    kit.install(base, wheel)
    return base


def test_the_wheel_holds_the_package_and_the_templates(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    templates = set(TEMPLATES)
    modules = {path.name for path in (kit.ROOT / "envbuilder").glob("*.py")}

    assert "Dockerfile" in templates
    assert {f"envbuilder/_templates/{name}" for name in templates} <= names
    assert {f"envbuilder/{name}" for name in modules} | {"envbuilder/py.typed"} <= names


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}

    assert {top for top in tops if not top.endswith(".dist-info")} == {"envbuilder"}


def test_the_metadata_say_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
        (points,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/entry_points.txt"))
        licences = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    scripts = configparser.ConfigParser()
    scripts.read_string(points)

    assert wheel.name.startswith("vpm_env-")
    assert "\nName: vpm-env\n" in metadata
    assert "\nRequires-Python: >=3.10\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nProvides-Extra: dev\n" in metadata
    assert len(licences) == 1
    assert dict(scripts["console_scripts"]) == {"vpm-env": "envbuilder.__main__:main"}


def test_an_installed_wheel_finds_its_templates(installed: kit.Base, tmp_path: Path) -> None:
    code = "import envbuilder.paths as p, json; print(json.dumps([p.__file__, {n: p.template(n) for n in NAMES}]))"
    code = code.replace("NAMES", repr(TEMPLATES))
    module, texts = json.loads(installed.code(code, cwd=tmp_path))

    assert Path(module).is_relative_to(installed.purelib)
    assert texts == {name: (kit.ROOT / "templates" / name).read_text(encoding="utf-8") for name in TEMPLATES}


def test_a_checkout_finds_its_templates() -> None:
    assert template("Dockerfile") == (kit.ROOT / "templates" / "Dockerfile").read_text(encoding="utf-8")


def test_the_installed_loader_for_hosts_needs_nothing_else(installed: kit.Base, tmp_path: Path) -> None:
    points = {"demo.plugins": {"demo": "demo_plugin:go"}}
    files = {"demo_plugin.py": "def go():\n    return 'gone'\n"}
    kit.install(installed, kit.wheel(tmp_path, "demo-plugin", files=files, entry_points=points))

    code = "from envbuilder.plugins import load_plugins; print(load_plugins('demo.plugins'))"
    assert installed.code(code, cwd=tmp_path) == "{'demo': 'gone'}"


def test_the_sdist_can_be_tested(tmp_path: Path) -> None:
    path = built("sdist", tmp_path)
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "templates/Dockerfile"} <= names
    assert {"tests/conftest.py", "tests/kit/__init__.py", "examples/story.sh", "envbuilder/__init__.py"} <= names
    assert not [name for name in names if name.startswith((".venv", ".story", ".git/"))]
