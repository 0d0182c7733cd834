"""One set on many machines: pushed into a cache, pulled over another base, followed by a channel, carried in a file."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import kit
import pytest
from kit.caches import CacheFault, web_cache
from test_cli import lines_of, on_terminal, shown

from envbuilder import crate

GROUP = "vllm.general_plugins"
NOWHERE = "file:///nowhere/at/all"


class Fleet(NamedTuple):
    """A machine that builds and pushes, what it signs with, and where it pushed its two generations."""

    folder: Path
    builder: kit.VpmEnv
    key: Path
    public: str
    cache: Path
    digests: tuple[str, str]


def plugin(folder: Path, name: str, version: str = "1.0", says: str = "") -> None:
    files = {f"{name}/__init__.py": f"def register(): print({(says or name)!r})\n"}
    kit.wheel(folder, name, version, files=files, entry_points={GROUP: {name: f"{name}:register"}})


def machine(folder: Path, name: str, base: kit.Base) -> kit.VpmEnv:
    """Make a machine of its own: a home, a user's home, a working directory, no config."""
    for made in (folder / f"{name}-work", folder / f"{name}-user"):
        made.mkdir(parents=True)
    env = kit.clean_environment(folder) | {
        "HOME": str(folder / f"{name}-user"),
        "UV_CACHE_DIR": str(folder / "uv"),
        "VPM_ENV_HOME": str(folder / name),
    }
    return kit.VpmEnv(home=folder / name, folder=folder / f"{name}-work", env=env).use(base)


def config(of: kit.VpmEnv, links: Path, *names: str, extra: str = "") -> None:
    entries = "".join(f"  - {{name: {name}, source: pypi}}\n" for name in names)
    of.config(f"find_links: {links}\nindex: {NOWHERE}\n{extra}plugins:\n{entries}")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[kit.Base, kit.Base]:
    """Two bases that are alike, at different places."""
    made = []
    for name in ("builds", "serves"):
        base = kit.base(tmp_path_factory.mktemp("bases") / name)
        kit.fake_vllm(base, "0.33.0")
        made.append(base)
    return made[0], made[1]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, bases: tuple[kit.Base, kit.Base]) -> Fleet:
    folder = tmp_path_factory.mktemp("fleet")
    builder = machine(folder, "builder", bases[0])
    for name in ("one", "two", "three"):
        plugin(folder / "links", name)
    key, cache = folder / "prod.key", folder / "cache"
    public = builder("cache", "keygen", "fleet-1", key, check=True).stdout.strip()
    digests = []
    for names in (("one", "two"), ("one", "three")):
        config(builder, folder / "links", *names)
        built = builder("build", "--offline", "--json", check=True)
        digests.append(built.json["digest"])
        cache.mkdir(exist_ok=True)
        builder("push", cache, "--key", key, check=True)
    return Fleet(folder, builder, key, public, cache, (digests[0], digests[1]))


@pytest.fixture
def node(tmp_path: Path, fleet: Fleet, bases: tuple[kit.Base, kit.Base]) -> kit.VpmEnv:
    """Another machine, which trusts the builder's key and reaches no index."""
    made = machine(tmp_path, "node", bases[1])
    made.env["VPM_ENV_TRUSTED_KEYS"] = fleet.public
    return made


@pytest.fixture
def own_cache(tmp_path: Path, fleet: Fleet) -> Path:
    """A copy of the cache, which a test may do anything to."""
    subprocess.run(["cp", "-a", str(fleet.cache), str(tmp_path / "cache")], check=True)
    return tmp_path / "cache"


def said(of: kit.VpmEnv, *names: str) -> list[str]:
    code = "".join(f"import {name}; {name}.register()\n" for name in names)
    return of("run", "--", "python", "-c", code, check=True).stdout.split()


def current(of: kit.VpmEnv) -> str:
    return str(of("list", "--json", check=True).json["digest"])


def test_a_set_that_was_pushed_is_pulled_over_another_base(fleet: Fleet, node: kit.VpmEnv) -> None:
    pulled = node("pull", fleet.cache, fleet.digests[0], "--json", check=True).json

    assert (pulled["digest"], pulled["generation"], pulled["switched"]) == (fleet.digests[0], 1, True)
    assert (pulled["packages"]["fetched"], pulled["packages"]["had"]) == (2, 0)
    assert said(node, "one", "two") == ["one", "two"]
    assert node("verify", check=True).stderr.endswith("all as they were made\n")


