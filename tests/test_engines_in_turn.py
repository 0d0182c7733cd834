"""Engines that take turns in one place, as images do over one home: each finds its own set as it left it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import kit
import pytest
import stands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stands import Stand

pytestmark = pytest.mark.long

OLD, NEW = "0.33.0", "0.34.0"


@pytest.fixture
def stand(tmp_path: Path, uv_cache: Path) -> Iterator[Stand]:
    with stands.stand(tmp_path, uv_cache) as made:
        made.publish("plug", "1.0")
        made.build("plug")
        yield made


def becomes(stand: Stand, version: str) -> None:
    for path in stand.base.purelib.glob("vllm-*.dist-info"):
        shutil.rmtree(path)
    kit.dist_info(stand.base, "vllm", version)


def test_back_on_the_old_engine_there_is_nothing_to_do(stand: Stand) -> None:
    becomes(stand, NEW)
    stand.publish("plug", "2.0")
    assert "switched to generation 1 (" in stand("build", "--upgrade").stderr
    becomes(stand, OLD)
    asked = len(stand.index.requests)

    back = stand("build")

    assert "nothing to do: generation 1 (" in back.stderr
    assert len(stand.index.requests) == asked
    assert [member["version"] for member in stand("list", "--json").json["members"]] == ["1.0"]
    becomes(stand, NEW)
    assert "nothing to do: generation 1 (" in stand("build").stderr
    assert [member["version"] for member in stand("list", "--json").json["members"]] == ["2.0"]


def test_back_on_the_old_engine_a_build_that_has_something_to_do_starts_from_its_own_lock(stand: Stand) -> None:
    becomes(stand, NEW)
    stand.publish("plug", "2.0")
    stand.publish("more", "1.0")
    stand("build", "--upgrade")
    becomes(stand, OLD)

    stand.build("plug", "more")

    members = {member["name"]: member["version"] for member in stand("list", "--json").json["members"]}
    assert members == {"more": "1.0", "plug": "1.0"}
    assert f'engine_version = "{OLD}"' in (stand.vpm_env.folder / "pylock.plugins.toml").read_text()
    assert "nothing to do" in stand("build").stderr


def test_a_lock_for_the_same_engine_is_an_input_wherever_it_comes_from(stand: Stand) -> None:
    lock = stand.vpm_env.folder / "pylock.plugins.toml"
    lock.write_text(lock.read_text().replace(f'prefix = "{stand.base.prefix}"', 'prefix = "/elsewhere"'))

    assert "nothing to do" not in stand("build").stderr
