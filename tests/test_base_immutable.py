"""The base is never written to, and what is done to the base never reaches the store."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import kit
import pytest
import stands
from uv import find_uv_bin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stands import Stand

KINDS = ("venv", pytest.param("system", marks=pytest.mark.long))
PLUG = {"plug/__init__.py": "def register(): ...\n", "plug/deep/__init__.py": "", "plug/table.json": "{}"}
THROUGH_CODE = "import sys; from pip._internal.cli.main import main; sys.exit(main(sys.argv[1:]))"
"""Call pip so that the hook cannot know it: the overlay is active then."""


def whole(stand: Stand) -> tuple[str, list[str]]:
    """Return everything about a base and its user site: the tree's hash, and every path with its bytecode."""
    roots = [stand.base.prefix, *([stand.base.user_site] if stand.base.user_site else [])]
    return " ".join(map(kit.tree_hash, roots)), sorted(str(path) for root in roots for path in root.rglob("*"))


def age(stand: Stand) -> None:
    """Let everything that was current have been so two days ago, or gc spares it."""
    from envbuilder.digest import sealed

    order = stand.profile / "order.json"
    record = json.loads(order.read_text())
    record["switches"] = [[number, at - 2 * 86400, verb] for number, at, verb in record["switches"]]
    order.write_text(json.dumps(sealed(record)))


@pytest.fixture(scope="module", params=KINDS)
def stand(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, uv_cache: Path) -> Iterator[Stand]:
    """Give a base with pip, and plugins to choose from."""
    folder = tmp_path_factory.mktemp(f"immutable-{request.param}")
    with stands.stand(folder, uv_cache, kind=request.param, pip=True) as made:
        points = {stands.GROUP: {"plug": "plug:register"}, "console_scripts": {"plug-tool": "plug:register"}}
        made.publish("plug", files=PLUG, entry_points=points, requires=("dependency",))
        for name in ("dependency", "other", "third"):
            made.publish(name)
        yield made


def test_no_verb_writes_to_the_base(stand: Stand) -> None:
    before = whole(stand)
    stories = (
        lambda: stand.build("plug"),
        lambda: stand.build("plug", "other"),
        lambda: stand.build("third"),
        lambda: (stand("build", "--force"), stand("build", "--dry-run", "--upgrade")),
        lambda: (stand("switch", "1"), stand("rollback"), stand("rollback", "--to", "1")),
        lambda: (stand("status", check=False), stand("list"), stand("history"), stand("verify")),
        lambda: (stand("switch", "3"), age(stand), stand("gc"), stand("rollback", "--to", "2")),
    )
    for number, story in enumerate(stories):
        story()
        after = whole(stand)
        assert sorted(set(after[1]) ^ set(before[1])) == [], f"part {number} of the story wrote to the base"
        assert after == before, f"part {number} of the story wrote to the base"
    for command in (("plug-tool",), ("python", "-c", "import plug, dependency")):
        stand("run", "--", *command)
        assert kit.tree_hash(stand.base.prefix) == before[0].split()[0]


def test_a_hook_leaves_nothing_behind(stand: Stand) -> None:
    before = whole(stand)

    stand("hook", "install")
    with_hook = whole(stand)
    stand.run(stand.base.python, "-c", "import vllm.plugins", env={"PYTHONDONTWRITEBYTECODE": "1"})
    stand("hook", "uninstall")

    assert with_hook != before
    assert whole(stand) == before


@dataclass(frozen=True)
class Hooked:
    """A base with the hook and a set, and what the home was like at first."""

    stand: Stand
    overlay: Path
    kept: list[str]

    def is_whole(self) -> None:
        """Demand that store and overlay are as they were made, and that the engine has its plugin."""
        assert home_hash(self.stand) == self.kept
        assert "plug" in json.loads(self.stand.run(self.stand.base.scripts / "vllm").stdout)["loaded"]


def home_hash(stand: Stand) -> list[str]:
    # uv locks an environment that it is shown by a file of its own in it
    return [kit.tree_hash(stand.vpm_env.home / name, ignore=(".lock",)) for name in ("store", "overlays")]


@pytest.fixture(scope="module")
def hooked(stand: Stand) -> Iterator[Hooked]:
    """Give a base with the hook and a set, both of which are still whole after all tests."""
    stand.build("plug")
    stand("hook", "install")
    yield Hooked(stand, stand.overlay, home_hash(stand))
    assert "all as they were made" in stand("verify").stderr
    assert stand("status", "--json").json["active"]
    stand("hook", "uninstall")


@pytest.mark.long
def test_pip_in_a_hooked_base(hooked: Hooked, tmp_path: Path) -> None:
    pip = (hooked.stand.base.python, "-m", "pip", "--disable-pip-version-check")
    kit.wheel(tmp_path, "unrelated", "1.0")

    hooked.stand.run(*pip, "install", "--no-index", "--find-links", tmp_path, "unrelated")
    uninstalled = hooked.stand.run(*pip, "uninstall", "-y", "plug")
    listed = hooked.stand.run(*pip, "list").stdout
    checked = hooked.stand.run(*pip, "check").stdout
    gone = hooked.stand.run(*pip, "uninstall", "-y", "unrelated")

    assert "not installed" in uninstalled.stderr
    assert ("unrelated" in listed, "dependency" in listed, "plug " in listed) == (True, False, False)
    assert "No broken requirements" in checked
    assert "Successfully uninstalled" in gone.stdout
    hooked.is_whole()


@pytest.mark.long
def test_pip_that_sees_the_overlay_cannot_take_it_apart(hooked: Hooked) -> None:
    """Whoever calls pip in a way that the hook does not know gets an error, and deletes nothing."""
    listed = hooked.stand.run(
        hooked.stand.base.python, "-c", THROUGH_CODE, "list", "--disable-pip-version-check"
    ).stdout
    done = hooked.stand.run(hooked.stand.base.python, "-c", THROUGH_CODE, "uninstall", "-y", "plug", check=False)

    assert "dependency" in listed
    assert done.returncode != 0 or "outside" in done.stdout + done.stderr
    assert "Successfully uninstalled" not in done.stdout
    hooked.is_whole()


def test_uv_in_a_hooked_base(hooked: Hooked, tmp_path: Path) -> None:
    uv = (find_uv_bin(), "--offline", "--no-config", "pip")
    there = ("--python", hooked.stand.base.python, "--break-system-packages")
    kit.wheel(tmp_path, "unrelated", "1.0")

    hooked.stand.run(*uv, "install", *there, "--no-index", "--find-links", tmp_path, "unrelated")
    listed = hooked.stand.run(*uv, "list", *there[:2]).stdout
    uninstalled = hooked.stand.run(*uv, "uninstall", *there, "plug", check=False)
    checked = hooked.stand.run(*uv, "check", *there[:2])
    gone = hooked.stand.run(*uv, "uninstall", *there, "unrelated")

    assert "unrelated" in listed
    assert "- plug==" not in uninstalled.stderr
    assert "compatible" in checked.stderr
    assert "- unrelated==1.0" in gone.stderr
    hooked.is_whole()


def test_the_overlays_packages_cannot_be_uninstalled_in_the_overlay(hooked: Hooked) -> None:
    """uv lists an overlay as what it is, an environment; what is in it stays."""
    uv = (find_uv_bin(), "--offline", "--no-config", "pip")
    python = hooked.overlay / "bin" / "python"

    listed = hooked.stand.run(*uv, "list", "--python", python).stdout
    done = hooked.stand.run(*uv, "uninstall", "--python", python, "plug", check=False)

    assert "plug" in listed
    assert done.returncode != 0
    hooked.is_whole()
