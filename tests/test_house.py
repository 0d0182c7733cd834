"""The rules of the house, held by the syntax tree: one door for each side effect, and who may import what."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import kit
import pytest
from kit import doors
from kit.doors import ENVIRONMENT, FILES, PROCESSES, TERMINAL

PACKAGE = kit.ROOT / "envbuilder"
MODULES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.glob("*.py"))}
IN_BASE = frozenset(name for name in MODULES if name.startswith("_") and not name.startswith("__")) | {"plugins"}
"""What runs inside the base or an overlay: copied there, or started there as a file of its own."""

ALLOWED: dict[tuple[str, str], frozenset[str] | None] = {
    # (room, effect) -> the names it may use; None: any, this is the door itself
    ("fs", FILES): None,
    # It opens files to lock them, and notes in them who has the lock.
    ("flocks", FILES): frozenset({"os.ftruncate", "os.open for writing", "os.write"}),
    ("process", PROCESSES): None,
    ("console", TERMINAL): None,
    ("paths", ENVIRONMENT): frozenset({"os.environ"}),
    # Help and usage come before there is a console; a pipe that broke is closed.
    ("cli", TERMINAL): frozenset({"sys.stdout", "sys.stderr"}),
    # What it opens is a URL.
    ("served", FILES): frozenset({".open"}),
    # It says whose child an orphan becomes, and that a server ends with its supervisor.
    ("process", FILES): frozenset({"ctypes.CDLL"}),
    # Python knows neither `syncfs` nor `sync_file_range`; what they change is when, not what.
    ("syncing", FILES): frozenset(
        {f"ctypes.{name}" for name in ("CDLL", "c_int", "c_int64", "c_uint", "get_errno")}
        | {f"_ctypes.{name}" for name in ("CFuncPtr", "FUNCFLAG_CDECL", "FUNCFLAG_USE_ERRNO", "dlopen", "dlsym")}
    ),
    # What is in use is put out of its place by a rename, and gets another owner by becoming a copy.
    ("swapping", FILES): frozenset(
        {f"os.{name}" for name in ("chmod", "chown", "rename", "replace")} | {"ctypes.CDLL"}
    ),
    # What was closed is opened to nowhere, before a file of ours gets its number.
    ("streams", TERMINAL): frozenset({"sys.stdin", "sys.stdout", "sys.stderr"}),
    ("streams", FILES): frozenset({"os.open for writing"}),
    # A server's words are passed on as they are.
    ("tee", FILES): frozenset({"os.write"}),
    # A stub wheel is put together in memory; `fs` writes it.
    ("stubs", FILES): frozenset({"zipfile.ZipFile for writing"}),
    # It spells a wheel block by block; `fs` writes it.
    ("wheel", FILES): frozenset({".open", "zipfile.ZipFile for writing"}),
    # Inside the base there is no room of ours to ask: these read and export the pin, and answer on stdout.
    ("_hook", ENVIRONMENT): frozenset({"os.environ"}),
    ("_allow", ENVIRONMENT): frozenset({"os.environ"}),
    ("_activate", ENVIRONMENT): frozenset({"os.environ"}),
    ("_activate", TERMINAL): frozenset({"sys.stderr"}),
    # It runs vpm-env before an engine starts, and ends it if the engine is ended meanwhile.
    ("_auto", ENVIRONMENT): frozenset({"os.environ"}),
    ("_building", PROCESSES): frozenset(
        {f"subprocess.{name}" for name in ("DEVNULL", "PIPE", "Popen", "TimeoutExpired")} | {"os.kill", "os.killpg"}
    ),
    # It lets vpm-env make what VPM_ENV_WITHOUT leaves.
    ("_without", ENVIRONMENT): frozenset({"os.environ"}),
    ("_without", PROCESSES): frozenset({f"subprocess.{name}" for name in ("DEVNULL", "TimeoutExpired", "run")}),
    # It notes in the home that an engine starts, and lets vpm-env go back after too many starts.
    ("_loop", FILES): frozenset({f"os.{name}" for name in ("makedirs", "rename", "unlink")} | {"os.open for writing"}),
    ("_loop", PROCESSES): frozenset({f"subprocess.{name}" for name in ("DEVNULL", "PIPE", "Popen")} | {"os.killpg"}),
    ("_layer", ENVIRONMENT): frozenset({"os.environ"}),
    ("_layer", TERMINAL): frozenset({"sys.stderr"}),
    ("_guard", ENVIRONMENT): frozenset({"os.environ"}),
    ("_guard", TERMINAL): frozenset({"sys.stderr"}),
    ("_facts", TERMINAL): frozenset({"sys.stdout"}),
    # It writes bytecode beside its source, and tells what on stdout.
    ("_compile", FILES): frozenset({"os.mkdir", "os.open for writing", "os.replace", "os.unlink", "os.write"}),
    ("_compile", TERMINAL): frozenset({"sys.stdout", "sys.stderr"}),
    # It adds what loads on a machine with a device to what is known, and tells its children that they have a parent.
    ("_device_check", ENVIRONMENT): frozenset({"os.environ"}),
    ("_device_check", FILES): frozenset({"os.open for writing", "os.write"}),
    # The probe is a process of its own for code that may hang or die: it forks, ends its group, and tells in files.
    ("_probe", TERMINAL): frozenset({"sys.stdin"}),
    ("_probe", PROCESSES): frozenset({"os.fork", "os.kill", "os.killpg"}),
    ("_probe", FILES): frozenset({"ctypes.CDLL", "os.open for writing", "os.write"}),
    # Inside Ray's agent it has vpm-env fetch a set, and looks whether a worker would get it.
    ("_ray_node", ENVIRONMENT): frozenset({"os.environ"}),
    ("_ray_node", PROCESSES): frozenset(
        {f"subprocess.{name}" for name in ("DEVNULL", "PIPE", "Popen", "TimeoutExpired")} | {"os.killpg"}
    ),
    ("_watch", ENVIRONMENT): frozenset({"os.environ"}),
}

LONGEST_FUNCTION = 50
"""Lines, without the docstring."""


def trespasses(room: str, source: str) -> list[str]:
    """List what `source` does that its room may not."""
    found = []
    for use in doors.uses(source):
        names = ALLOWED.get((room, use.effect), frozenset())
        if names is not None and use.name not in names:
            found.append(f"envbuilder/{room}.py:{use.line}: {use.name} {use.effect}")
    return found


@pytest.mark.parametrize("room", MODULES)
def test_side_effects_go_through_their_doors(room: str) -> None:
    assert trespasses(room, MODULES[room]) == []


def test_no_permission_is_stale() -> None:
    used = {(room, use.effect, use.name) for room, source in MODULES.items() for use in doors.uses(source)}
    stale = {
        (room, effect, name)
        for (room, effect), names in ALLOWED.items()
        for name in names or ()
        if (room, effect, name) not in used
    }

    assert stale == set()


@pytest.mark.parametrize(
    ("code", "name", "effect"),
    [
        ("import os\nos.rename('a', 'b')", "os.rename", FILES),
        ("from os import unlink as gone\ngone('a')", "os.unlink", FILES),
        ("import os as system\nsystem.makedirs('a')", "os.makedirs", FILES),
        ("import os\nremove = os.remove", "os.remove", FILES),
        ("import shutil\nshutil.rmtree('a')", "shutil.rmtree", FILES),
        ("from shutil import copytree\ncopytree('a', 'b')", "shutil.copytree", FILES),
        ("import tempfile\ntempfile.mkdtemp()", "tempfile.mkdtemp", FILES),
        ("open('a', 'w')", "open for writing", FILES),
        ("open('a', mode='r+b')", "open for writing", FILES),
        ("def write(mode):\n    open('a', mode)", "open for writing", FILES),
        ("import os\nos.open('a', os.O_RDWR | os.O_CLOEXEC)", "os.open for writing", FILES),
        ("import os\ndef write(flags):\n    os.open('a', flags)", "os.open for writing", FILES),
        ("from pathlib import Path\nPath('a').write_text('b')", ".write_text", FILES),
        ("def write(path):\n    path.mkdir()", ".mkdir", FILES),
        ("def write(paths):\n    paths[0].parent.joinpath('x').touch()", ".touch", FILES),
        ("def write(path):\n    path.replace('b')", ".replace", FILES),
        ("def write(path):\n    with path.open('a'):\n        pass", ".open", FILES),
        ("import zipfile\nzipfile.ZipFile('a', 'w')", "zipfile.ZipFile for writing", FILES),
        ("def unpack(archive):\n    archive.extractall('a')", ".extractall", FILES),
        ("import subprocess\nsubprocess.run(['a'])", "subprocess.run", PROCESSES),
        ("def go():\n    from subprocess import Popen\n    Popen(['a'])", "subprocess.Popen", PROCESSES),
        ("import os\nos.execv('a', [])", "os.execv", PROCESSES),
        ("import multiprocessing.pool\nmultiprocessing.pool.Pool()", "multiprocessing.pool.Pool", PROCESSES),
        ("import os\nos.environ['A']", "os.environ", ENVIRONMENT),
        ("from os import environ\ndict(environ)", "os.environ", ENVIRONMENT),
        ("import os\nos.getenv('A')", "os.getenv", ENVIRONMENT),
        ("print('a')", "print", TERMINAL),
        ("tell = print", "print", TERMINAL),
        ("input('a')", "input", TERMINAL),
        ("import sys\nsys.stdout.write('a')", "sys.stdout", TERMINAL),
        ("import json, sys\njson.dump({}, sys.stderr)", "sys.stderr", TERMINAL),
        ("from rich.table import Table\nTable()", "rich.table.Table", TERMINAL),
    ],
)
def test_a_trespass_is_seen(code: str, name: str, effect: str) -> None:
    assert (name, effect) in {(use.name, use.effect) for use in doors.uses(code)}
    assert any(name in line for line in trespasses("resolve", code))


@pytest.mark.parametrize(
    "code",
    [
        "open('a')",
        "open('a', 'rb')",
        "open('a', encoding='utf-8')",
        "import os\nos.open('a', os.O_RDONLY | os.O_CLOEXEC)",
        "import os\nos.path.join('a', 'b')",
        "'text'.replace('a', 'b')",
        "import datetime\ndatetime.datetime.now().replace(microsecond=0)",
        "from dataclasses import replace\ndef other(plugin):\n    return replace(plugin, name='b')",
        "import shutil\nshutil.which('git')",
        "from envbuilder import fs\nfs.rename('a', 'b')",
        "from envbuilder import fs, process\nfs.remove_tree('a')\nprocess.run(['a'], env={})",
        "def tell(console):\n    console.print('a')",
        "def build(venv, input):\n    return [venv, *input]",
    ],
)
def test_what_is_harmless_is_let_through(code: str) -> None:
    assert doors.uses(code) == []


@pytest.mark.parametrize("room", sorted(IN_BASE))
def test_rooms_inside_the_base_import_the_standard_library_only(room: str) -> None:
    standard = sys.stdlib_module_names | {"_sha2"}  # of 3.12 and later
    foreign = {name for name in doors.imports(MODULES[room]) if name.split(".")[0] not in standard}

    assert foreign == set()


def test_the_hook_imports_os_and_sys_only() -> None:
    assert doors.imports(MODULES["_hook"], at_start_only=True) <= {"os", "sys"}


def test_no_imports_go_round_in_a_circle() -> None:
    graph = {
        room: {name.split(".")[1] for name in doors.imports(source) if name.startswith("envbuilder.")} & set(MODULES)
        for room, source in MODULES.items()
    }

    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_the_package_itself_imports_nothing() -> None:
    assert doors.imports(MODULES["__init__"], at_start_only=True) == set()


@pytest.mark.parametrize("room", MODULES)
def test_functions_stay_short(room: str) -> None:
    functions = [node for node in ast.walk(ast.parse(MODULES[room])) if isinstance(node, ast.FunctionDef)]

    assert {function.name for function in functions if length(function) > LONGEST_FUNCTION} == set()


def length(function: ast.FunctionDef) -> int:
    docstring = ast.get_docstring(function, clean=False)
    return (function.end_lineno or 0) - function.lineno + 1 - (docstring.count("\n") + 1 if docstring else 0)


def test_the_layers_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=kit.ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_layers_would_not_hold_a_bad_import(tmp_path: Path) -> None:
    copy = tmp_path / "envbuilder"
    copy.mkdir()
    for room, source in MODULES.items():
        (copy / f"{room}.py").write_text(source, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_bytes((kit.ROOT / "pyproject.toml").read_bytes())
    for room, bad in {"errors": "envbuilder.store", "_facts": "envbuilder.paths", "store": "subprocess"}.items():
        with (copy / f"{room}.py").open("a", encoding="utf-8") as stream:
            stream.write(f"\nimport {bad}\n")
    linter = Path(sys.executable).with_name("lint-imports")
    command = [linter, "--no-cache"]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    told = " ".join(done.stdout.split())

    assert done.returncode == 1, done.stdout + done.stderr
    assert "envbuilder.errors is not allowed to import" in told
    assert "envbuilder._facts is not allowed to import" in told
    assert "envbuilder.store -> subprocess" in told