def test_what_is_here_does_not_move_again(fleet: Fleet, node: kit.VpmEnv) -> None:
    node("pull", fleet.cache, fleet.digests[0], check=True)

    second = node("pull", fleet.cache, fleet.digests[1], "--json", check=True).json
    again = node("pull", fleet.cache, fleet.digests[1], "--json", check=True).json

    assert (second["packages"]["fetched"], second["packages"]["had"], second["generation"]) == (1, 1, 2)
    assert (again["packages"]["fetched"], again["switched"], again["generation"]) == (0, False, 2)
    assert said(node, "one", "three") == ["one", "three"]
    node("rollback", check=True)
    assert said(node, "one", "two") == ["one", "two"]


def test_a_pull_without_a_generation_only_makes_the_overlay(fleet: Fleet, node: kit.VpmEnv) -> None:
    pulled = node("pull", fleet.cache, fleet.digests[0], "--no-generation", "--json", check=True).json

    assert pulled["generation"] is None
    assert Path(pulled["path"], "overlay.json").is_file()
    assert node("path").exit == 1
    pinned = f"{pulled['base_key']}:{pulled['digest']}"
    python = Path(pulled["path"], "bin", "python")
    ran = subprocess.run([python, "-c", "import one; one.register()"], env={"VPM_ENV_PIN": pinned}, capture_output=True)
    assert ran.stdout == b"one\n"


def test_a_channel_moves_machines_and_moves_them_back(fleet: Fleet, node: kit.VpmEnv, own_cache: Path) -> None:
    key = ("--key", fleet.key)
    fleet.builder("push", own_cache, "1", "--channel", "prod", *key, check=True)
    node("follow", own_cache, "prod", check=True)
    assert current(node) == fleet.digests[0]

    fleet.builder("push", own_cache, "2", "--channel", "prod", *key, check=True)
    node("follow", own_cache, "prod", check=True)
    assert current(node) == fleet.digests[1]

    fleet.builder("cache", "channel", own_cache, "prod", "--rollback", *key, check=True)
    back = node("follow", own_cache, "prod", "--json", check=True).json
    assert (back["pulled"]["generation"], back["pulled"]["packages"]["fetched"]) == (1, 0)
    assert current(node) == fleet.digests[0]


def test_what_is_undone_on_a_machine_stays_so_until_the_channel_moves(
    fleet: Fleet, node: kit.VpmEnv, own_cache: Path
) -> None:
    key = ("--key", fleet.key)
    for number in ("1", "2"):
        fleet.builder("push", own_cache, number, "--channel", "prod", *key, check=True)
        node("follow", own_cache, "prod", check=True)
    node("rollback", "--bad", check=True)

    held = node("follow", own_cache, "prod", "--json", check=True).json
    assert (held["pulled"], current(node)) == (None, fleet.digests[0])

    for digest in fleet.digests:
        fleet.builder("cache", "channel", own_cache, "prod", digest, *key, check=True)
    node("follow", own_cache, "prod", check=True)
    assert current(node) == fleet.digests[1]


def test_an_older_copy_of_a_channel_is_refused(fleet: Fleet, node: kit.VpmEnv, own_cache: Path) -> None:
    key = ("--key", fleet.key)
    fleet.builder("push", own_cache, "1", "--channel", "prod", *key, check=True)
    old = (own_cache / "channels" / "prod.json").read_bytes()
    fleet.builder("push", own_cache, "2", "--channel", "prod", *key, check=True)
    node("follow", own_cache, "prod", check=True)

    (own_cache / "channels" / "prod.json").write_bytes(old)
    refused = node("follow", own_cache, "prod")

    assert (refused.exit, current(node)) == (1, fleet.digests[1])
    assert "`prod` is older than it was: move 1 after 2" in refused.stderr


@pytest.mark.parametrize("trusted", ["", "other"])
def test_what_nobody_trusted_has_signed_is_refused(
    trusted: str, fleet: Fleet, node: kit.VpmEnv, tmp_path: Path
) -> None:
    other = node("cache", "keygen", "other", tmp_path / "other.key", check=True).stdout.strip()
    node.env["VPM_ENV_TRUSTED_KEYS"] = other if trusted else ""

    refused = node("pull", fleet.cache, fleet.digests[0])

    assert (refused.exit, node.home.joinpath("store").exists()) == (1, False)
    assert "is signed by `fleet-1`, whom nobody trusts here" in refused.stderr
    assert node("pull", fleet.cache, fleet.digests[0], "--unsigned", check=True)


