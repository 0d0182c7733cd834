"""The hook and `overlay/bin/python` give one set: every name is the same file, whatever base and Python."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import kit
import pytest
import stands

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT = "{}.{}".format(*sys.version_info)
CASES = [(kind, DEFAULT) for kind in kit.KINDS] + [("venv", version) for version in kit.pythons() if version != DEFAULT]
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

points = metadata.entry_points()
groups = points if isinstance(points, dict) else {name: points.select(group=name) for name in points.groups}
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
    )
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


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, uv_cache: Any
) -> Iterator[stands.Stand]:
    kind, version = request.param
    folder = tmp_path_factory.mktemp(f"ways-{kind}-{version}")
    with stands.stand(folder, uv_cache, kind=kind, python=kit.pythons()[version]) as stand:
        lower = {"space/lower/__init__.py": "", "space/lower/deep.py": ""}
        kit.install(stand.base, kit.wheel(folder, "space-lower", files=lower))
        if stand.base.user_site:
            kit.install(stand.base, kit.wheel(folder, "of-the-user"), into=stand.base.user_site)
        publish(stand)
        stand("hook", "install")
        stand.build(*PLUGINS)
        yield stand


def test_every_name_is_the_same_file_both_ways(built: stands.Stand) -> None:
    hooked = built.ask(built.base.python, FIND, *TOPS)
    layered = built.ask(built.overlay / "bin" / "python", FIND, *TOPS)

    assert hooked == layered
    assert {"vllm", "regular.inner.deep", "single_module", "shared.first", "shared.second"} <= hooked.keys()
    assert {"space.one.deep", "space.two", "space.lower.deep"} <= hooked.keys()
    assert hooked["regular"][0].startswith(str(built.overlay))
    assert hooked["vllm"][0].startswith(str(built.base.purelib.parent.parent)) or built.base.kind == "system-site"
    assert ("of_the_user" in hooked) == (built.base.user_site is not None)


def test_code_runs_both_ways(built: stands.Stand) -> None:
    code = "import json, fast, sys; print(json.dumps([fast.value(), '_vpm_env_hook' in sys.modules]))"
    table = built.overlay / "share" / "regular" / "table.txt"

    assert built.ask(built.base.python, code) == [42, True]
    assert built.ask(built.overlay / "bin" / "python", code)[0] == 42
    assert built.run(built.overlay / "bin" / "regular-tool").stdout == "a tool\n"
    assert built.run(built.overlay / "bin" / "vllm").stdout.count('"loaded": ["fit"') == 1
    assert table.read_text() == "a table"


def test_metadata_of_a_hooked_base_are_right(built: stands.Stand) -> None:
    told = built.ask(built.base.python, METADATA, *PLUGINS)

    assert told["versions"] == dict.fromkeys(PLUGINS, "1.0")
    assert "fit = regular:fit" in told["points"]
    assert {"vllm", "regular-tool"} <= set(told["scripts"])
    assert told["missing"] == []
    assert {"regular/__init__.py", "regular/inner/deep.py", "regular/table.json"} <= set(told["files"]["regular"])
    assert told["owners"]["regular"] == ["regular"]
    assert told["owners"]["shared"] == ["shared-first", "shared-second"]
    assert {"space-one", "space-two"} <= set(told["owners"]["space"])
    assert told["owners"]["vllm"] == ["vllm"] or built.base.python_version == "3.10"
    assert told["loaded"] == ["fits"]


def test_metadata_are_the_same_both_ways(built: stands.Stand) -> None:
    hooked = built.ask(built.base.python, METADATA, *PLUGINS)
    layered = built.ask(built.overlay / "bin" / "python", METADATA, *PLUGINS)

    assert hooked == layered


def test_the_users_site_counts_as_base(tmp_path_factory: pytest.TempPathFactory, uv_cache: Any) -> None:
    """What lies in the user's site of a conda environment is a fact, and not brought in a second time."""
    with stands.stand(tmp_path_factory.mktemp("user-site"), uv_cache, kind="conda") as stand:
        assert stand.base.user_site is not None
        kit.install(stand.base, kit.wheel(stand.folder, "of-the-user", "1.5"), into=stand.base.user_site)
        stand.publish("of-the-user", "1.9")
        stand.publish("needs-it", requires=("of-the-user>=1",))

        told = stand.build("needs-it")
        names = [package["name"] for package in stand("list", "--json").json["members"]]
        file = stand.run(
            stand.overlay / "bin" / "python", "-c", "import of_the_user as m; print(m.__version__, m.__file__)"
        )

    assert "of-the-user" not in told.stderr
    assert names == ["needs-it"]
    assert file.stdout.startswith(f"1.5 {stand.base.user_site}")
