"""What builds do with what the probe found: refusals, `--force`, `probe:`, and sets that wait for a device."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kit
import pytest
import stands

GROUP = "vllm.general_plugins"
RAISES = "def register(): raise RuntimeError('vLLM 0.33.0 is not supported')\n"
PATCHES = """
import os, threading, time
from vllm import plugins

def register():
    plugins.load_general_plugins = register
    os.environ["SET_BY_PATCHES"] = "1"
    threading.Thread(target=time.sleep, args=(99,), name="poller", daemon=True).start()
"""
TORCH = """
import os

class cuda:
    @staticmethod
    def init():
        if "DEVICE_IS_HERE" not in os.environ:
            raise RuntimeError("No CUDA GPUs are available")

    @staticmethod
    def is_initialized():
        return False
"""
NEEDS_DEVICE = "import torch\ntorch.cuda.init()\ndef register(): ...\n"
ENGINES_OWN = {
    "vllm/v1/__init__.py": "",
    "vllm/v1/metrics/__init__.py": "",
    "vllm/v1/metrics/loggers.py": "class StatLoggerBase: ...\n",
}
MODULES = {
    "fine": "def register(): ...\n",
    "bare": "register = 1\n",
    "raises": RAISES,
    "patches": PATCHES,
    "gpu": NEEDS_DEVICE,
}
WHY = "fails when it is called: RuntimeError: vLLM 0.33.0 is not supported"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Make a base with a tiny engine and a stand-in for torch, and wheels of plugins that are trouble."""
    folder = tmp_path_factory.mktemp("probed")
    vpm_env = stands.small(folder)
    base = kit.describe(Path(vpm_env.env["VPM_ENV_BASE"]))
    kit.install(base, kit.wheel(folder / "wheels", "torch", "2.14.0", files={"torch.py": TORCH}))
    kit.install(base, kit.wheel(folder / "wheels", "loggers", files=ENGINES_OWN))
    for name, text in MODULES.items():
        points = {GROUP: {name: f"{name}:register"}}
        kit.wheel(folder / "links", name, files={f"{name}.py": text}, entry_points=points)
    return vpm_env


@pytest.fixture
def stand(made: kit.VpmEnv, tmp_path: Path) -> kit.VpmEnv:
    """Give each test a home of its own."""
    home = tmp_path / "home"
    return kit.VpmEnv(home=home, folder=made.folder, env={**made.env, "VPM_ENV_HOME": str(home)})


def config(stand: kit.VpmEnv, *names: str, keys: str = "", extra: str = "") -> None:
    entries = "".join(f"  - {{name: {name}, source: pypi{extra}}}\n" for name in names)
    stand.config(f"find_links: ../links\nindex: http://127.0.0.1:9/none\n{keys}plugins:\n{entries}")


def build(stand: kit.VpmEnv, *names: str, words: tuple[str, ...] = (), code: int = 0, **written: str) -> str:
    config(stand, *names, **written)
    done = stand("build", "--offline", *words)
    assert done.exit == code, done.output
    return done.stderr


def test_what_raises_when_it_is_called_is_refused_and_forced_in_spite_of_that(stand: kit.VpmEnv) -> None:
    refused = build(stand, "fine", "raises", code=1)
    assert refused.count("error: ") == 1
    assert f"error: `raises`: {GROUP}: raises {WHY}\n" in refused
    assert "`vpm-env build --force` switches in spite of it" in refused
    assert not list(stand.home.glob("overlays/*/*"))
    assert not list(stand.home.glob("profiles/*/*/current"))

    forced = build(stand, "fine", "raises", words=("--force",))
    assert f"warning: {GROUP}: raises {WHY}\n" in forced
    assert "switched to generation 1 (" in forced
    (generation,) = stand("history", "--json").json["generations"]
    assert generation["reason"] == "build --force"
    status = stand("status")
    assert "probe:     raises: failed: RuntimeError: vLLM 0.33.0 is not supported\n" in status.stdout


@pytest.mark.long
def test_classes_are_what_the_engine_takes_and_what_works_can_be_had_alone(stand: kit.VpmEnv) -> None:
    code = "from vllm.v1.metrics.loggers import StatLoggerBase\nclass Own(StatLoggerBase): ...\ndef made(): ...\n"
    points = {"vllm.stat_logger_plugins": {"own": "logs:Own", "made": "logs:made"}}
    points |= {"vllm.logits_processors": {"three": "logs:three"}, GROUP: {"fine": "logs:made"}}
    files = {"logs.py": f"{code}three = 3\n"}
    kit.wheel(stand.folder.parent / "links", "logs", files=files, entry_points=points)

    refused = build(stand, "logs", code=1)
    assert "vllm.stat_logger_plugins: made does not load: TypeError: it is <function made at" in refused
    assert "vllm.logits_processors: three does not load: TypeError: it is 3, not a class\n" in refused
    assert "hint: `entry_points: [fine, own]` on `logs` takes only what works\n" in refused
    build(stand, "logs", extra=", entry_points: [fine, own]")
    assert "imported, 0." in (shown := stand("show").stdout), shown
    assert "ok, 0." in shown, shown


@pytest.mark.long
def test_another_look_at_a_forced_set_takes_nothing_for_granted(stand: kit.VpmEnv) -> None:
    build(stand, "raises", words=("--force",))
    assert "nothing to do: generation 1 (" in build(stand, "raises")

    assert WHY in build(stand, "raises", code=1, keys="# changed\n")
    assert stand("history", "--json").json["current"] == 1


