"""What may be removed: our own things by name and shape, in a home of ours, and nothing behind a symlink."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import kit
import pytest

from envbuilder import cli, flocks, fs
from envbuilder.belongings import is_left
from envbuilder.errors import Busy, HomeError
from envbuilder.paths import Environment, Layout
from envbuilder.removal import uninstall
from envbuilder.scope import Options, make_home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STAGED = "4194304999-0123456789ab"
"""A staging folder of a process that no kernel can have."""


def fill(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("precious\n")
    return folder


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "plugins.yaml").write_text("plugins: []\nmin_free: 100%\n")
    return str(tmp_path / "plugins.yaml")


VERBS = (
    ("gc",),
    ("gc", "--dry-run"),
    ("gc", "--grace", "0s"),
    ("gc", "--why", "1"),
    ("verify",),
    ("uninstall",),
    ("uninstall", "--dry-run"),
    ("build", "--offline"),
    ("build", "--offline", "--dry-run"),
    ("check", "--offline"),
    ("hook", "install"),
    ("rollback",),
    ("doctor", "home", "permissions", "locks", "filesystem", "--fix"),
)


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_a_folder_that_is_no_home_stays_as_it_is(
    words: tuple[str, ...], tmp_path: Path, config: str, base: kit.Base, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = fill(tmp_path / "fake", "tmp/work/thesis.txt", f"tmp/{STAGED}/x", "trash/x/y", "cache/mine", "profiles/me/x")
    before = kit.tree_hash(fake)

    code = cli.main([*words, "--home", str(fake), "--config", config, "--base", str(base.python)])
    out, err = capsys.readouterr()

    assert code == 1
    assert f"the home `{fake}` was not made by vpm-env: it has no `format` file, but `cache`, `profiles`" in out + err
    assert kit.tree_hash(fake) == before


@pytest.mark.parametrize("name", ["tmp", "trash", "store", "overlays", "profiles", "sources"])
def test_what_is_behind_a_symlink_is_not_touched(
    name: str, tmp_path: Path, config: str, base: kit.Base, capsys: pytest.CaptureFixture[str]
) -> None:
    home = fill(tmp_path / "a-home", "keep")
    (home / "format").write_text("1\n")
    entries = {"tmp": f"{STAGED}/x", "trash": "overlay-0123.1-01234567/x", "store": f"{'0' * 32}-x-1/x"}
    precious = fill(tmp_path / "precious", entries.get(name, "0123456789ab/x"), "thesis.txt")
    (home / name).symlink_to(precious)
    before = kit.tree_hash(tmp_path)

    for words in (
        ("gc",),
        ("gc", "--grace", "0s"),
        ("verify",),
        ("uninstall",),
        ("doctor", "home", "--fix"),
        ("build",),
    ):
        code = cli.main([*words, "--home", str(home), "--config", config, "--base", str(base.python)])
        out, err = capsys.readouterr()
        assert code == 1, words
        assert f"has symlinks where its own folders should be: `{name}` (→ `{precious}`)" in out + err, words
    assert kit.tree_hash(tmp_path) == before


def test_a_symlink_deeper_in_is_seen_too(tmp_path: Path) -> None:
    home, precious = tmp_path / "a-home", fill(tmp_path / "precious", f"{'0' * 64}/x")
    make_home(Layout(str(home)))
    (home / "overlays" / "0123456789ab").symlink_to(precious)

    assert cli.main(["gc", "--home", str(home)]) == 1
    assert (precious / ("0" * 64) / "x").exists()


def test_gc_takes_only_what_has_our_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    thrown = "trash/package-abc.1-01234567"
    home = fill(tmp_path / "a-home", "tmp/work/thesis.txt", f"tmp/{STAGED}/x", "trash/x/y", f"{thrown}/x")
    (home / "format").write_text("1\n")

    assert cli.main(["gc", "--home", str(home), "--grace", "0s", "--json"]) == 0

    assert f'"name": "{STAGED}"' in capsys.readouterr().out
    left = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file() and "flocks" not in path.parts}
    assert left == {"format", "tmp/work/thesis.txt", "trash/x/y"}


def test_uninstall_takes_only_what_has_our_names_and_says_what_is_left(tmp_path: Path, base: kit.Base) -> None:
    ours = (
        f"tmp/{STAGED}/x",
        "cache/uv/x",
        f"store/{'0' * 32}-x-1/x",
        f"overlays/0123456789ab/{'0' * 64}/x",
        "flocks/gc",
    )
    theirs = ("tmp/work/thesis.txt", "cache/mine", "profiles/notes.txt", "overlays/mine/x", "store/x", "photos/x")
    home = fill(tmp_path / "a-home", *ours, "profiles/default/0123456789ab/order.json", *theirs)
    (home / "format").write_text("1\n")
    (home / "sources").mkdir()
    env = Environment({**os.environ, "VPM_ENV_HOME": str(home), "VPM_ENV_BASE": str(base.python)})

    planned = uninstall(Options(), env, dry_run=True)
    assert uninstall(Options(), env, dry_run=False) == planned

    assert {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()} == set(theirs)
    left = {str(home / name) for name in (*theirs[:3], "tmp/work", "overlays/mine", "store/x", "photos")} - {
        str(home / theirs[0])
    }
    assert left <= set(planned.left)
    assert {str(home / "flocks"), str(home / "sources")} <= set(planned.paths)


@pytest.mark.parametrize(
    ("refused", "at", "code", "said", "rest"),
    [
        ("os.rmdir trash", 1, 1, "error: `{home}/trash`: device or resource busy", {"format", "trash"}),
        ("os.rmdir /", 1, 1, "error: `{home}/trash`: device or resource busy", {"format"}),
        ("os.rmdir /", 2, 0, "left: the folder `{home}`, which is empty: device or resource busy", set()),
    ],
)
def test_a_folder_that_an_uninstall_may_not_remove_is_told(
    tmp_path: Path, base: kit.Base, refused: str, at: int, code: int, said: str, rest: set[str]
) -> None:
    """The first that goes for being empty is the trash, the other the home, which may be a mount."""
    home = fill(tmp_path / "a-home", "trash/overlay-0123.1-01234567/x")
    (home / "format").write_text("1\n")
    env = kit.clean_environment(tmp_path) | {"VPM_ENV_HOME": str(home), "VPM_ENV_BASE": str(base.python)}
    with kit.workshop(tmp_path / "scratch") as workshop:
        empty = kit.Fault("EBUSY", at=at, event=refused)
        ended = workshop("uninstall", env=env, cwd=tmp_path, fault=empty)
        assert (ended.code, said.format(home=home) in ended.stdout + ended.stderr) == (code, True), ended
        assert {path.name for path in home.iterdir()} == rest

        again = workshop("uninstall", env=env, cwd=tmp_path)
        assert (again.code, home.exists()) == (0, False), again


def test_a_home_is_made_beside_what_a_volume_and_the_manager_have(tmp_path: Path) -> None:
    fill(tmp_path / "old", "registry.json", "registry.json.bak", ".snapshot/x")
    for name in ("lost+found", "store", "tmp"):  # empty, as an interrupted call leaves them
        (tmp_path / "old" / name).mkdir()
    (tmp_path / "volume").mkdir()

    for name in ("old", "volume", "new"):
        make_home(Layout(str(tmp_path / name)))
        assert (tmp_path / name / "format").read_text() == "1\n"
        assert (tmp_path / name / "overlays").is_dir()


@pytest.mark.parametrize("entry", ["notes.txt", "tmp/x", "cache/mine", "profiles/default/x", "venv/pyvenv.cfg"])
def test_no_home_is_made_of_a_folder_in_use(entry: str, tmp_path: Path) -> None:
    folder = fill(tmp_path / "folder", entry)

    with pytest.raises(HomeError, match="was not made by vpm-env") as refused:
        make_home(Layout(str(folder)))

    assert refused.value.hint
    assert "an empty folder" in refused.value.hint
    assert [path.name for path in folder.iterdir()] == [entry.partition("/")[0]]


def test_a_tree_is_removed_and_what_its_links_mean_stays(tmp_path: Path) -> None:
    precious, tree = fill(tmp_path / "precious", "x"), fill(tmp_path / "tree", "a/b/c", "d")
    (tree / "a" / "link").symlink_to(precious)
    (tree / "a" / "b").chmod(0o500)
    (tmp_path / "link").symlink_to(precious)

    fs.remove_tree(tree)
    fs.remove_tree(tmp_path / "link")
    fs.remove_tree(tmp_path / "none" / "none")

    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["precious"]
    assert (precious / "x").exists()


def test_a_symlink_that_takes_a_folders_place_meanwhile_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious, tree = fill(tmp_path / "precious", "x"), fill(tmp_path / "tree", "a/b")
    scandir = os.scandir

    @contextmanager
    def swapping(folder: Any) -> Iterator[Any]:
        with scandir(folder) as found:
            entries = list(found)
        if (tree / "a").is_dir() and not (tree / "a").is_symlink():
            (tree / "a").rename(tmp_path / "away")
            (tree / "a").symlink_to(precious)
        yield entries

    monkeypatch.setattr(os, "scandir", swapping)
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        fs.remove_tree(tree)

    assert (precious / "x").exists()


def test_a_symlink_on_the_way_is_not_followed_either(tmp_path: Path) -> None:
    precious = fill(tmp_path / "precious", "x/y")
    (tmp_path / "trash").symlink_to(precious)

    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        fs.remove_tree(tmp_path / "trash" / "x", within=tmp_path)

    assert (precious / "x" / "y").exists()


def test_a_staging_folder_is_left_when_nobody_holds_it(tmp_path: Path) -> None:
    now = time.time()
    dead, living = tmp_path / STAGED, tmp_path / f"{os.getpid()}-0123456789ab"
    other = tmp_path / "4194304999-not-ours"
    for folder in (dead, living, other):
        folder.mkdir()

    assert [is_left(str(folder), now) for folder in (dead, living, other)] == [True, False, False]
    assert is_left(str(living), now + 7200), "another process had this id, in a container that was before"
    assert not is_left(str(other), now + 1e9)
    with flocks.folder_held(dead):
        assert not is_left(str(dead), now + 1e9), "somebody in another container has it"
    with fs.staging(tmp_path) as staged:
        assert not is_left(staged, now + 1e9)


@contextmanager
def sharing(path: Path) -> Iterator[int]:
    """Let a child share the lock at `path`; its process id."""
    take = f"with flocks.locked({str(path)!r}, shared=True)"
    code = f"import sys; from envbuilder import flocks\n{take}: print(flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=kit.ROOT) as child:
        assert child.stdout
        child.stdout.readline()
        yield child.pid
        child.communicate("\n")


def refused(lock: Path) -> str:
    with pytest.raises(Busy) as busy, flocks.locked(lock, wait=0):
        pass
    return busy.value.holder


def test_all_who_share_a_lock_are_named(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with sharing(lock) as first:
        with sharing(lock) as second:
            both = refused(lock)
        one = refused(lock)
    with flocks.locked(lock):
        alone = refused(lock)

    assert both.startswith(f"process {first} (for ")
    assert f" s) and process {second} (for " in both
    assert one.startswith(f"process {first} (for ")
    assert "and" not in one, "the second, which took it last, has gone"
    assert alone.startswith(f"process {os.getpid()} (for ")
    assert len(lock.read_text().splitlines()) == 1, "who has it alone strikes out the others"


def test_who_gave_a_lock_back_and_lives_on_is_not_named(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with flocks.locked(lock, shared=True):
        pass
    with sharing(lock) as pid:
        told = refused(lock)

    assert told.startswith(f"process {pid} (for ")
    assert str(os.getpid()) not in told.split()


def test_a_lock_file_does_not_grow_for_ever_and_an_unknown_holder_is_no_obstacle(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    for _ in range(400):
        with flocks.locked(lock, shared=True):
            pass
    assert lock.stat().st_size <= 4096 + 32

    lock.write_text("")
    with lock.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        assert refused(lock) == "another process"


def test_a_dry_run_makes_nothing_in_a_home(tmp_path: Path) -> None:
    (tmp_path / "a-home").mkdir()
    (tmp_path / "a-home" / "format").write_text("1\n")

    assert cli.main(["gc", "--dry-run", "--home", str(tmp_path / "a-home")]) == 0
    assert cli.main(["gc", "--home", str(tmp_path / "none")]) == 0
    assert [path.name for path in (tmp_path / "a-home").iterdir()] == ["format"]
    assert not (tmp_path / "none").exists()


def test_who_makes_the_same_home_meanwhile_is_no_stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one is just there when this one has seen that there is no home and lists what else is."""
    layout, listing = Layout(str(tmp_path / "own")), fs.names_in

    def after_the_other(folder: str) -> list[str]:
        monkeypatch.setattr(fs, "names_in", listing)
        make_home(layout)
        return listing(folder)

    monkeypatch.setattr(fs, "names_in", after_the_other)

    make_home(layout)

    assert (tmp_path / "own" / "format").exists()
