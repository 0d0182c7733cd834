"""What a cache may do to those who pull, push and follow: one clear error, nothing of it left, and the next call works.

All are whole processes against real servers on loopback. `Hurried` calls wait for nobody for long; two `long` tests
have the real clocks.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import kit
import pytest
from kit.caches import CacheFault, certificate, s3_cache, web_cache
from test_fleet import config, current, machine, plugin, said

from envbuilder.bucket import open_bucket
from envbuilder.channels import move
from envbuilder.depot import Depot, Trust
from envbuilder.keys import read_secret
from envbuilder.notation import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kit.caches import S3Cache, WebCache

    from envbuilder.keys import SecretKey

pytestmark = pytest.mark.long

LOGIN, WORD = "agent", "pass-word-7"
BIG = 300_000
"""Bytes of a plugin that cannot be packed any smaller: its parcel is cut where there is something to cut."""
CUT = 100_000
SILENT = 0.5
"""Seconds of silence until a hurried call gives up."""

_HURRIED = """
import runpy, sys
sys.path.insert(0, {root!r})
from envbuilder import bucket
opened = bucket.open_bucket
bucket.open_bucket = lambda url, **how: opened(url, **how | {{"timeout": {seconds}, "pause": 0.01}})
runpy.run_module("envbuilder", run_name="__main__")
"""
_SERVER = """
import pathlib, sys
sys.path.insert(0, {tests!r})
from kit.caches import CacheFault, web_cache
with web_cache(pathlib.Path(sys.argv[1])) as served:
    served.faults[sys.argv[2]] = CacheFault(stall_after=int(sys.argv[3]))
    print(served.url, flush=True)
    sys.stdin.read()
"""
"""A cache in a process of its own, which says nothing more after so many bytes of a file, until it is killed."""

FORBIDDEN = "is forbidden: credentials are lacking, or are not good for it"
IN_URL = "\nhint: credentials are given in the URL: `https://user:password@host/path`\n"
IN_VARIABLES = (
    "\nhint: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION` and `AWS_ENDPOINT_URL` say who asks, "
    "and where\n"
)
NOT_PUSHED = "\nhint: it is not what was pushed, or a proxy on the way changes files\n"
TO_TRUST = (
    "\nhint: `--trusted-key NAME:KEY`, `VPM_ENV_TRUSTED_KEYS` or `trusted_keys:` say whom to believe; `--unsigned` "
    "takes what anybody put there\n"
)


class Hurried(kit.VpmEnv):
    """`vpm-env` that gives up after a few seconds of silence, and tries again at once."""

    seconds = 10.0

    @property
    def command(self) -> list[str]:
        return [self.python, "-c", _HURRIED.format(root=str(kit.ROOT), seconds=self.seconds)]


class World(NamedTuple):
    """A cache with two sets, of which the second has one large plugin more, and a home that has the first."""

    folder: Path
    base: kit.Base
    builder: kit.VpmEnv
    key: Path
    public: str
    cache: Path
    first: str
    second: str
    home: Path
    parcel: str

    @property
    def file(self) -> Path:
        return self.cache / self.parcel

    @property
    def waybill(self) -> str:
        return f"overlays/{self.second}.json"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    base = kit.base(folder / "base")
    kit.fake_vllm(base, "0.33.0")
    builder = machine(folder, "builder", base)
    plugin(folder / "links", "little")
    large = {"large/__init__.py": "def register(): print('large')\n", "large/data.bin": os.urandom(BIG)}
    points = {"vllm.general_plugins": {"large": "large:register"}}
    kit.wheel(folder / "links", "large", files=large, entry_points=points)
    key, cache = folder / "prod.key", folder / "cache"
    public = builder("cache", "keygen", "fleet-1", key, check=True).stdout.strip()
    cache.mkdir()
    digests = []
    for names in (("little",), ("little", "large")):
        config(builder, folder / "links", *names)
        digests.append(builder("build", "--offline", "--json", check=True).json["digest"])
        builder("push", cache, "--key", key, check=True)
    warm = machine(folder, "warm", base)
    warm("pull", cache, digests[0], "--trusted-key", public, check=True)
    (parcel,) = cache.glob("packages/*-large-1.0.tar.zst")
    path = f"packages/{parcel.name}"
    return World(folder, base, builder, key, public, cache, digests[0], digests[1], warm.home, path)


@pytest.fixture
def node(tmp_path: Path, world: World) -> Hurried:
    """A machine that has the first set."""
    return a_node(tmp_path, world, tmp_path / "node")


def a_node(folder: Path, world: World, home: Path) -> Hurried:
    made = machine(folder, home.name, world.base)
    made.env |= {"VPM_ENV_TRUSTED_KEYS": world.public, "VPM_ENV_HOME": str(home)}
    subprocess.run(["cp", "-a", str(world.home), str(home)], check=True)
    return Hurried(home=home, folder=made.folder, env=made.env)


@pytest.fixture
def web(tmp_path: Path, world: World) -> Iterator[WebCache]:
    """Serve a copy of the cache to whoever knows the password."""
    with web_cache(copied(world, tmp_path), credentials=f"{LOGIN}:{WORD}") as served:
        yield served


def copied(world: World, folder: Path) -> Path:
    subprocess.run(["cp", "-a", str(world.cache), str(folder / "cache")], check=True)
    return folder / "cache"


def parts(of: kit.VpmEnv) -> list[int]:
    """Return the sizes of the parcels that came in part; fail for anything else that lies there."""
    found = sorted(of.home.glob("cache/parcels/*"))
    assert all(re.fullmatch(r"[0-9a-f]{64}\.part", path.name) for path in found), found
    return [path.stat().st_size for path in found]


def require_nothing(of: kit.VpmEnv) -> None:
    """Fail unless all is as it was with the first set, and no secret lies anywhere."""
    assert not list(of.home.glob("store/*-large-*"))
    assert not list(of.home.glob("tmp/*"))
    assert [path.name for path in of.home.glob("profiles/*/*/generations/*.json")] == ["1.json"]
    assert [os.readlink(path) for path in of.home.glob("profiles/*/*/current")] == ["generations/1"]
    told = [path for path in of.home.rglob("*") if path.is_file() and WORD.encode() in path.read_bytes()]
    assert told == []


def refused(of: kit.VpmEnv, *words: str | Path) -> str:
    """Call what must fail and leave nothing; return what was told."""
    done = of(*words)
    assert (done.exit, done.stdout) == (1, ""), done.output
    assert not any(secret in done.stderr for secret in (WORD, "secret-of-the-server", "secret-of-the-tests", "\x1b"))
    require_nothing(of)
    return done.stderr


def told(text: str, url: str, world: World) -> str:
    """Put names in the place of what differs from run to run."""
    for what, name in ((url, "URL"), (world.parcel, "PARCEL"), (world.waybill, "WAYBILL"), (world.second[:12], "SET")):
        text = text.replace(what, name)
    return text


def require_healing(of: kit.VpmEnv, world: World, url: str | Path | None = None) -> int:
    """Pull from a cache that is well; return how many bytes were there already."""
    had = sum(parts(of))
    pulled = of("pull", url or world.cache, world.second, "--json", check=True).json
    assert (pulled["digest"], pulled["generation"], pulled["switched"]) == (world.second, 2, True)
    assert pulled["packages"]["fetched"] == 1
    assert parts(of) == []
    return had


# -- parcels -----------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A fault of a parcel, what is told, how much of it stays, and how often it is asked for."""

    fault: CacheFault
    told: str
    part: int | None = None
    gets: int = 1


