"""A plugin that its metadata let through and the engine would die of: refused before it is current."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stands import Stand

pytestmark = pytest.mark.engine

MERALION = "  - {name: meralion, source: pypi, package: vllm-plugin-meralion2, version: ==0.3.0}\n"
WHY = "RuntimeError: MERaLiON2 plugin does not support vLLM version 0.32.0. Supported range: >= 0.12.0, < 0.17.0"
GROUP = "vllm.general_plugins"


def config(stand: Stand, plugins: str) -> None:
    stand.vpm_env.config(f"find_links: {stand.index.folder}\nplugins:\n{plugins}")


def test_what_raises_in_the_real_engine_is_refused_and_current_stays(stand: Stand) -> None:
    # Of these the engine imports a module that is there, whatever the plugin does.
    stand.publish("librosa", "0.11.0", files={"librosa.py": "", "soxr.py": ""})
    points = {GROUP: {"fine": "fine:register"}}
    wheel = stand.publish("fine", files={"fine.py": "def register(): ...\n"}, entry_points=points)
    fine = f"  - {{name: fine, source: local, path: {wheel}}}\n"
    config(stand, fine)
    stand("build")
    before = stand("status", "--json", check=False).json["current"]["digest"]

    config(stand, fine + MERALION)
    refused = stand("build", check=False)

    assert refused.exit == 1
    assert f"`meralion`: {GROUP}: register_dummy_model fails when it is called: {WHY}\n" in refused.stderr
    assert "`fine`" not in refused.stderr
    assert stand("status", "--json", check=False).json["current"]["digest"] == before
    assert len(stand("history", "--json").json["generations"]) == 1
