"""Plugins and libraries that people really install, from the real index with the machine's own settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import kit
import pytest
import stands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stands import Stand

pytestmark = pytest.mark.network

PLUGINS = ("raif-vllm", "hotwire-vllm", "ablated-vllm-plugin", "vllm-ipc-cache")
BEAM = "vllm-beam-search-plugin"
MERALION = "vllm-plugin-meralion2"
ENGINE = {"torch": "2.11.0", "transformers": "4.57.0", "numpy": "2.3.0"}
"""What a vLLM 0.33 brings along, as metadata."""

POINTS = """
import importlib.metadata as metadata, json
points = [(dist.metadata["Name"], point.group) for dist in metadata.distributions() for point in dist.entry_points]
print(json.dumps(sorted({name for name, group in points if group.startswith("vllm.")})))
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Share what was downloaded."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def stand(tmp_path: Path, cache: Path) -> Iterator[Stand]:
    """Give a vLLM 0.33 as far as metadata go."""
    with stands.stand(tmp_path, cache, network=True) as made:
        for name, version in ENGINE.items():
            kit.dist_info(made.base, name, version)
        yield made


def config(stand: Stand, *names: str, extra: str = "", more: str = "", probe: str = "import") -> None:
    """Write a config that leaves the index to the machine's settings; no plugin can register with such an engine."""
    entries = "".join(f"  - {{name: {name}, source: pypi, package: {name}{extra}}}\n" for name in names)
    stand.vpm_env.config(f"probe: {probe}\nplugins:\n{entries}{more}")


def announced(stand: Stand) -> set[str]:
    """Name the distributions whose entry points the engine finds in the hooked base."""
    return set(stand.ask(stand.base.python, POINTS)) - {"vpm-env-hook"}


def test_real_plugins_come_and_go(stand: Stand) -> None:
    before = kit.tree_hash(stand.base.prefix)
    stand("hook", "install")
    config(stand, *PLUGINS[:2])
    stand("build")
    assert announced(stand) == set(PLUGINS[:2])
    config(stand, *PLUGINS)
    built = stand("build", "--json").json
    results = stand("list", "--json").json["probe"]

    assert built["result"] == "switched"
    assert announced(stand) == set(PLUGINS)
    assert {result["package"] for result in results} == set(PLUGINS)
    assert {result["status"] for result in results} <= {"ok", "needs-device"}
    stand("rollback")
    assert announced(stand) == set(PLUGINS[:2])
    stand("switch", "2")
    assert announced(stand) == set(PLUGINS)
    status = stand("status", "--json").json
    assert (status["active"], status["current"]["number"]) == (True, 2)
    assert "all as they were made" in stand("verify").stderr
    assert kit.tree_hash(stand.base.prefix) == before


def test_a_bound_that_the_base_breaks_is_refused_with_its_chain(stand: Stand) -> None:
    config(stand, BEAM, extra=", version: ==0.1.5")

    refused = stand("build", check=False)

    assert refused.exit == 1
    assert f"{BEAM} 0.1.5 → vllm>=0.24.0,<0.32.0 → base has 0.33.0" in refused.stderr
    assert f"hint: if you know that it works all the same: `ignore: [vllm]` on `{BEAM}`" in refused.stderr
    assert [path.name for path in stand.vpm_env.folder.iterdir()] == ["plugins.yaml"]
    assert stand("history", "--json").json["generations"] == []
    home = stand.vpm_env.home
    for name in ("tmp", "store", "overlays"):
        assert list((home / name).iterdir()) == []
    assert not [path for path in home.glob("profiles/*/*/*") if path.name != "order.json"]


def test_a_plugin_that_refuses_the_engine_only_when_it_is_called_is_refused_first(stand: Stand) -> None:
    """Its metadata name no vLLM; what it says of itself stands in the body of its `register`."""
    stand.publish("librosa", "0.11.0")
    engine = stand.base.purelib / "vllm" / "__init__.py"
    engine.write_text(f"{engine.read_text()}class ModelRegistry: ...\n")
    config(stand, MERALION, extra=", version: ==0.3.0", more=f"find_links: {stand.index.folder}\n", probe="call")

    refused = stand("build", check=False)

    assert refused.exit == 1
    says = "RuntimeError: MERaLiON2 plugin does not support vLLM version 0.33.0. Supported range: >= 0.12.0, < 0.17.0"
    called = f"`{MERALION}`: vllm.general_plugins: register_dummy_model fails when it is called: {says}\n"
    assert called in refused.stderr
    assert stand("history", "--json").json["current"] is None


def test_a_bound_that_is_ignored_is_told_everywhere(stand: Stand) -> None:
    config(stand, BEAM, extra=", version: ==0.1.5, ignore: [vllm]")

    built = stand("build")

    says = f"`{BEAM}` ignores its bounds on vllm"
    assert says in built.stdout + built.stderr
    listed, status = stand("list"), stand("status", check=False)
    assert says in listed.stdout + listed.stderr
    assert says in status.stdout + status.stderr
    lock = (stand.vpm_env.folder / "pylock.plugins.toml").read_text()
    assert "ignored" in lock
    names = [member["name"] for member in stand("list", "--json").json["members"]]
    assert BEAM in names
    assert not set(ENGINE) & set(names)


@pytest.fixture(scope="module")
def numeric(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Stand]:
    """Give a base with a real numpy that pip installed."""
    folder = tmp_path_factory.mktemp("numeric")
    with stands.stand(folder, cache, network=True, pip=True) as made:
        made.run(made.base.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "numpy==2.2.6")
        yield made


def test_scientific_packages_over_the_bases_numpy(numeric: Stand) -> None:
    code = """
import json, numpy, pandas, scipy.linalg
solved = scipy.linalg.solve(numpy.eye(2) * 2, [2.0, 4.0])
print(json.dumps([pandas.Series(solved).sum(), numpy.__version__, numpy.__file__, scipy.__file__, pandas.__file__]))
"""
    config(numeric, "scipy", "pandas")
    numeric("hook", "install")
    numeric("build")

    answers: list[Any] = [numeric.ask(python, code) for python in (numeric.base.python, numeric.overlay / "bin/python")]

    assert answers[0] == answers[1]
    total, version, numpy, *others = answers[0]
    assert (total, version) == (3.0, "2.2.6")
    assert numpy.startswith(f"{numeric.base.purelib}/")
    assert all(path.startswith(f"{numeric.overlay}/") for path in others)
    assert "numpy" not in [member["name"] for member in numeric("list", "--json").json["members"]]


def test_an_override_must_fit_what_the_base_requires(numeric: Stand) -> None:
    wanted = ", version: '==2.3.*'"
    config(numeric, "numpy", extra=wanted, more="override: [numpy]\n")
    bound = kit.dist_info(numeric.base, "bound", "1.0", ["numpy<2.3"])

    refused = numeric("build", check=False)
    for path in bound.iterdir():
        path.unlink()
    bound.rmdir()
    numeric("hook", "install")
    numeric("build")

    assert refused.exit == 1
    assert "numpy<2.3" in refused.stderr
    assert "bound" in refused.stderr
    code = "import json, numpy; print(json.dumps([numpy.__version__.rsplit('.', 1)[0], numpy.__file__]))"
    for python in (numeric.base.python, numeric.overlay / "bin" / "python"):
        version, path = numeric.ask(python, code)
        assert (version, path.startswith(f"{numeric.overlay}/override/")) == ("2.3", True)
    assert json.loads(numeric.run(numeric.base.scripts / "vllm").stdout)["version"] == "0.33.0"
