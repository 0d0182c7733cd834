"""`registry.json`: true to what is current, whatever happened to it, in the keys and words of the manager before us."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import kit
import pytest

from envbuilder.paths import Environment, Layout
from envbuilder.profile import Profile
from envbuilder.registry import failures
from envbuilder.removal import uninstall
from envbuilder.scope import Options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GROUP = "vllm.general_plugins"
FOREIGN = {"version": "1.0", "plugins": {"old": {"name": "old", "status": "installed", "entry_points": []}}}
HEAD = "plugins:\n  - {name: one, source: pypi, package: One_Plugin, version: ==1.0}\n"
REST = """\
  - {name: live, source: local, path: ../live}
  - {name: away, source: git, url: https://git.example/off, enabled: false}
  - {name: lost, source: pypi, package: lost-plugin, optional: true}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build two generations: `one`, then all four; a second base is beside the first."""
    folder = tmp_path_factory.mktemp("registry")
    for name in ("base", "other"):
        kit.fake_vllm(kit.base(folder / name), "0.33.0")
    env = kit.clean_environment(folder)
    env |= {"VPM_ENV_HOME": str(folder / "home"), "UV_CACHE_DIR": str(folder / "uv"), "NO_COLOR": "1"}
    env["VPM_ENV_BASE"] = str(folder / "base" / "bin" / "python")
    (folder / "work").mkdir()
    points = {GROUP: {"b": "one:register", "a": "one:register"}, "console_scripts": {"tool": "one:register"}}
    files = {"one/__init__.py": "def register(): ...\n"}
    kit.wheel(folder / "links", "one-plugin", "1.0", files=files, entry_points=points)
    live = {"live/__init__.py": "class Logger: ...\n"}
    kit.project(folder / "live", "live-dist", "2.0", files=live, entry_points={GROUP: {"live": "live:Logger.mro"}})
    vpm_env = kit.VpmEnv(home=folder / "home", folder=folder / "work", env=env)
    for text in (HEAD, HEAD + REST):
        write(vpm_env, text)
        vpm_env("build", "--offline", check=True)
    return vpm_env


@pytest.fixture
def stand(made: kit.VpmEnv) -> Iterator[kit.VpmEnv]:
    """Begin and end with generation 2 and a registry that says so."""
    yield made
    write(made, HEAD + REST)
    for name in ("registry.json", "registry.json.before-vpm-env"):
        path = made.home / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    made("switch", "2", check=True)


def write(vpm_env: kit.VpmEnv, plugins: str) -> None:
    vpm_env.config(f"find_links: {vpm_env.folder.parent / 'links'}\nindex: http://127.0.0.1:9/none\n{plugins}")


def registry(vpm_env: kit.VpmEnv) -> dict[str, Any]:
    """Read it as the manager does."""
    data: dict[str, Any] = json.loads((vpm_env.home / "registry.json").read_text())
    assert data["version"] == "1.0"
    for row in data["plugins"].values():
        assert row.keys() - {"error"} == {"name", "source", "package", "version", "status", "entry_points"}
        assert row["status"] in ("pending", "installing", "installed", "failed")
        assert ("error" in row) == (row["status"] == "failed")
    return data


def current(vpm_env: kit.VpmEnv) -> int:
    return int(registry(vpm_env)["vpm_env"]["generation"])


def test_every_plugin_of_the_config_has_its_status(stand: kit.VpmEnv) -> None:
    plugins = registry(stand)["plugins"]

    assert list(plugins) == ["away", "live", "lost-plugin", "one-plugin"]
    assert plugins["one-plugin"] == {
        "name": "one",
        "source": "pypi",
        "package": "one-plugin",
        "version": "1.0",
        "status": "installed",
        "entry_points": [f"{GROUP}:a", f"{GROUP}:b"],
    }
    live = {"name": "live", "source": "local", "package": None, "version": "2.0", "status": "installed"}
    assert plugins["live"] == {**live, "entry_points": [f"{GROUP}:live"]}
    away = {"name": "away", "source": "git", "package": None, "version": None, "status": "pending", "entry_points": []}
    assert plugins["away"] == away
    assert (plugins["lost-plugin"]["name"], plugins["lost-plugin"]["status"]) == ("lost", "failed")
    assert "lost-plugin" in plugins["lost-plugin"]["error"]


def test_it_follows_every_switch(stand: kit.VpmEnv) -> None:
    both = (stand.home / "registry.json").read_bytes()
    stand("rollback", check=True)
    assert (current(stand), list(registry(stand)["plugins"])) == (1, ["one-plugin"])
    stand("switch", "2", check=True)
    assert (stand.home / "registry.json").read_bytes() == both


def test_what_is_true_is_not_written_again(stand: kit.VpmEnv) -> None:
    before = (stand.home / "registry.json").stat()
    for words in (("history",), ("build",), ("status",), ("list", "--json")):
        stand(*words)

    assert (stand.home / "registry.json").stat() == before


@pytest.mark.parametrize("damage", ["gone", "empty", "edited", "of another generation"])
def test_whoever_finds_it_stale_makes_it_again(stand: kit.VpmEnv, damage: str) -> None:
    path = stand.home / "registry.json"
    good = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "of another generation":
        shutil.copy(next(stand.home.glob("profiles/default/*/generations/1.registry")), path)
    else:
        path.write_bytes(good.replace(b'"2.0"', b'"2.1"') if damage == "edited" else b"")
    done = stand("history", check=True)

    assert path.read_bytes() == good
    assert done.stderr == ""
    assert not (stand.home / "registry.json.before-vpm-env").exists()


def test_a_file_that_is_not_ours_is_kept_once_and_that_is_said_once(stand: kit.VpmEnv) -> None:
    path, aside = stand.home / "registry.json", stand.home / "registry.json.before-vpm-env"
    good = path.read_bytes()
    path.write_text(json.dumps(FOREIGN, indent=2))
    told = stand("rollback", check=True).stderr

    assert json.loads(aside.read_text()) == FOREIGN
    assert f"note: `{path}` was not written by vpm-env; it is kept as `{aside.name}`\n" in told
    assert current(stand) == 1
    # As the manager writes what it has read: our line is there, and in another place.
    path.write_text(json.dumps({**json.loads(good), **FOREIGN}, indent=2))
    assert "not written by vpm-env" not in stand("switch", "2", check=True).stderr
    assert path.read_bytes() == good
    assert json.loads(aside.read_text()) == FOREIGN
    gone = uninstall(Options(), Environment(variables=stand.env), dry_run=True)
    assert str(path) in gone.paths
    assert str(aside) in gone.left
    path.write_text(json.dumps(FOREIGN))
    assert str(path) in uninstall(Options(), Environment(variables=stand.env), dry_run=True).left


def test_plugins_that_fail_are_told_until_a_build_succeeds(stand: kit.VpmEnv) -> None:
    good = (stand.home / "registry.json").read_bytes()
    write(stand, HEAD.replace("==1.0", "==9.0") + "  - {name: nope, source: pypi}\n")
    assert stand("build", "--offline").exit == 1
    data = json.loads((stand.home / "registry.json").read_text())

    assert data["vpm_env"]["generation"] == 2
    assert (data["plugins"]["nope"]["status"], data["plugins"]["nope"]["version"]) == ("failed", None)
    assert "nope" in data["plugins"]["nope"]["error"]
    assert (data["plugins"]["one-plugin"]["status"], data["plugins"]["one-plugin"]["version"]) == ("installed", "1.0")
    assert "9.0" in data["plugins"]["one-plugin"]["error"]
    stand("history", check=True)
    assert json.loads((stand.home / "registry.json").read_text()) == data
    told = stand("status").stdout
    assert f"\nfailed:    the last build, for `nope`: {' '.join(data['plugins']['nope']['error'].split())}\n" in told
    profile = Profile(Layout(str(stand.home)), "default", data["vpm_env"]["base"])
    assert failures(profile).keys() == {"lost", "nope", "one"}
    assert told.count("\nfailed:") == 2, "what is left out of the current set is told as that"
    write(stand, HEAD + REST)
    stand("build", check=True)
    assert (stand.home / "registry.json").read_bytes() == good
    assert failures(profile) == {}


def test_a_first_build_that_fails_is_told(stand: kit.VpmEnv, tmp_path: Path) -> None:
    write(stand, "plugins:\n  - {name: nope, source: pypi}\n")
    env = {"VPM_ENV_HOME": str(tmp_path / "home")}
    dry = stand("build", "--offline", "--dry-run", env=env)
    assert (dry.exit, (tmp_path / "home" / "registry.json").exists()) == (1, False)
    assert stand("build", "--offline", env=env).exit == 1
    data = json.loads((tmp_path / "home" / "registry.json").read_text())

    assert {name: row["status"] for name, row in data["plugins"].items()} == {"nope": "failed"}
    assert data["vpm_env"]["generation"] is None


def test_what_changes_no_set_changes_its_registry(stand: kit.VpmEnv) -> None:
    write(stand, HEAD + REST.replace("name: away", "name: other-name"))
    done = stand("build", "--offline", check=True)

    assert "nothing changed: generation 2" in done.stderr
    assert list(registry(stand)["plugins"]) == ["live", "lost-plugin", "one-plugin", "other-name"]
    write(stand, HEAD + REST)
    stand("build", "--offline", check=True)
    assert "away" in registry(stand)["plugins"]


@pytest.mark.long
def test_it_is_about_the_default_profile_and_the_base_that_switched_last(stand: kit.VpmEnv) -> None:
    first = registry(stand)["vpm_env"]["base"]
    other = ("--base", str(stand.folder.parent / "other"))
    stand("build", "--offline", "--profile", "staging", check=True)
    assert registry(stand)["vpm_env"]["base"] == first
    write(stand, HEAD)
    stand("build", "--offline", *other, check=True)
    second = registry(stand)["vpm_env"]
    assert (second["base"] != first, second["generation"]) == (True, 1)
    stand("status")
    assert registry(stand)["vpm_env"] == second
    (stand.home / "registry.json").unlink()
    stand("history", check=True)
    assert registry(stand)["vpm_env"] == second
    stand("rollback", check=True)
    assert registry(stand)["vpm_env"]["base"] == first
    stand("history", *other, check=True)
    assert registry(stand)["vpm_env"]["base"] == first


def test_of_a_generation_of_an_older_version_the_lock_tells(stand: kit.VpmEnv) -> None:
    (record,) = stand.home.glob("profiles/default/*/generations/2.json")
    before = record.read_text()
    known = json.loads(before)
    del known["inputs"]["plugins"]
    record.write_text(json.dumps(known))
    stand("rollback", check=True)
    record.with_name("2.registry").unlink()
    stand("switch", "2", check=True)
    plugins = registry(stand)["plugins"]

    assert {name: (row["source"], row["status"]) for name, row in plugins.items()} == {
        "live": ("local", "installed"),
        "one-plugin": ("pypi", "installed"),
    }
    record.write_text(before)
    record.with_name("2.registry").unlink()


def test_where_it_cannot_be_written_every_verb_works(stand: kit.VpmEnv) -> None:
    path = stand.home / "registry.json"
    path.unlink()
    (path / "in the way").mkdir(parents=True)
    for words in (("rollback",), ("history",), ("switch", "2"), ("list",)):
        assert stand(*words).exit == 0
    write(stand, "plugins:\n  - {name: nope, source: pypi}\n")
    assert "`nope`" in stand("build", "--offline").stderr


def test_ours_is_not_taken_for_the_managers(stand: kit.VpmEnv) -> None:
    env = {"VLLM_PLUGIN_REGISTRY_DIR": str(stand.home)}

    assert stand("doctor", "legacy", "--json", env=env).json["checks"][0]["status"] == "skipped"
    (stand.home / "registry.json.before-vpm-env").write_text(json.dumps(FOREIGN))
    base = kit.describe(stand.folder.parent / "base" / "bin" / "python")
    installed = kit.dist_info(base, "old", "1.0")
    assert stand("doctor", "legacy", "--json", env=env).json["checks"][0]["status"] == "warning"
    shutil.rmtree(installed)


def test_an_installed_manager_is_told_by_build_and_status(stand: kit.VpmEnv) -> None:
    base = kit.describe(stand.folder.parent / "base" / "bin" / "python")
    points = {GROUP: {"plugin_manager": "vllm_plugin_manager:register"}}
    installed = kit.dist_info(base, "vllm-plugin-manager", "0.1.0", entry_points=points)
    built, status = stand("build", "--offline", "--dry-run", check=True), stand("status", "--json").json
    told = stand("status").stdout
    shutil.rmtree(installed)

    (warning,) = status["warnings"]
    assert warning == (
        "`vllm-plugin-manager 0.1.0` is in the base: it installs plugins into the base with pip whenever an engine "
        "starts, past every set; `vpm-env doctor legacy` says how to take it out"
    )
    assert warning in told
    assert f"warning: {warning}\n" in built.stderr
    assert stand("status", "--json").json["warnings"] == []
