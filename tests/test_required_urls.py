"""What a requirement's URL names, which requirements count, and whose cache is believed."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from envbuilder import stubs
from envbuilder.bounds import marker_of, parsed
from envbuilder.config import Git, Local
from envbuilder.direct import read, required
from envbuilder.errors import PackageError
from envbuilder.paths import Environment, prefixes
from envbuilder.uv import distrusted

if TYPE_CHECKING:
    from pathlib import Path

MARKERS = {"python_version": "3.11", "sys_platform": "linux"}


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("git+https://h/team/x", Git(url="https://h/team/x")),
        ("git+https://h/x.git@v1#egg=x", Git(url="https://h/x.git", ref="v1")),
        ("git+https://u:p@h/x@team/branch#subdirectory=a/b", None),
        ("git+ssh://git@h/x@main", Git(url="ssh://git@h/x", ref="main")),
        ("git+file:///srv/x#subdirectory=p", Git(url="file:///srv/x", subdirectory="p")),
        ("file:///srv/a%20b/x-1-py3-none-any.whl", Local(path="/srv/a b/x-1-py3-none-any.whl")),
        ("https://h/x-1.tar.gz", None),
    ],
)
def test_a_url_is_read_as_a_plugin_would_name_it(url: str, source: Git | Local | None) -> None:
    found = read("x", url, requirer="demo", plugin="demo")

    if url.startswith("git+https://u:p@"):
        # As pip and uv do, the last `@` of the path begins the ref.
        assert found.source == Git(url="https://u:p@h/x", ref="team/branch", subdirectory="a/b")
    else:
        assert found.source == source
    assert found.key == f"x @ {url}"


@pytest.mark.parametrize(
    "url",
    [
        "git+https://h/${TOKEN}/x",
        "git+https://h/x@a..b",
        "git+ext::sh",
        "git+https://h/x#subdirectory=../y",
        "hg+https://h/x",
        "https://h/x",
        "https://h/x.git",
        "file:///srv/folder",
        "file://other/srv/x-1-py3-none-any.whl",
        "http://h/${HOME}.whl",
        "https://h/\\x.whl",
        "../x-1-py3-none-any.whl",
        "file:///srv/%0Ax-1-py3-none-any.whl",
        "ftp://h/x.whl",
        "https://h/x.whl\u2028;x.whl",
        "https://h/x\u3000.whl",
        "https://h/x.whl#sha512=ab",
        f"https://h/x.whl#SHA256={'a' * 64}",
        "file:///srv/x.whl#md5=ab",
        "https://h/x.whl#sha256=ab",
        f"https://h/x.whl#sha256={'a' * 64}&sha256={'b' * 64}",
        f"git+https://h/x#sha256={'a' * 64}",
    ],
)
def test_what_is_no_repository_and_no_file_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(its URL|must|holds|is|names|begins)"):
        read("x", url, requirer="demo", plugin="demo")


def test_a_sha256_behind_a_url_is_kept() -> None:
    url = "https://h/x-1-py3-none-any.whl"
    found = read("x", f"{url}#egg=x&sha256={'AB' * 32}", requirer="demo", plugin="demo")

    assert (found.sha256, found.location, found.is_wheel) == ("ab" * 32, url, True)
    assert found.place == read("x", url, requirer="other", plugin="other").place
    assert found.place != read("x", f"{url}#subdirectory=a", requirer="demo", plugin="demo").place


HOSTILE = (
    r"""foo @ https://h/foo.whl ; platform_version > "z extra == 'a\nRequires-Dist: e @ http://h/e.zip\n\nx'" """,
    r"""foo @ https://h/foo.whl ; extra == "a\nRequires-Dist: evil @ http://h/evil.tar.gz" """,
    r"""foo[b,a]>=1; platform_version > "z\rRequires-Dist: evil @ http://h/evil.tar.gz\n\n" """,
    r"""foo @ https://h/a;b/foo.whl ; platform_version > "\x0aRequires-Dist: evil @ http://h/evil.tar.gz" """,
    r"""foo ; extra == "a\nb" """,
)


