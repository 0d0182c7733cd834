"""What a cache may say, and what counts of that: signed nonsense, keys that change, policies and configs here."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

import kit
import pytest
from test_fleet import Fleet, bases, config, current, fleet, machine, node, own_cache, said

from envbuilder.digest import sha256_of
from envbuilder.keys import read_secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["bases", "fleet", "node", "own_cache"]


def rewritten(fleet: Fleet, path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a document of a cache, and sign it as its owner would."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(read_secret(str(fleet.key)).sign(document)))


def put(*steps: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return what puts a value into a document."""

    def change(document: dict[str, Any]) -> None:
        inner: Any = document
        for step in steps[:-1]:
            inner = inner[step]
        inner[steps[-1]] = value

    return change


def other_lock(document: dict[str, Any]) -> None:
    document["lock"] = document["lock"].replace('name = "two"', 'name = "tow"')


@pytest.mark.parametrize(
    "change",
    [
        put("manifest", "base", value={}),
        put("manifest", "base", value="x"),
        put("manifest", "members", 0, "size", value="7"),
        put("manifest", "probe", value=[{"group": "x"}]),
        put("manifest", "facts", value=[]),
        put("manifest", value=None),
        put("packages", value={}),
        put("packages", 0, "package", "size", value="7"),
        put("packages", 0, "parcel", value=[]),
        put("packages", 0, "parcel", "size", value=-1),
        put("lock", value="no lock"),
        put("lock", value=7),
        put("config", value="plugins: 7"),
        put("digest", value="0" * 64),
        put("format", value=2),
        put("kind", value="channel"),
        other_lock,
    ],
)
def test_signed_nonsense_is_one_error_and_leaves_nothing(
    change: Callable[[dict[str, Any]], None], fleet: Fleet, node: kit.VpmEnv, own_cache: Path
) -> None:
    rewritten(fleet, own_cache / "overlays" / f"{fleet.digests[0]}.json", change)

    refused = node("pull", own_cache, fleet.digests[0])

    assert (refused.exit, refused.stderr.count("error:")) == (1, 1), refused.output
    assert not list(node.home.glob("store/*"))
    assert node("cache", "ls", own_cache).exit == 0


@pytest.mark.parametrize("serial", [0, -1, True, "1", 1.5, 10**4000])
def test_a_move_is_counted_by_whole_numbers(serial: object, fleet: Fleet, node: kit.VpmEnv, own_cache: Path) -> None:
    fleet.builder("push", own_cache, "1", "--channel", "prod", "--key", fleet.key, check=True)
    path = own_cache / "channels" / "prod.json"
    if isinstance(serial, int) and serial > 1 << 53:
        path.write_text(path.read_text().replace('"serial":1', f'"serial":1{"0" * 4000}'))
    else:
        rewritten(fleet, path, put("serial", value=serial))

    refused = node("follow", own_cache, "prod")

    assert (refused.exit, refused.stderr.count("error:")) == (1, 1), refused.output


def test_the_policy_of_the_config_here_holds(fleet: Fleet, node: kit.VpmEnv, tmp_path: Path) -> None:
    for policy, told in (
        (f"caches: ['{tmp_path}/elsewhere']", "`caches: ["),
        ("sources: [git]", "`sources: [git]`"),
        (f"keys: ['{fleet.public.replace('fleet-1', 'fleet-2')}']", "`keys: ["),
    ):
        node.config(f"plugins: []\npolicy: {{{policy}}}\n")
        for words in (("pull", fleet.cache, fleet.digests[0]), ("pull", fleet.cache, fleet.digests[0], "--unsigned")):
            refused = node(*words)
            assert (refused.exit, told in refused.stderr) == (1, True), refused.output
    assert not list(node.home.glob("profiles/*/*/current"))


