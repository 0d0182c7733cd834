"""`vpm-env build`, as a user runs it: real wheels from a real index, a real base, a real home."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import kit
import pytest

from envbuilder import flocks, fs
from envbuilder.errors import Busy

if TYPE_CHECKING:
    from pathlib import Path

GROUP = "vllm.general_plugins"


@pytest.fixture
def vllm(base: kit.Base, vpm_env: kit.VpmEnv) -> kit.VpmEnv:
    """Give the base an engine, and let every call mean it."""
    kit.fake_vllm(base, "0.33.0")
    return vpm_env.use(base)


def publish(index: kit.Index, name: str, version: str = "1.0", *, requires: tuple[str, ...] = ()) -> Path:
    """Publish a plugin that registers itself."""
    package = name.replace("-", "_")
    code = f"__version__ = {version!r}\ndef register(): print('registered', {name!r}, {version!r})\n"
    points = {GROUP: {package: f"{package}:register"}}
    return kit.wheel(
        index.folder, name, version, files={f"{package}/__init__.py": code}, requires=requires, entry_points=points
    )


def config(vpm_env: kit.VpmEnv, index: kit.Index, *names: str, extra: str = "") -> None:
    entries = "".join(f"  - {{name: {name}, source: pypi, package: {name}{extra}}}\n" for name in names)
    vpm_env.config(f"index: {index.url}\nplugins:\n{entries}")


def test_from_nothing_to_active_and_back(vllm: kit.VpmEnv, base: kit.Base, index: kit.Index) -> None:
    before = kit.tree_hash(base.prefix)
    publish(index, "one")
    publish(index, "two", requires=("dependency>=1",))
    kit.wheel(index.folder, "dependency", "1.5")
    config(vllm, index, "one")
    vllm("hook", "install", check=True)

    vllm("build", check=True)
    assert base.run(base.scripts / "vllm").stdout.split("\n")[:1] == ["registered one 1.0"]
    config(vllm, index, "one", "two")
    vllm("build", check=True)
    assert "registered two 1.0" in base.run(base.scripts / "vllm").stdout
    done = vllm("rollback", check=True)

    assert "rolled back to generation 1" in done.stderr
    assert "two" not in base.run(base.scripts / "vllm").stdout
    assert kit.tree_hash(base.prefix) == before


def test_a_dry_run_shows_the_plan_and_changes_nothing(vllm: kit.VpmEnv, index: kit.Index) -> None:
    publish(index, "one", "1.0")
    config(vllm, index, "one")
    vllm("build", check=True)
    publish(index, "one", "1.1")
    publish(index, "two", "2.0")
    config(vllm, index, "one", "two")

    done = vllm("build", "--dry-run", "--upgrade", check=True)

    lines = done.stdout.splitlines()
    assert [line.split(",")[0] for line in lines] == ["one: 1.0 → 1.1", "two: ∅ → 2.0"]
    assert vllm("history", "--json").json["current"] == 1
    assert '"2.0"' not in (vllm.folder / "pylock.plugins.toml").read_text()


def test_a_second_build_has_nothing_to_do_and_asks_nobody(vllm: kit.VpmEnv, index: kit.Index) -> None:
    publish(index, "one")
    config(vllm, index, "one")
    vllm("build", check=True)
    asked = len(index.requests)

    done = vllm("build", check=True)

    assert "nothing to do: generation 1" in done.stderr
    assert len(index.requests) == asked
    assert vllm("build", "--json").json["result"] == "unchanged"


def test_a_comment_in_the_config_changes_nothing(vllm: kit.VpmEnv, index: kit.Index) -> None:
    publish(index, "one")
    config(vllm, index, "one")
    vllm("build", check=True)
    path = vllm.folder / "plugins.yaml"
    path.write_text("# a word\n" + path.read_text())

    assert vllm("build", "--json").json["result"] == "unchanged"
    assert len(vllm("history", "--json").json["generations"]) == 1


@pytest.mark.long
def test_the_lock_is_sticky_until_an_upgrade(vllm: kit.VpmEnv, index: kit.Index) -> None:
    publish(index, "one", "1.0")
    publish(index, "two", "1.0")
    config(vllm, index, "one", "two")
    vllm("build", check=True)
    publish(index, "one", "2.0")
    publish(index, "two", "2.0")
    publish(index, "three")
    config(vllm, index, "one", "two", "three")

    kept = vllm("build", "--json").json["changes"]
    one = vllm("build", "--json", "--upgrade", "one").json["changes"]
    everything = vllm("build", "--json", "--upgrade").json["changes"]

    assert [(change["name"], change["after"]) for change in kept] == [("three", "1.0")]
    assert [(change["name"], change["after"]) for change in one] == [("one", "2.0")]
    assert [(change["name"], change["after"]) for change in everything] == [("two", "2.0")]


def test_locked_forbids_another_lock(vllm: kit.VpmEnv, index: kit.Index) -> None:
    publish(index, "one")
    publish(index, "two")
    config(vllm, index, "one")
    vllm("build", check=True)
    lock = (vllm.folder / "pylock.plugins.toml").read_text()
    config(vllm, index, "one", "two")

    done = vllm("build", "--locked")

    assert done.exit == 3
    assert "two: ∅ → 1.0" in done.stderr
    assert (vllm.folder / "pylock.plugins.toml").read_text() == lock
    assert vllm("history", "--json").json["current"] == 1


def test_a_locked_build_on_another_home_makes_the_same_digest(
    vllm: kit.VpmEnv, index: kit.Index, tmp_path: Path
) -> None:
    publish(index, "one", requires=("dependency",))
    kit.wheel(index.folder, "dependency", "1.0")
    config(vllm, index, "one")
    first = vllm("build", "--json", check=True).json["digest"]
    kit.wheel(index.folder, "dependency", "2.0")

    second = vllm("build", "--json", "--locked", "--home", tmp_path / "other", check=True).json["digest"]

    assert first == second


def test_no_switch_makes_a_generation_and_leaves_current(vllm: kit.VpmEnv, index: kit.Index) -> None:
    publish(index, "one")
    publish(index, "two")
    config(vllm, index, "one")
    vllm("build", check=True)
    config(vllm, index, "two")

    made = vllm("build", "--no-switch", "--json", check=True).json

    assert (made["result"], made["generation"], made["before"]) == ("made", 2, 1)
    assert vllm("history", "--json").json["current"] == 1
    assert vllm("build", "--json").json["result"] == "switched"


def test_an_undo_stays_undone_until_an_input_changes(vllm: kit.VpmEnv, index: kit.Index) -> None:
    publish(index, "one")
    publish(index, "two")
    publish(index, "three")
    config(vllm, index, "one")
    vllm("build", check=True)
    config(vllm, index, "one", "two")
    vllm("build", check=True)
    vllm("rollback", check=True)

    assert vllm("build", "--json").json["result"] == "held"
    told = vllm("build")
    assert "generation 2 was rolled back, and generation 1 is current" in told.stderr
    config(vllm, index, "one", "three")
    assert vllm("build", "--json").json["result"] == "switched"
    assert not vllm("history", "--json").json["held"]


def test_offline_needs_no_network_and_names_what_is_missing(vllm: kit.VpmEnv, index: kit.Index, tmp_path: Path) -> None:
    publish(index, "one", requires=("dependency",))
    kit.wheel(index.folder, "dependency", "1.0")
    config(vllm, index, "one")
    vllm("build", check=True)
    asked = len(index.requests)

    same = vllm("build", "--offline", "--force", "--json", check=True).json
    env = {"UV_CACHE_DIR": str(tmp_path / "empty")}
    elsewhere = vllm("build", "--offline", "--home", tmp_path / "other", env=env)

    assert same["result"] == "unchanged"
    assert len(index.requests) == asked
    assert elsewhere.exit == 1
    assert "one-1.0-py3-none-any.whl" in elsewhere.stderr
    assert "dependency-1.0-py3-none-any.whl" in elsewhere.stderr


def test_an_optional_plugin_that_does_not_load_is_left_out_loudly(vllm: kit.VpmEnv, index: kit.Index) -> None:
    publish(index, "one")
    points = {GROUP: {"broken": "broken:register"}}
    files = {"broken/__init__.py": "def register(): ...\nraise RuntimeError('no good')\n"}
    kit.wheel(index.folder, "broken", "1.0", files=files, entry_points=points)
    vllm.config(
        f"index: {index.url}\nplugins:\n"
        "  - {name: one, source: pypi, package: one}\n"
        "  - {name: broken, source: pypi, package: broken, optional: true}\n"
        "  - {name: nowhere, source: pypi, package: nowhere-to-be-found, optional: true}\n"
    )

    done = vllm("build", check=True)

    assert "left out `broken`" in done.stderr
    assert "RuntimeError: no good" in done.stderr
    left = vllm("history", "--json").json["generations"][0]["left_out"]
    assert sorted(left) == ["broken", "nowhere"]
    assert "nowhere" in vllm("status").stdout
    again = vllm("build").stderr
    assert "nothing to do" in again
    assert "without `nowhere` (optional)" in again
    kit.wheel(index.folder, "nowhere-to-be-found", "1.0")
    vllm("build", "--force", check=True)
    assert sorted(vllm("history", "--json").json["generations"][-1]["left_out"]) == ["broken"]


def test_a_plugin_that_does_not_load_leaves_current_as_it_is(vllm: kit.VpmEnv, index: kit.Index) -> None:
    publish(index, "one")
    config(vllm, index, "one")
    vllm("build", check=True)
    lock = (vllm.folder / "pylock.plugins.toml").read_text()
    points = {GROUP: {"broken": "broken:register"}}
    files = {"broken/__init__.py": "import nothing_of_the_kind\ndef register(): ...\n"}
    kit.wheel(index.folder, "broken", "1.0", files=files, entry_points=points)
    config(vllm, index, "one", "broken")

    done = vllm("build")

    assert done.exit == 1
    assert "`broken`: vllm.general_plugins: broken does not load: ModuleNotFoundError" in done.stderr
    assert vllm("history", "--json").json["current"] == 1
    assert (vllm.folder / "pylock.plugins.toml").read_text() == lock
    assert "2 overlays" not in vllm("verify").stderr


def test_an_entry_point_that_is_not_there_is_told_with_the_nearest(vllm: kit.VpmEnv, index: kit.Index) -> None:
    points = {GROUP: {"typo": "typo:registre"}}
    kit.wheel(index.folder, "typo", "1.0", files={"typo/__init__.py": "def register(): ..."}, entry_points=points)
    config(vllm, index, "typo")

    done = vllm("build")

    assert done.exit == 1
    assert "register" in done.stderr.replace("registre", "")


def test_a_plugin_that_the_base_holds_too_is_told(vllm: kit.VpmEnv, base: kit.Base, index: kit.Index) -> None:
    publish(index, "one")
    kit.install(base, kit.wheel(index.folder, "held", "1.5"))
    config(vllm, index, "one", "held")

    done = vllm("build", check=True)

    assert "`held` is provided by the base (held 1.5)" in done.stderr
    assert "provided by base" in vllm("list").stdout
    vllm.config(f"index: {index.url}\nplugins:\n  - {{name: held, source: pypi, package: held, version: '>=2'}}\n")
    refused = vllm("build")
    assert refused.exit == 1
    assert "override" in refused.stderr


@pytest.mark.long
def test_a_base_that_comes_to_need_another_version_of_what_is_shadowed_is_noticed(
    vllm: kit.VpmEnv, base: kit.Base, index: kit.Index, tmp_path: Path
) -> None:
    publish(index, "one", requires=("shared>=2",))
    kit.wheel(index.folder, "shared", "2.0")
    kit.install(base, kit.wheel(tmp_path, "shared", "1.0"))
    entry = "plugins:\n  - {name: one, source: pypi}\n"
    vllm.config(f"index: {index.url}\noverride: [shared]\n{entry}")
    vllm("build", check=True)
    kit.install(base, kit.wheel(tmp_path, "content", "1.0", requires=("shared>=1",)))
    assert vllm("build", "--json").json["result"] == "unchanged"

    kit.install(base, kit.wheel(tmp_path, "needy", "1.0", requires=("shared<2",)))

    refused = vllm("build")
    assert refused.exit == 1
    assert "needy 1.0, which needs shared<2" in refused.stderr


@pytest.mark.long
def test_an_unrelated_install_in_the_base_changes_nothing(
    vllm: kit.VpmEnv, base: kit.Base, index: kit.Index, tmp_path: Path
) -> None:
    publish(index, "one")
    config(vllm, index, "one")
    vllm("hook", "install", check=True)
    vllm("build", check=True)
    kit.install(base, kit.wheel(tmp_path, "ipdb", "1.0"))

    assert vllm("build", "--json").json["result"] == "unchanged"
    assert "nothing to do" in vllm("build").stderr
    assert vllm("status", "--json").json["active"]


@pytest.mark.long
def test_another_engine_version_is_told_and_mended_by_the_next_build(
    vllm: kit.VpmEnv, base: kit.Base, index: kit.Index
) -> None:
    publish(index, "one")
    config(vllm, index, "one")
    vllm("hook", "install", check=True)
    vllm("build", check=True)
    shutil.rmtree(next(base.purelib.glob("vllm-0.33.0.dist-info")))
    kit.fake_vllm(base, "0.34.0")

    status = vllm("status")
    assert status.exit == 1
    assert "0.33.0" in status.stdout
    assert "0.34.0" in status.stdout
    run = vllm("run", "--", "python", "-c", "")
    assert run.exit == 1
    assert "0.33.0" in run.stderr
    back = vllm("rollback")
    assert back.exit == 1
    assert "0.33.0" in back.stderr
    assert "its hook was written again" in vllm("build", check=True).stderr
    assert vllm("status", "--json").json["active"]


@pytest.mark.long
def test_a_changed_fact_is_told_exactly(vllm: kit.VpmEnv, base: kit.Base, index: kit.Index) -> None:
    kit.dist_info(base, "torch", "2.14.0")
    publish(index, "one", requires=("torch",))
    config(vllm, index, "one")
    vllm("build", check=True)
    shutil.rmtree(next(base.purelib.glob("torch-2.14.0.dist-info")))
    kit.dist_info(base, "torch", "2.13.0")

    told = vllm("run", "--", "python", "-c", "")
    mended = vllm("build", "--json", check=True).json

    assert "torch 2.14.0 → 2.13.0 under generation 1" in told.stderr
    assert mended["result"] == "switched"


@pytest.mark.long
def test_run_puts_overlay_and_base_on_the_path(vllm: kit.VpmEnv, base: kit.Base, index: kit.Index) -> None:
    publish(index, "one")
    config(vllm, index, "one")
    vllm("build", check=True)
    path = vllm("path", check=True).stdout.strip()

    done = vllm("run", "--", "vllm", check=True)
    python = vllm(
        "run", "--", "python", "-c", "import sys, os; print(sys.prefix, os.environ['VIRTUAL_ENV'])", check=True
    )
    code = vllm("run", "--", "python", "-c", "raise SystemExit(7)")
    missing = vllm("run", "--", "no-such-command")

    assert "registered one 1.0" in done.stdout
    assert python.stdout.split() == [path, path]
    assert code.exit == 7
    assert (missing.exit, "no-such-command" in missing.stderr) == (2, True)


def test_disable_gives_the_bare_base_at_once(vllm: kit.VpmEnv, base: kit.Base, index: kit.Index) -> None:
    publish(index, "one")
    config(vllm, index, "one")
    vllm("hook", "install", check=True)
    vllm("build", check=True)

    assert base.code("import one; print(one.__version__)") == "1.0"
    bare = base.run("-c", "import one", env={"VPM_ENV_DISABLE": "1"}, check=False)
    assert "ModuleNotFoundError" in bare.stderr
    status = vllm("status", env={"VPM_ENV_DISABLE": "1"})
    assert (status.exit, "VPM_ENV_DISABLE" in status.stdout + status.stderr) == (1, True)


def test_a_collected_generation_is_rebuilt_from_its_lock(vllm: kit.VpmEnv, base: kit.Base, index: kit.Index) -> None:
    for name in ("one", "two", "three", "four"):
        publish(index, name)
        config(vllm, index, name)
        vllm("build", check=True)
    moved = age_switches(vllm)
    swept = vllm("gc", "--json", check=True).json
    assert [entry["number"] for entry in swept["generations"]] == [1, 2], moved

    done = vllm("rollback", "--to", "1", check=True)

    assert "was collected; rebuilding it from its lock" in done.stderr
    assert vllm("run", "--", "python", "-c", "import one").exit == 0
    assert "all as they were made" in vllm("verify", check=True).stderr


def age_switches(vpm_env: kit.VpmEnv) -> str:
    """Let everything that was current have been so two days ago: gc spares the last 24 hours."""
    import json

    from envbuilder.digest import sealed

    (order,) = vpm_env.home.glob("profiles/*/*/order.json")
    record = json.loads(order.read_text())
    record["switches"] = [[number, at - 2 * 86400, verb] for number, at, verb in record["switches"]]
    order.write_text(json.dumps(sealed(record)))
    return str(order)


@pytest.mark.long
def test_gc_and_a_switch_keep_out_of_each_others_way(vllm: kit.VpmEnv, index: kit.Index) -> None:
    """A generation that is being switched to must not be collected, nor one switched to while gc has chosen it."""
    for name in ("one", "two"):
        publish(index, name)
        config(vllm, index, name)
        vllm("build", check=True)
    lock = vllm.home / "flocks" / "gc"
    impatient = {"VPM_ENV_LOCK_TIMEOUT": "0.1"}

    with flocks.locked(lock, shared=True):
        assert vllm("switch", "1", env=impatient).exit == 0
        busy = vllm("gc", env=impatient)
    with flocks.locked(lock):
        held_up = [vllm(*words, env=impatient) for words in (("switch", "2"), ("rollback",), ("build", "--force"))]

    for done in (busy, *held_up):
        assert done.exit == 1
        assert "gave up after" in done.stderr
    assert all(f"is held by process {os.getpid()} (for" in done.stderr for done in held_up)


@pytest.mark.long
def test_gc_says_what_it_frees_and_frees_it(vllm: kit.VpmEnv, index: kit.Index) -> None:
    for name in ("one", "two", "three"):
        publish(index, name)
        config(vllm, index, name)
        vllm("build", check=True)

    assert vllm("gc", "--json").json["generations"] == [], "what was current in the last 24 h stays"
    age_switches(vllm)
    planned = vllm("gc", "--dry-run", "--json", check=True).json
    occupied = kit.allocated(vllm.home)
    swept = vllm("gc", "--json", check=True).json

    assert planned["generations"] == swept["generations"]
    assert [entry["number"] for entry in planned["generations"]] == [1]
    assert abs(occupied - kit.allocated(vllm.home) - planned["bytes"]) <= 4096 * 8
    assert vllm("gc", "--dry-run", "--json").json["bytes"] == 0


def test_uninstall_leaves_nothing_but_what_is_the_users(vllm: kit.VpmEnv, base: kit.Base, index: kit.Index) -> None:
    before = kit.tree_hash(base.prefix, ignore=())
    publish(index, "one")
    config(vllm, index, "one")
    vllm("hook", "install", check=True)
    vllm("build", check=True)
    (vllm.home / "mine.txt").write_text("keep")

    vllm("uninstall", "--dry-run", check=True)
    assert (vllm.home / "store").exists()
    done = vllm("uninstall", check=True)

    assert [path.name for path in vllm.home.iterdir()] == ["mine.txt"]
    assert "mine.txt" in done.stdout
    assert "plugins.yaml" in done.stdout
    assert kit.tree_hash(base.prefix, ignore=()) == before
    assert not list(base.purelib.glob("*vpm_env*"))


@pytest.mark.long
def test_uninstall_waits_for_nobody_and_names_other_hooks(
    vllm: kit.VpmEnv, base: kit.Base, index: kit.Index, tmp_path: Path
) -> None:
    other = kit.base(tmp_path / "other-base")
    kit.fake_vllm(other, "0.33.0")
    publish(index, "one")
    config(vllm, index, "one")
    for python in (base.python, other.python):
        vllm("hook", "install", "--base", python, check=True)
        vllm("build", "--base", python, check=True)
    words = [
        *vllm.command,
        "run",
        "--base",
        str(other.python),
        "--",
        "python",
        "-c",
        "print('up', flush=True); input()",
    ]
    user = subprocess.Popen(words, env=vllm.env, cwd=vllm.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert user.stdout is not None
    user.stdout.readline()

    refused = vllm("uninstall")
    user.communicate(b"\n")
    done = vllm("uninstall", check=True)

    assert (refused.exit, "is in use" in refused.stderr) == (1, True)
    assert f"`vpm-env hook uninstall --base {other.python}` removes it" in done.stdout
    assert not vllm.home.exists()


@pytest.mark.long
def test_to_name_another_engine_is_to_mean_another_base(vllm: kit.VpmEnv, index: kit.Index) -> None:
    publish(index, "one")
    config(vllm, index, "one")
    vllm("build", check=True)
    vllm.config(f"index: {index.url}\nengine: generic\nplugins:\n  - {{name: one, source: pypi}}\n")

    made = [vllm("build", "--json", check=True).json for _ in range(2)]
    assert [each["result"] for each in made] == ["switched", "unchanged"]
    fs.remove_tree(vllm.home / "profiles")
    fs.remove_tree(vllm.home / "overlays")
    again = vllm("build", "--json", check=True).json

    assert again["base"] == made[0]["base"]
    assert [path.name for path in (vllm.home / "profiles" / "default").iterdir()] == [again["base"]]
    assert vllm("verify").exit == 0


@pytest.mark.long
def test_two_configs_in_one_folder_have_a_lock_each(vllm: kit.VpmEnv, index: kit.Index) -> None:
    for name in ("one", "two"):
        publish(index, name)
        text = f"index: {index.url}\nprofile: {name}\nplugins:\n  - {{name: {name}, source: pypi}}\n"
        (vllm.folder / f"{name}.yaml").write_text(text)
        vllm("build", "--config", f"{name}.yaml", check=True)

    locked = [vllm("build", "--locked", "--force", "--config", f"{name}.yaml").exit for name in ("one", "two")]

    assert locked == [0, 0]
    assert {path.name for path in vllm.folder.glob("pylock*")} == {"pylock.one.toml", "pylock.two.toml"}


@pytest.mark.long
def test_the_status_of_another_profile_than_the_hooks(vllm: kit.VpmEnv, index: kit.Index) -> None:
    publish(index, "one")
    publish(index, "two")
    config(vllm, index, "one")
    vllm("hook", "install", check=True)
    vllm("build", check=True)
    config(vllm, index, "two")
    vllm("build", "--profile", "night", check=True)

    status = vllm("status", "--profile", "night")

    assert status.exit == 1
    assert "the hook in the base is for the profile `default`" in status.stdout


def test_a_name_to_upgrade_must_be_known(vllm: kit.VpmEnv, index: kit.Index) -> None:
    publish(index, "one")
    config(vllm, index, "one")

    done = vllm("build", "--upgrade", "onne")

    assert done.exit == 2
    assert "there is no plugin or package `onne` to upgrade\n\nhint: did you mean `one`?" in done.stderr


def test_who_holds_a_lock_is_known_after_many_waited(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    for _ in range(3):
        with flocks.locked(lock), pytest.raises(Busy) as busy, flocks.locked(lock, wait=0):
            pass
        assert f"process {os.getpid()} (for " in busy.value.message


def test_a_folder_that_is_no_home_is_never_removed(vllm: kit.VpmEnv, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "store").mkdir(parents=True)
    (mine / "store" / "precious").write_text("")

    done = vllm("uninstall", "--home", mine)

    assert done.exit == 1
    assert (mine / "store" / "precious").exists()


def test_a_plain_rm_takes_a_home_away(vllm: kit.VpmEnv, index: kit.Index) -> None:
    publish(index, "one")
    config(vllm, index, "one")
    vllm("build", check=True)

    shutil.rmtree(vllm.home)

    assert not vllm.home.exists()
