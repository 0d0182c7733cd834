"""Stubs that stay from resolve to resolve, with a real uv that reads them and remembers what it read."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import kit
import pytest
from resolving import Resolver, pypi, versions

from envbuilder import belongings
from envbuilder.base_stubs import LIST, base_stubs
from envbuilder.halves import DAY
from envbuilder.paths import Layout

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def resolver(base: kit.Base, index: kit.Index, tmp_path: Path) -> Resolver:
    kit.fake_vllm(base, "0.33.0")
    kit.dist_info(base, "numpy", "2.3.5")
    kit.wheel(index.folder, "plug", "1.0", requires=["numpy", "vllm"])
    made = Resolver(base, index, tmp_path)
    made.variables["UV_CACHE_DIR"] = str(tmp_path / "uv")
    (tmp_path / "uv").mkdir()
    return made


def folders(resolver: Resolver) -> list[str]:
    """Return the ends of the names of the folders of stubs that count."""
    found = Path(resolver.layout.cache, "stubs").glob(f"*/{LIST}")
    return sorted(path.parent.name.rpartition(".")[2] for path in found)


def unpacked(resolver: Resolver) -> int:
    return len(list(Path(resolver.variables["UV_CACHE_DIR"]).glob("archive-v*/*/numpy*.dist-info")))


def test_uv_unpacks_a_stub_once(resolver: Resolver) -> None:
    for _ in range(3):
        assert versions(resolver(pypi("plug"))) == {"plug": "1.0"}
    assert unpacked(resolver) == 1
    assert folders(resolver) == ["0"]


TEARS: dict[str, Callable[[Path], object]] = {
    "archive-v*/*/numpy*.dist-info/METADATA": lambda path: path.write_bytes(b""),
    "wheels-v*/**/numpy/*.rev": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("pattern", TEARS)
def test_what_uv_remembers_of_a_stub_may_be_torn(resolver: Resolver, pattern: str) -> None:
    """As by a power cut: uv syncs nothing that it caches."""
    cache = Path(resolver.variables["UV_CACHE_DIR"])
    first = resolver(pypi("plug"))
    found = list(cache.glob(pattern))
    assert found, sorted(cache.rglob("*numpy*"))
    for path in found:
        TEARS[pattern](path)

    assert resolver(pypi("plug"), upgrade=frozenset()) == first
    assert folders(resolver) == []  # those are not used again
    assert resolver(pypi("plug"), upgrade=frozenset()) == first
    assert folders(resolver) == ["1"]


def test_many_make_them_at_once(resolver: Resolver, tmp_path: Path) -> None:
    """Whoever is later takes those of the first, and nobody takes away what another's resolver reads."""
    base, layout = resolver.base, resolver.layout

    def made(number: int) -> set[str]:
        found = base_stubs(base, frozenset(), layout, str(tmp_path / f"{number}"), resolver.report)
        return {path for path in (stub.path for stub in found.values()) if os.path.exists(path)}

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(made, range(24)))

    assert told[0]
    assert all(each == told[0] for each in told)
    assert folders(resolver) == ["0"]


def test_gc_takes_what_a_base_had_before_and_spares_its_last(
    resolver: Resolver, base: kit.Base, tmp_path: Path
) -> None:
    layout = resolver.layout
    for version in ("1.0", "2.0", "3.0"):
        kit.dist_info(base, f"other-{version[0]}", version)
        base_stubs(resolver.base, frozenset(), layout, str(tmp_path), resolver.report)
    paths = sorted(Path(layout.cache, "stubs").iterdir(), key=lambda path: path.stat().st_mtime)
    now = time.time()
    assert list(belongings.outlived(layout, now)) == []

    os.utime(paths[0], (now - 3 * DAY, now - 3 * DAY))
    os.utime(paths[1], (now - 0.5 * DAY, now - 0.5 * DAY))
    assert list(belongings.outlived(layout, now)) == [str(paths[0])]
    assert list(belongings.outlived(layout, now + 9 * DAY)) == [str(paths[0]), str(paths[1])]


@pytest.mark.parametrize("link", ["cache", "cache/stubs"])
def test_gc_takes_nothing_of_others(tmp_path: Path, link: str) -> None:
    """Neither what a symlink leads to, nor what has another name."""
    layout, long_ago = Layout(str(tmp_path / "home")), time.time() - 9 * DAY
    names = [f"{'a' * 12}-{'b' * 16}.0", f"{'a' * 12}-{'b' * 16}.1", "photos"]
    elsewhere = tmp_path / "elsewhere" / ("stubs" if link == "cache" else "")
    for at, name in enumerate(names):
        (elsewhere / name).mkdir(parents=True)
        os.utime(elsewhere / name, (long_ago + at, long_ago + at))
    place = Path(layout.home, link)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(tmp_path / "elsewhere")
    assert belongings.outlived(layout, time.time()) == {}

    place.unlink()
    (tmp_path / "elsewhere").rename(place)
    assert [Path(path).name for path in belongings.outlived(layout, time.time())] == names[:1]