@pytest.mark.parametrize("line", HOSTILE)
def test_a_marker_is_written_as_it_was_and_begins_no_line(tmp_path: Path, line: str) -> None:
    for number, lines in enumerate(((line,), stubs.without_bounds((line,), ["foo"]))):
        folder = tmp_path / str(number)
        folder.mkdir()
        made = stubs.write_stub(str(folder), name="demo", version="1.0", requires=lines)
        with zipfile.ZipFile(made.path) as archive:
            text = archive.read("demo-1.0.dist-info/METADATA").decode()
        heads = [told.partition(":")[0] for told in text.splitlines()]
        assert heads == ["Metadata-Version", "Name", "Version", "Requires-Dist"]
        told = text.splitlines()[-1].removeprefix("Requires-Dist: ").strip()
        assert told.endswith(line.partition(" ; ")[2].strip())
        assert "https://h/" not in told.partition(";")[0]
        again = parsed(told)
        assert again is not None
        assert again.marker == Requirement(line).marker


def test_what_is_more_than_one_line_gets_into_no_header(tmp_path: Path) -> None:
    two_lines = "foo ; platform_version > 'z\x85Requires-Dist: evil @ http://h/evil.tar.gz'"
    assert Requirement(two_lines).name == "foo"
    assert parsed(two_lines) is None
    assert stubs.write_stub(str(tmp_path), name="demo", version="1.0", requires=[two_lines]).requires == ()
    with pytest.raises(PackageError, match="its metadata would hold"):
        stubs.write_stub(str(tmp_path), name="demo\nRequires-Dist: evil", version="1.0", requires=())


def test_markers_stay_behind_urls_that_hold_a_semicolon() -> None:
    for line in (
        "a @ https://h/x;y.whl ; os_name == 'x'",
        "a>=1;os_name == 'x'",
        "a[b] @ https://h/@x ;os_name == 'x'",
    ):
        assert marker_of(line, Requirement(line)) == "; os_name == 'x'"
    assert not marker_of("a @ https://h/x;y.whl", Requirement("a @ https://h/x;y.whl"))


def test_a_package_that_is_refused_is_laid_at_the_door_of_its_plugin() -> None:
    error = PackageError(package="far", problems=("it is another",), plugin="top")

    assert error.message == "`far` (for `top`) is refused\n  it is another"


def test_requirements_count_where_their_markers_hold() -> None:
    lines = {
        "one": ("a @ https://h/a.whl", "b @ https://h/b.whl ; python_version < '3'", "two[fast]", "index>=1"),
        "two": ("c @ https://h/c.whl ; extra == 'fast'", "d @ https://h/d.whl ; extra == 'slow'", "no requirement @"),
        "three": ("three[all] ; extra == 'more'", "e @ https://h/e.whl ; extra == 'all'"),
    }

    def counting(extras: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
        return [(name, each.name) for name, each in required(lines, extras, MARKERS)]

    assert counting({}) == [("one", "a"), ("two", "c")]
    assert counting({"three": ("more",)}) == [("one", "a"), ("two", "c"), ("three", "e")]
    assert Requirement("a@https://h/a.whl").url == "https://h/a.whl"


@pytest.mark.parametrize(
    ("mode", "inner", "is_told"),
    [(0o755, 0o755, False), (0o700, 0o700, False), (0o757, 0o755, True), (0o755, 0o757, True), (0o1777, 0o755, True)],
)
def test_a_cache_that_others_may_write_to_is_told(tmp_path: Path, mode: int, inner: int, *, is_told: bool) -> None:
    cache = tmp_path / "uv"
    (cache / "archive-v0").mkdir(parents=True)
    (cache / "archive-v0").chmod(inner)
    cache.chmod(mode)
    env = Environment(variables={"UV_CACHE_DIR": str(cache)})

    assert bool(distrusted(env)) == is_told
    assert not distrusted(Environment(variables={"UV_CACHE_DIR": str(tmp_path / "not-there")}))


def test_a_group_writes_to_a_cache_that_is_for_it(tmp_path: Path) -> None:
    env = Environment(variables={"UV_CACHE_DIR": str(tmp_path)})
    foreign = next((group for group in os.getgroups() if group not in (0, os.getuid())), None)
    if os.getuid() and foreign is None:
        pytest.skip("no group of another kind")
    os.chown(tmp_path, -1, 4712 if foreign is None else foreign)
    tmp_path.chmod(0o775)
    assert distrusted(env)
    tmp_path.chmod(0o2775)
    assert not distrusted(env)


def test_a_base_consists_of_what_it_sees_the_packages_of() -> None:
    path = [
        "/top/lib/python3.11/site-packages",
        "/usr/local/lib/python3.11/dist-packages",
        "/usr/lib/python3/dist-packages",
        "/src",
    ]

    assert prefixes("/top", "/usr", path) == ("/top", "/usr", "/usr/local")