SIZES = re.compile(r"`PARCEL` has (\d+) bytes, not (\d+)")
REFUSALS = {
    "forbidden": Case(CacheFault(status=403), f"`PARCEL` {FORBIDDEN} (403)\n{IN_URL}"),
    "gone": Case(CacheFault(status=404), "`PARCEL` is not there\n"),
    "broken": Case(CacheFault(status=500), "answers 500 (internal server error) for `PARCEL`\n", part=0, gets=3),
    "cut": Case(CacheFault(cut_after=0), "the connection broke off\n", part=0, gets=3),
    "flipped": Case(CacheFault(flip_at=CUT), f"`PARCEL` has the sha256 OTHER, not ITS\n{NOT_PUSHED}", gets=2),
    "shorter": Case(CacheFault(truncated_to=CUT), f"`PARCEL` has {CUT} bytes, not SIZE\n{NOT_PUSHED}"),
    "longer": Case(CacheFault(longer_by=7), f"`PARCEL` has LONGER bytes, not SIZE\n{NOT_PUSHED}"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_parcel_that_is_not_given_or_is_another_is_refused(
    name: str, world: World, node: Hurried, web: WebCache
) -> None:
    case, size = REFUSALS[name], world.file.stat().st_size
    web.faults[world.parcel] = CacheFault(**vars(case.fault))

    text = told(refused(node, "pull", web.with_credentials(), world.second), web.url, world)

    text = re.sub(r"the sha256 [0-9a-f]{64}, not [0-9a-f]{64}", "the sha256 OTHER, not ITS", text)
    text = text.replace(str(size + 7), "LONGER").replace(str(size), "SIZE")
    assert text == f"error: the cache `URL`: {case.told}"
    assert web.gets[world.parcel] == case.gets
    assert sum(parts(node)) == (case.part or 0)
    require_healing(node, world)


def test_a_cache_that_says_nothing_more_is_given_up_and_what_came_stays(
    world: World, node: Hurried, web: WebCache
) -> None:
    node.seconds = SILENT
    web.faults[world.parcel] = CacheFault(stall_after=CUT)

    text = told(refused(node, "pull", web.with_credentials(), world.second), web.url, world)

    assert text == "error: the cache `URL`: says nothing for 0.5 s\n"
    assert require_healing(node, world, world.cache) >= CUT


def test_a_transfer_that_breaks_off_is_gone_on_with_by_the_next_pull(
    world: World, node: Hurried, web: WebCache
) -> None:
    web.faults[world.parcel] = CacheFault(cut_after=30_000)

    text = told(refused(node, "pull", web.with_credentials(), world.second), web.url, world)
    (had,) = parts(node)
    web.ranges.clear()
    web.faults.clear()

    assert text == "error: the cache `URL`: the connection broke off\n"
    assert had == 90_000
    assert require_healing(node, world, web.with_credentials()) == had
    assert web.ranges == [f"bytes={had}-"]


@pytest.mark.parametrize(
    ("fault", "gets", "ranges"),
    [
        (CacheFault(status=500, times=2), 3, 0),
        (CacheFault(cut_after=CUT, times=2), 3, 2),
        (CacheFault(flip_at=CUT, times=1), 2, 0),
        (CacheFault(drip=20_000), 1, 0),
    ],
    ids=["busy", "cut", "flipped", "slow"],
)
def test_what_goes_wrong_for_a_while_is_no_failure(
    fault: CacheFault, gets: int, ranges: int, world: World, node: Hurried, web: WebCache
) -> None:
    web.faults[world.parcel] = CacheFault(**vars(fault))

    assert require_healing(node, world, web.with_credentials()) == 0
    assert web.gets[world.parcel] == gets
    assert len(web.ranges) == ranges
    require_no_secret(node)


def require_no_secret(of: kit.VpmEnv) -> None:
    """Fail where the password lies somewhere in a home: in records, the kept config, logs."""
    assert [path for path in of.home.rglob("*") if path.is_file() and WORD.encode() in path.read_bytes()] == []


def test_a_server_without_parts_of_files_gives_the_whole_again(world: World, node: Hurried, tmp_path: Path) -> None:
    with web_cache(copied(world, tmp_path), ranges=False) as web:
        web.faults[world.parcel] = CacheFault(cut_after=CUT, times=2)
        require_healing(node, world, web.url)
        assert web.gets[world.parcel] >= 3


# -- documents ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (CacheFault(status=403), f"`WAYBILL` {FORBIDDEN} (403)\n{IN_URL}"),
        (CacheFault(status=500), "answers 500 (internal server error) for `WAYBILL`\n"),
        (
            CacheFault(status=404),
            "there is no set SET\n\nhint: `vpm-env cache ls` lists what is there, `vpm-env push` puts a set there\n",
        ),
        (CacheFault(cut_after=20), "the connection broke off\n"),
    ],
    ids=["forbidden", "broken", "gone", "cut"],
)
def test_a_waybill_that_is_not_given_is_told(
    fault: CacheFault, words: str, world: World, node: Hurried, web: WebCache
) -> None:
    web.faults[world.waybill] = CacheFault(**vars(fault))

    text = told(refused(node, "pull", web.with_credentials(), world.second), web.url, world)

    assert text == f"error: the cache `URL`: {words}"
    assert web.gets[world.parcel] == 0
    require_healing(node, world)


