"""A model that only a plugin knows, served at the first start: with a hook that builds, and without a hook."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from engine import every_group, serving

if TYPE_CHECKING:
    from pathlib import Path

    from stands import Stand

pytestmark = pytest.mark.engine

MODEL = "vllm-spark2_5-plugin"
CONFIG = f"""\
plugins:
  - name: spark
    source: pypi
    package: {MODEL}
    version: "==0.1.0"
"""
SEED = """\
plugins:
  - name: vllm-entropy-decoder
    source: pypi
    package: vllm-entropy-decoder
    version: ">=0.1.0"
    enabled: true
"""
"""The config of vLLM's plugin manager, as its documentation shows it first."""


@pytest.fixture(scope="module")
def words(stand: Stand, spark: Path) -> list[str | Path]:
    """Return what anybody types who serves this model."""
    return [stand.base.scripts / "vllm", "serve", spark, *serving.OPTIONS]


def test_without_the_plugin_the_server_ends(stand: Stand, words: list[str | Path], tmp_path: Path) -> None:
    with serving.started(words, env=stand.env, folder=tmp_path) as server:
        assert server.ended() == 1
        assert "model type `spark2_5`" in server.said


@pytest.fixture(scope="module")
def mounted(stand: Stand) -> dict[str, str]:
    """Mount the seed's config where the user has it, and let the hook build; return the variables of a start."""
    every_group.publish(stand.index.folder, "vllm-entropy-decoder", "0.1.0", requires=[f"{MODEL}==0.1.0"])
    config = stand.folder / "home" / ".config" / "vllm" / "plugins.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(SEED)
    config.chmod(0o444)
    stand("hook", "install", "--auto")
    return {**stand.env, "UV_FIND_LINKS": str(stand.index.folder)}


def test_the_first_start_builds_and_serves(mounted: dict[str, str], words: list[str | Path], tmp_path: Path) -> None:
    """No variable names the config, and nobody has built anything."""
    env = {**mounted, every_group.FILE: str(tmp_path / "groups")}
    with serving.started(words, env=env, folder=tmp_path) as server:
        server.ready()

        assert len(server.complete()) == 3
        assert "vpm-env: switched to generation 1 (" in server.said
        assert "Resolved architecture: Spark2_5ForCausalLM" in server.said
        told = [line for line in server.said.splitlines() if "vpm-env: generation 1 (" in line]
        assert {line.split(" pid=")[0] for line in told} >= {"(EngineCore", "(VllmWorker-0"}
        assert sum(line.startswith(("vpm-env: ", "(APIServer pid=")) for line in told) == 1
        assert all(line.endswith("), 1 plugin") for line in told)
        ran = every_group.told(tmp_path / "groups")
        assert ran.keys() == {"general", "platform", "stat_logger", "logits"}
        assert ran["general"] >= {"MainProcess", "EngineCore", "VllmWorker-0"}
        assert (ran["stat_logger"], ran["logits"]) == ({"MainProcess"}, {"VllmWorker-0"})


def test_groups_that_an_engine_must_be_asked_for_work_at_the_first_start_too(
    stand: Stand, mounted: dict[str, str], llama: Path, tmp_path: Path
) -> None:
    """An io-processor is for a model that pools, and endpoints are loaded by name only."""
    shutil.rmtree(stand.vpm_env.home)
    words = [stand.base.scripts / "vllm", "serve", llama, *serving.OPTIONS, "--runner", "pooling"]
    env = {**mounted, every_group.FILE: str(tmp_path / "groups"), "VLLM_PLUGINS": "every"}
    with serving.started([*words, "--io-processor-plugin", "every"], env=env, folder=tmp_path, quick=True) as server:
        server.ready()

        assert "vpm-env: switched to generation 1 (" in server.said
        assert server.get("/every") == '"every"'
        assert every_group.told(tmp_path / "groups").keys() >= {"general", "platform", "io_processor", "endpoint"}


def test_without_a_hook_a_set_serves_through_run(stand: Stand, words: list[str | Path], tmp_path: Path) -> None:
    stand("hook", "uninstall")
    stand.vpm_env.config(CONFIG)
    stand("build")
    command, env = [*stand.vpm_env.command, "run", "--", "vllm", *words[1:]], stand.vpm_env.env
    with serving.started(command, env=env, folder=stand.vpm_env.folder, quick=True) as server:
        server.ready()

        assert len(server.complete()) == 3
        overlay = f"{stand.overlay}/bin/python"
        assert {command[0] for command in server.commands()} >= {overlay}
