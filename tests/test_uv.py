"""How uv is called: whose settings count, what is secret, and that uv obeys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kit
import pytest
from resolving import make_config, pypi

from envbuilder import indexes
from envbuilder.config import Git, Plugin
from envbuilder.errors import Place, SourceError
from envbuilder.paths import Environment, Layout, environment
from envbuilder.uv import Uv, configure

if TYPE_CHECKING:
    from envbuilder.config import Config


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "vpm-home"))


def configured(
    layout: Layout, *, config: Config | None = None, offline: bool = False, bare: bool = True, **variables: str
) -> Uv:
    """Configure uv; `bare` leaves the machine's own files for pip aside."""
    own = {"PIP_CONFIG_FILE": os.devnull} if bare else {}
    return configure(config, Environment({**own, **variables}), layout, offline=offline)


def compile_args(base: kit.Base) -> list[str]:
    return ["pip", "compile", "--python", str(base.python), "--no-header", "--no-annotate", "--quiet", "in.txt"]


@pytest.fixture
def ask(base: kit.Base, tmp_path: Path, layout: Layout) -> Any:
    """Resolve `plug` in a folder of its own with the settings given, and return what uv said."""

    def resolve(config: Config | None = None, *, drop: tuple[str, ...] = (), **variables: str) -> Any:
        folder = tmp_path / "work"
        folder.mkdir(exist_ok=True)
        (folder / "in.txt").write_text("plug\n")
        inherited = {name: value for name, value in environment().variables.items() if name not in drop}
        env = {"PIP_CONFIG_FILE": os.devnull, **inherited, **variables}
        uv = configure(config, Environment(env), layout, offline=False)
        return uv.run(compile_args(base), cwd=str(folder))

    return resolve


def test_the_config_goes_before_uv_and_uv_before_pip(layout: Layout) -> None:
    pip = {"PIP_INDEX_URL": "https://pip.example/simple", "PIP_EXTRA_INDEX_URL": "https://extra.example/simple"}
    uv = {"UV_INDEX_URL": "https://uv.example/simple", "UV_EXTRA_INDEX_URL": "https://more.example/simple"}
    config = make_config(index=("https://one.example/simple", "https://two.example/simple"))
    first = configured(layout, config=config, **pip, **uv).variables
    assert first["UV_INDEX"] == "https://one.example/simple"
    assert first["UV_DEFAULT_INDEX"] == "https://two.example/simple"
    assert not {"UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX_STRATEGY"} & first.keys()
    second = configured(layout, **pip, **uv).variables
    assert {name: second.get(name) for name in uv} == uv
    assert not {"UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_STRATEGY"} & second.keys()
    third = configured(layout, **pip).variables
    assert third["UV_INDEX"] == "https://pip.example/simple"
    assert third["UV_DEFAULT_INDEX"] == "https://extra.example/simple"
    extra = configured(layout, PIP_EXTRA_INDEX_URL="https://extra.example/simple").variables
    assert extra["UV_INDEX"] == "https://extra.example/simple"
    assert "UV_DEFAULT_INDEX" not in extra
    loose = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    assert not any(loose.keys() & configured(layout, **loose, **settings).variables.keys() for settings in (pip, uv))


def test_links_and_certificates_come_from_the_first_place_that_has_them(layout: Layout, tmp_path: Path) -> None:
    pip = {
        "PIP_FIND_LINKS": f"{tmp_path} {tmp_path}/gone https://links.example",
        "PIP_CERT": "/pip.pem",
        "PIP_TRUSTED_HOST": "a.example b.example",
    }
    found = configured(layout, **pip).variables
    assert found["UV_FIND_LINKS"] == f"{tmp_path},https://links.example"
    assert found["SSL_CERT_FILE"] == "/pip.pem"
    assert found["UV_INSECURE_HOST"] == "a.example b.example"
    own = {"UV_FIND_LINKS": "/uv", "SSL_CERT_FILE": "/own.pem", "UV_INSECURE_HOST": "c.example"}
    found = configured(layout, **pip, **own).variables
    assert {name: found[name] for name in own} == own
    config = make_config(find_links=(str(tmp_path),))
    assert configured(layout, config=config, **pip, **own).variables["UV_FIND_LINKS"] == str(tmp_path)


