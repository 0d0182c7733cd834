"""Console scripts: found by their real path, from anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from envbuilder.scripts import entry_script, portable

if TYPE_CHECKING:
    from pathlib import Path


def environment(root: Path) -> Path:
    """Make `bin/python`, and a module that a script can call."""
    scripts = root / "bin"
    scripts.mkdir(parents=True)
    os.symlink(sys.executable, scripts / "python")
    (root / "tool.py").write_text(
        "import sys\nclass Main:\n    @staticmethod\n    def go():\n"
        "        print(sys.argv[1:], sys.path[0])\n        return 3\n"
    )
    return scripts


def run(script: Path, root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(root)}
    return subprocess.run([script, *words], capture_output=True, text=True, env=env, check=False)


def write(path: Path, content: bytes | None) -> Path:
    assert content is not None
    path.write_bytes(content)
    path.chmod(0o755)
    return path


def test_a_script_calls_its_entry_point_and_exits_with_its_answer(tmp_path: Path) -> None:
    scripts = environment(tmp_path)
    script = write(scripts / "tool", entry_script("tool:Main.go"))

    done = run(script, tmp_path, "a b", "$c")

    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == f"['a b', '$c'] {scripts}\n"


def test_a_script_works_through_links_from_a_long_path_with_spaces(tmp_path: Path) -> None:
    root = tmp_path / ("long " * 40) / "more"
    script = write(environment(root) / "tool", entry_script("tool:Main.go"))
    os.symlink(root, tmp_path / "current")

    done = run(tmp_path / "current" / "bin" / "tool", root)

    assert done.stdout == f"[] {script.parent}\n", done.stderr


def test_values_that_name_no_callable_make_no_script() -> None:
    assert entry_script("only.a.module") is None
    assert entry_script("tool : Main.go [extra]") is not None


def test_a_wheels_own_python_script_gets_the_same_head(tmp_path: Path) -> None:
    scripts = environment(tmp_path)
    script = write(scripts / "own", portable(b"#!python -u\nimport sys; print('own', sys.argv[1])\n"))

    assert run(script, tmp_path, "x").stdout == "own x\n"


def test_a_wheels_shell_script_stays_as_it_is() -> None:
    shell = b"#!/bin/sh\necho python\n"

    assert portable(shell) == shell