@pytest.mark.parametrize("fault", [CacheFault(truncated_to=200), CacheFault(longer_by=1), CacheFault(flip_at=0)])
def test_a_waybill_that_is_damaged_cannot_be_read(
    fault: CacheFault, world: World, node: Hurried, web: WebCache
) -> None:
    web.faults[world.waybill] = fault

    text = told(refused(node, "pull", web.with_credentials(), world.second), web.url, world)

    assert re.fullmatch(r"error: the cache `URL`: `WAYBILL` is not what vpm-env puts there: [^\n]+\n", text)


def forged(change: Callable[[dict[str, Any]], object], world: World, cache: Path, *, signed: bool = False) -> None:
    """Change the waybill of the second set, and sign it if that is asked for."""
    path = cache / world.waybill
    record = json.loads(path.read_bytes())
    change(record)
    if signed:
        record = read_secret(str(world.key)).sign(record)
    path.write_bytes(bytes(canonical(record)))


SIGNED_BY_NOBODY = "`WAYBILL` is not signed\n" + TO_TRUST
NOT_SO_SIGNED = "`WAYBILL` has a signature of `fleet-1` that does not hold: it was changed, or the key is another\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: record.update(config=record["config"] + "# more\n"), NOT_SO_SIGNED),
        (lambda record: record.update(signatures=["fleet-1:" + "A" * 86 + "=="]), NOT_SO_SIGNED),
        (lambda record: record.update(signatures=[]), SIGNED_BY_NOBODY),
        (lambda record: record.pop("signatures"), SIGNED_BY_NOBODY),
        (lambda record: record.update(signatures={"fleet-1": "x"}), SIGNED_BY_NOBODY),
    ],
    ids=["changed", "another", "none", "missing", "odd"],
)
def test_a_waybill_whose_signature_does_not_hold_is_refused(
    change: Callable[[dict[str, Any]], object], words: str, world: World, node: Hurried, web: WebCache
) -> None:
    forged(change, world, web.folder)

    text = told(refused(node, "pull", web.with_credentials(), world.second), web.url, world)

    assert text == f"error: the cache `URL`: {words}"
    assert web.gets[world.parcel] == 0
    require_healing(node, world)


