"""`verify --repair` at its edges: what is added stays, what cannot be had is refused, and nothing else is touched."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import kit
import pytest
import stands

from envbuilder import bytecode, swapping

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    folder = tmp_path_factory.mktemp("repair")
    vpm_env = stands.small(folder)
    kit.wheel(folder / "wheels", "one", files={"one/__init__.py": "x = 1\n"})
    vpm_env.config(
        f"probe: none\nfind_links: [{folder / 'wheels'}]\nplugins:\n  - {{name: one, source: pypi, package: one}}\n"
    )
    vpm_env("build", "--offline", check=True)
    return vpm_env


def module(stand: kit.VpmEnv) -> Path:
    return next(stand.home.glob("store/*-one-1.0/lib/one/__init__.py"))


def test_what_is_added_is_told_and_no_damage(stand: kit.VpmEnv) -> None:
    added = module(stand).with_name("kernel.cache")
    added.write_text("made by a library")
    try:
        done = stand("verify", check=True)
        repaired = stand("verify", "--repair", check=True)
        assert added.exists()
    finally:
        added.unlink()

    key = module(stand).parents[2].name
    assert done.stderr.splitlines() == [
        f"package {key}: `lib/one/kernel.cache` was added",
        "looked at 1 package and 1 overlay: all as they were made",
    ]
    assert done.stderr == repaired.stderr


def test_a_package_is_had_anew_and_the_old_one_lies_in_the_trash(stand: kit.VpmEnv) -> None:
    key = module(stand).parents[2].name
    with module(stand).open() as used:
        module(stand).chmod(0o644)
        module(stand).write_text("x = 'evil'\n")
        done = stand("verify", "--repair", "--offline", check=True)
        assert used.read() == "x = 'evil'\n", "a process keeps what it has open"

    assert f"repaired package {key}: it was had anew from its source\n" in done.stderr
    assert done.stderr.endswith("looked at 1 package and 1 overlay: all as they were made, after repairs\n")
    assert module(stand).read_text() == "x = 1\n"
    assert [path.name.partition(".")[0] for path in stand.home.glob("trash/package-*")] == [
        f"package-{key}".partition(".")[0]
    ]


def test_what_cannot_be_had_is_refused_with_the_plugins_name(stand: kit.VpmEnv) -> None:
    (wheel,) = (stand.folder.parent / "wheels").glob("*.whl")
    aside = wheel.rename(wheel.parent.parent / wheel.name)
    shutil.rmtree(stand.folder.parent / "uv")  # where another copy would be
    module(stand).unlink()
    try:
        done = stand("verify", "--repair", "--offline", "--json")
    finally:
        aside.rename(wheel)
    again = stand("verify", "--repair", "--offline", check=True)

    assert done.exit == 1
    (refused,) = done.json["refused"]
    assert refused["text"].startswith("`one-1.0` cannot be had anew: ")
    assert "after repairs" in again.stderr


def test_offline_is_about_repairs(stand: kit.VpmEnv) -> None:
    assert "`--offline` says how to repair" in stand("verify", "--offline").stderr


@pytest.mark.parametrize("can_exchange", [True, False])
def test_two_trees_change_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool) -> None:
    if not can_exchange:
        monkeypatch.setattr(swapping, "_exchanged", lambda left, right: False)
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "is").write_text(name)

    swapping.exchange(str(tmp_path / "left"), str(tmp_path / "right"))

    assert [(tmp_path / name / "is").read_text() for name in ("left", "right")] == ["right", "left"]
    assert sorted(set(os.listdir(tmp_path)) - {"home"}) == ["left", "right"]


@pytest.mark.parametrize(
    ("make", "is_unseen"),
    [
        (lambda path: path.write_bytes(bytes(4) + b"\1\0\0\0" + bytes(8)), True),
        (lambda path: path.write_bytes(bytes(4) + b"\0\0\0\0" + bytes(8)), False),
        (lambda path: path.write_bytes(b""), False),
        (os.mkfifo, True),
        (lambda path: path.symlink_to("/dev/null"), True),
    ],
)
def test_bytecode_that_python_takes_unseen(tmp_path: Path, make: Callable[[Path], object], is_unseen: bool) -> None:
    path = tmp_path / "module.pyc"
    make(path)

    assert bytecode.is_taken_unseen(str(path)) is is_unseen


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (shutil.rmtree, "is not there"),
        (lambda home: [shutil.rmtree(home), home.mkdir()], "is empty"),
        (lambda home: (home / "format").write_text("0\n"), "has format 0, which is older than 1"),
        (lambda home: (home / "format").write_text("9" * 20), f"has format {'9' * 20}; this vpm-env knows up to 1"),
    ],
)
def test_what_is_no_home_of_this_vpm_env_is_no_home_without_damage(
    stand: kit.VpmEnv, harm: Callable[[Path], object], said: str
) -> None:
    kept = stand.home.with_name("kept")
    shutil.copytree(stand.home, kept, symlinks=True)
    try:
        harm(stand.home)
        asked = [stand("verify", *words) for words in ((), ("--repair", "--offline"))]
    finally:
        shutil.rmtree(stand.home, ignore_errors=True)
        kept.rename(stand.home)

    assert [done.exit for done in asked] == [1, 1]
    assert all(f"error: the home `{stand.home}` {said}\n" in done.stderr for done in asked)


def test_gc_takes_nothing_while_a_profile_cannot_be_looked_into(stand: kit.VpmEnv) -> None:
    (profile,) = stand.home.glob("profiles/default/*")
    aside = stand.home.parent / "aside"
    for folder in (profile / "generations", profile, profile.parent):
        folder.rename(aside)
        folder.write_text("")
        try:
            done = stand("gc", "--grace", "0s")
        finally:
            folder.unlink()
            aside.rename(folder)
        assert done.exit == 1
        assert "is no folder" in done.stderr
    assert list(stand.home.glob("overlays/*/*/overlay.json"))
    stand("verify", check=True)
