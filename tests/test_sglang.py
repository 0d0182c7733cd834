"""SGLang: built before it serves, by its script and its module, with all five groups and the list as it reads that."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kit
import pytest

from envbuilder import _auto
from envbuilder.engines import SGLANG

if TYPE_CHECKING:
    from collections.abc import Mapping

PLUGINS, PLATFORMS = "sglang.srt.plugins", "sglang.srt.platforms"
CODE = "def register(): ...\ndef platform(): return 'many.Platform'\nclass Platform: ...\n"
POINTS = {
    PLUGINS: {"hooks": "many:register"},
    PLATFORMS: {"ours": "many:platform"},
    "sglang.serve_backends": {"backend": "many:register"},
    "sglang.multimodal_gen.platforms": {"ours": "many:platform"},
    "sglang.multimodal_gen.plugins": {"images": "many:register"},
}
GUARD = re.compile(r"vpm-env: (?:generation 1 \([0-9a-f]{12}\)|overlay [0-9a-f]{12}), 1 plugin\b")


@pytest.mark.parametrize(
    ("module", "words", "serves"),
    [
        ("", ["serve", "--model-path", "m"], True),
        ("", ["generate", "--model-path", "m"], True),
        ("", ["version"], False),
        ("", ["render", "--port", "1"], False),
        ("", ["serve", "--help"], False),
        ("sglang.launch_server", ["--model-path", "m"], True),
        ("sglang.launch_server", ["--help"], False),
        ("sglang.cli.main", ["serve", "--model-path", "m"], True),
        ("sglang.cli.main", ["version"], False),
    ],
)
def test_which_calls_serve(monkeypatch: pytest.MonkeyPatch, module: str, words: list[str], serves: bool) -> None:
    monkeypatch.setattr(_auto, "SERVING", SGLANG.serving)
    monkeypatch.setattr(_auto, "COMMAND_MODULES", SGLANG.command_modules)

    assert _auto.is_serving(module, words) is serves


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Give a base with SGLang, a plugin that raises and a hook that builds; a plugin of every group; a platform."""
    folder = tmp_path_factory.mktemp("sglang")
    base = kit.base(folder / "base", home=folder)
    kit.fake_sglang(base)
    files = {"broken.py": "def register(): raise OSError('no device')\n"}
    points = {PLUGINS: {"broken": "broken:register"}}
    kit.install(base, kit.wheel(folder / "wheels", "base-plugin", files=files, entry_points=points))
    kit.wheel(folder / "links", "many", files={"many.py": CODE}, entry_points=POINTS)
    kit.wheel(folder / "links", "more", files={"more.py": CODE}, entry_points={PLATFORMS: {"m": "more:platform"}})
    env = kit.clean_environment(folder)
    env |= {"VPM_ENV_HOME": str(folder / "home"), "UV_CACHE_DIR": str(folder / "uv")}
    (folder / "work").mkdir()
    vpm_env = kit.VpmEnv(home=folder / "home", folder=folder / "work", env=env).use(base)
    configure(vpm_env, "many")
    vpm_env("hook", "install", "--auto", check=True)
    return vpm_env


def configure(stand: kit.VpmEnv, *names: str) -> Path:
    rows = "".join(f"  - {{name: {name}, source: pypi}}\n" for name in names)
    return stand.config(f"engine: sglang\nfind_links: ../links\nindex: http://127.0.0.1:9/none\nplugins:\n{rows}")


def start(
    stand: kit.VpmEnv, *command: str, home: Path | None = None, env: Mapping[str, str] | None = None
) -> tuple[list[dict[str, Any]], str]:
    """Start a command of the base's as a user would; return what its processes told, and what was logged."""
    variables = {name: value for name, value in stand.env.items() if not name.startswith("VPM_ENV_")}
    variables |= {"VPM_ENV_CONFIG": str(stand.folder / "plugins.yaml"), "UV_OFFLINE": "1", **(env or {})}
    scripts = Path(stand.env["VPM_ENV_BASE"]).parent
    done = subprocess.run(
        [str(scripts / command[0]), *command[1:]], env=variables, cwd=stand.folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


SERVE = ("sglang", "serve", "--model-path", "m")
MODULE = ("python", "-m", "sglang.launch_server", "--model-path", "m")


@pytest.mark.long
@pytest.mark.parametrize("command", [SERVE, MODULE], ids=["serve", "launch_server"])
def test_the_first_start_has_every_group_in_every_process(stand: kit.VpmEnv, command: tuple[str, ...]) -> None:
    profile = "module" if command is MODULE else "script"
    (quiet, _), (told, logged) = (
        start(stand, "sglang", "version"),
        start(stand, *command, env={"VPM_ENV_PROFILE": profile}),
    )

    parent, child = told
    assert quiet == []
    assert parent == child
    assert parent["plugins"] == ["hooks", "vpm_env_guard"]
    assert (parent["platform"], parent["image_platform"]) == ("many.Platform", "many.Platform")
    assert (parent["backends"], parent["images"]) == (["backend"], ["images"])
    assert "vpm-env: switched to generation 1 (" in logged
    assert len(GUARD.findall(logged)) == 2, "one line in each process"
    assert "raised: broken no device" in logged
    assert re.fullmatch("[0-9a-f]{12}:[0-9a-f]{64}", parent["pin"])


@pytest.mark.long
def test_the_list_is_read_as_the_engine_does(stand: kit.VpmEnv) -> None:
    start(stand, *SERVE)
    exported = stand("plugins", "--json", check=True).json["value"]
    lists = ("", " hooks , vpm_env_guard,", "images", exported)
    seen = {text: start(stand, *SERVE, env={"SGLANG_PLUGINS": text}) for text in lists}
    told = stand("status", env={"SGLANG_PLUGINS": "images"}).stdout

    assert exported == "broken,hooks,images,ours,vpm_env_guard"
    assert seen[""][0] == seen[exported][0]
    ((some, _), _), ((images, _), logged) = seen[lists[1]], seen["images"]
    assert (some["plugins"], some["platform"], some["image_platform"]) == (
        ["hooks", "vpm_env_guard"],
        "built-in",
        "many.Platform",
    )
    assert (images["plugins"], images["images"], images["backends"]) == ([], ["images"], ["backend"])
    assert not GUARD.search(logged)
    assert "SGLANG_PLUGINS is set and leaves out" in told


@pytest.mark.long
def test_two_platforms_are_refused(stand: kit.VpmEnv) -> None:
    configure(stand, "many", "more")
    try:
        done = stand("build", "--offline")
    finally:
        configure(stand, "many")

    assert done.exit == 1
    assert f"`{PLATFORMS}` has room for one entry point, and there are 2" in done.stderr
