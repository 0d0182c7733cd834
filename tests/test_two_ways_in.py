"""The hook and `overlay/bin/python` give one set: every name is the same file, whatever base and Python."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import kit
import pytest
import stands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEFAULT = "{}.{}".format(*sys.version_info)
ALL = [(kind, DEFAULT) for kind in kit.KINDS] + [("venv", version) for version in kit.pythons() if version != DEFAULT]
CASES = kit.mostly_long(ALL, ("venv", DEFAULT))
PLUGINS = ("regular", "single-module", "space-one", "space-two", "shared-first", "shared-second", "fast")
TOPS = ("regular", "single_module", "space", "shared", "fast")

FIND = """
import importlib.util, json, os, sys, sysconfig

library = os.path.dirname(os.__file__)
own = (library, library + "/lib-dynload", os.getcwd())
folders = [path for path in sys.path if os.path.isdir(path) and path not in own]

def names(folder):
    for entry in sorted(os.listdir(folder)):
        stem = entry.split(".")[0]
        is_module = entry.endswith((".py", ".so")) or os.path.isdir(os.path.join(folder, entry))
        if stem.isidentifier() and is_module and entry != "__pycache__" and (stem == entry or "." in entry):
            yield stem

found = {}
def look(name, deep):
    spec = importlib.util.find_spec(name)
    if spec is None or name in found:
        return
    places = list(spec.submodule_search_locations or ())
    found[name] = [spec.origin, sorted(places)]
    for place in places if deep else ():
        for inner in names(place):
            look(name + "." + inner, deep)

for folder in folders:
    for name in names(folder):
        look(name, name in sys.argv[1:])
print(json.dumps(found))
"""

METADATA = """
import importlib.metadata as metadata, json, sys

told = {
    "versions": {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"] in sys.argv[1:]},
    "points": sorted(point.name + " = " + point.value for point in metadata.entry_points(group="vllm.general_plugins")),
    "scripts": sorted(point.name for point in metadata.entry_points(group="console_scripts")),
    "files": {name: sorted(map(str, metadata.files(name))) for name in sys.argv[1:]},
    "missing": [str(f) for name in sys.argv[1:] for f in metadata.files(name) if not f.locate().exists()],
    "owners": {key: sorted(set(names)) for key, names in metadata.packages_distributions().items()},
    "loaded": [point.load()() for point in metadata.entry_points(group="vllm.general_plugins") if point.name == "fit"],
}
print(json.dumps(told))
"""


def publish(stand: stands.Stand) -> None:
    """Publish one wheel of every shape that site-packages know."""

    def wheel(name: str, files: dict[str, str | bytes], **options: Any) -> None:
        tops = sorted({path.split("/")[0].split(".")[0] for path in files})
        top_level = {f"{name.replace('-', '_')}-1.0.dist-info/top_level.txt": "\n".join(tops) + "\n"}
        stand.publish(name, files={**files, **top_level}, **options)

    wheel(
        "regular",
        {
            "regular/__init__.py": "def fit(): return 'fits'\ndef main(): print('a tool')\n",
            "regular/inner/__init__.py": "",
            "regular/inner/deep.py": "",
            "regular/table.json": "{}",
        },
        data={"share/regular/table.txt": "a table"},
        entry_points={stands.GROUP: {"fit": "regular:fit"}, "console_scripts": {"regular-tool": "regular:main"}},
        requires=("of-the-user>=1",),
    )
    stand.publish("of-the-user", "1.9")
    wheel("single-module", {"single_module.py": "value = 1\n"})
    wheel("space-one", {"space/one/__init__.py": "", "space/one/deep.py": ""})
    wheel("space-two", {"space/two.py": ""})
    wheel("shared-first", {"shared/__init__.py": "", "shared/first/__init__.py": ""})
    wheel("shared-second", {"shared/second.py": ""})
    if stands.can_compile():
        name, content = stands.extension(stand.folder / "c", stand.base, "_fast", "42")
        files = {"fast/__init__.py": "from fast._fast import value\n", f"fast/{name}": content}
        wheel("fast", files, tag=stands.Platform.of(stand.base).tag)
    else:
        wheel("fast", {"fast/__init__.py": "def value(): return 42\n"})


@dataclass(frozen=True)
class Both:
    """One set in a hooked base, and what both ways in say of it."""

    stand: stands.Stand
    overlay: Path
    found: tuple[Any, Any]
    metadata: tuple[Any, Any]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one home for all bases: what two of them have in common is in its store once."""
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, uv_cache: Path, registry: Path
) -> Iterator[Both]:
    kind, version = request.param
    folder = tmp_path_factory.mktemp(f"ways-{kind}-{version}")
    with stands.stand(folder, uv_cache, registry=registry, kind=kind, python=kit.pythons()[version]) as stand:
        lower = {"space/lower/__init__.py": "", "space/lower/deep.py": ""}
        kit.install(stand.base, kit.wheel(folder, "space-lower", files=lower))
        kit.install(stand.base, kit.wheel(folder, "of-the-user", "1.5"), into=stand.base.user_site)
        publish(stand)
        stand("hook", "install")
        stand.build(*PLUGINS)
        overlay = stand.overlay
        pythons = (stand.base.python, overlay / "bin" / "python")
        found = [stand.ask(python, FIND, *TOPS) for python in pythons]
        metadata = [stand.ask(python, METADATA, *PLUGINS) for python in pythons]
        yield Both(stand, overlay, (found[0], found[1]), (metadata[0], metadata[1]))


