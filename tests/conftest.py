"""Fixtures: every test has its own HOME and none of the machine's settings, unless it needs the index."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from typing import TYPE_CHECKING

import audited
import kit
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _pytest.terminal import TerminalReporter

    from envbuilder.base import Base


settings.register_profile("short", max_examples=40)
settings.load_profile("short")


@pytest.fixture(scope="session")
def uv_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Share one cache of uv in a run; index URLs are unique, so nothing of one test can reach another."""
    return tmp_path_factory.mktemp("uv-cache")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return this test's $HOME, which exists and is empty."""
    path = tmp_path / "home"
    path.mkdir(exist_ok=True)
    return path


def may_reach_the_network(request: pytest.FixtureRequest) -> bool:
    """Tell whether a test keeps the machine's settings for pip, uv and certificates."""
    return any(request.node.get_closest_marker(name) is not None for name in ("network", "engine"))


@pytest.fixture(autouse=True)
def hermetic(request: pytest.FixtureRequest, home: Path, uv_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the machine's settings away; tests that need the index keep those of pip, uv and certificates."""
    network = may_reach_the_network(request)
    for name in filter(kit.is_ours, list(os.environ)):
        monkeypatch.delenv(name)
    for name, value in kit.clean_environment(home, network=network).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("UV_CACHE_DIR", str(uv_cache))


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> tuple[kit.Base, Path]:
    """Make a base, and a copy of it that no test gets at."""
    folder = tmp_path_factory.mktemp("base")
    made = kit.base(folder / "base")
    shutil.copytree(made.prefix, folder / "untouched", symlinks=True)
    return made, folder / "untouched"


@pytest.fixture
def base(untouched: tuple[kit.Base, Path]) -> kit.Base:
    """Give a new base: a venv without pip. It always lies in one place, so that its skeleton is made once a run."""
    made, copy = untouched
    shutil.rmtree(made.prefix)
    shutil.copytree(copy, made.prefix, symlinks=True)
    return made


@pytest.fixture(scope="session")
def skeletons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep the skeletons of overlays from test to test: virtualenv takes longer than most tests."""
    return tmp_path_factory.mktemp("skeletons")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[kit.Index]:
    """Serve `tmp_path/index`, empty at first: `kit.wheel(index.folder, "demo")` publishes."""
    with kit.index(tmp_path / "index") as served:
        yield served


@pytest.fixture
def vpm_env(
    request: pytest.FixtureRequest, tmp_path: Path, home: Path, uv_cache: Path, skeletons: Path
) -> Iterator[kit.VpmEnv]:
    """Run `vpm-env` as a child with a clean environment, in `tmp_path/work`."""
    folder = tmp_path / "work"
    folder.mkdir(exist_ok=True)
    network = may_reach_the_network(request)
    registry = tmp_path / "vpm-home"
    env = kit.clean_environment(home, network=network)
    env |= {"UV_CACHE_DIR": str(uv_cache), "VPM_ENV_HOME": str(registry)}
    cached = registry / "cache" / "skeletons"
    shutil.copytree(skeletons, cached, symlinks=True)
    yield kit.VpmEnv(home=registry, folder=folder, env=env)
    for path in set(cached.glob("*")) - {cached / known.name for known in skeletons.iterdir()}:
        shutil.copytree(path, skeletons / path.name, symlinks=True)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Say how many tests were skipped, and why, in one line a reason: a skip must not hide."""
    reasons = Counter(str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", ()))
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"skipped {count}: {reason.removeprefix('Skipped: ')}")


@pytest.fixture(scope="session")
def described(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Describe one real venv; tests of the audit put other folders and distributions in place of its own."""
    return audited.venv(tmp_path_factory.mktemp("described"))


@pytest.fixture
def ground(tmp_path: Path, described: Base) -> audited.Ground:
    """Give the audit a base that a test fills."""
    return audited.Ground(tmp_path, described)


@pytest.fixture
def make(tmp_path: Path) -> audited.Make:
    """Give the audit packages as they lie in the store."""
    return audited.Make(tmp_path / "store")