def test_what_is_not_signed_is_refused_unless_asked_for(fleet: Fleet, node: kit.VpmEnv, tmp_path: Path) -> None:
    cache = tmp_path / "unsigned"
    cache.mkdir()
    nothing = fleet.builder("push", cache)
    assert (nothing.exit, "there is no key to sign with" in nothing.stderr) == (2, True)
    fleet.builder("push", cache, "--unsigned", check=True)

    refused = node("pull", cache, fleet.digests[1])

    assert (refused.exit, "is not signed" in refused.stderr) == (1, True)
    node("pull", cache, fleet.digests[1], "--unsigned", check=True)


def test_a_set_is_refused_where_the_base_is_another(fleet: Fleet, tmp_path: Path) -> None:
    base = kit.base(tmp_path / "base")
    kit.fake_vllm(base, "0.34.0")
    node = machine(tmp_path, "node", base)

    refused = node("pull", fleet.cache, fleet.digests[0], "--trusted-key", fleet.public)

    assert refused.exit == 1
    assert "`vllm` is 0.34.0, and 0.33.0 where it was built" in refused.stderr
    assert not list(node.home.glob("store/*"))


def test_a_build_takes_packages_from_caches(fleet: Fleet, bases: tuple[kit.Base, kit.Base], tmp_path: Path) -> None:
    """What has to be built is built once: the second machine has no build backend that works."""
    source = kit.project(tmp_path / "source", "built", files={"built.py": "def register(): print('built')\n"})
    text = f"index: {NOWHERE}\nplugins:\n  - {{name: built, source: local, path: {source}}}\n"
    first, second = machine(tmp_path, "first", bases[0]), machine(tmp_path, "second", bases[0])
    cache = tmp_path / "cache"
    cache.mkdir()
    first.config(text)
    first("build", "--json", check=True)
    first("push", cache, "--key", fleet.key, check=True)
    second.config(f"caches: [{cache}]\ntrusted_keys: ['{fleet.public}']\n{text}")

    built = second("build", "-v", check=True)

    assert "built 1.0" in built.stderr
    keys = [{path.name for path in each.home.glob("store/*-*")} for each in (first, second)]
    assert keys[0] == keys[1]


def test_a_cache_that_fails_is_told_and_no_obstacle(
    fleet: Fleet, bases: tuple[kit.Base, kit.Base], tmp_path: Path
) -> None:
    node = machine(tmp_path, "node", bases[1])
    extra = f"caches: ['http://127.0.0.1:9/cache']\ntrusted_keys: ['{fleet.public}']\n"
    config(node, fleet.folder / "links", "one", "two", extra=extra)

    built = node("build", check=True)

    assert built.stderr.count("nothing is taken from a cache") == 1
    assert current(node) == fleet.digests[0]


@pytest.mark.parametrize("at", [0, 10, -1])
def test_a_parcel_that_is_damaged_is_refused_and_leaves_nothing(
    at: int, fleet: Fleet, node: kit.VpmEnv, own_cache: Path
) -> None:
    (damaged,) = own_cache.glob("packages/*-one-1.0.tar.zst")
    content = bytearray(damaged.read_bytes())
    content[at] ^= 0x10
    damaged.write_bytes(content)

    refused = node("pull", own_cache, fleet.digests[0])

    assert refused.exit == 1
    assert damaged.name in refused.stderr
    assert not list(node.home.glob("store/*-one-*"))
    assert not list(node.home.glob("cache/parcels/*"))
    assert not list(node.home.glob("profiles/*/*/current"))


