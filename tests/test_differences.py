"""What differs between generations, in words and in bytes: `history`, `diff`, and the sizes that all verbs agree on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import kit
import pytest
from jsonschema import Draft202012Validator
from test_cli import on_terminal, piped, without_styles

from envbuilder import overlay
from envbuilder.digest import sealed
from envbuilder.ledger import PARTS, files, shares
from envbuilder.manifest import Manifest, Member
from envbuilder.paths import Layout
from envbuilder.planning import size_text
from envbuilder.profile import Generation, Profile
from envbuilder.steps import steps

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.long
GROUP = "vllm.general_plugins"
LICENSE = 300_000
"""Bytes of a file that lies in a dist-info directory: overlays have hard links to it."""


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build four generations of the same versions: other entry points, then other code, then another base."""
    folder = tmp_path_factory.mktemp("differences")
    base = kit.base(folder / "base")
    kit.fake_vllm(base, "0.33.0")
    kit.install(base, kit.wheel(folder / "w", "tensors", "2.13"))
    env = kit.clean_environment(folder)
    env |= {"VPM_ENV_HOME": str(folder / "home"), "UV_CACHE_DIR": str(folder / "uv"), "COLUMNS": "80"}
    (folder / "work").mkdir()
    vpm_env = kit.VpmEnv(home=folder / "home", folder=folder / "work", env=env).use(base)
    code = "def register(): ...\n"
    kit.wheel(
        folder / "links",
        "alpha",
        files={"alpha.py": code, "alpha-1.0.dist-info/LICENSE": "x" * LICENSE},
        entry_points={GROUP: {"first": "alpha:register", "second": "alpha:register"}},
        requires=("tensors",),
    )
    write_plugin(folder, code)
    write_config(vpm_env)
    vpm_env("build", "--offline", check=True)
    write_config(vpm_env, ", entry_points: [first]")
    vpm_env("build", "--offline", check=True)
    write_plugin(folder, f"{code}# edited\n")
    vpm_env("build", "--offline", check=True)
    shutil.rmtree(base.purelib / "tensors-2.13.dist-info")
    kit.install(base, kit.wheel(folder / "w", "tensors", "2.14"))
    vpm_env("build", "--offline", check=True)
    return vpm_env


def write_plugin(folder: Path, code: str) -> None:
    points = {GROUP: {"me": "edit_me:register"}}
    kit.project(folder / "edit-me", "edit-me", files={"edit_me.py": code}, entry_points=points)


def write_config(vpm_env: kit.VpmEnv, more: str = "") -> None:
    vpm_env.config(
        "find_links: ../links\nindex: http://127.0.0.1:9/none\nplugins:\n"
        f"  - {{name: alpha, source: pypi{more}}}\n"
        "  - {name: edit-me, source: local, path: ../edit-me, editable: false}\n"
    )


@pytest.fixture
def copy(stand: kit.VpmEnv, tmp_path: Path) -> kit.VpmEnv:
    """Give a copy of the home, in which all generations were current two days ago."""
    home = tmp_path / "copy"
    subprocess.run(["cp", "-a", str(stand.home), str(home)], check=True)
    (home / "trash").mkdir(exist_ok=True)
    (order,) = home.glob("profiles/*/*/order.json")
    record = json.loads(order.read_text())
    start = time.time() - 2 * 86400
    record["switches"] = [[number, start + at, verb] for at, (number, _, verb) in enumerate(record["switches"])]
    order.write_text(json.dumps(sealed(record)))
    return kit.VpmEnv(home=home, folder=stand.folder, env={**stand.env, "VPM_ENV_HOME": str(home)})


def said(stand: kit.VpmEnv) -> list[str]:
    """Return what `history` says that each generation changed."""
    lines = piped(stand, "history")[0].splitlines()
    at = lines[0].index("changes")
    return [re.sub(r".* TIME +", "", line) for line in lines[1:]] if at else []


