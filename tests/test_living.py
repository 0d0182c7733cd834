"""`status --pid`: which set a living process has, in a pipe, on a terminal and as JSON, and when that is not known."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import kit
import pytest
import stands
from test_cli import on_terminal, piped, without_styles

from envbuilder.living import living
from envbuilder.paths import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc here")
WAIT = "import sys; print('up', flush=True); sys.stdin.read()"
GUARDED = "import _vpm_env.guard as guard; guard.register(); " + WAIT


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build two generations over a hooked base; the first is current."""
    folder = tmp_path_factory.mktemp("living")
    vpm_env = stands.small(folder)
    for name in ("one", "two"):
        kit.wheel(folder / "links", name)
        vpm_env.config(
            f"find_links: ../links\nindex: http://127.0.0.1:9/x\nplugins:\n  - {{name: {name}, source: pypi}}\n"
        )
        vpm_env("build", "--offline", check=True)
    vpm_env("rollback", check=True)
    vpm_env("hook", "install", check=True)
    return vpm_env


@contextlib.contextmanager
def running(stand: kit.VpmEnv, *command: str | Path, env: Mapping[str, str] | None = None) -> Iterator[int]:
    """Start a process that waits, and yield its number."""
    variables = {name: value for name, value in stand.env.items() if not name.startswith("VPM_ENV_")}
    words = [str(word) for word in command]
    with subprocess.Popen(
        words, env={**variables, **(env or {})}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        try:
            yield child.pid
        finally:
            child.communicate()


def python(stand: kit.VpmEnv) -> str:
    return stand.env["VPM_ENV_BASE"]


def digest(stand: kit.VpmEnv, number: int) -> str:
    return str(stand("show", str(number), "--json", check=True).json["digest"])


def test_an_engine_is_known_by_its_lease(stand: kit.VpmEnv) -> None:
    with running(stand, python(stand), "-c", GUARDED, "--secret") as pid:
        before = piped(stand, "status", "--pid", str(pid))[0]
        stand("switch", "2", check=True)
        after = piped(stand, "status", "--pid", str(pid))[0]
        stand("rollback", check=True)
        record = stand("status", "--pid", str(pid), "--json", check=True).json
        terminal = on_terminal(stand, "status", "--pid", str(pid))

    assert before == (
        f"process {pid} has generation 1 (KEY) of profile default, which is current\n\n"
        "command:   /X/base/bin/python -c\n"
        "known by:  the lease that it holds open\n"
        "base:      KEY\n"
        "home:      /X/home\n"
    )
    assert after == before.replace("which is current", "which is not current")
    assert (record["known"], record["evidence"], record["why"]) == (True, "lease", "")
    assert record["digest"] == digest(stand, 1)
    assert record["generations"] == [{"profile": "default", "number": 1, "is_current": True}]
    assert without_styles(terminal) == before


def test_what_runs_in_an_overlay_is_known(stand: kit.VpmEnv) -> None:
    command = [*stand.command, "run", "-g", "2", "--", "python", "-c", WAIT]
    help_text = stand("run", "--help").stdout
    command = (
        command if " -g" in help_text else [*stand.command, "run", "--generation", "2", "--", "python", "-c", WAIT]
    )
    with running(stand, *command, env={name: stand.env[name] for name in ("VPM_ENV_HOME", "VPM_ENV_BASE")}) as pid:
        record = stand("status", "--pid", str(pid), "--json", check=True).json

    assert (record["digest"], record["generations"][0]["number"]) == (digest(stand, 2), 2)


def test_a_pin_counts_for_a_python_whose_lease_is_gone(stand: kit.VpmEnv) -> None:
    base_key = stand("show", "2", "--json", check=True).json["base"]["key"]
    code = "import os, _vpm_env_hook as hook; os.close(hook.lease); " + WAIT
    pin = f"{base_key}:{digest(stand, 2)}"
    with running(stand, python(stand), "-c", code, env={"VPM_ENV_PIN": pin}) as pid:
        record = stand("status", "--pid", str(pid), "--json", check=True).json
    assert (record["evidence"], record["generations"][0]["number"]) == ("pin", 2)

    with running(stand, "/bin/sh", "-c", "echo up; read line", env={"VPM_ENV_PIN": pin}) as pid:
        told = piped(stand, "status", "--pid", str(pid), code=1)[0]
    assert told.startswith(f"which set process {pid} has is not known: it is no Python: it runs `")


def test_it_says_when_it_cannot_know(stand: kit.VpmEnv) -> None:
    with running(stand, python(stand), "-c", WAIT) as pid:
        told = piped(stand, "status", "--pid", str(pid), code=1)[0]
    assert told.splitlines()[0] == (
        f"which set process {pid} has is not known: it holds no lease and was started without a pin, as does a Python "
        "that is no engine: if the start-up hook is in its base, it has what was current when it started"
    )
    with running(stand, python(stand), "-c", WAIT, env={"VPM_ENV_DISABLE": "1"}) as pid:
        told = piped(stand, "status", "--pid", str(pid), code=1)[0]
    assert told.splitlines()[0] == f"process {pid} has no set: it was started with `VPM_ENV_DISABLE`, so it has none"


def test_a_set_of_another_home_is_told_as_such(stand: kit.VpmEnv, tmp_path: Path) -> None:
    with running(stand, python(stand), "-c", GUARDED) as pid:
        found = living(Layout(str(tmp_path / "other")), pid)
        told = piped(stand, "--home", str(tmp_path / "other"), "status", "--pid", str(pid))[0]

    assert (found.digest, found.home, found.places) == (digest(stand, 1), str(stand.home), ())
    assert "which is no generation of this home" in told


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to look as another user")
def test_a_process_of_somebody_else(stand: kit.VpmEnv) -> None:
    code = f"import os, sys; sys.path.insert(0, {str(kit.ROOT)!r})\nfrom envbuilder.living import living\n"
    code += "from envbuilder.paths import Layout\nimport envbuilder.profile, envbuilder.overlay\nos.setuid(65534)\n"
    code += f"print(living(Layout('/nowhere'), {os.getpid()}).why)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "it is another user's, or has ended: this user may not look at it\n"


def test_wrong_numbers(stand: kit.VpmEnv) -> None:
    assert piped(stand, "status", "--pid", "x", code=2)[1].startswith("error: `x` is no number")
    assert piped(stand, "status", "--pid", "4194305", code=2)[1] == "error: there is no process 4194305\n"