def test_relative_paths_of_the_environment_count_from_where_the_user_is(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wheels").mkdir()
    monkeypatch.chdir(tmp_path)
    found = configured(layout, UV_FIND_LINKS="wheels", UV_INDEX="own=./index https://more.example/simple").variables
    assert found["UV_FIND_LINKS"] == f"{tmp_path}/wheels"
    assert found["UV_INDEX"] == f"own={tmp_path}/index https://more.example/simple"
    assert configured(layout, PIP_FIND_LINKS="./wheels").variables["UV_FIND_LINKS"] == f"{tmp_path}/wheels"


def test_files_of_pip_are_read_in_its_order(layout: Layout, tmp_path: Path) -> None:
    def write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def default(**more: str) -> str:
        return configured(layout, bare=False, HOME=str(tmp_path), **more).variables["UV_DEFAULT_INDEX"]

    write(tmp_path / ".pip" / "pip.conf", "[global]\nindex-url = https://legacy.example\n")
    assert default() == "https://legacy.example"
    write(tmp_path / ".config" / "pip" / "pip.conf", "[global]\nindex_url = https://user.example\n")
    assert default() == "https://user.example"
    write(tmp_path / "venv" / "pip.conf", "[install]\nindex-url = https://install.example\n[global]\nindex-url=x\n")
    assert default(VIRTUAL_ENV=str(tmp_path / "venv")) == "https://install.example"
    write(tmp_path / "named.conf", "[global]\nindex-url = https://named.example/%20\n[list]\nindex-url = no\n")
    named = {"VIRTUAL_ENV": str(tmp_path / "venv"), "PIP_CONFIG_FILE": str(tmp_path / "named.conf")}
    assert default(**named) == "https://named.example/%20"
    assert default(**named, PIP_INDEX_URL="https://variable.example") == "https://variable.example"
    bare = configured(layout, HOME=str(tmp_path)).variables
    assert "UV_DEFAULT_INDEX" not in bare


def test_a_file_that_pip_could_not_read_either_is_named(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "pip.conf"
    path.write_text("index-url = https://nowhere.example\n")
    with pytest.raises(SourceError, match=r"pip\.conf.*is no configuration of pip"):
        configured(layout, PIP_CONFIG_FILE=str(path))


def test_everything_else_comes_from_us(layout: Layout) -> None:
    inherited = {
        "UV_CONSTRAINT": "/x",
        "UV_PRERELEASE": "allow",
        "UV_PYTHON": "3.9",
        "UV_CONFIG_FILE": "/uv.toml",
        "VIRTUAL_ENV": "/venv",
        "PYTHONPATH": "/somewhere",
        "VPM_ENV_PIN": "abc:def",
    }
    kept = {"HTTPS_PROXY": "http://proxy.example", "UV_HTTP_TIMEOUT": "9", "CC": "clang", "SSH_AUTH_SOCK": "/s"}
    kept |= {"UV_INDEX_MINE_USERNAME": "joe", "NETRC": "/n"}
    found = configured(layout, **inherited, **kept).variables
    assert not inherited.keys() & found.keys()
    assert {name: found[name] for name in kept} == kept
    assert found["VPM_ENV_DISABLE"] == "1"
    assert found["PYTHONDONTWRITEBYTECODE"] == "1"


def test_the_cache_is_the_users_where_it_can_be_written(layout: Layout, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    own = f"{layout.cache}/uv"
    assert configured(layout, UV_CACHE_DIR=str(tmp_path / "new" / "cache")).variables["UV_CACHE_DIR"] == str(
        tmp_path / "new" / "cache"
    )
    assert configured(layout, HOME=str(tmp_path)).variables["UV_CACHE_DIR"] == str(tmp_path / ".cache" / "uv")
    assert configured(layout, UV_CACHE_DIR=str(file / "cache")).variables["UV_CACHE_DIR"] == own
    assert configured(layout, HOME="/").variables["UV_CACHE_DIR"] == own
    assert configured(layout, HOME=str(file)).variables["UV_CACHE_DIR"] == own
    assert configured(layout, TMPDIR=str(file)).variables["TMPDIR"] == layout.tmp


def test_all_missing_variables_and_folders_are_told_at_once(layout: Layout, tmp_path: Path) -> None:
    git = Plugin(name="mine", source=Git(url="https://${GIT_TOKEN}@git.example/x"), place=Place("f"))
    off = pypi("off", index="https://${OFF}@off.example", enabled=False)
    config = make_config(
        pypi("plug", index="https://joe:${ONE}@own.example/${TWO}"),
        git,
        off,
        index=("https://user:${ONE}@index.example/simple",),
        find_links=(str(tmp_path / "gone"),),
    )
    with pytest.raises(SourceError) as caught:
        configured(layout, config=config, TWO="two")
    assert [who for who, _ in caught.value.missing] == ["index", "plug", "find_links"]
    assert "`GIT_TOKEN`" not in caught.value.message  # is told with the other sources that cannot be had
    assert "TWO" not in caught.value.message.replace("${TWO}", "")


def test_urls_are_made_fit_to_store_and_to_use_again(layout: Layout) -> None:
    config = make_config(index=("https://joe:${PASSWORD}@index.example/${TOKEN}/simple?n=${N}",))
    uv = configured(layout, config=config, PASSWORD="pass word", TOKEN="t0ken", N="1")
    stored = uv.masked("https://joe:x@index.example/t0ken/files/plug-1.whl")
    assert stored == "https://index.example/${TOKEN}/files/plug-1.whl"
    assert uv.filled(stored) == "https://index.example/t0ken/files/plug-1.whl"
    assert uv.filled("${UNKNOWN}") == "${UNKNOWN}"
    assert {"pass word", "pass%20word", "t0ken"} <= set(uv.secrets)
    assert "1" not in uv.secrets
    assert "t0ken" not in repr(uv)
    assert "pass" not in repr(uv)


@pytest.mark.parametrize(
    ("url", "user", "password"),
    [
        ("https://joe:p%40ss@index.example/simple", "joe", "p@ss"),
        ("https://token@index.example/simple", "token", ""),
    ],
)
def test_credentials_of_a_plugins_index_go_through_variables(
    layout: Layout, url: str, user: str, password: str
) -> None:
    uv = configured(layout, config=make_config(pypi("plain"), pypi("plug", index=url)))
    own = uv.plugin_indexes["plug"]
    assert own == indexes.PluginIndex(name="vpm-env-1", url="https://index.example/simple")
    assert uv.variables["UV_INDEX_VPM_ENV_1_USERNAME"] == user
    assert uv.variables.get("UV_INDEX_VPM_ENV_1_PASSWORD", "") == password
    assert uv.for_plugin("plug").variables["UV_INDEX"] == "vpm-env-1=https://index.example/simple"
    assert uv.for_plugin("plain") is uv


def test_uv_takes_the_indexes_of_the_config_in_their_order(ask: Any, index: kit.Index, tmp_path: Path) -> None:
    kit.wheel(index.folder, "plug", "2.0")
    with kit.index(tmp_path / "first") as first:
        kit.wheel(first.folder, "plug", "1.0")
        assert ask(make_config(index=(first.url, index.url))).stdout == "plug==1.0\n"
        assert ask(make_config(index=(index.url, first.url))).stdout == "plug==2.0\n"
        # pip takes the best of all.
        found = ask(PIP_INDEX_URL=index.url, PIP_EXTRA_INDEX_URL=first.url)
        assert found.stdout == "plug==2.0\n"
        found = ask(PIP_INDEX_URL=first.url, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(index.folder))
        assert found.stdout == "plug==2.0\n"
        assert ask(PIP_INDEX_URL=first.url, PIP_NO_INDEX="1").code != 0


def test_settings_of_uv_in_the_folder_or_the_home_change_nothing(
    ask: Any, index: kit.Index, home: Path, tmp_path: Path
) -> None:
    kit.wheel(index.folder, "plug", "1.0")
    kit.wheel(index.folder, "plug", "2.0rc1")
    text = 'prerelease = "allow"\nconstraint-dependencies = ["plug>=2.0rc1"]\n'
    for folder in (tmp_path / "work", home / ".config" / "uv"):
        folder.mkdir(parents=True)
        (folder / "uv.toml").write_text(text)
    (tmp_path / "work" / "pyproject.toml").write_text(f'[project]\nname = "x"\nversion = "1"\n[tool.uv]\n{text}')
    assert ask(UV_DEFAULT_INDEX=index.url).stdout == "plug==1.0\n"


def test_credentials_reach_the_index_and_nobody_else(ask: Any, tmp_path: Path, home: Path) -> None:
    with kit.index(tmp_path / "private", credentials="joe:s3cret-word") as private:
        kit.wheel(private.folder, "plug")
        url = private.with_credentials("joe:${WORD}")
        assert ask(make_config(index=(url,)), WORD="s3cret-word").stdout == "plug==1.0\n"
        failed = ask(make_config(index=(url,)), WORD="wr0ng-word")
        assert failed.code != 0
        assert "401" in failed.output
        assert "wr0ng" not in failed.output
        (home / ".netrc").write_text("machine 127.0.0.1\nlogin joe\npassword s3cret-word\n")
        assert ask(make_config(index=(private.url,))).stdout == "plug==1.0\n"


@pytest.mark.parametrize("home", [None, "/", "/nonexistent"])
def test_uv_works_without_a_home(ask: Any, index: kit.Index, layout: Layout, home: str | None) -> None:
    kit.wheel(index.folder, "plug")
    variables = {"HOME": home} if home else {}
    found = ask(drop=("HOME", "UV_CACHE_DIR"), UV_DEFAULT_INDEX=index.url, **variables)
    assert (found.code, found.stdout) == (0, "plug==1.0\n")
    if home != "/nonexistent":  # root may write there
        assert Path(layout.cache, "uv").is_dir()


def test_offline_asks_nobody(base: kit.Base, index: kit.Index, layout: Layout, tmp_path: Path) -> None:
    kit.wheel(index.folder, "plug")
    (tmp_path / "in.txt").write_text("plug\n")
    env = Environment({**environment().variables, "UV_DEFAULT_INDEX": index.url})
    result = configure(None, env, layout, offline=True).run(compile_args(base), cwd=str(tmp_path))
    assert result.code != 0
    assert index.requests == []


def test_pips_no_index_is_told_to_uv_before_the_end_of_its_options(
    base: kit.Base, layout: Layout, tmp_path: Path
) -> None:
    wheel = kit.wheel(tmp_path / "links", "plug")
    env = Environment({**environment().variables, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull})
    words = ["pip", "install", "--dry-run", "--quiet", "--python", str(base.python), "--", str(wheel)]

    assert configure(None, env, layout, offline=False).run(words, cwd=str(tmp_path)).code == 0
    again = [*words[:2], "--no-index", *words[2:]]
    assert configure(None, env, layout, offline=False).run(again, cwd=str(tmp_path)).code == 0


def test_uv_is_found_on_path_or_told_missing(layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "uv", None)
    with pytest.raises(SourceError) as caught:
        configured(layout, PATH=str(tmp_path))
    assert "put it on PATH" in (caught.value.hint or "")
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\n")
    uv.chmod(0o755)
    assert configured(layout, PATH=str(tmp_path)).binary == str(uv)