def validate(verb: str, record: Any) -> None:
    schema = json.loads((kit.ROOT / "docs" / "schemas" / f"{verb}.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(record)


def below(*paths: Path) -> dict[int, int]:
    """List what is below `paths`: inode → bytes on disk."""
    found = (each for path in paths for each in [path, *path.rglob("*")])
    return {each.lstat().st_ino: each.lstat().st_blocks * 512 for each in found}


def of_generation(home: Path, number: int) -> dict[int, int]:
    """List the inodes of a generation: its pointer, its overlay, its packages, their aliases and records."""
    (pointer,) = home.glob(f"profiles/*/*/generations/{number}")
    members = json.loads((pointer / "overlay.json").read_text())["members"]
    packages = [home / "store" / member["key"] for member in members]
    aliases = [path for path in (home / "store").iterdir() if path.is_symlink() and path.resolve().parent in packages]
    keys = {path.name for path in packages}
    records = [path for path in (home / "sources").iterdir() if any(key in path.read_text() for key in keys)]
    return below(pointer.resolve(), *packages) | {
        each.lstat().st_ino: each.lstat().st_blocks * 512 for each in (pointer, *aliases, *records)
    }


def test_history_says_what_changed_where_no_version_did(stand: kit.VpmEnv) -> None:
    assert said(stand) == [
        "alpha: ∅ → 1.0; edit-me: ∅ → 1.0",
        "other entry points of alpha",
        "other content of edit-me",
        "base: tensors 2.13 → 2.14",
    ]
    assert "other content of edit-me" in " ".join(without_styles(on_terminal(stand, "history")).split())


def test_history_claims_nothing_of_what_was_collected(copy: kit.VpmEnv) -> None:
    copy("gc", check=True)

    assert said(copy)[1:] == [
        "same versions, not the same set",
        "same versions, not the same set",
        "base: tensors 2.13 → 2.14",
    ]


def test_history_in_json_names_what_a_package_is(stand: kit.VpmEnv) -> None:
    record = stand("history", "--json", check=True).json
    status = stand("status", "--json").json
    current = status["current"]

    validate("history", record)
    validate("status", status)
    assert record["generations"][3]["packages"] == current["packages"]
    assert current["packages"] == [
        {"name": "alpha", "version": "1.0", "plugin": "alpha", "editable": False},
        {"name": "edit-me", "version": "1.0", "plugin": "edit-me", "editable": False},
    ]


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 3), (3, 4), (1, 4)])
def test_the_bytes_of_a_difference_are_those_of_files_that_one_of_the_two_has(
    stand: kit.VpmEnv, before: int, after: int
) -> None:
    told = stand("diff", str(before), str(after), "--json", check=True).json["bytes"]
    old, new = (of_generation(stand.home, number) for number in (before, after))

    assert told["added"] == sum(new[inode] for inode in new.keys() - old.keys())
    assert told["removed"] == sum(old[inode] for inode in old.keys() - new.keys())
    assert 0 < told["freeable"] <= told["removed"]
    assert max(told.values()) < LICENSE / 2, "what both have is in neither"


def test_what_a_difference_would_free_is_what_gc_frees(copy: kit.VpmEnv) -> None:
    told = copy("diff", "1", "4", "--json", check=True).json["bytes"]
    own = copy("show", "1", "--json", check=True).json["bytes"]["own"]
    copy("gc", "--keep", "4", check=True)  # its locks take space too, from the first time on
    planned = copy("gc", "--dry-run", "--json", check=True).json
    before = sum(below(copy.home).values())
    copy("gc", check=True)

    assert [item["kind"] for item in planned["items"]] == ["generation", "overlay", "generation", "overlay", "package"]
    assert told["freeable"] == own == sum(item["bytes"] for item in planned["items"][:2])
    assert planned["bytes"] == before - sum(below(copy.home).values())
    assert [(entry["profile"], entry["number"]) for entry in planned["generations"]] == [("default", 1), ("default", 2)]
    validate("gc", planned)


