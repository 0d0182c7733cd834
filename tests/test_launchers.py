"""Launchers under `vpm-env run`, on a base without a hook: each starts its processes as the real one does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import kit
import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.long

SEEN = """
import importlib.metadata, json, os, sys
points = importlib.metadata.entry_points(group="vllm.general_plugins")
told = {"prefix": sys.prefix, "pin": os.environ.get("VPM_ENV_PIN"), "plugins": [point.load()() for point in points]}
print(json.dumps({**told, "argv": sys.argv[1:]}), flush=True)
"""
TORCHRUN = """
import os, subprocess, sys

def main():
    words = [os.getenv("PYTHON_EXEC", sys.executable), "-u", *sys.argv[1:]]
    for rank in "01":
        subprocess.run(words, env={**os.environ, "RANK": rank}, check=True, start_new_session=True)
"""
# The daemon outlives the command and starts workers by a shell, with a flag for each that it was started with itself.
RAY = """
import os, subprocess, sys

HERE = os.path.dirname(__file__)

def main():
    assert sys.argv[1:] == ["start", "--head"]
    flags = ["-s"] if sys.flags.no_user_site else []
    worker = [sys.executable, *flags, os.path.join(HERE, "setup_worker.py"), os.path.join(HERE, "worker.py")]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.Popen([sys.executable, "-u", os.path.join(HERE, "raylet.py"), *worker], env=env, start_new_session=True)
"""
RAYLET = "import subprocess, sys\nfor _ in range(2):\n    subprocess.run(sys.argv[1:], check=True)\n"
SETUP_WORKER = (
    "import os, shlex, sys\n"
    "words = ['exec', sys.executable, *map(shlex.quote, sys.argv[1:])]\n"
    "os.execvp('bash', ['bash', '-c', ' '.join(words)])\n"
)
SCRIPT = "#!python\nimport subprocess, sys\nsubprocess.run([sys.executable, '-u', *sys.argv[1:]], check=True)\n"


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build one set over a base that has the launchers, each as it is packaged."""
    folder = tmp_path_factory.mktemp("launchers")
    base = kit.base(folder / "base")
    kit.fake_vllm(base)
    own = folder / "own"
    torch = {"torch/__init__.py": "", "torch/distributed/__init__.py": "", "torch/distributed/run.py": TORCHRUN}
    ray = {"__init__": "", "scripts": RAY, "raylet": RAYLET, "setup_worker": SETUP_WORKER, "worker": SEEN}
    server = {"vllm_server/__init__.py": "", "vllm_server/api.py": SEEN}
    for wheel in (
        kit.wheel(
            own, "torch",
            files=torch,
            entry_points={"console_scripts": {"torchrun": "torch.distributed.run:main"}},
        ),
        kit.wheel(
            own, "ray",
            files={f"ray/{name}.py": text for name, text in ray.items()},
            entry_points={"console_scripts": {"ray": "ray.scripts:main"}},
        ),
        kit.wheel(own, "deep", files={"deep.py": ""}, scripts={"deep": SCRIPT}),
        kit.wheel(own, "vllm-server", files=server),
    ):  # fmt: skip
        kit.install(base, wheel)
    env = kit.clean_environment(folder)
    env |= {"VPM_ENV_HOME": str(folder / "home"), "UV_CACHE_DIR": str(folder / "uv")}
    vpm_env = kit.VpmEnv(home=folder / "home", folder=folder, env=env).use(base)
    files = {"plug/__init__.py": "def register(): return 'registered'\n"}
    kit.wheel(folder / "links", "plug", files=files, entry_points={"vllm.general_plugins": {"plug": "plug:register"}})
    links = f"find_links: {folder / 'links'}\nindex: http://127.0.0.1:9/none\n"
    vpm_env.config(f"{links}plugins:\n  - {{name: plug, source: pypi}}\n")
    vpm_env("build", "--offline", check=True)
    (folder / "train.py").write_text(SEEN)
    return vpm_env


def told(stand: kit.VpmEnv, *words: str | Path, **env: str) -> list[dict[str, Any]]:
    """Run a command in the set, and return what each of its processes said; all must have the set."""
    lines = stand("run", "--", *words, env=env, check=True).stdout.splitlines()
    overlay = stand("path", check=True).stdout.strip()
    found = [json.loads(line) for line in lines]
    for one in found:
        assert (one["prefix"], [word for word in one["plugins"] if word]) == (overlay, ["registered"])
        assert one["pin"].endswith(overlay.rpartition("/")[2])
    return found


def scripts(stand: kit.VpmEnv) -> Path:
    return stand.folder / "base" / "bin"


def test_torchrun(stand: kit.VpmEnv) -> None:
    assert len(told(stand, "torchrun", "train.py", "--steps", "1")) == 2
    assert [one["argv"] for one in told(stand, scripts(stand) / "torchrun", "train.py", "7")] == [["7"], ["7"]]


def test_torchrun_where_the_image_names_the_workers_interpreter(stand: kit.VpmEnv) -> None:
    assert len(told(stand, "torchrun", "train.py", PYTHON_EXEC=str(scripts(stand) / "python3"))) == 2
    kept = stand("run", "--", "sh", "-c", "echo $PYTHON_EXEC", env={"PYTHON_EXEC": "/elsewhere/python3"}, check=True)
    assert kept.stdout == "/elsewhere/python3\n"


def test_ray_and_the_workers_that_its_daemon_starts(stand: kit.VpmEnv) -> None:
    assert len(told(stand, "ray", "start", "--head", PYTHONNOUSERSITE="1", PYTHONPATH="/nowhere")) == 2


@pytest.mark.parametrize("python", ["python", "python3", "path"])
def test_a_module(stand: kit.VpmEnv, python: str) -> None:
    word = scripts(stand) / "python3" if python == "path" else python

    assert [one["argv"] for one in told(stand, word, "-m", "vllm_server.api", "--port", "1")] == [["--port", "1"]]


def test_a_script_of_the_base_that_is_no_entry_point(stand: kit.VpmEnv) -> None:
    assert len(told(stand, "deep", "train.py")) == 1
    assert len(told(stand, scripts(stand) / "deep", "train.py")) == 1


def test_what_is_not_the_bases_is_left_alone(stand: kit.VpmEnv, tmp_path: Path) -> None:
    mine = tmp_path / "python"
    mine.write_text("#!/bin/sh\necho mine $@\n")
    mine.chmod(0o755)
    (scripts(stand) / "binary.sh").write_text("#!/bin/sh\necho a shell\n")
    (scripts(stand) / "binary.sh").chmod(0o755)

    assert stand("run", "--", mine, "-m", "x", check=True).stdout == "mine -m x\n"
    assert stand("run", "--", "binary.sh", check=True).stdout == "a shell\n"
