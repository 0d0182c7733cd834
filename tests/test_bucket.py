"""What a cache holds: folders, web servers and stores that speak S3, all alike, and every way in which they fail."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from kit.caches import CacheFault, certificate, s3_cache, web_cache

from envbuilder import downloads
from envbuilder.bucket import Bucket, open_bucket
from envbuilder.errands import heeding_signals
from envbuilder.errors import CacheError
from envbuilder.tickets import world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kit.caches import S3Cache, WebCache

CONTENT = bytes(range(256)) * 1200
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "packages/0123-demo-1.0+cpu!1.tar.zst"
CREDENTIALS = "agent:pass-word-7"


@dataclass
class Opened:
    """A cache of some kind, and how something gets into it."""

    bucket: Bucket
    put: Callable[[str, bytes], object]


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Cache]:
    with s3_cache() as served:
        yield served


@pytest.fixture
def s3_bucket(s3: S3Cache, request: pytest.FixtureRequest) -> Bucket:
    """Give every test a prefix of its own."""
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    return open_bucket(f"{s3.url}/{name}", env=s3.env, pause=0)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebCache]:
    with web_cache(tmp_path / "served", credentials=CREDENTIALS) as served:
        yield served


def web_bucket(web: WebCache, *, timeout: float = 10.0) -> Bucket:
    return open_bucket(web.with_credentials(), env={}, timeout=timeout, pause=0)


def put_in(folder: Path, path: str, content: bytes) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)


@pytest.fixture(params=["folder", "web", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Open a cache of each kind."""
    if request.param == "s3":
        bucket = request.getfixturevalue("s3_bucket")
        return Opened(bucket, bucket.create)
    if request.param == "web":
        web = request.getfixturevalue("web")
        return Opened(web_bucket(web), lambda path, content: put_in(web.folder, path, content))
    bucket = open_bucket(str(tmp_path / "cache"), env={}, pause=0)
    return Opened(bucket, bucket.create)


@pytest.fixture(params=["folder", "s3"])
def writable(request: pytest.FixtureRequest, tmp_path: Path) -> Bucket:
    """Open a cache of each kind that can be written to."""
    if request.param == "s3":
        bucket: Bucket = request.getfixturevalue("s3_bucket")
        return bucket
    return open_bucket((tmp_path / "cache").as_uri(), env={}, pause=0)


def fetch(bucket: Bucket, target: Path, *, sha256: str = SHA256, size: int = len(CONTENT)) -> list[int]:
    """Fetch a file; return in what pieces it came."""
    came: list[int] = []
    bucket.fetch(NAME, str(target), sha256=sha256, size=size, on_bytes=came.append)
    return came


def test_a_document_is_read_and_what_is_missing_is_none(opened: Opened) -> None:
    opened.put("inputs/a.json", b"{}")

    assert opened.bucket.read("inputs/a.json", limit=2) == b"{}"
    assert opened.bucket.read("inputs/b.json", limit=2) is None
    assert opened.bucket.read_tagged("inputs/b.json") is None


def test_a_document_that_is_too_large_is_refused(opened: Opened) -> None:
    opened.put("inputs/a.json", b"{  }")
    with pytest.raises(CacheError, match=r"`inputs/a.json` has more than 3 bytes"):
        opened.bucket.read("inputs/a.json", limit=3)


