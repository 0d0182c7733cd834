"""`vpm-env init`: a config that loads as it is, for each engine, and never in the place of another."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from envbuilder import config, init, paths
from envbuilder.engines import ENGINES, GENERIC, SGLANG, VLLM, Engine
from envbuilder.errors import ConfigError, UsageError
from envbuilder.paths import Environment

if TYPE_CHECKING:
    from pathlib import Path

ALL = (*ENGINES, GENERIC)


@pytest.mark.parametrize("engine", ALL, ids=lambda engine: engine.name)
def test_the_config_loads_as_it_is(tmp_path: Path, engine: Engine) -> None:
    target = tmp_path / "deep" / "plugins.yaml"
    init.write_config(target=str(target), engine=engine)

    assert config.read(str(target), env=Environment(variables={})).plugins == ()
    assert "@" not in target.read_text().replace("git@git.example", "")
    assert all(len(line) <= 120 for line in target.read_text().splitlines())
    assert all(group in target.read_text() for group in engine.groups)


@pytest.mark.parametrize("engine", ALL, ids=lambda engine: engine.name)
def test_the_examples_show_every_key_and_install_nothing_until_they_are_filled_in(
    tmp_path: Path, engine: Engine
) -> None:
    target = tmp_path / "plugins.yaml"
    target.write_text(uncommented(init.render(engine)))

    with pytest.raises(ConfigError) as caught:
        config.read(str(target), env=Environment(variables={}))
    problems = {problem.key: problem.text for problem in caught.value.problems}
    names = {key for key in problems if key.endswith(".name")}
    assert names == {"plugins[0].name", "plugins[1].name", "plugins[2].name"}
    assert "plugins[0].package" in problems
    assert "plugins[1].url" in problems
    assert not [text for text in problems.values() if "unknown key" in text or "YAML" in text]


@pytest.mark.parametrize("engine", ALL, ids=lambda engine: engine.name)
def test_filled_in_examples_load(tmp_path: Path, engine: Engine) -> None:
    target = tmp_path / "plugins.yaml"
    text = (
        uncommented(init.render(engine))
        .replace("<url>", "https://git.example/a.git")
        .replace("<path>", "./a")
        .replace("<key>", f"a:{'A' * 43}=")
    )
    for word in ("one", "two", "three"):
        text = text.replace("- name: <name>", f"- name: {word}", 1)
    target.write_text(text.replace("<package>", "demo").replace("<extra>", "fast").replace("<code>", "startup-code"))

    loaded = config.read(str(target), env=Environment(variables={}))
    assert [plugin.name for plugin in loaded.plugins] == ["one", "two", "three"]
    assert loaded.engine == engine.name
    assert (loaded.profile, loaded.override) == ("default", ("demo",))
    assert loaded.plugins[2].build_isolation is False


def uncommented(text: str) -> str:
    """Take the examples' `#` away as the text says, those of the keys that may be left out too."""
    head, _, examples = text.partition("plugins: []\n")
    lines = [re.sub(r"^# ?(?=\S)|^#", "", line) for line in examples.splitlines()]
    lines = [re.sub(r"^( +)# (?=[a-z_]+:)", r"\1", line) for line in lines]
    is_yaml = re.compile(r" *(- )?[a-z_]+:( |$)|$")
    return head + "plugins:\n" + "\n".join(line for line in lines if is_yaml.match(line)) + "\n"


@pytest.mark.parametrize("there", ["file", "link", "folder"])
def test_nothing_is_written_over(tmp_path: Path, there: str) -> None:
    target = tmp_path / "plugins.yaml"
    if there == "file":
        target.write_text("mine")
    elif there == "link":
        target.symlink_to("nowhere")
    else:
        target.mkdir()
    before = os.lstat(target)

    with pytest.raises(ConfigError, match="is there already") as caught:
        init.write_config(target=str(target), engine=VLLM)
    assert caught.value.hint
    assert os.lstat(target) == before


def test_a_place_that_takes_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="cannot be written"):
        init.write_config(target=f"{tmp_path}/file/plugins.yaml", engine=VLLM)


def test_the_target_is_here_or_where_the_engine_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    env = Environment(variables={"HOME": "/home/someone"})

    assert init.choose_target(option=None, user=False, engine=VLLM, env=env) == f"{tmp_path}/plugins.yaml"
    assert init.choose_target(option="~/x.yaml", user=False, engine=VLLM, env=env) == "/home/someone/x.yaml"
    user = init.choose_target(option=None, user=True, engine=SGLANG, env=env)
    assert user == "/home/someone/.config/sglang/plugins.yaml"


def test_the_users_config_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    env = Environment(variables={"HOME": f"{tmp_path}/someone"})
    target = init.choose_target(option=None, user=True, engine=SGLANG, env=env)
    init.write_config(target=target, engine=SGLANG)

    assert config.find(env, None) == target


@pytest.mark.parametrize(("engine", "home"), [(GENERIC, "/home/someone"), (VLLM, "/")])
def test_a_users_config_needs_an_engine_and_a_home(engine: Engine, home: str) -> None:
    with pytest.raises(UsageError) as caught:
        init.choose_target(option=None, user=True, engine=engine, env=Environment(variables={"HOME": home}))
    assert caught.value.hint


def test_templates_are_read_from_the_checkout_or_the_installed_package() -> None:
    assert "plugins: []" in paths.template("plugins.yaml")
    with pytest.raises(FileNotFoundError):
        paths.template("none")