def test_racing_pushes_agree(fleet: Fleet, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    words = [*fleet.builder.command, "push", str(cache), "1", "--key", str(fleet.key), "--json"]
    racing = [
        subprocess.Popen(words, env=fleet.builder.env, cwd=fleet.builder.folder, stdout=subprocess.PIPE)
        for _ in range(6)
    ]
    records = [json.loads(each.communicate(timeout=120)[0]) for each in racing]

    assert [each.returncode for each in racing] == [0] * 6
    assert sum(record["new"] for record in records) == 1
    assert {record["digest"] for record in records} == {fleet.digests[0]}
    assert not list(cache.glob(".new/*/*"))


def test_an_editable_plugin_does_not_travel(fleet: Fleet, bases: tuple[kit.Base, kit.Base], tmp_path: Path) -> None:
    source = kit.project(tmp_path / "source", "mine", files={"mine.py": ""})
    of = machine(tmp_path, "author", bases[0])
    of.config(f"index: {NOWHERE}\nplugins:\n  - {{name: mine, source: local, path: {source}, editable: true}}\n")
    of("build", check=True)

    refused = of("push", tmp_path / "cache", "--key", fleet.key)

    assert (refused.exit, "`mine`: an editable plugin is its source tree" in refused.stderr) == (1, True)
    assert not (tmp_path / "cache").exists()


def test_a_set_travels_in_one_file(fleet: Fleet, node: kit.VpmEnv, tmp_path: Path) -> None:
    file = tmp_path / "set.vpm"
    fleet.builder("export", file, "1", "--key", fleet.key, check=True)

    imported = node("import", file, "--json", check=True).json

    assert (imported["digest"], imported["generation"]) == (fleet.digests[0], 1)
    assert said(node, "one", "two") == ["one", "two"]


@pytest.mark.parametrize("cut", [0.1, 0.5])
def test_a_file_that_is_cut_off_is_refused_and_leaves_nothing(
    cut: float, fleet: Fleet, node: kit.VpmEnv, tmp_path: Path
) -> None:
    file = tmp_path / "set.vpm"
    fleet.builder("export", file, "1", "--key", fleet.key, check=True)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * cut)])

    refused = node("import", file)

    assert (refused.exit, str(file) in refused.stderr) == (1, True)
    assert not list(node.home.glob("store/*"))


@pytest.mark.parametrize("size", [0, 512, 1024, 9 * 512])
def test_the_end_of_a_file_is_two_blocks_of_zeros(size: int, tmp_path: Path) -> None:
    """Readers other than Python's warn of a lone one."""
    for blocks in range(20):  # one of these fills a record to its last block but one
        folder = tmp_path / str(blocks)
        (folder / "packages").mkdir(parents=True)
        (folder / "packages" / "a").write_bytes(b"a" * (size + 512 * blocks))
        crate.write(str(folder), str(folder / "file"))
        content = (folder / "file").read_bytes()
        assert (len(content) % 10240, content.endswith(bytes(1024))) == (0, True)


def test_a_policy_says_which_caches_and_keys(fleet: Fleet, node: kit.VpmEnv, bases: tuple[kit.Base, kit.Base]) -> None:
    folder = bases[1].prefix / "etc" / "vpm-env"
    folder.mkdir(parents=True)
    policy = folder / "policy.yaml"
    try:
        policy.write_text(f"caches: ['{fleet.cache.parent / 'elsewhere'}']\n")
        refused = node("pull", fleet.cache, fleet.digests[0])
        assert (refused.exit, "`caches: [" in refused.stderr) == (1, True)

        policy.write_text(f"keys: ['{fleet.public.replace('fleet-1', 'fleet-2')}']\n")
        refused = node("pull", fleet.cache, fleet.digests[0])
        assert (refused.exit, f"the key `{fleet.public}` is trusted" in refused.stderr) == (1, True)
        refused = node("pull", fleet.cache, fleet.digests[0], "--unsigned", env={"VPM_ENV_TRUSTED_KEYS": None})
        assert (refused.exit, "`--unsigned` takes what nobody signed" in refused.stderr) == (1, True)

        policy.write_text(f"caches: ['{fleet.cache}']\nkeys: ['{fleet.public}']\n")
        node("pull", fleet.cache, fleet.digests[0], check=True)
    finally:
        policy.unlink()
        folder.rmdir()


def test_a_cache_is_listed(fleet: Fleet, own_cache: Path) -> None:
    fleet.builder("push", own_cache, "2", "--channel", "prod", "--key", fleet.key, check=True)

    listed = fleet.builder("cache", "ls", own_cache, "--trusted-key", fleet.public, "--json", check=True).json

    assert {each["digest"] for each in listed["sets"]} == set(fleet.digests)
    assert [(each["channel"], each["digest"]) for each in listed["channels"]] == [("prod", fleet.digests[1])]
    assert listed["unread"] == []
    own = fleet.builder("cache", "ls", own_cache, "--key", fleet.key, "--json", check=True).json
    assert own == listed
    named = fleet.builder("cache", "channel", own_cache, "prod", "--key", fleet.key, "--json", check=True).json
    assert named["digest"] == fleet.digests[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("pull", "{cache}", "Prod!"), "`Prod!` is no channel"),
        (("pull", "{cache}", "none"), "there is no channel `none`"),
        (("pull", "{cache}", "0" * 64), "there is no set 000000000000"),
        (("pull", "{cache}", "prod", "--trusted-key", "x"), "`x`"),
        (("pull", "ftp://x/y", "prod"), "`ftp://x/y`"),
        (("pull", "/nowhere/at/all", "prod"), "there is no such folder"),
        (("cache", "ls"), "`vpm-env cache ls` takes URL"),
        (("cache", "keygen"), "`vpm-env cache keygen` takes NAME [FILE]"),
        (("cache", "channel", "{cache}", "prod", "abc"), "`abc` is no digest"),
        (("import", "{cache}"), "it is no regular file"),
        (("import", "/nowhere"), "no such file"),
    ],
)
def test_wrong_words_are_told(words: tuple[str, ...], told: str, fleet: Fleet, node: kit.VpmEnv) -> None:
    refused = node(*(word.format(cache=fleet.cache) for word in words))

    assert refused.exit in (1, 2)
    assert told in refused.stderr.lower() or told in refused.stderr, refused.output


