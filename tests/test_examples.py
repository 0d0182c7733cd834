"""The projects in `examples/`: what they announce is there, they build, and they do in an engine what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import engine_parts
import kit
import pytest

from envbuilder.engines import ENGINES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = kit.ROOT / "examples"
PLUGINS = sorted(path.parent.name for path in FOLDER.glob("*/pyproject.toml") if path.parent.name != "tiny-engine")
GROUPS = {"tiny_engine.plugins", *(group for engine in ENGINES for group in engine.groups)}
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def entries(name: str) -> dict[str, dict[str, str]]:
    """Read the entry points of a project."""
    text = (FOLDER / name / "pyproject.toml").read_text(encoding="utf-8")
    found: dict[str, dict[str, str]] = tomllib.loads(text)["project"]["entry-points"]
    return found


def test_there_is_one_for_vllm_and_one_for_fastdeploy() -> None:
    groups = {group.partition(".")[0] for name in PLUGINS for group in entries(name)}

    assert groups >= {"vllm", "fastdeploy", "tiny_engine"}


@pytest.mark.parametrize("name", PLUGINS)
def test_what_they_announce_is_there(name: str) -> None:
    for group, points in entries(name).items():
        assert group in GROUPS
        for target in points.values():
            module, _, function = target.partition(":")
            path = f"{module.replace('.', '/')}"
            (file,) = [found for found in FOLDER.glob(f"{name}/**/{path}*") if found.with_suffix("").name in path]
            text = (file / "__init__.py" if file.is_dir() else file).read_text(encoding="utf-8")
            assert re.search(rf"^(def|class) {function}\(", text, re.MULTILINE)


def test_the_tiny_engine_serves() -> None:
    command = [sys.executable, "-c", "import tiny_engine; tiny_engine.main()", "serve", "--port", "0"]
    env = {"PYTHONPATH": str(FOLDER / "tiny-engine")}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as child:
        try:
            assert child.stderr
            said = [child.stderr.readline() for _ in range(2)]
            url = said[-1].split()[-1]
            answers = [_open(f"{url}{path}", timeout=20).read().decode() for path in ("/health", "/answer?hello+you")]
        finally:
            child.kill()
    assert said[0] == "tiny-engine: plugins: none\n"
    assert answers == ["ok", "hello you"]


@pytest.mark.network
def test_the_one_for_vllm_is_built_and_loaded(tmp_path: Path, vpm_env: kit.VpmEnv) -> None:
    vpm_env.use(engine_parts.with_vllm(kit.base(tmp_path / "base")))
    vpm_env.config(f"plugins:\n  - {{name: entropy, source: local, path: {FOLDER / 'vllm-entropy'}}}\n")
    vpm_env("build", check=True)

    code = "from importlib.metadata import entry_points as e; (p,) = e(group='vllm.logits_processors'); print(p.load())"
    said = vpm_env("run", "--", "python", "-c", code, check=True).stdout
    assert said == "<class 'vllm_entropy.EntropyProcessor'>\n"


@pytest.mark.network
@pytest.mark.parametrize("editable", ["true", "false"])
def test_the_one_for_fastdeploy_is_built_and_loaded(tmp_path: Path, vpm_env: kit.VpmEnv, editable: str) -> None:
    vpm_env.use(engine_parts.with_fastdeploy(kit.base(tmp_path / "base")))
    entry = f"{{name: dummies, source: local, path: {FOLDER / 'fastdeploy-plugins'}, editable: {editable}}}"
    vpm_env.config(f"plugins:\n  - {entry}\n")
    vpm_env("build", check=True)

    told = json.loads(vpm_env("run", "--", "python", "-m", "fastdeploy.worker", check=True).stdout)
    assert "fd_add_dummy_model" in told["model_register"]
    assert told["model_runner"] == "MyModelRunner"
    named = {"FD_PLUGINS": "fastdeploy-plugins"}  # as FastDeploy's own page shows it
    told = json.loads(vpm_env("run", "--", "python", "-m", "fastdeploy.worker", env=named, check=True).stdout)
    assert told["model_runner"] == "MyModelRunner"
