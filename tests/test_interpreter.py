"""Which interpreter is the base: the rules in their order, and what is told where none applies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from envbuilder.errors import BaseError
from envbuilder.interpreter import find_base
from envbuilder.paths import Environment

if TYPE_CHECKING:
    import kit


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """Make an interpreter for each rule: `bin/python`, and `bin/python3` on PATH."""
    found = {}
    for name in ("option", "variable", "config", "active", "conda", "path"):
        scripts = tmp_path / name / "bin"
        scripts.mkdir(parents=True)
        for script in ("python", "python3"):
            (scripts / script).write_text("#!/bin/sh\n")
            (scripts / script).chmod(0o755)
        found[name] = tmp_path / name
    return found


def choose(places: dict[str, Path], *rules: str) -> str:
    """Let only these rules apply, and say in which place the base was found."""
    variables = {"PATH": str(places["path"] / "bin") if "path" in rules else "/nonexistent"}
    for rule, name in (("variable", "VPM_ENV_BASE"), ("active", "VIRTUAL_ENV"), ("conda", "CONDA_PREFIX")):
        if rule in rules:
            variables[name] = str(places[rule])
    found = find_base(
        option=str(places["option"]) if "option" in rules else None,
        configured=str(places["config"]) if "config" in rules else None,
        env=Environment(variables=variables),
    )
    return Path(found.python).parent.parent.name


def test_the_first_rule_that_names_a_base_has_it(places: dict[str, Path]) -> None:
    order = ["option", "variable", "config", "active", "conda", "path"]

    assert [choose(places, *order[at:]) for at in range(len(order))] == order


@pytest.mark.parametrize("first_line", ["#!{python} -E", "#!/bin/sh\n''':'"])
def test_the_engines_script_on_path_says_which(places: dict[str, Path], tmp_path: Path, first_line: str) -> None:
    scripts = places["path"] / "bin"
    (scripts / "vllm").write_text(first_line.format(python=scripts / "python") + "\n")

    found = find_base(option=None, configured=None, env=Environment(variables={"PATH": str(scripts)}))

    assert (found.python, found.rule) == (str(scripts / "python"), "the interpreter of `vllm` on PATH")
    assert tmp_path in Path(found.python).parents


def test_where_no_rule_applies_all_are_named() -> None:
    with pytest.raises(BaseError) as caught:
        find_base(option=None, configured=None, env=Environment(variables={"PATH": "/nonexistent"}))

    told = caught.value.message
    for words in ("--base", "VPM_ENV_BASE", "base:", "runs vpm-env", "VIRTUAL_ENV", "CONDA_PREFIX", "vllm", "python3"):
        assert words in told
    assert f"`{sys.executable}` has no engine" in told


@pytest.mark.parametrize("rule", ["option", "variable", "config"])
def test_what_a_user_names_must_be_there(places: dict[str, Path], rule: str) -> None:
    """Looking on would take another base than the one that was meant."""
    for script in ("python", "python3"):
        (places[rule] / "bin" / script).unlink()

    with pytest.raises(BaseError, match="no interpreter"):
        choose(places, rule, "active", "path")


def test_the_environment_of_vpm_env_itself_is_no_base_without_an_engine(places: dict[str, Path]) -> None:
    variables = {"VIRTUAL_ENV": sys.prefix, "PATH": str(places["path"] / "bin")}

    found = find_base(option=None, configured=None, env=Environment(variables=variables))

    assert found.rule == "the first `python3` on PATH"


def test_status_says_which_rule_chose(base: kit.Base, vpm_env: kit.VpmEnv) -> None:
    vpm_env.config("plugins: []\n")

    assert "chosen by `--base`" in vpm_env("status", "--base", base.prefix).stdout
    assert "chosen by `$VIRTUAL_ENV`" in vpm_env("status", env={"VIRTUAL_ENV": str(base.prefix)}).stdout
