"""What a plugin declares in `vllm-plugin.yaml`, against what it and the base are: on real files, and in builds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import kit
import pytest

from envbuilder.base import Base, describe
from envbuilder.classes import replace
from envbuilder.declaration import mistaken
from envbuilder.engines import FASTDEPLOY, GENERIC, VLLM
from envbuilder.interpreter import Interpreter
from envbuilder.package import Package
from envbuilder.paths import Environment
from envbuilder.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from envbuilder.errors import Finding

GENERAL = "vllm.general_plugins"
POINTS = {GENERAL: {"my_plugin": "mine:register"}, "vllm.logits_processors": {"my_processor": "mine.last:Last"}}
SEEDS_OWN = """
name: my-awesome-plugin
version: 1.0.0
author: Your Name <your.email@example.com>
vllm:
  min_version: "0.6.0"
  max_version: "1.0.0"
python:
  min_version: "3.9"
  max_version: "3.13"
entry_points:
  vllm.general_plugins:
    - name: my_plugin
      value: mine:register
  vllm.logits_processors:
    - {name: my_processor, value: "mine.last : Last"}
dependencies: [torch>=2.0.0]
config_schema: {type: object, properties: {scale: {type: number, default: 1.0}}}
"""


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Describe one real venv, and give it an engine."""
    made = kit.base(tmp_path_factory.mktemp("declared") / "base")
    found = describe(Interpreter(str(made.python), "`--base`"), None, Environment(variables={}))
    return replace(found, engine=VLLM, engine_version="0.33.0", version="3.11.7")


def declared(
    folder: Path,
    text: str | bytes,
    base: Base,
    *,
    at: str = "vllm-plugin.yaml",
    points: Mapping[str, Mapping[str, str]] = POINTS,
    ignore: Sequence[str] = (),
) -> list[Finding]:
    """Return what is found wrong with a plugin that has `text` as its declaration."""
    lib = folder / "lib"
    dist_info = lib / "mine-1.0.dist-info"
    dist_info.mkdir(parents=True)
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in of.items()) for group, of in points.items()
    ]
    (dist_info / "entry_points.txt").write_text("\n".join(lines))
    path = lib / at
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    package = Package.of((), name="mine", version="1.0", dist_info=dist_info.name)
    subject = Subject(package=package._replace(top_level=frozenset({"mine"})), lib=str(lib), plugin="my-plugin")
    return list(mistaken([subject], base, {"my-plugin": list(ignore)}))


def told(findings: Sequence[Finding]) -> list[tuple[str, str, str]]:
    return [(finding.code, finding.severity, finding.what) for finding in findings]


def test_one_that_holds_is_silent_whatever_else_it_says(tmp_path: Path, described: Base) -> None:
    assert told(declared(tmp_path, SEEDS_OWN, described)) == []


@pytest.mark.parametrize(
    "place",
    ["vllm-plugin.yaml", "vllm_plugin.yaml", "mine/vllm-plugin.yml", "mine-1.0.dist-info/vllm-plugin.yaml"],
)
def test_wherever_it_lies_in_the_package_it_is_read(tmp_path: Path, described: Base, place: str) -> None:
    (finding,) = declared(tmp_path, SEEDS_OWN, replace(described, engine_version="1.0.0"), at=place)

    assert (finding.code, finding.severity, finding.package, finding.plugin) == (
        "declared-engine",
        "error",
        "mine",
        "my-plugin",
    )
    assert finding.what == "`mine 1.0` declares `vllm>=0.6.0,<1.0.0`, and the base has 1.0.0"
    assert finding.way_forward == (
        "use a release of `mine` for it, or `ignore: [vllm]` on `my-plugin` at your own risk"
    )


@pytest.mark.parametrize(
    ("text", "engine", "python", "expected"),
    [
        ("vllm_min: 0.6.0\nvllm_max: 0.9.0\n", "0.8.5+cpu", "3.11.7", []),
        ("vllm_min: 0.6.0\nvllm_max: 0.9.0\n", "0.9.0", "3.11.7", ["declared-engine error"]),
        ("vllm_min: 0.10\n", "0.9.2", "3.11.7", ["declared-engine error"]),  # no number: 0.10 is not 0.1
        ("vllm: '>=0.6,!=0.33.*'\n", "0.33.0", "3.11.7", ["declared-engine error"]),
        ("vllm: {min_version: 0.34.0}\n", "nightly build", "3.11.7", []),
        ("python: {max_version: '3.13'}\n", "0.33.0", "3.13.1", ["declared-python warning"]),
        ("python: {max_version: '3.13'}\n", "0.33.0", "3.14.0", ["declared-python error"]),
        ("python: {min_version: 3.12}\n", "0.33.0", "3.11.7", ["declared-python error"]),
        ("vllm: {min_version: newest}\n", "0.33.0", "3.11.7", ["declaration-unreadable warning"]),
        ("vllm:\npython: []\n", "0.33.0", "3.11.7", []),
    ],
)
def test_ranges(tmp_path: Path, described: Base, text: str, engine: str, python: str, expected: list[str]) -> None:
    base = replace(described, engine_version=engine, version=python)

    assert [f"{found.code} {found.severity}" for found in declared(tmp_path, text, base)] == expected


