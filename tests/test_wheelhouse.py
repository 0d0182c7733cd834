"""A wheelhouse: what is installed becomes wheels again, and these install where no index is."""

from __future__ import annotations

import base64
import csv
import hashlib
import stat
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import kit
import pytest
from uv import find_uv_bin

from envbuilder import __version__, wheel, wheelhouse
from envbuilder.errors import PackageError, SeveralErrors
from envbuilder.lock import LockedPackage
from envbuilder.paths import Environment, Layout, environment, template
from envbuilder.uv import Uv, configure

BINARY = b"\x7fELF\x00 no shell reads this\n"
NO_NETWORK = {"UV_OFFLINE": "1", "PIP_NO_INDEX": "1", "HTTPS_PROXY": "http://127.0.0.1:9"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "wheelhouse"
    made.mkdir()
    return made


@pytest.fixture
def there(tmp_path: Path) -> kit.Base:
    """Make the machine that has nothing and reaches nothing."""
    return kit.base(tmp_path / "there")


@pytest.fixture
def demo(base: kit.Base, tmp_path: Path) -> kit.Base:
    """Install a package with all that a wheel may hold, and what it requires."""
    demo = kit.wheel(
        tmp_path / "published",
        "demo",
        "1.2",
        files={"demo/__init__.py": "def go():\n    print('gone')\n"},
        requires=("needed>=1", "absent; python_version<'3'"),
        extras={"more": ["further"]},
        entry_points={"console_scripts": {"demo": "demo:go"}},
        scripts={"demo-tool": BINARY, "demo-script": "#!python -u\nimport sys\nprint('on', sys.executable)\n"},
        data={"share/demo/data.txt": "data\n"},
    )
    needed = kit.wheel(tmp_path / "published", "needed", "1.0")
    further = kit.wheel(tmp_path / "published", "further", "3.0", tag="cp311.cp312-abi3-manylinux1_x86_64")
    kit.install(base, demo, needed, further, kit.wheel(tmp_path / "published", "stranger"))
    (base.purelib / "demo" / "__pycache__").mkdir()
    (base.purelib / "demo" / "__pycache__" / "__init__.cpython-311.pyc").write_bytes(b"old")
    return base


def filled(folder: Path, base: kit.Base, wanted: str = "demo") -> tuple[str, ...]:
    return wheelhouse.fill(str(folder), wanted, [str(base.purelib)])


def receive(base: kit.Base, folder: Path, *wanted: str) -> None:
    """Install from the folder, and from nowhere else."""
    command = [find_uv_bin(), "pip", "install", "--no-config", "--offline", "--no-cache", "--no-index", "--find-links"]
    done = subprocess.run(
        [*command, folder, "--python", base.python, *wanted], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def refused(folder: Path, base: kit.Base, wanted: str = "demo") -> PackageError:
    with pytest.raises(PackageError) as caught:
        filled(folder, base, wanted)
    assert caught.value.hint
    assert list(folder.iterdir()) == []
    return caught.value


def test_what_is_installed_here_is_installed_there(demo: kit.Base, there: kit.Base, folder: Path) -> None:
    assert filled(folder, demo) == ("demo-1.2-py3-none-any.whl", "needed-1.0-py3-none-any.whl")
    receive(there, folder, "demo")

    assert subprocess.run([there.scripts / "demo"], capture_output=True, text=True, check=True).stdout == "gone\n"
    script = subprocess.run([there.scripts / "demo-script"], capture_output=True, text=True, check=True)
    assert script.stdout == f"on {there.python}\n"
    assert (there.scripts / "demo-tool").read_bytes() == BINARY
    assert (there.scripts / "demo-tool").stat().st_mode & stat.S_IXUSR
    assert (there.prefix / "share" / "demo" / "data.txt").read_text() == "data\n"


def test_a_wheel_has_what_the_first_one_had(demo: kit.Base, tmp_path: Path, folder: Path) -> None:
    filled(folder, demo)
    name = "demo-1.2-py3-none-any.whl"
    before, after = members(tmp_path / "published" / name), members(folder / name)
    record = "demo-1.2.dist-info/RECORD"

    inside = [name for name in after if ".dist-info/" in name]
    outside = [name for name in after if name not in inside]
    assert set(after) == set(before)
    assert list(after) == [*sorted(outside), *sorted(set(inside) - {record}), record]
    assert after.pop("demo-1.2.data/scripts/demo-script").startswith(b"#!python\n")
    assert all(after[each] == before[each] for each in after.keys() - {record})


def test_a_script_behind_a_long_path_names_no_interpreter(demo: kit.Base, tmp_path: Path, folder: Path) -> None:
    far = kit.base(tmp_path / ("long" * 30))
    receive(far, tmp_path / "published", "demo")
    assert (far.scripts / "demo-script").read_text().startswith("#!/bin/sh\n'''exec' ")

    filled(folder, far)
    script = members(folder / "demo-1.2-py3-none-any.whl")["demo-1.2.data/scripts/demo-script"]
    assert script == b"#!python\nimport sys\nprint('on', sys.executable)\n"


def test_a_record_is_what_the_wheel_holds(demo: kit.Base, folder: Path) -> None:
    filled(folder, demo)
    found = members(folder / "demo-1.2-py3-none-any.whl")
    rows = list(csv.reader(found["demo-1.2.dist-info/RECORD"].decode().splitlines()))

    assert [row[0] for row in rows] == list(found)
    assert rows[-1] == ["demo-1.2.dist-info/RECORD", "", ""]
    for path, said, size in rows[:-1]:
        digest = base64.urlsafe_b64encode(hashlib.sha256(found[path]).digest()).rstrip(b"=").decode()
        assert (said, size) == (f"sha256={digest}", str(len(found[path])))


def test_the_same_is_the_same_bytes_whenever_it_was_installed(
    demo: kit.Base, there: kit.Base, tmp_path: Path, folder: Path
) -> None:
    again = tmp_path / "again"
    again.mkdir()
    filled(folder, demo)
    receive(there, folder, "demo")
    filled(again, there)

    assert [path.name for path in sorted(again.iterdir())] == [path.name for path in sorted(folder.iterdir())]
    assert all((again / path.name).read_bytes() == path.read_bytes() for path in folder.iterdir())


def test_an_extra_brings_what_it_requires_with_all_its_tags(demo: kit.Base, folder: Path) -> None:
    found = filled(folder, demo, "demo[more]")

    assert "further-3.0-cp311.cp312-abi3-manylinux1_x86_64.whl" in found
    assert not any(name.startswith("stranger") for name in found)


@pytest.mark.parametrize("path", ["demo/__init__.py", "../../../bin/demo-tool", "../../../share/demo/data.txt"])
def test_a_changed_file_is_refused(demo: kit.Base, folder: Path, path: str) -> None:
    (demo.purelib / path).write_text("changed\n")

    problem = f"`{(demo.purelib / path).resolve()}` is not what its RECORD says"
    assert refused(folder, demo).problems == (problem,)


def test_a_missing_file_is_refused(demo: kit.Base, folder: Path) -> None:
    (demo.purelib / "demo" / "__init__.py").unlink()

    assert refused(folder, demo).problems == (f"`{demo.purelib / 'demo' / '__init__.py'}` is missing",)


def test_a_file_that_lies_elsewhere_is_refused(demo: kit.Base, tmp_path: Path, folder: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("outside\n")
    with (demo.purelib / "demo-1.2.dist-info" / "RECORD").open("a") as record:
        record.write(f"{outside},,\n")

    problem = f"`{outside}` lies outside of the environment that it is installed in"
    assert refused(folder, demo).problems == (problem,)


def test_what_is_required_and_not_there_is_told_at_once(demo: kit.Base, folder: Path) -> None:
    kit.dist_info(demo, "asking", "1.0", ["demo>=2", "unknown", "unknown"])

    problems = ("`demo>=2` is not installed here", "`unknown` is not installed here")
    assert refused(folder, demo, "asking").problems == problems


def test_an_editable_dependency_is_refused(demo: kit.Base, folder: Path) -> None:
    text = '{"dir_info": {"editable": true}, "url": "file:///home/me/needed"}'
    (demo.purelib / "needed-1.0.dist-info" / "direct_url.json").write_text(text)

    problem = "it is editable: its files are not here, but in its author's folder"
    assert refused(folder, demo).problems == (problem,)


def test_all_that_is_refused_is_told(demo: kit.Base, folder: Path) -> None:
    (demo.purelib / "needed-1.0.dist-info" / "RECORD").write_bytes(b"\xff")
    (demo.purelib / "demo" / "__init__.py").unlink()

    with pytest.raises(SeveralErrors) as caught:
        filled(folder, demo)
    first, second = caught.value.errors
    assert "is missing" in first.message
    assert "`needed` is refused\n  it was not installed from a wheel" in second.message
    assert list(folder.iterdir()) == []


AGAIN = """
import sys
from importlib.metadata import distribution
from envbuilder import wheel
wheel.write(wheel.plan(distribution("vpm-env"), hint=""), sys.argv[1])
"""


def test_vpm_env_itself_runs_from_its_wheel_and_makes_it_again(there: kit.Base, folder: Path, tmp_path: Path) -> None:
    planned = wheel.plan(distribution("vpm-env"), hint="")
    wheel.write(planned, str(folder))
    receive(there, folder, "--no-deps", "vpm-env")
    again = tmp_path / "again"
    again.mkdir()
    there.run("-I", "-c", AGAIN, again)

    said = subprocess.run([there.scripts / "vpm-env", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["vpm-env", __version__]
    code = "import envbuilder.paths as p; print(p.__file__, p.template('Dockerfile'))"
    path, _, text = there.run("-I", "-c", code).stdout.partition(" ")
    assert Path(path).is_relative_to(there.purelib)
    assert text == f"{template('Dockerfile')}\n"
    assert (again / planned.name).read_bytes() == (folder / planned.name).read_bytes()


def test_the_wheel_of_an_editable_vpm_env_is_that_of_its_backend(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    code = f"import hatchling.build as h; print(h.build_wheel({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=kit.ROOT, capture_output=True, text=True, check=True)
    theirs = members(tmp_path / done.stdout.split()[-1])

    wheel.write(wheel.plan(distribution("vpm-env"), hint=""), str(folder))
    ours = members(folder / done.stdout.split()[-1])

    assert set(ours) == set(theirs)
    assert all(ours[name] == theirs[name] for name in ours if name.startswith("envbuilder/"))


def test_a_vpm_env_with_metadata_of_another_version_is_refused(folder: Path, tmp_path: Path, base: kit.Base) -> None:
    kit.install(base, kit.wheel(tmp_path, "vpm-env", "0.0.1"))

    assert f"is not the {__version__} that runs" in refused(folder, base, "vpm-env").message


def locked(name: str, **fields: Any) -> LockedPackage:
    return LockedPackage(name=name, version="1.0", **fields)


def test_sources_say_what_builds_them(tmp_path: Path) -> None:
    kit.project(tmp_path / "local", "local", build_requires=("backend>=1", "other; python_version<'3'"))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "setup.py").write_text("")
    sdist = kit.sdist(tmp_path, "packed", build_requires=("backend>=2",))
    with zipfile.ZipFile(tmp_path / "zipped-1.0.zip", "w") as archive:
        archive.writestr("zipped-1.0/inner/pyproject.toml", "[build-system]\nrequires = ['wrong']\n")
        archive.writestr("zipped-1.0/pyproject.toml", "[build-system]\nrequires = ['backend>=3']\n")
    packages = [
        locked("local", plugin="mine", directory={"path": str(tmp_path / "local")}),
        locked("old", plugin="repository", vcs={"type": "git", "url": "https://git.example/old"}),
        locked("packed", plugin="packed", archive={"path": str(sdist)}),
        locked("zipped", archive={"url": "https://files.example/zipped-1.0.zip"}),
        locked("wheel", archive={"path": "/nowhere/wheel-1.0-py3-none-any.whl"}),
        locked("indexed", wheels=({"name": "indexed-1.0-py3-none-any.whl"},), sdist={"name": "indexed-1.0.tar.gz"}),
    ]

    found = wheelhouse.needs_of(
        packages, {"repository": str(tmp_path / "old"), "zipped": str(tmp_path / "zipped-1.0.zip")}
    )

    assert [(need.package, need.plugin, need.requires) for need in found.known] == [
        ("local", "mine", ("backend>=1", "other; python_version<'3'")),
        ("old", "repository", (wheelhouse.UNDECLARED,)),
        ("packed", "packed", ("backend>=2",)),
        ("zipped", "", ("backend>=3",)),
    ]
    assert found.unknown == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "its source is not here"),
        ("[build-system]\n", "its `pyproject.toml` does not say what builds it"),
        ("[build-system]\nrequires = ['-r /etc/passwd']\n", "its `pyproject.toml` does not say what builds it"),
        ("build-system = 1\n", "its `pyproject.toml` does not say what builds it"),
        ("[", "its `pyproject.toml` is not TOML: "),
    ],
)
def test_what_is_not_known_is_told(tmp_path: Path, text: str | None, why: str) -> None:
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)
    place = str(tmp_path) if text is not None else ""

    found = wheelhouse.needs_of([locked("demo", plugin="demo", sdist={"name": "demo-1.0.tar.gz"})], {"demo": place})

    assert found.known == ()
    ((package, said),) = found.unknown
    assert package == "demo"
    assert said.startswith(why)


def test_a_damaged_sdist_is_no_traceback(tmp_path: Path) -> None:
    for name in ("demo-1.0.tar.gz", "demo-1.0.zip"):
        path = tmp_path / name
        path.write_bytes(b"PK\3\4 none")
        assert wheelhouse.needs_of([locked("demo", archive={"path": str(path)})], {}).unknown == (
            ("demo", "its sdist is damaged"),
        )


@pytest.fixture
def uv(index: kit.Index, tmp_path: Path) -> Uv:
    variables = {**environment().variables, "UV_DEFAULT_INDEX": index.url}
    return configure(None, Environment(variables), Layout(str(tmp_path / "vpm-home")), offline=False)


def test_a_plugin_is_built_where_no_index_is(
    index: kit.Index, uv: Uv, base: kit.Base, tmp_path: Path, folder: Path
) -> None:
    kit.wheel(index.folder, "helper", "2.0", requires=("deeper",), scripts={"helper-tool": BINARY})
    kit.wheel(index.folder, "deeper", "1.0")
    kit.wheel(index.folder, "helper", "1.0")
    plugin = kit.project(
        tmp_path / "plugin", "plugin", build_requires=("helper>=2",), build_code="import helper, deeper"
    )
    needs = wheelhouse.needs_of([locked("plugin", plugin="plugin", directory={"path": str(plugin)})], {})
    lacking = wheelhouse.Need(package="lacking", plugin="", requires=("helper>=3",))
    older = wheelhouse.Need(package="older", plugin="", requires=("helper<2",))

    scratch = str(tmp_path / "scratch")
    added = wheelhouse.add(str(folder), [lacking, older, *needs.known], python=str(base.python), uv=uv, scratch=scratch)

    names = ("deeper-1.0-py3-none-any.whl", "helper-1.0-py3-none-any.whl", "helper-2.0-py3-none-any.whl")
    assert added.wheels == names == tuple(sorted(path.name for path in folder.iterdir()))
    ((package, why),) = added.missing
    assert package == "lacking"
    assert "helper" in why
    command = [find_uv_bin(), "build", "--wheel", "--no-config", "--offline", "--no-cache", "--no-index"]
    done = subprocess.run(
        [*command, "--find-links", folder, "--python", base.python, "--out-dir", tmp_path / "out", plugin],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_a_machine_without_network_gets_vpm_env(folder: Path, tmp_path: Path, home: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    names = wheelhouse.fill(str(folder))
    assert wheelhouse.fill(str(again)) == names
    assert all((again / name).read_bytes() == (folder / name).read_bytes() for name in names)

    env = {**kit.clean_environment(home), **NO_NETWORK}
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], env=env, check=True)
    command = [tmp_path / "venv" / "bin" / "pip", "install", "--no-index", "--find-links", folder, "vpm-env[cache]"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command, said in {"vpm-env": f"vpm-env {__version__}", "uv": "uv "}.items():
        path = tmp_path / "venv" / "bin" / command
        done = subprocess.run([path, "--version"], env=env, capture_output=True, text=True, check=False)
        assert done.stdout.startswith(said), done.stderr
    code = (
        "import cryptography.hazmat.bindings._rust, obstore, rich, uv, virtualenv, yaml, zstandard; print(uv.__file__)"
    )
    done = subprocess.run([tmp_path / "venv" / "bin" / "python", "-c", code], env=env, capture_output=True, text=True)
    assert Path(done.stdout.strip()).is_relative_to(tmp_path / "venv"), done.stderr
