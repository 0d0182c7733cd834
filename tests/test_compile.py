"""The bytecode of packages: made by the base's interpreter, told with its digests, whatever the modules are."""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import subprocess
import sys
from pathlib import Path
from types import CodeType

import homes
import kit
import pytest

from envbuilder import compiling

SCRIPT = kit.ROOT / "envbuilder" / "_compile.py"


def compiled(lib: Path, python: str | Path, *, exit_code: int = 0, umask: int = 0o022) -> tuple[dict[str, str], str]:
    """Compile below `lib` as packages are compiled; return path → digest, and what was told of failures."""
    words = [python, "-I", "-S", "-B", "-W", "ignore", SCRIPT, lib]
    done = subprocess.run(words, capture_output=True, umask=umask, timeout=60, check=False)
    assert done.returncode == exit_code, done.stderr
    lines = [line.decode().partition(" ") for line in done.stdout.split(b"\0") if line]
    return {path: digest for digest, _, path in lines}, done.stderr.decode()


@pytest.fixture
def lib(tmp_path: Path) -> Path:
    """Make a tree of modules, some of which do not compile."""
    folder = tmp_path / "lib"
    for path, source in {
        "one.py": b"value = 1\n",
        "deep/er/two.py": b"value = 2\n",
        "deep/__init__.py": b"",
        "latin.py": b"# coding: latin-1\nvalue = '\xe9'\n",
        "wrong.py": b"def:\n",
        "zero.py": b"value\0\n",
        "undecodable.py": b"value = '\xff'\n",
        "nested.py": b"(" * 5000 + b")" * 5000,
        "nothing.txt": b"value = 3\n",
        "folder.py/inner.py": b"value = 4\n",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(source)
    return folder


@pytest.mark.parametrize("version", sorted(kit.pythons()))
def test_what_is_told_is_what_is_there_and_python_takes_it_unseen(version: str, lib: Path) -> None:
    python = kit.pythons()[version]
    told, errors = compiled(lib, python)
    tag = "cpython-" + version.replace(".", "")
    names = ("one", "latin", "deep/__init__", "deep/er/two", "folder.py/inner")
    expected = {f"{Path(name).parent}/__pycache__/{Path(name).name}.{tag}.pyc".removeprefix("./") for name in names}

    assert errors == ""
    assert set(told) == expected
    assert {str(path.relative_to(lib)) for path in lib.rglob("*.pyc")} == expected
    assert {path: hashlib.sha256((lib / path).read_bytes()).hexdigest() for path in told} == told
    (lib / "one.py").write_text("value = 'changed'\n")
    show = (
        f"import sys; sys.path.insert(0, {str(lib)!r}); import one, deep.er.two, latin; print(one.value, latin.value)"
    )
    done = subprocess.run([python, "-I", "-X", "utf8", "-c", show], capture_output=True, text=True, check=True)
    assert done.stdout == "1 é\n"


def test_the_head_is_that_of_the_standard_and_no_place_is_told(lib: Path) -> None:
    compiled(lib, sys.executable)
    made = Path(importlib.util.cache_from_source(str(lib / "deep" / "er" / "two.py"))).read_bytes()
    code = marshal.loads(made[16:])

    assert made[:4] == importlib.util.MAGIC_NUMBER
    assert int.from_bytes(made[4:8], "little") == 1
    assert made[8:16] == importlib.util.source_hash(b"value = 2\n")
    assert isinstance(code, CodeType)
    assert code.co_filename == "deep/er/two.py"


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_nobody_may_change_it_and_all_may_read_it(lib: Path, umask: int) -> None:
    told, _ = compiled(lib, sys.executable, umask=umask)

    assert {(lib / path).stat().st_mode & 0o777 for path in told} == {0o444}
    assert {(lib / path).parent.stat().st_mode & 0o777 for path in told} == {0o755}


def test_it_is_made_again_over_what_is_there(lib: Path) -> None:
    told, _ = compiled(lib, sys.executable)
    for path in told:
        (lib / path).unlink()
        (lib / path).write_bytes(b"torn")

    assert compiled(lib, sys.executable) == (told, "")
    assert {path: hashlib.sha256((lib / path).read_bytes()).hexdigest() for path in told} == told


def test_what_cannot_be_written_is_told_and_the_rest_is_made(lib: Path) -> None:
    (lib / "deep" / "__pycache__").write_text("a file where the folder should be")
    told, errors = compiled(lib, sys.executable, exit_code=1)

    assert "File exists" in errors
    assert str(lib / "deep" / "__pycache__") in errors
    assert {Path(path).name.partition(".")[0] for path in told} == {"one", "latin", "two", "inner"}


def test_nothing_is_left_of_bytecode_for_which_there_is_no_room(lib: Path) -> None:
    (lib / "large.py").write_text(f"value = {'x' * 5000!r}\n")
    call = subprocess.list2cmdline([sys.executable, "-I", "-S", "-B", str(SCRIPT), str(lib)])
    done = subprocess.run(["bash", "-c", f"ulimit -f 4; {call}"], capture_output=True, timeout=60, check=False)
    left = {path.name.partition(".")[0] for path in lib.rglob("*") if path.parent.name == "__pycache__"}

    assert done.returncode == 1
    assert b"File too large" in done.stderr
    assert left == {"__init__", "one", "latin", "two", "inner"}
    assert {path.suffix for path in lib.rglob("*") if path.parent.name == "__pycache__"} == {".pyc"}


def test_no_depth_is_too_deep(tmp_path: Path) -> None:
    deepest = tmp_path / "lib" / "/".join("d" * 1200)
    subprocess.run(["mkdir", "-p", deepest], check=True)  # Python's own recurs
    (deepest / "module.py").write_text("")
    told, _ = compiled(tmp_path / "lib", sys.executable)
    subprocess.run(["rm", "-r", tmp_path / "lib"], check=True)

    assert [path.count("/") for path in told] == [1201]


def test_some_folders_are_compiled_by_one_start_and_told_apart(tmp_path: Path) -> None:
    libs = [tmp_path / name for name in ("one", "none", "empty", "two")]
    for lib, files in ((libs[0], ("a.py", "b/c.py")), (libs[2], ()), (libs[3], ("a.py",))):
        lib.mkdir()
        for path in files:
            (lib / path).parent.mkdir(exist_ok=True)
            (lib / path).write_text(f"value = {str(lib / path)!r}\n")
    facts = homes.described(kit.describe(Path(sys.executable), kind="venv"))

    made = compiling.compile_trees([str(lib) for lib in libs], base=facts)

    assert [len(tree) for tree in made] == [2, 0, 0, 1]
    assert made == [compiling.compile_tree(str(lib), base=facts) for lib in libs]
    for lib, tree in zip(libs, made, strict=True):
        assert {path: hashlib.sha256((lib / path).read_bytes()).hexdigest() for path in tree} == tree