def test_why_something_stays_tells_what_gc_would_free(copy: kit.VpmEnv) -> None:
    rows = {item["name"]: item for item in copy("gc", "--dry-run", "--json", check=True).json["items"]}
    overlays = [item for item in rows.values() if item["kind"] == "overlay"]
    (package,) = (item for item in rows.values() if item["kind"] == "package")

    for row in (package, *overlays):
        (kept,) = copy("gc", "--why", row["name"], "--json", check=True).json["kept"]
        assert (kept["kind"], kept["bytes"]) == (row["kind"], row["bytes"])


def test_the_parts_of_a_home_add_up_to_what_du_says_in_every_verb(copy: kit.VpmEnv) -> None:
    copy("gc", "--grace", "1h", check=True)
    (copy.home / "what-somebody-put-there").write_bytes(b"x" * 50_000)
    told = copy("info", "--json", check=True).json["home"]["bytes"]
    line = next(line for line in copy("info").stdout.splitlines() if line.startswith("size:"))
    checked = copy("doctor", "disk", "--json", "--offline", check=True).json

    assert abs(sum(told.values()) - kit.allocated(copy.home)) <= 1024
    assert list(told) == [*(part for part in PARTS if (copy.home / part).exists()), "other"]
    assert told["other"] >= 50_000
    parts = {name: size_text(size) for name, size in told.items()}
    assert f" {size_text(sum(told.values()))} ({', '.join(f'{n} {s}' for n, s in parts.items() if s != '0 B')})" in line
    assert f"the home takes {size_text(sum(told.values()))}" in json.dumps(checked)
    for name, size in parts.items():
        assert f"{name}: {size}" in json.dumps(checked)


def test_a_file_counts_for_the_first_part_that_has_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for part in ("cache", "overlays", "store", "trash"):
        (home / part).mkdir(parents=True)
    (home / "cache" / "file").write_bytes(b"x" * 9000)
    for name in ("overlays/file", "overlays/again", "trash/file"):
        (home / name).hardlink_to(home / "cache" / "file")
    (home / "trash" / "own").write_bytes(b"x" * 5000)
    (home / "beside").write_bytes(b"x" * 5000)
    folder, file = ((home / name).lstat().st_blocks * 512 for name in ("store", "cache/file"))
    beside = (home / "beside").lstat().st_blocks * 512
    (tmp_path / "link").symlink_to(home)

    found = shares(str(home))

    assert found == {
        "store": folder,
        "overlays": folder + file,
        "cache": folder,
        "trash": folder + beside,
        "other": home.lstat().st_blocks * 512 + beside,
    }
    assert shares(str(tmp_path / "link")) == found
    assert shares(str(home / "nothing")) == {}
    assert sum(files([str(home)]).values()) == sum(found.values())


def test_only_generations_of_the_same_versions_are_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = Profile(Layout(str(tmp_path)), "default", "0" * 12)
    asked: list[str] = []

    def known(layout: Layout, base_key: str, digest: str) -> Manifest | None:
        asked.append(digest)
        return None if digest == "gone" else manifest(digest)

    monkeypatch.setattr(overlay, "get", known)
    entries = [generation(at, str(at), version=f"{at}.0") for at in range(1, 1000)]
    entries += [generation(1000, "other", version="999.0"), generation(1001, "gone", version="999.0", editable=True)]
    told = list(steps(profile, entries))

    assert asked == ["999", "other", "gone"]
    assert told[:2] == [("one: ∅ → 1.0",), ("one: 1.0 → 2.0",)]
    assert told[-2:] == [("other content of one", "one may shadow the base"), ("one is editable",)]


def generation(number: int, digest: str, *, version: str, editable: bool = False) -> Generation:
    return Generation(
        number=number,
        digest=digest,
        base_key="0" * 12,
        created="2026-01-01T00:00:00+00:00",
        state="good",
        keep=False,
        config="/plugins.yaml",
        base={},
        inputs={},
        packages=[["one", version, "one", editable]],
        left_out={},
        reason="build",
    )


def manifest(key: str) -> Manifest:
    member = Member("one", "999.0", key, override=key == "other")
    return Manifest(soabi="s", platform="p", python_version="3.11", base={}, members=(member,), facts={})
