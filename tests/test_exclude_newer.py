"""`exclude_newer`: as at a day, a moment, or some time ago; recorded in the lock, and kept there."""

from __future__ import annotations

import os
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import kit
import pytest

from envbuilder import lock as locks
from envbuilder.moments import checked, moment

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.long


@pytest.fixture
def demo(base: kit.Base, index: kit.Index, vpm_env: kit.VpmEnv) -> kit.VpmEnv:
    """Publish demo 1.0 in 2020 and 2.0 in 2024."""
    kit.fake_vllm(base)
    for version, year in (("1.0", 2020), ("2.0", 2024)):
        path = kit.wheel(index.folder, "demo", version)
        when = datetime(year, 6, 1, tzinfo=timezone.utc).timestamp()
        os.utime(path, (when, when))
    vpm_env.config(f"index: {index.url}\nplugins:\n  - {{name: demo, source: pypi}}\nexclude_newer: 2022-01-31\n")
    return vpm_env.use(base)


def locked(vpm_env: kit.VpmEnv) -> tuple[str, str]:
    """Return the version of demo that is locked, and the moment that limited it."""
    lock = locks.read(vpm_env.folder / "pylock.plugins.toml")
    assert lock is not None
    return lock.packages[0].version, lock.exclude_newer


def test_the_key_limits_what_counts_and_the_option_takes_its_place(demo: kit.VpmEnv) -> None:
    first = demo("build", check=True)
    assert "note: only what was uploaded before 2022-01-31T00:00:00Z counts\n" in first.stderr
    assert locked(demo) == ("1.0", "2022-01-31T00:00:00Z")

    demo("build", "--upgrade", "--exclude-newer", "2025-01-01T02:00:00+02:00", check=True)
    assert locked(demo) == ("2.0", "2025-01-01T00:00:00Z")
    assert "nothing to do" in demo("build", "--locked", check=True).stderr
    assert demo("build", "--locked", "--exclude-newer", "2025-01-01", check=True).exit == 0
    changed = demo("build", "--locked", "--exclude-newer", "2026-01-01")
    assert changed.exit == 3
    assert "only what was uploaded before 2026-01-01T00:00:00Z counts" in changed.stderr


def test_an_age_means_the_same_moment_until_versions_are_to_be_new(demo: kit.VpmEnv) -> None:
    config = (demo.folder / "plugins.yaml").read_text()
    demo.config(config.replace("2022-01-31", "1d"))
    demo("build", check=True)
    version, then = locked(demo)
    assert version == "2.0"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", then)

    lock = demo.folder / "pylock.plugins.toml"
    lock.write_text(lock.read_text().replace(then, "2024-12-31T00:00:00Z"))
    demo("build", check=True)
    assert locked(demo) == ("2.0", "2024-12-31T00:00:00Z")
    demo("build", "--upgrade", check=True)
    assert locked(demo)[1] >= then


def test_nothing_old_enough_is_told_with_the_limit(demo: kit.VpmEnv) -> None:
    done = demo("build", "--exclude-newer", "2019-01-01")

    assert done.exit == 1
    assert "2019-01-01" in done.stderr.split("error:")[1]


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("2026-01-31T12:30:00", "2026-01-31T12:30:00Z"),
        ("2026-01-31T12:30:00z", "2026-01-31T12:30:00Z"),
        ("2026-01-31T12:30:00.5-01:00", "2026-01-31T13:30:00Z"),
        ("30d", "30d"),
        ("2w", "2w"),
    ],
)
def test_moments_have_one_spelling(text: str, spelled: str) -> None:
    assert checked(text) == spelled
    assert checked(spelled) == spelled


def test_an_age_counts_from_now() -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)

    assert moment("1d", now) == "2026-02-28T12:00:00Z"
    assert moment("99999w", now) == "1970-01-01T00:00:00Z"
    assert moment("2026-01-31T00:00:00Z", now) == "2026-01-31T00:00:00Z"


@pytest.mark.parametrize("text", ["", "soon", "2026", "20260131", "2026-W05", "2026-13-01", "30 days", "-1d", "1.5d"])
def test_what_is_no_moment_is_refused(vpm_env: kit.VpmEnv, text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a day"):
        checked(text)


def test_a_mistake_is_told_by_option_and_key(demo: kit.VpmEnv) -> None:
    said = "must be a day (`2026-01-31`), a moment (`2026-01-31T12:00:00Z`) or an age (`30d`)"
    option = demo("build", "--exclude-newer", "soon")
    assert (option.exit, option.stderr) == (2, f"error: `soon` {said}\n")

    demo.config("plugins: []\nexclude_newer: soon\n")
    key = demo("build")
    assert key.exit == 1
    assert key.stderr.endswith(f"plugins.yaml:2:16: `exclude_newer`: {said}\n")