def test_commands_are_those_of_the_config_here(fleet: Fleet, node: kit.VpmEnv, own_cache: Path, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    waybill = own_cache / "overlays" / f"{fleet.digests[0]}.json"
    rewritten(
        fleet,
        waybill,
        lambda document: document.update(
            config=f"on_build: touch {theirs}\non_switch: touch {theirs}\n" + document["config"]
        ),
    )
    node.config(f"on_switch: touch {ours}\nplugins: []\n")

    node("pull", own_cache, fleet.digests[0], check=True)

    assert (theirs.exists(), ours.exists()) == (False, True)


def test_a_config_that_stays_as_it_is_asks_for_nothing_else(fleet: Fleet, node: kit.VpmEnv) -> None:
    node.config("plugins: []\n")
    node("pull", fleet.cache, fleet.digests[0], check=True)

    for words in (("build",), ("build", "--auto")):
        assert "nothing to do" in node(*words, check=True).stderr
    assert current(node) == fleet.digests[0]

    config(node, fleet.folder / "links", "three")
    node("build", "--offline", check=True)
    assert said(node, "three") == ["three"]


def test_an_older_copy_of_a_channel_names_nothing(fleet: Fleet, node: kit.VpmEnv, own_cache: Path) -> None:
    """Neither after a pull nor after a look; and what a home has only looked at it goes along with later."""
    path, looks = own_cache / "channels" / "prod.json", ("cache", "channel", str(own_cache), "prod")
    for number in ("1", "2"):
        fleet.builder("push", own_cache, number, "--channel", "prod", "--key", fleet.key, check=True)
        (own_cache / number).write_bytes(path.read_bytes())
    node(*looks, check=True)  # there is no home yet
    assert not node.home.exists()
    node("pull", own_cache, "prod", "--no-generation", check=True)

    path.write_bytes((own_cache / "1").read_bytes())
    for words in (looks, ("pull", str(own_cache), "prod"), ("follow", str(own_cache), "prod")):
        refused = node(*words)
        assert (refused.exit, "is older than it was: move 1 after 2" in refused.stderr) == (1, True), refused.output

    fleet.builder("cache", "channel", own_cache, "prod", fleet.digests[1], "--key", fleet.key, check=True)
    assert node(*looks, "--json", check=True).json["serial"] == 2
    fleet.builder("cache", "channel", own_cache, "prod", fleet.digests[0], "--key", fleet.key, check=True)
    assert node(*looks, "--json", check=True).json["serial"] == 3
    path.write_bytes((own_cache / "2").read_bytes())
    assert node(*looks).exit == 1
    fleet.builder("cache", "channel", own_cache, "prod", fleet.digests[0], "--key", fleet.key, check=True)
    node("follow", own_cache, "prod", check=True)
    assert current(node) == fleet.digests[0]


def test_what_is_current_instead_is_told(fleet: Fleet, node: kit.VpmEnv, own_cache: Path) -> None:
    for number in ("1", "2"):
        fleet.builder("push", own_cache, number, "--channel", "prod", "--key", fleet.key, check=True)
        node("follow", own_cache, "prod", check=True)
    node("rollback", check=True)

    held = node("follow", own_cache, "prod", check=True)

    one, two = (digest[:12] for digest in fleet.digests)
    assert held.stderr == f"`prod` names {two}, and {one} is current; that stays so until the channel moves\n"


def test_an_older_copy_of_a_channel_is_no_set_to_pull(fleet: Fleet, node: kit.VpmEnv, own_cache: Path) -> None:
    path = own_cache / "channels" / "prod.json"
    fleet.builder("push", own_cache, "1", "--channel", "prod", "--key", fleet.key, check=True)
    old = path.read_bytes()
    fleet.builder("push", own_cache, "2", "--channel", "prod", "--key", fleet.key, check=True)
    node("pull", own_cache, "prod", check=True)
    path.write_bytes(old)

    refused = node("pull", own_cache, "prod")

    assert (refused.exit, "is older than it was: move 1 after 2" in refused.stderr) == (1, True)


def test_what_an_input_gave_is_believed_of_the_same_package_only(
    fleet: Fleet, bases: tuple[kit.Base, kit.Base], own_cache: Path, tmp_path: Path
) -> None:
    cards = {path.name.split("-")[1]: json.loads(path.read_text()) for path in own_cache.glob("packages/*.json")}
    wrong = own_cache / "inputs" / f"{sha256_of(cards['one']['made_from'])}.json"
    rewritten(fleet, wrong, put("key", value=cards["two"]["key"]))
    builds = machine(tmp_path, "builds", bases[0])
    trusts = f"caches: [{own_cache}]\ntrusted_keys: ['{fleet.public}']\n"
    config(builds, fleet.folder / "links", "one", extra=trusts)

    builds("build", "--offline", check=True)

    assert said(builds, "one") == ["one"]


def test_a_new_key_signs_what_is_there(fleet: Fleet, node: kit.VpmEnv, own_cache: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.key"
    public = fleet.builder("cache", "keygen", "fleet-2", new, check=True).stdout.strip()

    for _ in range(2):
        fleet.builder("push", own_cache, "1", "--key", new, "--trusted-key", fleet.public, check=True)

    (waybill,) = own_cache.glob(f"overlays/{fleet.digests[0]}.json")
    signers = [each.partition(":")[0] for each in json.loads(waybill.read_text())["signatures"]]
    assert signers == ["fleet-1", "fleet-2"]
    for key in (public, fleet.public):
        node("pull", own_cache, fleet.digests[0], "--trusted-key", key, env={"VPM_ENV_TRUSTED_KEYS": None}, check=True)


def keys_of(path: Path) -> list[str]:
    return [each.partition(":")[0] for each in json.loads(path.read_text())["signatures"]]


def test_a_new_key_takes_no_signature_away(fleet: Fleet, own_cache: Path, tmp_path: Path) -> None:
    """Who does not trust the old one signs the same beside it, and refuses to sign something else in its place."""
    new = tmp_path / "new.key"
    fleet.builder("cache", "keygen", "fleet-2", new, check=True)
    path = own_cache / "overlays" / f"{fleet.digests[0]}.json"

    fleet.builder("push", own_cache, "1", "--key", new, check=True)
    assert {tuple(keys_of(each)) for each in (path, *own_cache.glob("packages/*-one-*.json"))} == {
        ("fleet-1", "fleet-2")
    }

    rewritten(fleet, path, lambda document: document.update(config=f"# else\n{document['config']}", signatures=[]))
    before = path.read_bytes()
    refused = fleet.builder("push", own_cache, "1", "--key", new)
    assert (refused.exit, path.read_bytes()) == (1, before)
    assert "says something else, and is signed by `fleet-1`, whom nobody trusts here" in refused.stderr
    assert "hint: `--trusted-key NAME:KEY`" in refused.stderr


def test_a_new_key_signs_channels_too(fleet: Fleet, node: kit.VpmEnv, own_cache: Path, tmp_path: Path) -> None:
    old, new = ("--key", str(fleet.key)), ("--key", str(tmp_path / "new.key"), "--trusted-key", fleet.public)
    public = fleet.builder("cache", "keygen", "fleet-2", new[1], check=True).stdout.strip()
    path = own_cache / "channels" / "prod.json"
    fleet.builder("push", own_cache, "1", "--channel", "prod", *old, check=True)
    before = json.loads(path.read_text())

    fleet.builder("push", own_cache, "1", "--channel", "prod", *new, check=True)
    assert keys_of(path) == ["fleet-1", "fleet-2"]
    again = path.read_bytes()
    fleet.builder("cache", "channel", own_cache, "prod", fleet.digests[0], *new, check=True)
    assert (path.read_bytes(), json.loads(again) | {"signatures": 0}) == (again, before | {"signatures": 0})

    for key in (public, fleet.public):
        node("follow", own_cache, "prod", "--trusted-key", key, env={"VPM_ENV_TRUSTED_KEYS": None}, check=True)


def test_what_nobody_signed_makes_way_for_what_somebody_signs(fleet: Fleet, node: kit.VpmEnv, tmp_path: Path) -> None:
    cache = tmp_path / "a-cache"
    cache.mkdir()
    fleet.builder("push", cache, "1", "--unsigned", check=True)
    fleet.builder("push", cache, "1", "--key", fleet.key, check=True)

    node("pull", cache, fleet.digests[0], check=True)

    assert said(node, "one", "two") == ["one", "two"]


def test_who_signs_puts_his_name_to_nothing_that_nobody_signed(fleet: Fleet, own_cache: Path) -> None:
    path = own_cache / "overlays" / f"{fleet.digests[0]}.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "config": f"# not ours\n{document['config']}", "signatures": []}))

    fleet.builder("push", own_cache, "1", "--key", fleet.key, "--unsigned", check=True)

    pushed = json.loads(path.read_text())
    assert (pushed["config"], pushed["signatures"] != []) == (document["config"], True)


def test_an_export_takes_the_place_of_an_export_only(fleet: Fleet, tmp_path: Path) -> None:
    key = tmp_path / "a.key"
    fleet.builder("cache", "keygen", "a", key, check=True)
    before = key.read_bytes()

    refused = fleet.builder("export", key, "1", "--key", key)
    assert (refused.exit, "is there already, and no export" in refused.stderr, key.read_bytes()) == (2, True, before)

    for _ in range(2):
        fleet.builder("export", tmp_path / "a.vpm", "1", "--key", key, check=True)


def test_what_all_packages_lack_is_told_once(fleet: Fleet, node: kit.VpmEnv) -> None:
    code = "import runpy, sys; sys.modules['zstandard'] = None; runpy.run_module('envbuilder', run_name='__main__')"
    words = [node.python, "-c", code, "pull", str(fleet.cache), fleet.digests[0], "--unsigned"]
    refused = subprocess.run(words, env=node.env, cwd=node.folder, capture_output=True, text=True, check=False)

    told = "error: parcels cannot be read or made: `zstandard` is not installed"
    assert refused.stderr.count("zstandard") == refused.stderr.count(told) == 1, refused.stderr


def test_a_home_in_a_file_is_told(fleet: Fleet, node: kit.VpmEnv) -> None:
    for home in (fleet.key, fleet.key / "home"):
        refused = node("pull", fleet.cache, fleet.digests[0], "--home", home)
        assert refused.stderr.startswith(f"error: the home `{home}` is no folder, or lies in something that is none\n")
        assert "Errno" not in refused.output


def test_options_may_stand_before_words(fleet: Fleet, node: kit.VpmEnv, tmp_path: Path) -> None:
    node("cache", "ls", "--unsigned", fleet.cache, check=True)
    assert node("cache", "keygen", "--json", "a", tmp_path / "a.key", check=True).json["public"].startswith("a:")


def test_others_can_read_a_folder_whatever_the_umask_is(fleet: Fleet, tmp_path: Path) -> None:
    cache = tmp_path / "a-cache"
    cache.mkdir()
    cache.chmod(0o2775)
    code = "import os, sys; os.umask(0o077); os.execv(sys.argv[1], sys.argv[1:])"
    pushes = kit.VpmEnv(home=fleet.builder.home, folder=fleet.builder.folder, env=fleet.builder.env)
    words = [pushes.python, "-c", code, *pushes.command, "push", str(cache), "1", "--key", str(fleet.key)]
    subprocess.run(words, env=pushes.env, cwd=pushes.folder, check=True, capture_output=True)

    modes = {path.stat().st_mode & 0o7777 for path in cache.rglob("*") if path.is_file() and path.name != ".lock"}
    folders = {path.stat().st_mode & 0o7777 for path in cache.iterdir() if path.is_dir()}
    assert (modes, folders, cache.joinpath(".lock").stat().st_mode & 0o777) == ({0o644}, {0o2775}, 0o664)


def test_a_set_that_was_forced_says_so(
    bases: tuple[kit.Base, kit.Base], fleet: Fleet, node: kit.VpmEnv, tmp_path: Path
) -> None:
    files = {"bad/__init__.py": "def register(): raise ValueError('no')\n"}
    kit.wheel(tmp_path / "links", "bad", files=files, entry_points={"vllm.general_plugins": {"bad": "bad:register"}})
    forces, cache = machine(tmp_path, "forces", bases[0]), tmp_path / "a-cache"
    cache.mkdir()
    config(forces, tmp_path / "links", "bad")
    forces("build", "--offline", "--force", check=True)

    pushed = forces("push", cache, "--key", fleet.key, check=True)
    pulled = node("pull", cache, forces("list", "--json", check=True).json["digest"], check=True)

    assert "warning: the set was built by `--force`, in spite of a failed probe; who pulls it is told" in pushed.stderr
    assert "warning: it was pushed in spite of a failed probe: vllm.general_plugins: bad" in pulled.stderr


def test_what_came_in_part_only_goes_after_a_day(fleet: Fleet, node: kit.VpmEnv) -> None:
    node("pull", fleet.cache, fleet.digests[0], check=True)
    old, new = (node.home / "cache" / "parcels" / f"{letter * 64}.part" for letter in "ab")
    for path, age in ((old, 2 * 86400), (new, 60)):
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age, time.time() - age))

    node("gc", check=True)

    assert (old.exists(), new.exists()) == (False, True)