def test_what_is_said_in_a_pipe_and_on_a_terminal(fleet: Fleet, node: kit.VpmEnv, tmp_path: Path) -> None:
    cache, key, file = tmp_path / "a-cache", tmp_path / "a.key", tmp_path / "a.vpm"
    cache.mkdir()
    one, two = (digest[:12] for digest in fleet.digests)
    signed = ("--key", fleet.key)
    both = ("one 1.0, two 1.0", "one 1.0, three 1.0")

    def told(done: kit.Finished) -> list[str]:
        assert done.exit == 0, done.output
        return without_particulars(done.stdout + done.stderr, cache, key, file).splitlines()

    assert told(node("cache", "ls", cache)) == ["the cache is empty"]
    assert told(fleet.builder("push", cache, "1", *signed)) == [
        "pushing: 2 packages, N B, N s",
        f"pushed generation 1 ({one}): 2 packages, N B",
        "",
        f"hint: `vpm-env pull CACHE {fleet.digests[0]}` has it on another machine",
    ]
    assert told(fleet.builder("push", cache, "1", *signed, "--channel", "prod")) == [
        f"`CACHE` has generation 1 ({one}) already",
        "the channel `prod` names it now",
    ]
    assert told(node("pull", cache, "prod")) == [
        "pulling: 2 packages, N B, N s",
        f"switched to generation 1 ({one}), was none",
    ]
    assert told(node("pull", cache, "prod")) == [f"nothing changed: generation 1 ({one}) is current"]
    assert told(fleet.builder("push", cache, "2", *signed, "--channel", "prod")) == [
        "pushing: 1 package, N B, N s",
        f"pushed generation 2 ({two}): 1 package, N B; 1 was there",
        "the channel `prod` names it now",
    ]
    assert told(node("follow", cache, "prod")) == [
        "pulling: 1 package, N B, N s",
        f"switched to generation 2 ({two}), was 1",
    ]
    assert told(node("follow", cache, "prod")) == []
    assert told(fleet.builder("cache", "channel", cache, "prod", "--rollback", *signed)) == [
        f"prod  {fleet.digests[0]}  (move 3)"
    ]
    assert told(node("cache", "ls", cache)) == [
        f"channel  prod → {one} (move 3)",
        *(
            f"set      {digest}  vllm 0.33.0, ABI, N B: {plugins}"
            for digest, plugins in sorted(zip(fleet.digests, both, strict=True))
        ),
    ]
    assert told(fleet.builder("export", file, "1", *signed)) == [
        "packing: 2 packages, N B, N s",
        f"wrote generation 1 ({one}) to `FILE`, N B",
        "",
        "hint: `vpm-env import FILE` has it on another machine",
    ]
    assert told(node("import", file)) == [f"switched to generation 1 ({one}), was 2"]
    assert told(node("cache", "keygen", "a", key)) == [
        "a:KEY",
        "wrote the secret key to `KEYFILE`",
        "",
        "hint: push with `--key`; who pulls needs the line above in `trusted_keys:` of his plugins.yaml",
    ]

    node("pull", cache, "prod", check=True)  # from here on nothing changes anything
    for of, words in (
        (node, ("cache", "ls", str(cache))),
        (node, ("pull", str(cache), "prod")),
        (node, ("follow", str(cache), "prod")),
        (node, ("import", str(file))),
        (fleet.builder, ("push", str(cache), "1", *map(str, signed))),
        (node, ("cache", "channel", str(cache), "prod")),
    ):
        of(*words, check=True)
        done = of(*words, check=True)
        lines = shown(done.stdout + done.stderr, of).splitlines()
        assert lines_of(on_terminal(of, *words)) == [line for line in lines if line], words


