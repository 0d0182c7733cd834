"""A build from a recipe: the same set as a whole build makes, as long as nothing it was made from has changed."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kit
import pytest
import stands

from envbuilder import fs

if TYPE_CHECKING:
    from collections.abc import Callable

IMPORTS = {"PYTHONPROFILEIMPORTTIME": "1"}
GROUP = "vllm.general_plugins"


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build a set with a plugin, a dependency, a script and an editable folder."""
    folder = tmp_path_factory.mktemp("again")
    vpm_env = stands.small(folder)
    links = folder / "links"
    points = {GROUP: {"one": "one:register"}, "console_scripts": {"one": "one:register"}}
    kit.wheel(links, "one", files={"one/__init__.py": "def register(): ...\n"}, entry_points=points, requires=["two"])
    kit.wheel(links, "two")
    kit.wheel(links, "three")
    vpm_env.config(config("one"))
    vpm_env("build", "--offline", check=True)
    return vpm_env


TIMED = {f"default/KEY/{name}" for name in ("order.json", "generations/1.json")}
"""Files that hold the time at which something was done."""


def config(*names: str) -> str:
    entries = "".join(f"  - {{name: {name}, source: pypi}}\n" for name in names)
    return f"find_links: ../links\nindex: http://127.0.0.1:9/none\nplugins:\n{entries}"


def forget(stand: kit.VpmEnv, *names: str) -> None:
    for name in names:
        fs.remove_tree(stand.home / name)


def tree(folder: Path) -> dict[str, Any]:
    """List everything below a folder: what each link says, and which file each name is."""
    found: dict[str, Any] = {}
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(parent, name)
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
            where = re.sub(r"\b[0-9a-f]{12}\b", "KEY", str(path.relative_to(folder)))
            found[where] = content
    return found


def builds_anew(stand: kit.VpmEnv) -> bool:
    """Build; tell whether config and lock were parsed for that."""
    done = stand("build", "--offline", "--json", env=IMPORTS)
    assert done.exit == 0, done.output
    return "envbuilder.config" in done.stderr


def test_the_same_set_from_the_recipe_as_from_a_whole_build(stand: kit.VpmEnv) -> None:
    forget(stand, "overlays", "profiles", "cache/recipes")
    whole = stand("build", "--offline", "--json", check=True).json
    first = tree(stand.home / "overlays") | tree(stand.home / "profiles")
    forget(stand, "overlays", "profiles")
    assert not builds_anew(stand)
    second = tree(stand.home / "overlays") | tree(stand.home / "profiles")
    forget(stand, "overlays", "profiles")
    again = stand("build", "--offline", "--json", check=True).json

    assert again == whole
    assert first.keys() == second.keys()
    assert {path for path in first if first[path] != second[path]} <= TIMED
    assert stand("run", "--", "python", "-c", "import one, two").exit == 0
    assert stand("verify").exit == 0


def test_each_step_is_on_the_disk_before_the_next_and_none_twice(stand: kit.VpmEnv, tmp_path: Path) -> None:
    """To wait for a disk takes longer than to link a package: there are as many waits as the order of steps needs."""
    forget(stand, "overlays", "profiles")
    with kit.workshop(tmp_path / "scratch") as workshop:
        ended = workshop("build", "--offline", env=stand.env, cwd=stand.folder)
    (overlay,) = (stand.home / "overlays").glob("*/*")
    synced = [Path(change) for change in ended.changes if change.startswith("vpm_env.sync ")]

    set_, key = overlay.name, overlay.parent.name
    assert [re.sub(r"^\.(.+)\.\d+-\w+\.new$", r"\1", path.name) for path in synced] == [
        *(set_, set_),
        *("1.plugins.yaml", "1.pylock.toml", "generations"),
        *("1.json", "generations"),
        *("order.json", key),
        key,
    ]


def test_another_profile_gets_it_too(stand: kit.VpmEnv) -> None:
    done = stand("build", "--offline", "--profile", "night", "--json", env=IMPORTS)

    assert done.json["result"] == "switched"
    assert "envbuilder.config" not in done.stderr


def change_config(stand: kit.VpmEnv) -> None:
    stand.config(config("one", "three"))


def touch_lock(stand: kit.VpmEnv) -> None:
    lock = stand.folder / "pylock.plugins.toml"
    lock.write_text(lock.read_text() + "# seen\n")


def drop_into_base(stand: kit.VpmEnv) -> None:
    site = next(Path(stand.env["VPM_ENV_BASE"]).parent.parent.glob("lib/python*/site-packages"))
    (site / f"dropped{os.urandom(4).hex()}.py").write_text("")


def lose_package(stand: kit.VpmEnv) -> None:
    shutil.rmtree(next((stand.home / "store").glob("*-two-1.0")))


def spoil_recipe(stand: kit.VpmEnv) -> None:
    for path in (stand.home / "cache" / "recipes").iterdir():
        path.write_text(path.read_text().replace("two", "owt"))


def lose_skeleton(stand: kit.VpmEnv) -> None:
    fs.remove_tree(stand.home / "cache" / "skeletons")


def half_an_overlay(stand: kit.VpmEnv) -> None:
    for path in (stand.home / "overlays").glob("*/*/overlay.json"):
        path.write_text("{")


@pytest.mark.parametrize(
    "change",
    [change_config, touch_lock, drop_into_base, lose_package, spoil_recipe, lose_skeleton, half_an_overlay],
    ids=lambda change: change.__name__,
)
def test_anything_changed_is_a_whole_build(stand: kit.VpmEnv, change: Callable[[kit.VpmEnv], None]) -> None:
    stand.config(config("one"))
    stand("build", "--offline", check=True)
    forget(stand, "profiles", *(() if change is half_an_overlay else ("overlays",)))
    change(stand)

    assert builds_anew(stand)
    assert stand("verify").exit == 0


def test_a_set_that_lacks_an_optional_plugin_is_tried_anew(stand: kit.VpmEnv) -> None:
    stand.config(config("one") + "  - {name: nowhere, source: pypi, optional: true}\n")
    stand("build", "--offline", check=True)
    forget(stand, "profiles")

    assert builds_anew(stand)