def test_a_bound_that_is_ignored_is_a_warning(tmp_path: Path, described: Base) -> None:
    base = replace(described, engine_version="2.0", version="3.14.0")
    found = declared(tmp_path, SEEDS_OWN, base, ignore=["vllm", "python"])

    assert [(finding.code, finding.severity) for finding in found] == [
        ("declared-engine", "warning"),
        ("declared-python", "warning"),
    ]


def test_another_engine_is_told_and_none_is_not(tmp_path: Path, described: Base) -> None:
    base = replace(described, engine=FASTDEPLOY)
    (finding,) = declared(tmp_path / "one", "vllm_min: 0.6.0\n", base)
    generic = replace(described, engine=GENERIC)

    assert finding.severity == "warning"
    assert finding.what == "`mine 1.0` declares itself for `vllm`, and the base's engine is `fastdeploy`"
    assert declared(tmp_path / "two", "vllm_min: 0.6.0\n", generic) == []
    assert declared(tmp_path / "three", "vllm_min: 9\nfastdeploy_min: 0.1\n", base) == []


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("[{name: my_plugins}]", "has none of that name; did you mean `my_plugin`?"),
        ("my_plugins", "has none of that name; did you mean `my_plugin`?"),
        ("{quite_another: mine:register}", "has none of that name; did you mean `my_plugin`?"),
        ("[{name: my_processor}]", "has none of that name; it is in `vllm.logits_processors`"),
        ("[{name: zzz, value: a:b}]", "has none of that name"),
        ("[{name: my_plugin, value: mine:start}]", "as `mine:start`, and it is `mine:register`"),
    ],
)
def test_entry_points_that_are_not_there(tmp_path: Path, described: Base, listed: str, expected: str) -> None:
    (finding,) = declared(tmp_path, f"entry_points:\n  {GENERAL}: {listed}\n", described)

    assert (finding.code, finding.severity) == ("declared-entry-point", "warning")
    assert finding.what.endswith(expected)


@pytest.mark.parametrize(
    ("content", "count"),
    [
        ("a: [b\n", 1),
        ("- just\n- a list\n", 1),
        (b"\xff\xfea\x00", 1),
        ("vllm: &range {min_version: '0.6'}\npython: *range\n", 1),
        ("", 0),
        ("# nothing\n", 0),
        ("entry_points: [1, {a: b}]\nvllm_min: [1]\n", 0),
    ],
)
def test_one_that_cannot_be_read_is_a_warning(
    tmp_path: Path, described: Base, content: str | bytes, count: int
) -> None:
    found = declared(tmp_path, content, described)

    assert [(finding.code, finding.severity) for finding in found] == [("declaration-unreadable", "warning")] * count


@pytest.mark.long
def test_in_builds_also_where_the_file_lies_beside_the_code_and_is_not_packaged(tmp_path: Path) -> None:
    base = kit.base(tmp_path / "base")
    kit.fake_vllm(base, "0.33.0")
    env = kit.clean_environment(tmp_path)
    env |= {"VPM_ENV_HOME": str(tmp_path / "home"), "UV_CACHE_DIR": str(tmp_path / "uv")}
    vpm_env = kit.VpmEnv(home=tmp_path / "home", folder=tmp_path, env=env).use(base)
    files = {"mine/__init__.py": "def register(): ...\n", "../vllm-plugin.yaml": "vllm_max: 0.30.0\n"}
    kit.project(tmp_path / "mine", "mine", files=files, layout="src", entry_points={GENERAL: {"mine": "mine:register"}})
    for editable in ("false", "true"):
        entry = f"{{name: mine, source: local, path: mine, editable: {editable}}}"
        vpm_env.config(f"index: http://127.0.0.1:9/none\nplugins:\n  - {entry}\n")
        refused = vpm_env("build", "--offline")
        assert refused.exit == 1
        assert "`mine 1.0` declares `vllm<0.30.0`, and the base has 0.33.0" in refused.stderr
    vpm_env.config(f"index: http://127.0.0.1:9/none\nplugins:\n  - {entry[:-1]}, ignore: [vllm]}}\n")
    built = vpm_env("build", "--offline", "--json", check=True).json

    assert [(finding["code"], finding["severity"]) for finding in built["findings"]] == [("declared-engine", "warning")]
