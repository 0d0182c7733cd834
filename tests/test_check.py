"""`check`: one config against several bases; nothing is switched or recorded, and no lock is written."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import jsonschema
import kit
import pytest
from test_cli import on_terminal, piped

if TYPE_CHECKING:
    from pathlib import Path

GROUP = "vllm.general_plugins"


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Make three bases: an old vLLM, a newer one, and one where the plugin's entry point breaks."""
    folder = tmp_path_factory.mktemp("check")
    made = [kit.base(folder / name) for name in ("old", "new", "odd")]
    for base, version in zip(made, ("0.10.0", "0.33.0", "0.33.1"), strict=True):
        kit.fake_vllm(base, version)
    (made[2].purelib / "odd_one.py").write_text("")
    return tuple(base.prefix for base in made)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def stand(bases: tuple[Path, Path, Path]) -> kit.VpmEnv:
    """Write a config of a plugin that wants a newer vLLM, and fails where a module `odd_one` is."""
    folder = bases[0].parent
    env = kit.clean_environment(folder)
    env |= {"VPM_ENV_HOME": str(folder / "home"), "UV_CACHE_DIR": str(folder / "uv"), "COLUMNS": "80"}
    (folder / "work").mkdir()
    vpm_env = kit.VpmEnv(home=folder / "home", folder=folder / "work", env=env)
    code = (
        "import importlib.util\n"
        "def register(): ...\n"
        "if importlib.util.find_spec('odd_one'): raise ImportError('not here')\n"
    )
    kit.wheel(
        folder / "links",
        "newer",
        "1.0",
        files={"newer/__init__.py": code},
        requires=("vllm>=0.20",),
        entry_points={GROUP: {"newer": "newer:register"}},
    )
    vpm_env.config(
        f"find_links: {folder / 'links'}\nindex: http://127.0.0.1:9/none\nplugins:\n  - {{name: newer, source: pypi}}\n"
    )
    return vpm_env


def words(*bases: Path) -> list[str]:
    return ["check", "--offline", *(word for base in bases for word in ("--base", str(base)))]


@pytest.mark.long
def test_a_line_for_each_base_and_exit_1_unless_all_fit(stand: kit.VpmEnv, bases: tuple[Path, Path, Path]) -> None:
    out, err = piped(stand, *words(*bases), "--base", "/nowhere", code=1)

    lines = [re.sub(r"  +", "  ", line) for line in out.splitlines()]
    assert lines == [
        "  base  result  took",
        "fails  /X/old (vllm 0.10.0, Python 3.X)  newer 1.0 → vllm>=0.20 → base has 0.10.0  N s",
        "fits  /X/new (vllm 0.33.0, Python 3.X)  1 package  N s",
        f"fails  /X/odd (vllm 0.33.1, Python 3.X)  `newer`: {GROUP}: newer does not load: ImportError: not here  N s",
        "fails  /nowhere  `--base` names `/nowhere`, which is no interpreter and no folder of one  N s",
    ]
    assert "note: checking /X/old (vllm 0.10.0, Python 3.X)\n" in err


def test_nothing_is_switched_recorded_or_locked(stand: kit.VpmEnv, bases: tuple[Path, Path, Path]) -> None:
    stand.home.mkdir(exist_ok=True)
    (stand.home / "format").write_text("1\n")
    _, err = piped(stand, *words(bases[1]))

    assert "hint: what was made stays for a build; `vpm-env gc` removes what none takes\n" in err
    assert not list((stand.home / "profiles").iterdir())
    assert [path.name for path in stand.folder.iterdir()] == ["plugins.yaml"]
    assert not list((stand.home / "tmp").iterdir())
    overlays = [path.name for path in stand.home.glob("overlays/*/*")]
    assert len(overlays) == 1, "that of the set that fits, for a build to take"
    assert stand("gc", "--dry-run", "--json").json["overlays"] == overlays


def test_where_there_is_no_home_none_is_made(stand: kit.VpmEnv, bases: tuple[Path, Path, Path], tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    there = ["--home", str(tmp_path / "nowhere")]
    env = {"TMPDIR": str(tmp_path / "tmp")}

    done = stand(*words(bases[1]), *there, env=env, check=True)
    planned = stand("build", "--base", bases[1], "--dry-run", "--offline", *there, env=env, check=True)

    assert "1 package" in done.stdout
    assert "newer" in planned.stdout
    assert "hint" not in done.stderr, "nothing stays"
    assert {path.name for path in tmp_path.rglob("*")} == {"home", "tmp"}


def test_without_a_base_it_checks_the_one_that_is_found(stand: kit.VpmEnv, bases: tuple[Path, Path, Path]) -> None:
    out, _ = piped(stand, "--profile", "other", "check", "--offline", "--quiet", "--base", str(bases[1]))
    stand.env["VPM_ENV_BASE"] = str(bases[1])
    try:
        found, _ = piped(stand, "check", "--offline", "--quiet")
    finally:
        del stand.env["VPM_ENV_BASE"]

    assert found.splitlines()[1].startswith("fits  /X/new (vllm 0.33.0, Python 3.X)  1 package")
    assert re.sub(r" +", " ", out) == re.sub(r" +", " ", found)


def test_on_a_terminal_of_80_columns(stand: kit.VpmEnv, bases: tuple[Path, Path, Path]) -> None:
    written = on_terminal(stand, *words(bases[1]))

    lines = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", written).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("fits" in line and "1 package" in line for line in lines)


def test_json(stand: kit.VpmEnv, bases: tuple[Path, Path, Path]) -> None:
    done = stand(*words(*bases[:2]), "--json")
    record = done.json
    jsonschema.validate(record, json.loads((kit.ROOT / "docs" / "schemas" / "check.json").read_text()))
    old, new = record["bases"]

    assert (done.exit, record["fits"]) == (1, False)
    assert (old["fits"], old["error"]["kind"], old["packages"]) == (False, "ResolutionError", {})
    assert (new["fits"], new["error"], new["packages"], new["reason"]) == (True, None, {"newer": "1.0"}, None)
    assert (
        stand("build", "--offline", "--base", bases[1], "--home", stand.home, "--json").json["digest"] == new["digest"]
    )


def test_a_wrong_config_is_told_once(stand: kit.VpmEnv, bases: tuple[Path, Path, Path], tmp_path: Path) -> None:
    (tmp_path / "plugins.yaml").write_text("plugins: 1\n")

    done = stand(*words(*bases), "--config", tmp_path / "plugins.yaml")

    assert (done.exit, done.stdout) == (1, "")
    assert done.stderr.count("error:") == 1
    assert "plugins.yaml:1:10: `plugins`: must be a list" in done.stderr
