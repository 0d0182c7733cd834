"""What vpm-env does in the first process of the engine, beside what that does anyway."""

from __future__ import annotations

import shutil
import statistics
from typing import TYPE_CHECKING

import pytest
from engine import entry
from measure import Command

if TYPE_CHECKING:
    from stands import Stand

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def started(stand: Stand, tmp_path_factory: pytest.TempPathFactory) -> entry.Entry:
    return entry.Entry.of(stand, tmp_path_factory.mktemp("entry"))


def test_hook_guard_and_metadata_take_few_milliseconds(started: entry.Entry) -> None:
    assert started.told() == ["marker", "vpm_env_guard"]
    assert started.told(hooked=False) == []
    assert statistics.median(started.added_seconds(runs=15)) < entry.MOST_SECONDS


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="no valgrind, which counts instructions")
def test_hook_guard_and_metadata_take_few_instructions(started: entry.Entry) -> None:
    bare, hooked = (
        Command(words=started.words(hooked=hooked), env=started.stand.env, cwd=started.script.parent).instructions()
        for hooked in (False, True)
    )

    assert 0 < hooked - bare < entry.MOST_INSTRUCTIONS
