"""Shared libraries find their neighbours, and everything finds itself: in deep homes, and in homes that moved."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import stands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stands import Stand

LEAST = 200
"""Bytes of a home's path: more than a `#!` line may hold on any kernel in use."""


def publish_libraries(stand: Stand) -> None:
    """Publish what the wheels of CUDA are like: a library that finds another by a RUNPATH out of its own directory."""
    folder = stand.folder / "c"
    lower = stands.library(folder, "libnvjitlink.so", "int linked(void) { return 40; }", "-Wl,-soname,libnvjitlink.so")
    upper = stands.library(
        folder,
        "libcufft.so",
        "int linked(void); int transformed(void) { return linked() + 2; }",
        f"-L{folder}",
        "-lnvjitlink",
        "-Wl,-soname,libcufft.so",
        "-Wl,-rpath,$ORIGIN/../../nvjitlink/lib",
    )
    name, module = stands.extension(
        folder,
        stand.base,
        "_fft",
        "transformed()",
        f"-L{folder}",
        "-lcufft",
        "-Wl,-rpath,$ORIGIN/../nv/cufft/lib",
        f"-Wl,-rpath-link,{folder}",
        declarations="int transformed(void);",
    )
    stand.publish("nv-nvjitlink", files={"nv/nvjitlink/__init__.py": "", "nv/nvjitlink/lib/libnvjitlink.so": lower})
    stand.publish(
        "nv-cufft",
        files={"nv/cufft/__init__.py": "", "nv/cufft/lib/libcufft.so": upper},
        requires=("nv-nvjitlink",),
    )
    stand.publish(
        "fft",
        files={"fft/__init__.py": "from fft._fft import value\n", f"fft/{name}": module},
        tag=stands.Platform.of(stand.base).tag,
        requires=("nv-cufft",),
    )


def test_a_library_finds_its_neighbour_in_another_wheel(tmp_path: Path, uv_cache: Path) -> None:
    stands.gcc()
    code = "import json, fft; print(json.dumps(fft.value()))"
    with stands.stand(tmp_path, uv_cache) as stand:
        publish_libraries(stand)
        stand("hook", "install")
        stand.build("fft")

        assert stand.ask(stand.overlay / "bin" / "python", code) == 42
        assert stand.ask(stand.base.python, code) == 42
        assert "all as they were made" in stand("verify").stderr
        inner = stand.overlay.relative_to(stand.vpm_env.home)
        moved = stand.vpm_env.home.rename(tmp_path / "moved") / inner
        assert stand.ask(moved / "bin" / "python", code) == 42


@pytest.fixture
def deep(tmp_path: Path, uv_cache: Path) -> Iterator[Stand]:
    """Give a set in a home whose path is very long."""
    registry = tmp_path / ("deep" * 20) / ("deeper" * 20) / "registry"
    assert len(str(registry)) > LEAST
    with stands.stand(tmp_path, uv_cache, registry=registry) as stand:
        files = {"tool/__init__.py": "import sys\ndef main(): print('tool', sys.argv[1:], sys.prefix)\n"}
        points = {"console_scripts": {"tool": "tool:main"}, stands.GROUP: {"tool": "tool:main"}}
        script = "#!python\nimport tool; print('script', tool.__name__)\n"
        stand.publish("tool", files=files, entry_points=points, scripts={"tool-script": script})
        stand.build("tool")
        yield stand


def works(stand: Stand) -> None:
    """Demand that scripts of packages, of the base, and `vpm-env run` and `verify` work."""
    overlay = stand.overlay
    assert str(overlay).startswith(str(stand.vpm_env.env["VPM_ENV_HOME"]))
    assert stand.run(overlay / "bin" / "tool", "x").stdout == f"tool ['x'] {overlay}\n"
    assert stand.run(overlay / "bin" / "tool-script").stdout == "script tool\n"
    assert "tool" in json.loads(stand.run(overlay / "bin" / "vllm").stdout.splitlines()[-1])["loaded"]
    assert stand("run", "--", "tool").stdout == f"tool [] {overlay}\n"
    assert stand("run", "--", "tool-script").stdout == "script tool\n"
    assert stand("run", "--", "bash", "-c", "tool-script; vllm").stdout.count("tool") >= 3
    assert "all as they were made" in stand("verify").stderr


def test_scripts_run_from_a_very_long_path(deep: Stand, tmp_path: Path) -> None:
    works(deep)

    link = tmp_path / "link"
    link.symlink_to(deep.overlay / "bin" / "tool")
    assert deep.run(link).stdout == f"tool [] {deep.overlay}\n"


@pytest.mark.long
def test_a_home_may_move(deep: Stand, tmp_path: Path) -> None:
    deep("hook", "install")
    assert "tool" in json.loads(deep.run(deep.base.scripts / "vllm").stdout.splitlines()[-1])["loaded"]

    moved = deep.vpm_env.home.rename(tmp_path / "moved")
    lost = deep.run(deep.base.scripts / "vllm")
    deep.vpm_env.env["VPM_ENV_HOME"] = str(moved)
    told = deep("status", "--json", check=False)

    assert json.loads(lost.stdout)["loaded"] == ["vpm_env_guard"], "the bare engine starts"
    assert (told.exit, told.json["active"]) == (1, False)
    works(deep)
    deep("hook", "install")
    assert deep("status", "--json").json["active"]
    assert "tool" in json.loads(deep.run(deep.base.scripts / "vllm").stdout.splitlines()[-1])["loaded"]
    deep("rollback", check=False)
    assert deep("build", "--json").json["result"] == "unchanged"