def test_the_waybill_of_another_set_is_not_taken_for_this_one(world: World, node: Hurried, web: WebCache) -> None:
    shutil.copy(web.folder / "overlays" / f"{world.first}.json", web.folder / world.waybill)

    text = told(refused(node, "pull", web.with_credentials(), world.second), web.url, world)

    hint = "\nhint: `vpm-env cache ls` lists what is there, `vpm-env push` puts a set there\n"
    assert text == f"error: the cache `URL`: there is no set SET\n{hint}"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: record["manifest"].update(soabi="cpython-399"), "its digest is not that of its set"),
        (lambda record: record["packages"].pop(), "its packages are not those of its set"),
        (lambda record: record["packages"][1].update(key="0" * 32), "its package is another one"),
        (lambda record: record.update(format=99), "it has format 99; this vpm-env knows 1"),
    ],
)
def test_a_waybill_that_does_not_hang_together_is_refused_whoever_signed_it(
    change: Callable[[dict[str, Any]], object], words: str, world: World, node: Hurried, tmp_path: Path
) -> None:
    cache = copied(world, tmp_path)
    forged(change, world, cache, signed=True)

    text = told(refused(node, "pull", cache, world.second), str(cache), world)

    assert text == f"error: the cache `URL`: `WAYBILL` is not what vpm-env puts there: {words}\n"


@pytest.mark.parametrize("version", [each for each in kit.VERSIONS if each != "{}.{}".format(*sys.version_info)][:1])
def test_a_set_is_refused_by_a_base_with_another_python(version: str, world: World, tmp_path: Path) -> None:
    python = kit.pythons().get(version) or pytest.skip(f"no CPython {version}")
    base = kit.base(tmp_path / "base", python=python)
    kit.fake_vllm(base, "0.33.0")
    node = machine(tmp_path, "node", base)

    done = node("pull", world.cache, world.second, "--trusted-key", world.public)

    soabi = re.compile(rf"cpython-{version.replace('.', '')}-[\w-]+")
    text = soabi.sub("HERE", told(done.stderr, str(base.prefix), world))
    here = "{}.{}".format(*sys.version_info)
    assert done.exit == 1
    assert re.sub(r"cpython-\d+-[\w-]+", "THERE", text) == (
        "error: the set SET is not for the base `URL`:\n"
        "  the ABI is HERE, and THERE where it was built\n"
        f"  Python is {version}, and {here} where it was built\n"
        "\nhint: push a set that was built on a base like this one, or bring this base to that\n"
    )
    assert not list(node.home.glob("store/*"))
    assert not list(node.home.glob("cache/parcels/*"))


# -- servers that go, and calls that are ended -------------------------------------------------------------------------


def until(reached: Callable[[], bool], of: subprocess.Popen[str]) -> None:
    """Wait until something is so; fail if the process that should bring it about ends before."""
    ends = time.monotonic() + 60
    while not reached():
        assert of.poll() is None, of.communicate()
        assert time.monotonic() < ends, "it does not come to it"
        time.sleep(0.005)