def test_every_name_is_the_same_file_both_ways(built: Both) -> None:
    hooked, layered = built.found

    assert hooked == layered
    assert {"vllm", "regular.inner.deep", "single_module", "shared.first", "shared.second"} <= hooked.keys()
    assert {"space.one.deep", "space.two", "space.lower.deep"} <= hooked.keys()
    assert hooked["regular"][0].startswith(str(built.overlay))
    assert hooked["vllm"][0].startswith(f"{built.stand.base.purelib}/")


def test_the_users_site_counts_as_base(built: Both) -> None:
    """What lies there is a fact: it is used, and no second one is brought in."""
    base = built.stand.base

    assert (base.user_site is not None) == (base.kind in ("conda", "system", "system-site"))
    for found in built.found:
        assert found["of_the_user"][0].startswith(f"{base.user_site or base.purelib}/")
    assert not list(built.overlay.glob("lib/*/site-packages/of_the_user*"))
    assert built.stand("list", "--json").json["facts"]["of-the-user"] == "1.5"


def test_code_runs_both_ways(built: Both) -> None:
    stand, overlay = built.stand, built.overlay
    code = "import json, fast; print(json.dumps(fast.value()))"
    table = overlay / "share" / "regular" / "table.txt"

    assert [stand.ask(python, code) for python in (stand.base.python, overlay / "bin" / "python")] == [42, 42]
    assert stand.run(overlay / "bin" / "regular-tool").stdout == "a tool\n"
    for script in (overlay / "bin" / "vllm", stand.base.scripts / "vllm"):
        assert "fit" in json.loads(stand.run(script).stdout)["loaded"]
    assert table.read_text() == "a table"


def test_metadata_are_right_both_ways(built: Both) -> None:
    told = built.metadata[0]
    files = told["files"]["regular"]

    assert built.metadata[0] == built.metadata[1]
    assert told["versions"] == dict.fromkeys(PLUGINS, "1.0")
    assert "fit = regular:fit" in told["points"]
    assert {"vllm", "regular-tool"} <= set(told["scripts"])
    assert told["missing"] == []
    assert {"regular/__init__.py", "regular/inner/deep.py", "regular/table.json"} <= set(files)
    assert told["owners"]["regular"] == ["regular"]
    assert told["owners"]["shared"] == ["shared-first", "shared-second"]
    assert {"space-one", "space-two"} <= set(told["owners"]["space"])
    assert told["loaded"] == ["fits"]
