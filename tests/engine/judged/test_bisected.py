"""A published plugin that ends every process of the engine is found among five, by the engine's own loader."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stands import Stand

pytestmark = pytest.mark.engine

GROUP = "vllm.general_plugins"
LOADS = "from vllm.plugins import load_general_plugins; load_general_plugins()"
FORCED = "probe: none\nfind_links: {links}\nplugins:\n"
MERALION = "  - {name: meralion, source: pypi, package: vllm-plugin-meralion2, version: ==0.3.0}\n"
WHY = "RuntimeError: MERaLiON2 plugin does not support vLLM version 0.32.0. Supported range: >= 0.12.0, < 0.17.0"


def test_the_plugin_that_raises_is_named_among_five(stand: Stand) -> None:
    # Of these it requires only the names, to load.
    stand.publish("librosa", "0.11.0", files={"librosa.py": "", "soxr.py": ""})
    names = ("west", "wide", "wild", "wood")
    for name in names:
        points = {GROUP: {name: f"{name}:register"}}
        stand.publish(name, files={f"{name}.py": "def register(): ...\n"}, entry_points=points)
    fine = "".join(f"  - {{name: {name}, source: pypi}}\n" for name in names)
    stand.vpm_env.config(FORCED.format(links=stand.index.folder) + fine + MERALION)
    stand("build")

    found = stand("bisect", "--timeout", "2m", "--json", "--", "python", "-c", LOADS, check=False)

    assert found.exit == 0, found.output
    (cause,) = found.json["causes"]
    assert (cause["changes"], cause["exact"]) == (["vllm-plugin-meralion2"], True)
    assert WHY in cause["output"]
    assert found.json["cured"]
    assert len(found.json["tries"]) == 7
    assert "run `vpm-env disable meralion --build`, or until then `vpm-env run --without meralion" in found.stderr
    assert [entry["state"] for entry in stand("history", "--json").json["generations"]] == ["untried"]
