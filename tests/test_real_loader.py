"""Our overlays under vLLM's own loader, taken out of its wheel; neither torch nor the rest of the engine is needed."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import kit
import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.network

VERSION = "0.33.0"
LOADER = ("vllm/plugins/__init__.py", "vllm/envs.py")
GENERAL, PROCESSORS = "vllm.general_plugins", "vllm.io_processor_plugins"
PLUGIN = "calls = []\ndef register(): calls.append(1)\ndef processor(): return 'x.Y'\n"
ASK = """
import json, os, sys
import vllm.plugins as loader
loader.load_general_plugins()
loader.load_general_plugins()
groups = {group: sorted(loader.load_plugins_by_group(group)) for group in (%r, %r)}
import mine
print(json.dumps({**groups, "calls": mine.calls, "pin": os.environ.get("VPM_ENV_PIN"), "loader": loader.__file__}))
"""


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build a set with a general and an io-processor plugin over vLLM's loader."""
    folder = tmp_path_factory.mktemp("real")
    base = kit.base(folder / "base")
    files = {"vllm/__init__.py": f"__version__ = {VERSION!r}\n", **kit.members(base, f"vllm=={VERSION}", *LOADER)}
    kit.install(base, kit.wheel(folder / "w", "vllm", VERSION, files=files))
    points = {GENERAL: {"mine": "mine:register"}, PROCESSORS: {"mine_io": "mine:processor"}}
    kit.wheel(folder / "links", "mine", files={"mine.py": PLUGIN}, entry_points=points)
    env = kit.clean_environment(folder)
    env |= {"VPM_ENV_HOME": str(folder / "home"), "UV_CACHE_DIR": str(folder / "uv")}
    (folder / "work").mkdir()
    vpm_env = kit.VpmEnv(home=folder / "home", folder=folder / "work", env=env).use(base)
    vpm_env.config("find_links: ../links\nindex: http://127.0.0.1:9/x\nplugins:\n  - {name: mine, source: pypi}\n")
    vpm_env("build", "--offline", check=True)
    return vpm_env


def ask(stand: kit.VpmEnv, python: str | Path, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    variables = {name: value for name, value in stand.env.items() if not name.startswith("VPM_ENV_")}
    done = subprocess.run(
        [str(python), "-c", ASK % (GENERAL, PROCESSORS)],
        env={**variables, **(env or {})},
        cwd=stand.folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_vllms_own_loader_loads_the_overlay(stand: kit.VpmEnv) -> None:
    python = stand.env["VPM_ENV_BASE"]
    stand("hook", "install", check=True)
    try:
        told = ask(stand, python)
        listed = ask(stand, python, {"VLLM_PLUGINS": "mine"})
        blank = ask(stand, python, {"VLLM_PLUGINS": "vpm_env_guard, mine"})
    finally:
        stand("hook", "uninstall", check=True)

    assert told["loader"].startswith(str(stand.env["VPM_ENV_BASE"]).partition("/bin/")[0])
    assert (told[GENERAL], told[PROCESSORS], told["calls"]) == (["mine", "vpm_env_guard"], ["mine_io"], [1])
    assert told["pin"]
    assert (listed[GENERAL], listed[PROCESSORS], listed["calls"]) == (["mine"], [], [1])
    assert (blank[GENERAL], blank["calls"]) == (["vpm_env_guard"], [])


def test_without_a_hook_the_overlays_python_does(stand: kit.VpmEnv) -> None:
    told = ask(stand, f"{stand('path', check=True).stdout.strip()}/bin/python")

    assert (told[GENERAL], told[PROCESSORS], told["calls"]) == (["mine", "vpm_env_guard"], ["mine_io"], [1])