def without_particulars(text: str, cache: Path, key: Path, file: Path) -> str:
    """Take out what differs from run to run: paths, sizes, times, the ABI, keys."""
    for path, name in ((cache, "CACHE"), (key, "KEYFILE"), (file, "FILE")):
        text = text.replace(str(path), name)
    text = re.sub(r"\b\d+(\.\d)? (B|KiB)", "N B", text)
    text = re.sub(r"\d+\.\d s", "N s", text)
    text = re.sub(r"cpython-[\w-]+", "ABI", text)
    return re.sub(r"(?m)^a:[A-Za-z0-9+/]{43}=$", "a:KEY", text)


def test_what_was_pulled_is_had_again_from_its_cache(fleet: Fleet, node: kit.VpmEnv) -> None:
    for digest in fleet.digests:
        node("pull", fleet.cache, digest, "--trusted-key", fleet.public, env={"VPM_ENV_TRUSTED_KEYS": None}, check=True)
    node.env.pop("VPM_ENV_TRUSTED_KEYS")
    (damaged,) = node.home.glob("store/*-one-*/lib/one/__init__.py")
    damaged.chmod(0o644)
    damaged.write_text("raise SystemExit\n")
    assert node("verify").exit == 1

    node("verify", "--repair", check=True)
    assert said(node, "one", "three") == ["one", "three"]

    for path in (*node.home.glob(f"overlays/*/{fleet.digests[0]}"), *node.home.glob("store/*-two-*")):
        path.rename(node.home.parent / path.name)
    node("rollback", check=True)
    assert said(node, "one", "two") == ["one", "two"]


def test_what_no_generation_has_says_how_it_is_had_again(fleet: Fleet, node: kit.VpmEnv) -> None:
    pull = ("pull", str(fleet.cache), fleet.digests[0], "--no-generation")
    node(*pull, check=True)
    (package,) = node.home.glob("store/*-one-*")
    (package / "lib/one/__init__.py").unlink()

    changed = node("verify", "--repair")
    package.rename(node.home.parent / "aside")
    missing = node("verify", "--repair")
    node(*pull, check=True)

    way = f"says where it came from; `vpm-env pull URL {fleet.digests[0]} --no-generation` has it"
    assert f"{way} once `{package}` is moved away\n" in changed.stderr
    assert f"{way}\n" in missing.stderr
    assert node("verify", check=True).stderr.endswith("all as they were made\n")


@pytest.mark.parametrize(
    ("words", "sent", "end"),
    [
        (("pull", "{url}", "prod"), signal.SIGINT, 130),
        (("cache", "channel", "{url}", "prod"), signal.SIGINT, 130),
        (("follow", "{url}", "prod", "--every", "1s"), signal.SIGTERM, 0),
    ],
)
def test_who_waits_for_a_silent_cache_ends_when_asked_to(
    words: tuple[str, ...], sent: signal.Signals, end: int, node: kit.VpmEnv, tmp_path: Path
) -> None:
    """The server says nothing for 20 s."""
    with web_cache(tmp_path / "served") as web:
        (web.folder / "channels").mkdir()
        (web.folder / "channels" / "prod.json").write_bytes(b"{}")
        web.faults["channels/prod.json"] = CacheFault(stall_after=1)
        called = [*node.command, *(word.format(url=web.url) for word in words)]
        with subprocess.Popen(called, env=node.env, cwd=node.folder, stderr=subprocess.PIPE, text=True) as child:
            try:
                while not web.gets and child.poll() is None:
                    time.sleep(0.01)
                child.send_signal(sent)
                assert (child.communicate(timeout=15)[1].count("error:"), child.returncode) == (0, end)
            finally:
                child.kill()


def test_a_machine_follows_until_it_is_told_to_end(fleet: Fleet, node: kit.VpmEnv, own_cache: Path) -> None:
    """It outlives a channel that is not there yet, tells each move as one record, and ends well when it is asked to."""
    words = [*node.command, "follow", str(own_cache), "prod", "--every", "1s", "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, env=node.env, cwd=node.folder, **pipes) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stderr.readline().endswith("there is no channel `prod`\n")
        moves = []
        for number in ("1", "2"):
            fleet.builder("push", own_cache, number, "--channel", "prod", "--key", fleet.key, check=True)
            moves.append(json.loads("".join(iter(child.stdout.readline, "}\n")) + "}"))
        child.terminate()
        assert child.wait(30) == 0
    assert [move["digest"] for move in moves] == list(fleet.digests)
    assert current(node) == fleet.digests[1]
