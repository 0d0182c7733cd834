"""A verb's process ends at once, and loses nothing by it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import kit
import pytest
import stands

_BEFORE = "import sys; sys.path.insert(0, {root!r}); sys.argv[1:] = ['--version']\n"
_RUN = "from envbuilder.__main__ import main; sys.exit(main())"


def ended(before: str, folder: Path, **streams: object) -> subprocess.CompletedProcess[str]:
    """Run `--version` in a process in which `before` has happened."""
    code = _BEFORE.format(root=str(kit.ROOT)) + before + "\n" + _RUN
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    env = kit.clean_environment(folder) | {"VPM_ENV_HOME": str(folder / "vpm-home")}
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-c", code], env=env, cwd=folder, text=True, timeout=60, check=False, **given
    )


def test_the_interpreter_is_not_taken_apart(tmp_path: Path) -> None:
    told = "class Told:\n    def __del__(self): print('apart')\nkept = Told()"

    assert "apart" not in ended(told, tmp_path).stdout


def test_what_was_registered_for_the_end_is_run_and_what_it_says_is_flushed(tmp_path: Path) -> None:
    done = ended("import atexit; atexit.register(print, 'at the end')", tmp_path)

    assert (done.returncode, done.stdout.splitlines()[-1], done.stderr) == (0, "at the end", "")


def test_a_thread_that_still_works_is_waited_for(tmp_path: Path) -> None:
    wait = "import threading; threading.Timer(0.3, lambda: print('done', flush=True)).start()"

    assert ended(wait, tmp_path).stdout.splitlines()[-1] == "done"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_what_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = ended("", tmp_path, stdout=full)

    assert done.returncode != 0
    assert "No space left" in done.stderr


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 1 2"])
def test_a_closed_stream_is_no_obstacle_and_no_file_gets_its_place(closed: str, tmp_path: Path) -> None:
    stand = stands.small(tmp_path)
    kit.wheel(tmp_path / "links", "one")
    stand.config("find_links: ../links\nindex: http://127.0.0.1:9/none\nplugins:\n  - {name: one, source: pypi}\n")
    shut = " ".join(f"{number}>&-" for number in closed.split())
    words = [sys.executable, "-m", "envbuilder", "build", "--offline"]
    done = subprocess.run(
        ["sh", "-c", f'"$@" {shut}', "sh", *words],
        env=stand.env | {"PYTHONPATH": str(kit.ROOT)},
        cwd=stand.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert stand("verify").exit == 0


def test_a_wrong_word_still_ends_with_its_own_code(tmp_path: Path) -> None:
    done = ended("sys.argv[1:] = ['--nonsense']", tmp_path)

    assert (done.returncode, done.stdout.startswith("Build, switch")) == (2, True)