def test_a_file_comes_whole_or_not_at_all(opened: Opened, tmp_path: Path) -> None:
    opened.put(NAME, CONTENT)
    came = fetch(opened.bucket, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert sum(came) == len(CONTENT)
    assert not (tmp_path / "target.part").exists()


def test_an_empty_file_comes_too(opened: Opened, tmp_path: Path) -> None:
    opened.put(NAME, b"")
    fetch(opened.bucket, tmp_path / "target", sha256=hashlib.sha256(b"").hexdigest(), size=0)
    assert (tmp_path / "target").read_bytes() == b""


def test_what_came_already_is_gone_on_with(opened: Opened, tmp_path: Path) -> None:
    opened.put(NAME, CONTENT)
    (tmp_path / "target.part").write_bytes(CONTENT[:1000])
    came = fetch(opened.bucket, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert sum(came) == len(CONTENT) - 1000


@pytest.mark.parametrize("part", [CONTENT[:-1], CONTENT, CONTENT + b"x", b"y" * 500, b"y" * len(CONTENT)])
def test_whatever_lies_there_of_an_earlier_try_does_no_harm(opened: Opened, tmp_path: Path, part: bytes) -> None:
    opened.put(NAME, CONTENT)
    (tmp_path / "target.part").write_bytes(part)
    fetch(opened.bucket, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == CONTENT


def test_a_file_that_is_not_what_was_pushed_is_refused_after_one_more_try(opened: Opened, tmp_path: Path) -> None:
    opened.put(NAME, CONTENT[:-1] + b"x")
    with pytest.raises(CacheError) as refused:
        fetch(opened.bucket, tmp_path / "target")

    assert SHA256 in str(refused.value)
    assert hashlib.sha256(CONTENT[:-1] + b"x").hexdigest() in str(refused.value)
    assert list(tmp_path.glob("target*")) == []


def test_a_file_of_another_size_is_refused_at_once(opened: Opened, tmp_path: Path) -> None:
    opened.put(NAME, CONTENT + b"x")
    with pytest.raises(CacheError, match=rf"has {len(CONTENT) + 1} bytes, not {len(CONTENT)}"):
        fetch(opened.bucket, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_file_that_is_not_there_is_told(opened: Opened, tmp_path: Path) -> None:
    opened.put("packages/another", b"")
    with pytest.raises(CacheError, match="is not there"):
        fetch(opened.bucket, tmp_path / "target")


@pytest.mark.parametrize(
    "path", ["", ".", "..", "a/../b", "/a", "a//b", "a/", "a/.b", "a\nb", "a b", "ä", "a%2e", "a?b", "a#b", "x" * 1000]
)
def test_what_is_no_path_reaches_nobody(opened: Opened, tmp_path: Path, path: str) -> None:
    opened.put("packages/another", b"")
    for call in (
        lambda: opened.bucket.read(path, limit=1),
        lambda: opened.bucket.fetch(path, str(tmp_path / "target"), sha256=SHA256, size=1),
    ):
        with pytest.raises(CacheError, match="is no path in a cache") as refused:
            call()
        assert str(refused.value).isprintable()


def test_a_link_where_a_part_should_lie_is_not_followed(opened: Opened, tmp_path: Path) -> None:
    opened.put(NAME, CONTENT)
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "target.part").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=r"target\.part"):
        fetch(opened.bucket, tmp_path / "target", size=len(CONTENT))
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_what_is_there_is_not_written_over(writable: Bucket, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"two")

    assert writable.create("packages/a", b"one")
    assert not writable.create("packages/a", b"two")
    assert not writable.create("packages/a", str(tmp_path / "file"))
    assert writable.create("packages/b", str(tmp_path / "file"))
    assert [writable.read(f"packages/{name}", limit=9) for name in "ab"] == [b"one", b"two"]


def test_a_large_file_is_sent_in_pieces(writable: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envbuilder.bucket_remote._AT_ONCE", 1000)
    (tmp_path / "file").write_bytes(CONTENT)

    assert writable.create(NAME, str(tmp_path / "file"))
    assert not writable.create(NAME, str(tmp_path / "file"))
    fetch(writable, tmp_path / "target")


def test_a_file_is_measured_without_keeping_it(opened: Opened) -> None:
    opened.put(NAME, CONTENT)
    assert opened.bucket.measure(NAME) == (SHA256, len(CONTENT))
    assert opened.bucket.measure("packages/none") is None


def test_names_are_those_of_one_folder(writable: Bucket) -> None:
    for path in ("channels/b.json", "channels/a.json", "channels/deeper/c.json", "packages/d"):
        writable.create(path, b"{}")

    assert writable.names("channels") == ["a.json", "b.json"]
    assert writable.names("overlays") == []


def test_a_document_is_swapped_by_whoever_knows_what_is_there(writable: Bucket) -> None:
    assert writable.swap("channels/a.json", b"1", None)
    assert not writable.swap("channels/a.json", b"2", None)
    content, tag = writable.read_tagged("channels/a.json") or (b"", "")
    assert content == b"1"
    assert writable.swap("channels/a.json", b"2", tag)
    assert not writable.swap("channels/a.json", b"3", tag)
    assert not writable.swap("channels/none.json", b"3", tag)
    assert writable.read("channels/a.json", limit=9) == b"2"


def test_of_many_who_swap_at_once_one_wins(writable: Bucket) -> None:
    writable.swap("channels/a.json", b"", None)
    _, tag = writable.read_tagged("channels/a.json") or (b"", "")
    gate = threading.Barrier(6)

    def go(at: int) -> bool:
        gate.wait(10)
        return writable.swap("channels/a.json", b"%d" % at, tag)

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(go, range(6)))
    assert won.count(True) == 1
    assert writable.read("channels/a.json", limit=9) == b"%d" % won.index(True)


def test_whoever_swaps_clears_away_what_the_dead_left(tmp_path: Path) -> None:
    dead = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
    bucket = open_bucket(str(tmp_path), env={})
    staged = tmp_path / ".new" / world() / f"{dead}-0123456789ab"
    half = tmp_path / "channels" / f".prod.json.{dead}-01234567.new"
    for path in (staged, half.parent):
        path.mkdir(parents=True)
    half.write_bytes(b"{")

    assert bucket.swap("channels/prod.json", b"{}", None)
    assert not staged.exists()
    assert not half.exists()


def test_of_many_who_create_at_once_one_wins(tmp_path: Path) -> None:
    bucket = open_bucket(str(tmp_path / "cache"), env={})
    gate = threading.Barrier(6)

    def go(at: int) -> bool:
        gate.wait(10)
        return bucket.create("packages/a", b"%d" % at)

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(go, range(6)))
    assert won.count(True) == 1
    assert bucket.read("packages/a", limit=9) == b"%d" % won.index(True)
    assert list((tmp_path / "cache").glob(".new/*/*")) == []


# -- a web server's ways to fail ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_server_that_is_busy_for_a_while_is_asked_again(web: WebCache, tmp_path: Path, status: int) -> None:
    put_in(web.folder, NAME, CONTENT)
    web.faults[NAME] = CacheFault(status=status, times=2)
    fetch(web_bucket(web), tmp_path / "target")
    web.faults[NAME] = CacheFault(status=status, times=2)

    assert web_bucket(web).read(NAME, limit=1 << 20) == CONTENT
    assert web.gets[NAME] == 6


def test_a_server_that_stays_busy_is_given_up(web: WebCache, tmp_path: Path) -> None:
    web.faults[NAME] = CacheFault(status=503)
    with pytest.raises(CacheError, match=r"answers 503 \(service unavailable\)") as refused:
        fetch(web_bucket(web), tmp_path / "target")
    assert refused.value.is_passing
    assert web.gets[NAME] == downloads.TRIES


def test_who_is_not_let_in_is_told_at_once_and_what_to_do(web: WebCache, tmp_path: Path) -> None:
    web.faults[NAME] = CacheFault(status=403)
    wrong = open_bucket(web.with_credentials("agent:wrong-word-8"), env={}, pause=0)

    for bucket, status in ((web_bucket(web), 403), (wrong, 401)):
        with pytest.raises(CacheError, match=rf"is forbidden.*\({status}\)") as refused:
            fetch(bucket, tmp_path / "target")
        assert "user:password@host" in (refused.value.hint or "")
    assert web.gets[NAME] == 2


@pytest.mark.parametrize("status", [403, 404, 418, 500])
def test_nothing_that_a_server_says_or_is_told_is_shown(web: WebCache, tmp_path: Path, status: int) -> None:
    web.faults[NAME] = CacheFault(status=status)
    with pytest.raises(CacheError) as refused:
        fetch(web_bucket(web), tmp_path / "target")

    shown = f"{refused.value} {refused.value.hint} {refused.value.url} {web_bucket(web)!r}"
    assert "pass-word-7" not in shown
    assert "secret-of-the-server" not in shown
    assert shown.isprintable()
    assert refused.value.__cause__ is None


def test_a_connection_that_breaks_off_is_gone_on_with(web: WebCache, tmp_path: Path) -> None:
    put_in(web.folder, NAME, CONTENT)
    web.faults[NAME] = CacheFault(cut_after=100_000, times=2)
    came = fetch(web_bucket(web), tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert sum(came) == len(CONTENT)
    assert web.ranges == ["bytes=100000-", "bytes=200000-"]


def test_progress_counts_more_than_how_often_a_connection_breaks(
    web: WebCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "_ENOUGH", 10_000)
    put_in(web.folder, NAME, CONTENT)
    web.faults[NAME] = CacheFault(cut_after=30_000)
    fetch(web_bucket(web), tmp_path / "target")
    assert len(web.ranges) == len(CONTENT) // 30_000


def test_a_connection_that_always_breaks_leaves_what_came(web: WebCache, tmp_path: Path) -> None:
    put_in(web.folder, NAME, CONTENT)
    web.faults[NAME] = CacheFault(cut_after=1000)
    with pytest.raises(CacheError, match="the connection broke off"):
        fetch(web_bucket(web), tmp_path / "target")
    assert (tmp_path / "target.part").read_bytes() == CONTENT[: 1000 * downloads.TRIES]


def test_a_server_without_parts_gives_the_whole_again(tmp_path: Path) -> None:
    with web_cache(tmp_path / "served", ranges=False) as web:
        put_in(web.folder, NAME, CONTENT)
        web.faults[NAME] = CacheFault(cut_after=100_000, times=1)
        came = fetch(open_bucket(web.url, env={}, pause=0), tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert sum(came) == len(CONTENT)


def test_a_bit_that_flips_on_the_way_costs_one_more_try(web: WebCache, tmp_path: Path) -> None:
    put_in(web.folder, NAME, CONTENT)
    web.faults[NAME] = CacheFault(flip_at=5, times=1)
    fetch(web_bucket(web), tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert web.gets[NAME] == 2


@pytest.mark.parametrize("fault", [CacheFault(truncated_to=77), CacheFault(longer_by=1), CacheFault(truncated_to=0)])
def test_a_file_of_another_length_is_no_download(web: WebCache, tmp_path: Path, fault: CacheFault) -> None:
    put_in(web.folder, NAME, CONTENT)
    web.faults[NAME] = fault
    with pytest.raises(CacheError, match=r"has \d+ bytes, not"):
        fetch(web_bucket(web), tmp_path / "target")
    assert web.gets[NAME] == 1


def test_who_says_nothing_more_is_given_up(web: WebCache, tmp_path: Path) -> None:
    put_in(web.folder, NAME, CONTENT)
    web.faults[NAME] = CacheFault(stall_after=1000)
    with pytest.raises(CacheError, match=r"says nothing for 0\.1 s") as refused:
        fetch(web_bucket(web, timeout=0.1), tmp_path / "target")
    assert refused.value.is_passing


def test_a_slow_server_is_waited_for(web: WebCache, tmp_path: Path) -> None:
    put_in(web.folder, NAME, CONTENT)
    web.faults[NAME] = CacheFault(drip=len(CONTENT) // 20)
    fetch(web_bucket(web, timeout=0.15), tmp_path / "target")  # in all it takes longer
    assert web.gets[NAME] == 1


def test_credentials_are_told_to_the_host_that_they_are_for_alone(web: WebCache, tmp_path: Path) -> None:
    with web_cache(tmp_path / "elsewhere") as other:
        put_in(other.folder, NAME, CONTENT)
        elsewhere = other.url.replace("127.0.0.1", "localhost")
        web.faults[NAME] = CacheFault(status=302, location=f"{elsewhere}/{NAME}")
        fetch(web_bucket(web), tmp_path / "target")

        assert web.logins == [CREDENTIALS]
        assert other.logins == [None]


def test_a_server_is_asked_safely_by_whoever_knows_its_certificate(tmp_path: Path) -> None:
    own = certificate(tmp_path / "certificate.pem")
    with web_cache(tmp_path / "served", certificate=own) as web:
        put_in(web.folder, NAME, CONTENT)
        assert web.url.startswith("https:")
        with pytest.raises(CacheError, match="its certificate is not trusted") as refused:
            open_bucket(web.url, env={}, pause=0).read(NAME, limit=1 << 20)
        assert not refused.value.is_passing
        assert web.gets[NAME] == 0
        fetch(open_bucket(web.url, env={"SSL_CERT_FILE": str(own)}, pause=0), tmp_path / "target")


def test_no_redirect_leads_from_a_safe_server_to_a_clear_one(tmp_path: Path) -> None:
    own = certificate(tmp_path / "certificate.pem")
    with (
        web_cache(tmp_path / "served", certificate=own) as web,
        web_cache(tmp_path / "elsewhere") as other,
    ):
        put_in(other.folder, NAME, CONTENT)
        web.faults[NAME] = CacheFault(status=302, location=f"{other.url}/{NAME}")
        with pytest.raises(CacheError):
            fetch(open_bucket(web.url, env={"SSL_CERT_FILE": str(own)}, pause=0), tmp_path / "target")
        assert other.gets[NAME] == 0


def test_a_server_is_only_read(web: WebCache) -> None:
    bucket = web_bucket(web)
    for call in (lambda: bucket.create("a", b""), lambda: bucket.swap("a", b"", None)):
        with pytest.raises(CacheError, match="nothing can be written to a web server"):
            call()
    with pytest.raises(CacheError, match="cannot be listed"):
        bucket.names("channels")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://agent:pass-word-7@127.0.0.1:9/x", "nobody listens there"),
        ("http://agent:pass-word-7@no-such-host.invalid/x", "its host is not found"),
    ],
)
def test_who_is_not_there_is_told(url: str, words: str) -> None:
    bucket = open_bucket(url, env={}, timeout=5, pause=0)
    with pytest.raises(CacheError, match=words) as refused:
        bucket.read("a", limit=1)
    assert "pass-word-7" not in str(refused.value)


def test_calls_of_the_main_thread_alone_are_made_by_another() -> None:
    """What they raise is raised here, and one that a signal made us leave keeps nobody waiting."""
    with pytest.raises(CacheError, match="no"):
        heeding_signals(lambda: (_ for _ in ()).throw(CacheError(url="x", reason="no")))
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(heeding_signals, threading.get_ident).result() != heeding_signals(threading.get_ident)
        assert pool.submit(lambda: heeding_signals(threading.get_ident) == threading.get_ident()).result()

    main, has_begun, is_over = threading.get_ident(), threading.Event(), threading.Event()

    def silent() -> None:
        has_begun.set()
        is_over.wait()

    def interrupt() -> None:
        has_begun.wait()
        signal.pthread_kill(main, signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            heeding_signals(silent)
    assert heeding_signals(threading.get_ident) != threading.get_ident()
    is_over.set()


# -- a store that speaks S3 --------------------------------------------------------------------------------------------


def test_a_bucket_that_is_not_there_is_not_an_empty_one(s3: S3Cache) -> None:
    bucket = open_bucket("s3://no-such-bucket/x", env=s3.env, pause=0)
    for call in (
        lambda: bucket.read("a", limit=1),
        lambda: bucket.names("a"),
        lambda: bucket.create("a", b""),
    ):
        with pytest.raises(CacheError, match="there is no such bucket"):
            call()


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[tuple[WebCache, Bucket]]:
    """Let a web server stand for a store that speaks S3, whose bucket is named `cache`, to be read."""
    with web_cache(tmp_path / "served") as web:
        env = {"AWS_ACCESS_KEY_ID": "AKIATESTING", "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests"}
        env["AWS_ENDPOINT_URL"] = web.url.removesuffix("/cache")
        yield web, open_bucket("s3://cache", env=env, timeout=10, pause=0)


def test_a_store_that_is_busy_for_a_while_is_asked_again(faulty: tuple[WebCache, Bucket], tmp_path: Path) -> None:
    web, bucket = faulty
    put_in(web.folder, NAME, CONTENT)
    web.faults[NAME] = CacheFault(status=503, times=2)
    fetch(bucket, tmp_path / "target")
    web.faults[NAME] = CacheFault(cut_after=100_000, times=2)
    fetch(bucket, tmp_path / "second")

    assert web.gets[NAME] == 6
    assert (tmp_path / "second").read_bytes() == CONTENT


def test_a_store_that_lets_nobody_in_is_told_with_what_to_do(faulty: tuple[WebCache, Bucket], tmp_path: Path) -> None:
    web, bucket = faulty
    web.faults[NAME] = CacheFault(status=403)
    with pytest.raises(CacheError, match=r"is forbidden.*\(403\)") as refused:
        fetch(bucket, tmp_path / "target")

    shown = f"{refused.value} {refused.value.hint}"
    assert "`AWS_ACCESS_KEY_ID`" in shown
    assert not any(word in shown for word in ("AKIATESTING", "secret-of-the-tests", "secret-of-the-server", "\x1b"))


def test_a_store_for_which_there_are_no_credentials_is_told() -> None:
    bucket = open_bucket("s3://bucket/x", env={"AWS_METADATA_ENDPOINT": "http://127.0.0.1:9"}, timeout=5, pause=0)
    for call in (lambda: bucket.read("a", limit=1), lambda: bucket.create("a", b""), lambda: bucket.names("a")):
        with pytest.raises(CacheError, match="no credentials for it are found") as refused:
            call()
        assert "`AWS_ACCESS_KEY_ID`" in (refused.value.hint or "")


def test_settings_that_do_not_fit_together_are_told(s3: S3Cache) -> None:
    env = {name: value for name, value in s3.env.items() if name != "AWS_ACCESS_KEY_ID"}
    with pytest.raises(CacheError, match="the settings for it do not fit together") as refused:
        open_bucket(s3.url, env=env)
    assert "AWS_ACCESS_KEY_ID" in (refused.value.hint or "")
    assert "secret-of-the-tests" not in f"{refused.value} {refused.value.hint}"


def test_a_store_that_nobody_serves_is_told_without_its_secrets(s3: S3Cache, tmp_path: Path) -> None:
    env = s3.env | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    bucket = open_bucket(s3.url, env=env, pause=0)
    (tmp_path / "file").write_bytes(CONTENT)
    with ExitStack() as patched:
        patch = patched.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("envbuilder.bucket_remote._AT_ONCE", 1000)
        for content in (b"small", str(tmp_path / "file")):
            with pytest.raises(CacheError) as refused:
                bucket.create("a", content)
            assert refused.value.is_passing
            shown = f"{refused.value} {refused.value.hint}"
            assert not any(word in shown for word in ("AKIATESTING", "secret-of-the-tests", "X-Amz"))


# -- a folder ----------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_not_an_empty_cache(tmp_path: Path) -> None:
    bucket = open_bucket(str(tmp_path / "none"), env={})
    for call in (lambda: bucket.read("a", limit=1), lambda: bucket.names("a")):
        with pytest.raises(CacheError, match="there is no such folder") as refused:
            call()
        assert f"`mkdir -p {tmp_path / 'none'}`" in str(refused.value.hint)


def test_no_lock_is_taken_to_read_a_folder(tmp_path: Path) -> None:
    put_in(tmp_path / "cache", NAME, CONTENT)
    bucket = open_bucket(str(tmp_path / "cache"), env={})
    fetch(bucket, tmp_path / "target")
    bucket.names("packages")
    assert os.listdir(tmp_path / "cache") == ["packages"]


def test_what_is_no_file_makes_nobody_wait(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    os.mkfifo(tmp_path / "cache" / "pipe")
    (tmp_path / "cache" / "folder").mkdir()
    bucket = open_bucket(str(tmp_path / "cache"), env={})
    for name in ("pipe", "folder"):
        with pytest.raises(CacheError, match=f"`{name}` is no regular file"):
            bucket.read(name, limit=1)


def test_a_file_system_that_refuses_is_told(tmp_path: Path) -> None:
    put_in(tmp_path / "cache", "packages", b"a file where a folder should be")
    bucket = open_bucket(str(tmp_path / "cache"), env={})
    for call in (lambda: bucket.create("packages/a", b""), lambda: bucket.swap("packages/a", b"", None)):
        with pytest.raises(CacheError, match=r"`packages/a` cannot be written: (file exists|not a directory)"):
            call()


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_what_others_are_to_fetch_they_may_read(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        (tmp_path / "file").write_bytes(b"x")
        bucket = open_bucket(str(tmp_path / "cache"), env={})
        bucket.create("packages/a", str(tmp_path / "file"))
        assert (tmp_path / "cache/packages/a").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)


# -- names of caches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://host/x",
        "gs://bucket",
        "file:relative",
        "file://host/x",
        "https://",
        "https:///x",
        "https://host/x?token=pass-word-7",
        "https://agent:pass-word-7/kret@host/x",
        "https://agent:12/pass-word-7@host/x",
        "https://agent:p@ss/pass-word-7@host/x",
        "https:agent:pass-word-7@host/x",
        "sftp://agent:12/pass-word-7@host/x",
        "agent:pass-word-7@host/x",
        "https://host:port/x",
        "https://[/x",
        "s3://",
        "s3:bucket",
        "s3://Bucket_",
        "s3://bucket/../x",
        "s3://bucket/x?y",
        "https://host/\x1b[31m",
        "\n",
    ],
)
def test_what_names_no_cache_is_refused(url: str) -> None:
    with pytest.raises(CacheError) as refused:
        open_bucket(url, env={})
    assert str(refused.value).isprintable()
    assert "pass-word-7" not in str(refused.value)


def test_a_cache_is_shown_without_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret"}
    shown = {
        url: open_bucket(url, env=keys).shown
        for url in ("https://me:pw@host:8443/a/", "s3://bucket/a/b/", "file:///a%20b/../c", "cache")
    }
    assert list(shown.values()) == ["https://host:8443/a", "s3://bucket/a/b", "/c", str(tmp_path / "cache")]


def test_a_file_of_certificates_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="the file of certificates cannot be read: no such file"):
        open_bucket("https://host/x", env={"SSL_CERT_FILE": str(tmp_path / "none")})


@pytest.mark.parametrize("url", ["https://host/x", "s3://bucket/x"])
def test_what_is_not_installed_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "obstore"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(CacheError, match=r"`obstore(\.store)?` is not installed") as refused:
        open_bucket(url, env={})
    assert "vpm-env[cache]" in (refused.value.hint or "")
