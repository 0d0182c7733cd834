"""Ctrl-C at any moment ends the process without a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import kit
import pytest

if TYPE_CHECKING:
    from pathlib import Path

_BOOT = """
import os, runpy, signal, sys

def interrupt(event, arguments):
    if event == "import" and arguments[0] == {module!r}:
        os.kill(os.getpid(), signal.SIGINT)

sys.path.insert(0, {root!r})
sys.argv[1:] = ["history", "--base", sys.executable]
sys.addaudithook(interrupt)
runpy.run_module("envbuilder", run_name="__main__")
"""


def interrupted(module: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `history`, and interrupt it when it imports `module`."""
    code = _BOOT.format(module=module, root=str(kit.ROOT))
    env = kit.clean_environment(folder) | {"VPM_ENV_HOME": str(folder / "vpm-home")}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("module", ["envbuilder.cli", "envbuilder.paths"])
def test_before_there_is_anything_to_undo(tmp_path: Path, module: str) -> None:
    done = interrupted(module, tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_in_the_middle_of_a_verb(tmp_path: Path) -> None:
    done = interrupted("envbuilder.views", tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted; nothing was switched\n")