@pytest.mark.long
def test_a_forced_build_leaves_optional_plugins_out_all_the_same(stand: kit.VpmEnv) -> None:
    told = build(stand, "fine", "raises", words=("--force",), extra=", optional: true")

    assert f"left out `raises` (optional): {GROUP}: raises {WHY}" in told
    assert stand("history", "--json").json["generations"][0]["reason"] == "build"


@pytest.mark.long
def test_how_much_is_tried_is_the_configs_to_say(stand: kit.VpmEnv) -> None:
    build(stand, "raises", "bare", keys="probe: import\n")
    results = {point["name"]: point["probe"] for point in stand("show", "--json").json["entry_points"]}
    assert {name: (one["status"], one["called"]) for name, one in results.items()} == {
        "raises": ("ok", False),
        "bare": ("ok", False),
    }

    assert WHY in build(stand, "raises", "bare", code=1, keys="probe: call\n")
    assert "changed" in build(stand, "raises", "bare", keys="probe: none\n")
    assert len(stand("history", "--json").json["generations"]) == 1
    build(stand, "raises", "fine", keys="probe: none\n")
    assert {point["probe"] for point in stand("show", "--json").json["entry_points"]} == {None}
    assert "`probe`: must be one of `call`, `import`, `none`, not `al`" in build(
        stand, "fine", code=1, keys="probe: al\n"
    )


def test_what_a_plugin_does_to_its_engine_is_told(stand: kit.VpmEnv) -> None:
    does = "changes the variable `SET_BY_PATCHES`, leaves the thread `poller`"
    said = f"{GROUP}: patches replaces `vllm.plugins.load_general_plugins`, {does}"

    assert f"note: {said}\n" in build(stand, "patches", "fine")
    shown = stand("show")
    assert f"note:       {said}\n" in shown.stdout
    (fine, patches) = (point["probe"] for point in stand("show", "--json").json["entry_points"])
    assert fine["effects"] == {}
    assert patches["effects"] == {
        "threads": ["poller"],
        "environment": ["SET_BY_PATCHES"],
        "patched": ["vllm.plugins.load_general_plugins"],
    }


@pytest.mark.long
def test_what_a_library_has_for_programs_that_are_not_there_is_not_tried(stand: kit.VpmEnv) -> None:
    """Under `engine: generic` any group may be a plugin's, but only the plugins are somebody's wish."""
    links = stand.folder.parent / "links"
    kit.wheel(links, "library", files={"library.py": ""}, entry_points={"pytest11": {"library": "absent:thing"}})
    points = {"host.plugins": {"uses": "uses:register"}}
    kit.wheel(links, "uses", files={"uses.py": "def register(): ...\n"}, entry_points=points, requires=("library",))
    text = f"find_links: {links}\nindex: http://127.0.0.1:9/none\nengine: generic\nplugins:\n"

    stand.config(f"{text}  - {{name: uses, source: pypi}}\n")
    tried = stand("build", "--offline", "--json", check=True).json["probe"]
    stand.config(f"{text}  - {{name: library, source: pypi}}\n")
    asked = stand("build", "--offline")

    assert [(entry["entry_point"], entry["status"]) for entry in tried] == [("host.plugins:uses", "ok")]
    assert asked.exit == 1
    assert "No module named 'absent'" in asked.stderr


@pytest.mark.long
@pytest.mark.skipif(any(Path(f"/dev/{name}").exists() for name in ("nvidiactl", "dxg")), reason="here is a device")
def test_a_set_that_waits_for_a_device_is_completed_by_the_first_engine_that_has_one(stand: kit.VpmEnv) -> None:
    told = build(stand, "fine", "gpu")
    assert f"note: {GROUP}: gpu needs a device to load: RuntimeError: No CUDA GPUs are available\n" in told
    stand("hook", "install", check=True)
    try:
        serve(stand, code=1)
        assert "probe:     gpu: needs-device\n" in stand("status").stdout

        assert sorted(serve(stand, DEVICE_IS_HERE="1")["loaded"]) == ["fine", "gpu", "vpm_env_guard"]

        line = next(line for line in stand("status").stdout.splitlines() if line.startswith("probe:"))
        assert line.startswith("probe:     gpu: ok on a machine with a device, 20")
        assert "ok on a machine with a device, 20" in stand("show").stdout
        record = stand("status", "--json").json
        schema = json.loads((kit.ROOT / "docs" / "schemas" / "status.json").read_text())
        of_probe = schema["$defs"]["status"]["properties"]["probe"]
        jsonschema.validate(record["probe"], of_probe, format_checker=jsonschema.FormatChecker())
        (result,) = record["probe"]
        assert (result["entry_point"], result["status"], result["called"]) == (f"{GROUP}:gpu", "needs-device", False)
        assert (result["completed"]["status"], result["completed"]["error"]) == ("ok", "")
        assert "all as they were made" in stand("verify").stderr
    finally:
        stand("hook", "uninstall", check=True)


def serve(stand: kit.VpmEnv, *, code: int = 0, **variables: str) -> dict[str, Any]:
    """Start the engine, and return what it says."""
    done = subprocess.run(
        [Path(stand.env["VPM_ENV_BASE"]).with_name("vllm"), "serve"],
        env={**stand.env, **variables},
        cwd=stand.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    return {} if code else dict(json.loads(done.stdout))