@contextmanager
def halting(world: World, cache: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve a cache from a process of its own, which sends a part of the large parcel and then nothing more."""
    code = _SERVER.format(tests=str(kit.ROOT / "tests"))
    words = [sys.executable, "-c", code, str(cache), world.parcel, str(CUT)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server, server.stdout.readline().strip()
        finally:
            server.kill()


def begun(of: kit.VpmEnv, *words: str | Path, least: int = CUT) -> subprocess.Popen[str]:
    """Start a call, and go on when so much of a parcel is there."""
    started = subprocess.Popen(
        [*of.command, *map(str, words)],
        env=of.env,
        cwd=of.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: sum(path.stat().st_size for path in of.home.glob("cache/parcels/*.part")) >= least, started)
    return started


def test_a_server_that_is_killed_in_the_middle_costs_only_the_rest(world: World, node: Hurried, tmp_path: Path) -> None:
    node.seconds = 60
    cache = copied(world, tmp_path)
    with halting(world, cache) as (server, url):
        pulling = begun(node, "pull", url, world.second)
        server.kill()
        stdout, stderr = pulling.communicate(timeout=60)

    assert (pulling.returncode, stdout) == (1, "")
    assert told(stderr, url, world) == "error: the cache `URL`: nobody listens there\n"
    require_nothing(node)
    (had,) = parts(node)
    with web_cache(cache) as web:
        assert require_healing(node, world, web.url) == had
        assert web.ranges == [f"bytes={had}-"]
    assert said(node, "little", "large") == ["little", "large"]
    node("verify", check=True)


@pytest.mark.parametrize(
    "sent", kit.mostly_long([signal.SIGTERM, signal.SIGKILL], signal.SIGKILL), ids=lambda sent: sent.name
)
def test_a_pull_that_is_killed_in_the_middle_is_gone_on_with(
    sent: signal.Signals, world: World, node: Hurried, tmp_path: Path
) -> None:
    node.seconds = 600
    with halting(world, copied(world, tmp_path)) as (_, url), begun(node, "pull", url, world.second) as pulling:
        pulling.send_signal(sent)
        assert pulling.communicate(timeout=60) == ("", "")

    assert pulling.returncode == -sent
    assert not list(node.home.glob("store/*-large-*"))
    assert require_healing(node, world) >= CUT
    node("gc", check=True)
    assert not list(node.home.glob("tmp/*"))


def test_an_interrupt_does_not_wait_for_the_rest_of_a_parcel(world: World, node: Hurried, web: WebCache) -> None:
    """The rest would take half a minute."""
    web.faults[world.parcel] = CacheFault(drip=100)
    with begun(node, "pull", web.with_credentials(), world.second, least=2000) as pulling:
        pulling.send_signal(signal.SIGINT)
        try:
            assert pulling.communicate(timeout=15) == ("", "interrupted; nothing was switched\n")
        finally:
            pulling.kill()

    assert pulling.returncode == 130
    require_nothing(node)
    assert require_healing(node, world) >= 2000


def test_pulls_at_once_fetch_each_parcel_once(world: World, node: Hurried, web: WebCache) -> None:
    words = [*node.command, "pull", web.with_credentials(), world.second]
    racing = [
        subprocess.Popen(words, env=node.env, cwd=node.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(4)
    ]
    outputs = [each.communicate(timeout=120)[0] for each in racing]

    assert [each.returncode for each in racing] == [0] * 4, outputs
    assert web.gets[world.parcel] == 1
    assert current(node) == world.second


def test_a_machine_follows_when_its_cache_is_well_again(world: World, node: Hurried, web: WebCache) -> None:
    world.builder("push", web.folder, "2", "--channel", "prod", "--key", world.key, check=True)
    web.faults[world.parcel] = CacheFault(status=403)

    text = told(refused(node, "follow", web.with_credentials(), "prod"), web.url, world)
    web.faults.clear()
    followed = node("follow", web.with_credentials(), "prod", "--json", check=True).json

    assert text == f"error: the cache `URL`: `PARCEL` {FORBIDDEN} (403)\n{IN_URL}"
    assert (followed["pulled"]["generation"], current(node)) == (2, world.second)
    require_no_secret(node)


def test_who_keeps_following_outlives_a_cache_that_fails(world: World, node: Hurried, web: WebCache) -> None:
    world.builder("push", web.folder, "2", "--channel", "prod", "--key", world.key, check=True)
    web.faults[world.parcel] = CacheFault(status=403)
    words = [*node.command, "follow", web.with_credentials(), "prod", "--every", "1s"]
    with subprocess.Popen(words, env=node.env, cwd=node.folder, stderr=subprocess.PIPE, text=True) as following:
        assert following.stderr is not None
        lines = [following.stderr.readline()]
        web.faults.clear()
        while lines[-1] and not lines[-1].startswith("switched"):
            lines.append(following.stderr.readline())
        following.terminate()

    assert re.sub(r", [\d.]+ KiB, [\d.]+ s", "", told("".join(lines), web.url, world)) == (
        f"error: the cache `URL`: `PARCEL` {FORBIDDEN} (403)\n{IN_URL}"
        "pulling: 1 package\n"
        "switched to generation 2 (SET), was 1\n"
    )
    assert following.returncode == 0


def test_a_build_makes_what_a_cache_gives_damaged(world: World, node: Hurried, web: WebCache) -> None:
    web.faults[world.parcel] = CacheFault(flip_at=CUT)
    node.env["VPM_ENV_CACHES"] = web.with_credentials()
    config(node, world.folder / "links", "little", "large")

    built = node("build", check=True)

    warned = [line for line in told(built.stderr, web.url, world).splitlines() if line.startswith("warning: ")]
    assert [re.sub(r"[0-9a-f]{64}", "SHA", line) for line in warned] == [
        "warning: nothing is taken from a cache: the cache `URL`: `PARCEL` has the sha256 SHA, not SHA"
    ]
    assert current(node) == world.second
    assert parts(node) == []
    require_no_secret(node)


# -- who is asked ------------------------------------------------------------------------------------------------------


def test_who_has_another_password_is_told_without_it(world: World, node: Hurried, web: WebCache) -> None:
    text = refused(node, "pull", web.with_credentials("agent:another-word-8"), world.second)

    assert "another-word-8" not in text
    assert told(text, web.url, world) == f"error: the cache `URL`: `WAYBILL` {FORBIDDEN} (401)\n{IN_URL}"


def test_a_server_is_believed_by_its_certificate(world: World, node: Hurried, tmp_path: Path) -> None:
    pem = certificate(tmp_path / "cache.pem")
    with web_cache(copied(world, tmp_path), certificate=pem) as web:
        text = told(refused(node, "pull", web.url, world.second), web.url, world)
        node.env["SSL_CERT_FILE"] = str(pem)
        require_healing(node, world, web.url)

    assert text == "error: the cache `URL`: its certificate is not trusted\n"


# -- a store that speaks S3 --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Cache]:
    with s3_cache() as served:
        yield served


class Relay(ThreadingHTTPServer):
    """Passes requests on to a store; `meanwhile` is called before each, and may answer in its place.

    It gets the method and the path, and returns a status to refuse with, a negative one to pass the request on and to
    answer with that all the same, `LOST` to pass it on and to close the connection without a word, or nothing.
    """

    daemon_threads = True
    endpoint = ""
    meanwhile: Callable[[str, str], int | None] = staticmethod(lambda _method, _path: None)
    seen: list[tuple[str, str]]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away."""


LOST = -1


class _Passed(BaseHTTPRequestHandler):
    server: Relay

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        self.server.seen.append((self.command, path))
        status = self.server.meanwhile(self.command, path)
        if status and status > 0:
            return self._refuse(status)
        connection = http.client.HTTPConnection(urlsplit(self.server.endpoint).netloc, timeout=30)
        connection.request(self.command, self.path, body=body, headers=dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if status == LOST:
            self.close_connection = True
            return None
        if status:
            return self._refuse(-status)
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        return None

    def _refuse(self, status: int) -> None:
        self.send_error(status, "no", "secret-of-the-server")

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass  # noqa: N815 (the server's words)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the server's word)
        """Stay silent: `seen` has it."""


@pytest.fixture
def relay(s3: S3Cache) -> Iterator[Relay]:
    server = Relay(("127.0.0.1", 0), _Passed)
    server.endpoint, server.seen = s3.endpoint, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Store(NamedTuple):
    """A cache in a store, the builder as it gets there, as it gets there by the relay, and a channel of its own."""

    url: str
    straight: Hurried
    relayed: Hurried
    signed: tuple[str, str]
    name: str
    depot: Depot
    key: SecretKey

    def channel(self, *words: str, by: Hurried | None = None) -> dict[str, Any]:
        done = (by or self.straight)(
            "cache", "channel", self.url, self.name, *words, *self.signed, "--json", check=True
        )
        found: dict[str, Any] = done.json
        return found

    def moved(self, *digests: str) -> list[int]:
        """Move the channel, from within this process; return the numbers of the moves."""
        return [move(self.depot, self.name, digest, self.key).serial for digest in digests]


def a_store(url: str, s3: S3Cache, relay: Relay, world: World, name: str) -> Store:
    builder, key = world.builder, read_secret(str(world.key))
    endpoint = f"http://127.0.0.1:{relay.server_port}"
    straight, relayed = (
        Hurried(home=builder.home, folder=builder.folder, env=builder.env | s3.env | {"AWS_ENDPOINT_URL": each})
        for each in (s3.endpoint, endpoint)
    )
    straight.env["VPM_ENV_TRUSTED_KEYS"] = world.public
    depot = Depot(open_bucket(url, env=s3.env, pause=0), Trust(keys=(key.public,)))
    return Store(url, straight, relayed, ("--key", str(world.key)), name, depot, key)


def plain(request: pytest.FixtureRequest) -> str:
    """Name a test as a channel or a folder may be named."""
    return re.sub(r"\W+", "-", request.node.name).strip("-")[-60:].lstrip("-_")


@pytest.fixture
def store(s3: S3Cache, relay: Relay, world: World, request: pytest.FixtureRequest) -> Store:
    """Lend an empty cache in a store."""
    return a_store(f"{s3.url}/{plain(request)}", s3, relay, world, "prod")


@pytest.fixture(scope="module")
def filled(s3: S3Cache, world: World) -> str:
    """Make a cache in a store that has both sets."""
    url = f"{s3.url}/filled"
    builder = Hurried(home=world.builder.home, folder=world.builder.folder, env=world.builder.env | s3.env)
    for number in ("1", "2"):
        builder("push", url, number, "--key", world.key, check=True)
    return url


@pytest.fixture
def stocked(s3: S3Cache, relay: Relay, world: World, filled: str, request: pytest.FixtureRequest) -> Store:
    """Lend a cache with both sets and a channel of which nobody knows yet."""
    return a_store(filled, s3, relay, world, plain(request))


def pushed(store: Store, *, by: Hurried | None = None) -> dict[str, Any]:
    done = (by or store.straight)("push", store.url, "2", *store.signed, "--json", check=True)
    found: dict[str, Any] = done.json
    return found


def test_a_set_goes_into_a_store_and_out_of_it(store: Store, s3: S3Cache, world: World, node: Hurried) -> None:
    assert (pushed(store)["new"], pushed(store)["new"]) == (True, False)
    node.env |= s3.env

    assert require_healing(node, world, store.url) == 0
    listed = store.straight("cache", "ls", store.url, "--trusted-key", world.public, "--json", check=True).json
    assert [each["digest"] for each in listed["sets"]] == [world.second]


def test_a_store_that_refuses_a_parcel_leaves_no_set(
    store: Store, relay: Relay, world: World, node: Hurried, s3: S3Cache
) -> None:
    relay.meanwhile = lambda method, path: 403 if method == "PUT" and path.endswith(world.parcel) else None

    failed = store.relayed("push", store.url, "2", *store.signed)

    assert failed.exit == 1
    assert told(failed.stderr, store.url, world) == (
        f"error: the cache `URL`: `PARCEL` {FORBIDDEN} (403)\n{IN_VARIABLES}"
    )
    node.env |= s3.env
    assert "there is no set" in refused(node, "pull", store.url, world.second)
    assert not list(world.builder.home.glob("tmp/*"))
    assert pushed(store)["new"] is True
    require_healing(node, world, store.url)


def test_a_push_goes_on_where_answers_fail_or_are_lost(store: Store, relay: Relay, world: World) -> None:
    """Each file that is put gets through the first time, and nobody hears of it; then the store is busy once."""
    put: list[str] = []

    def meanwhile(method: str, path: str) -> int | None:
        if method != "PUT":
            return None
        put.append(path)
        return {1: LOST, 2: 503}.get(put.count(path))

    relay.meanwhile = meanwhile
    pushed(store, by=store.relayed)

    assert {put.count(path) for path in put} == {3}
    assert pushed(store)["new"] is False


def test_of_two_that_move_a_channel_at_once_one_loses_and_tries_again(
    stocked: Store, relay: Relay, world: World
) -> None:
    stocked.moved(world.first)
    others: list[int] = []

    def meanwhile(method: str, path: str) -> None:
        if method == "PUT" and not others:
            others.extend(stocked.moved(world.second, world.first))

    relay.meanwhile = meanwhile
    last = stocked.channel(world.second, by=stocked.relayed)

    assert (others, last["serial"]) == ([2, 3], 4)
    assert last["before"] == [world.first, world.second, world.first]
    assert stocked.channel() == last
    assert [method for method, _ in relay.seen].count("PUT") == 2


def test_who_loses_to_a_move_that_is_the_same_has_nothing_to_do(stocked: Store, relay: Relay, world: World) -> None:
    others: list[int] = []

    def meanwhile(method: str, path: str) -> None:
        if method == "PUT" and not others:
            others.extend(stocked.moved(world.second))

    relay.meanwhile = meanwhile
    last = stocked.channel(world.second, by=stocked.relayed)

    assert (last["serial"], last["digest"], last["before"]) == (1, world.second, [])


@pytest.mark.parametrize("answer", [LOST, -503], ids=["lost", "busy"])
@pytest.mark.parametrize("back", kit.mostly_long([False, True], True), ids=["move", "rollback"])
def test_a_move_that_nobody_heard_of_happens_once(
    answer: int, back: bool, stocked: Store, relay: Relay, world: World
) -> None:
    stocked.moved(world.first, world.second, world.first, world.second)
    unheard: list[int] = []

    def meanwhile(method: str, path: str) -> int | None:
        if method != "PUT" or unheard:
            return None
        unheard.append(answer)
        return answer

    relay.meanwhile = meanwhile
    stocked.channel("--rollback" if back else world.first, by=stocked.relayed)

    found = stocked.channel()
    assert (found["serial"], found["digest"]) == (5, world.first)
    assert found["before"] == [world.first, world.second] + ([] if back else [world.first, world.second])


@pytest.mark.parametrize("times", [2, 3], ids=["for a while", "always"])
def test_a_server_that_hangs_up_without_a_word_is_asked_again(
    times: int, world: World, node: Hurried, tmp_path: Path, relay: Relay
) -> None:
    with web_cache(copied(world, tmp_path)) as web:
        relay.endpoint = web.url.removesuffix("/cache")
        url = f"http://127.0.0.1:{relay.server_port}/cache"
        relay.meanwhile = lambda _, path: LOST if relay.seen.count(("GET", path)) <= times else None
        if times == 2:
            require_healing(node, world, url)
        else:
            text = told(refused(node, "pull", url, world.second), url, world)
            assert text == "error: the cache `URL`: the connection broke off\n"


# -- disks -------------------------------------------------------------------------------------------------------------


@contextmanager
def small(folder: Path, options: str) -> Iterator[Path]:
    """Lend a file system in memory; skip where this user may mount none."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted: {done.stderr.strip().rpartition(': ')[2]}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def test_a_disk_that_is_too_small_is_told_before_anything_moves(world: World, web: WebCache, tmp_path: Path) -> None:
    with small(tmp_path / "small", "size=64m") as mount:
        node = a_node(tmp_path, world, mount / "node")
        found = os.statvfs(mount)
        remount(mount, f"size={(found.f_blocks - found.f_bfree) * found.f_frsize + (400 << 10)}")

        text = refused(node, "pull", web.with_credentials(), world.second).replace(str(mount), "MOUNT")

        assert re.sub(r"\d+ KiB", "N KiB", text) == (
            "error: the file system `MOUNT` has too little room: "
            "the set needs about N KiB, N KiB are free: N KiB are missing\n"
            "\n"
            "hint: `vpm-env gc` frees what no generation needs, `vpm-env gc --dry-run` says what that is\n"
            "hint: `--home` or `VPM_ENV_HOME` names a home on another file system\n"
        )
        assert web.gets[world.parcel] == 0
        remount(mount, "size=64m")
        require_healing(node, world, web.with_credentials())


@pytest.mark.parametrize("spare", kit.mostly_long([2, 6, 10, 14, 18, 26, 34], 6, 26))
def test_a_disk_that_gets_full_meanwhile_is_told_and_current_is_as_it_was(
    spare: int, world: World, web: WebCache, tmp_path: Path
) -> None:
    """A package that was whole before stays; whatever is in the store is as it was made."""
    with small(tmp_path / "small", "size=64m,nr_inodes=20000") as mount:
        node = a_node(tmp_path, world, mount / "node")
        taken = 20000 - os.statvfs(mount).f_ffree
        remount(mount, f"size=64m,nr_inodes={taken + spare}")

        done = node("pull", web.with_credentials(), world.second)
        text = done.stderr.replace(str(mount), "MOUNT")

        assert done.exit == 1
        assert re.match(
            r"(pulling: .*\n)?error: the file system `MOUNT` has (no inodes left|too few inodes): ", text
        ), text
        assert [os.readlink(path) for path in node.home.glob("profiles/*/*/current")] == ["generations/1"]
        assert not list(node.home.glob("tmp/*"))
        remount(mount, "size=64m,nr_inodes=20000")
        node("verify", check=True)
        node("pull", world.cache, world.second, check=True)
        assert said(node, "little", "large") == ["little", "large"]
        assert parts(node) == []


# -- real clocks -------------------------------------------------------------------------------------------------------


def test_silence_is_given_up_after_half_a_minute_each_time(
    world: World, node: Hurried, relay: Relay, tmp_path: Path
) -> None:
    plain = kit.VpmEnv(home=node.home, folder=node.folder, env=node.env)
    ended = threading.Event()
    with web_cache(copied(world, tmp_path)) as web:
        relay.endpoint = web.url.removesuffix("/cache")
        relay.meanwhile = lambda _, path: 500 if path.endswith(world.parcel) and ended.wait(120) else None
        url = f"http://127.0.0.1:{relay.server_port}/cache"
        text = told(refused(plain, "pull", url, world.second), url, world)
        ended.set()

    assert text == "error: the cache `URL`: says nothing for 30 s\n"
    assert relay.seen.count(("GET", f"/cache/{world.parcel}")) == 3
    require_healing(plain, world)


def test_a_server_that_restarts_is_waited_for(world: World, node: Hurried, web: WebCache) -> None:
    plain = kit.VpmEnv(home=node.home, folder=node.folder, env=node.env)
    for path in (world.waybill, world.parcel):
        web.faults[path] = CacheFault(status=503, times=2)

    require_healing(plain, world, web.with_credentials())
