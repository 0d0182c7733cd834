"""The verbs that look into sets, whole: in a pipe, on a terminal, as JSON by their schemas, and for wrong input."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import kit
import pytest
from test_cli import on_terminal, shown

from envbuilder import cli

if TYPE_CHECKING:
    from collections.abc import Callable

    Call = Callable[..., tuple[int, str, str]]

GROUP = "vllm.general_plugins"
ROUTES = "vllm.endpoint_plugins"
REGISTER = "def register(): ...\n"
CONFIGS = (
    "  - {name: one, source: pypi}\n",
    """\
  - {name: one, source: pypi, version: '==1.0'}
  - {name: two, source: pypi, version: '==1.0', extras: [fast]}
  - {name: three, source: pypi, ignore: [helper]}
  - {name: given, source: pypi, package: basic}
  - {name: gone, source: pypi, package: absent, optional: true}
""",
)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build two generations once; the second has every kind of thing that there is to see."""
    folder = tmp_path_factory.mktemp("see")
    base = kit.base(folder / "base")
    kit.fake_vllm(base, "0.33.0")
    points = {GROUP: {"basic": "basic:register"}}
    files = {"basic/__init__.py": REGISTER}
    kit.install(base, kit.wheel(folder / "w", "helper", "2.0"))
    kit.install(base, kit.wheel(folder / "w", "basic", "3.0", requires=["helper>=1"], entry_points=points, files=files))
    links = folder / "links"
    for version in ("1.0", "1.1", "2.0"):
        kit.wheel(links, "shared", version, requires=["helper>=1.5"])
    plugin(links, "one", "1.0", requires=["shared<2", "vllm>=0.30"])
    plugin(links, "one", "1.2", requires=["shared<2", "vllm>=0.30"])
    routes = {ROUTES: {"two_routes": "two:register"}}
    plugin(links, "two", "1.0", requires=["one", "quick; extra == 'fast'", "other; extra == 'slow'"], more=routes)
    kit.wheel(links, "quick", "1.0", requires=["shared>=1"])
    kit.wheel(links, "three", "1.0", requires=["helper>=9"])
    env = kit.clean_environment(folder)
    env |= {"VPM_ENV_HOME": str(folder / "home"), "UV_CACHE_DIR": str(folder / "uv"), "COLUMNS": "80"}
    (folder / "work").mkdir()
    vpm_env = kit.VpmEnv(home=folder / "home", folder=folder / "work", env=env).use(base)
    for entries in CONFIGS:
        vpm_env.config(f"find_links: {links}\nindex: http://user:secret@127.0.0.1:9/none\nplugins:\n{entries}")
        vpm_env("build", "--offline", check=True)
    return vpm_env


def plugin(links: Path, name: str, version: str, *, requires: list[str], more: dict[str, Any] | None = None) -> None:
    points = {GROUP: {name: f"{name}:register"}, **(more or {})}
    kit.wheel(links, name, version, files={f"{name}/__init__.py": REGISTER}, requires=requires, entry_points=points)


@pytest.fixture
def call(stand: kit.VpmEnv, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a verb in this process, in the stand's environment; return exit code and both streams, as `shown`."""

    def run(*words: str, home: Path | None = None, **variables: str) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            for name in list(os.environ):
                patch.delenv(name)
            for name, value in {**stand.env, **variables}.items():
                patch.setenv(name, value)
            patch.chdir(stand.folder)
            if home:
                patch.setenv("VPM_ENV_HOME", str(home))
            code = cli.main(list(words))
        said = capsys.readouterr()
        return code, sized(shown(said.out, stand)), sized(shown(said.err, stand))

    return run


@pytest.fixture
def record(call: Call) -> Callable[..., dict[str, Any]]:
    """Run a verb with `--json`, check its output against its schema, and return it."""

    def run(schema: str, *words: str, **more: Any) -> dict[str, Any]:
        code, out, err = call(*words, "--json", **more)
        assert code in (0, 1), err
        parsed: dict[str, Any] = json.loads(re.sub(r'(?<=": )NNN (B|KiB|GiB|MiB)', "1", out))
        jsonschema.validate(unshown(parsed), schema_of(schema), format_checker=jsonschema.FormatChecker())
        return parsed

    return run


@pytest.fixture
def collected(stand: kit.VpmEnv, tmp_path: Path) -> Path:
    """Return a copy of the home in which generation 1 was collected."""
    home = tmp_path / "home-copy"
    shutil.copytree(stand.home, home, symlinks=True)
    (pointer,) = home.glob("profiles/*/*/generations/1")
    shutil.rmtree(pointer.resolve())
    pointer.unlink()
    return home


def sized(text: str) -> str:
    """Take out sizes on disk, which file systems differ in."""
    return re.sub(r"\b\d+(\.\d)? (KiB|MiB|GiB|B)\b", "NNN B", text)


def unshown(value: Any) -> Any:
    """Put in something of the right form where `shown` took out what differs."""
    if isinstance(value, dict):
        return {name: unshown(item) for name, item in value.items()}
    if isinstance(value, list):
        return [unshown(item) for item in value]
    if not isinstance(value, str):
        return value
    known = {"DIGEST": "0" * 64, "KEY": "0" * 12, "TIME": "2026-01-01T00:00:00+00:00"}
    return known.get(value, value)


def schema_of(verb: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((kit.ROOT / "docs" / "schemas" / f"{verb}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


def test_show(call: Call) -> None:
    code, out, err = call("show")

    assert (code, err) == (0, "")
    assert re.sub(r"(?<=\n)(left out|warning): .*", r"\1: …", out) == (
        "generation 2 (KEY), current\n"
        "made:       TIME by build\n"
        "state:      untried\n"
        "config:     /X/work/plugins.yaml\n"
        "profile:    default for base KEY\n"
        "base:       /X/base (vllm 0.33.0, Python 3.X)\n"
        "relies on:  helper 2.0, vllm 0.33.0\n"
        "overlay:    /X/home/overlays/KEY/DIGEST\n"
        "size:       NNN B of files, NNN B on disk, NNN B needed by nothing else\n"
        "provided:   given by the base (basic 3.0)\n"
        "ignored:    three ignores its bounds on helper\n"
        "left out: …\n"
        "warning: …\n"
        "allow-list: VLLM_PLUGINS=basic,lora_filesystem_resolver,lora_hf_hub_resolver,one,two,two_routes\n"
        "\n"
        "package  version  plugin       size  source  note\n"
        "one      1.0      one         NNN B  index\n"
        "three    1.0      three       NNN B  index\n"
        "two      1.0      two         NNN B  index\n"
        "quick    1.0      dependency  NNN B  index\n"
        "shared   1.1      dependency  NNN B  index\n"
        "\n"
        "group                  entry point  package  probe\n"
        "vllm.endpoint_plugins  two_routes   two      imported, N s\n"
        "vllm.general_plugins   one          one      ok, N s\n"
        "vllm.general_plugins   two          two      ok, N s\n"
    )


def test_show_of_a_collected_generation(call: Call, record: Callable[..., Any], collected: Path) -> None:
    code, out, _ = call("show", "1", home=collected)

    assert code == 0
    assert "overlay:    collected; `vpm-env switch 1` rebuilds it from its lock\n" in out
    assert "\none      1.2      one               index\nshared   1.1      dependency        index\n" in out
    assert record("show", "show", "1", home=collected)["on_disk"] is False


def test_diff(call: Call) -> None:
    code, out, err = call("diff", "1")

    assert code == 0
    assert out == (
        "generation 1 (KEY) → generation 2 (KEY)\n"
        "\n"
        "packages\n"
        "  one: 1.2 → 1.0\n"
        "  quick: ∅ → 1.0, +NNN B\n"
        "  three: ∅ → 1.0, +NNN B\n"
        "  two: ∅ → 1.0, +NNN B\n"
        "\n"
        "entry points\n"
        "  vllm.endpoint_plugins: two_routes: ∅ → two:register\n"
        "  vllm.general_plugins: two: ∅ → two:register\n"
        "\n"
        "settings\n"
        "  given: ∅ → pypi basic\n"
        "  gone: ∅ → pypi absent\n"
        "  one.version: ∅ → ==1.0\n"
        "  three: ∅ → pypi three\n"
        "  two: ∅ → pypi two==1.0\n"
        "\n"
        "on disk: +NNN B, -NNN B\n"
    )
    assert err == "collecting generation 1 would free NNN B\n"
    assert call("diff") == (code, out, err)
    assert call("diff", "2", "2")[2] == "nothing differs\n"


def test_diff_with_a_collected_generation_says_what_is_not_known(
    call: Call, record: Callable[..., Any], collected: Path
) -> None:
    code, out, err = call("diff", "1", "2", home=collected)

    assert code == 0
    assert "\npackages\n  one: 1.2 → 1.0\n" in out
    assert err == "generation 1 was collected: its entry points and bytes are not known\n"
    assert record("diff", "diff", "1", "2", home=collected)["entry_points"] is None


def test_the_bytes_of_a_difference_are_those_that_gc_frees(stand: kit.VpmEnv, collected: Path) -> None:
    told = stand("diff", "1", "--json", check=True).json["bytes"]
    of_one = stand("show", "1", "--json", check=True).json["bytes"]
    swept = stand("gc", "--dry-run", "--json", "--home", collected, check=True).json

    assert told["freeable"] == of_one["own"]
    assert 0 < told["freeable"] <= told["removed"]
    # Its overlay is gone from the copy already; what is left of it are the packages that nobody else has.
    assert {key.split("-", 1)[1] for key in swept["packages"]} == {"one-1.2"}
    assert 0 < swept["bytes"] < told["freeable"]


TREE = """\
one 1.0
├── shared 1.1 (<2)
│   └── helper 2.0 (>=1.5, base)
└── vllm 0.33.0 (>=0.30, base)
three 1.0
└── helper 2.0 (>=9, bound ignored, base)
two 1.0
├── one 1.0 (*)
└── quick 1.0
    └── shared 1.1 (>=1) (*)
basic 3.0 (base, plugin given)
gone (left out: `vpm-env show` says why)
"""


def test_tree(call: Call) -> None:
    code, out, err = call("tree")

    assert (code, err) == (0, "")
    assert out == TREE


def test_tree_on_a_terminal(stand: kit.VpmEnv) -> None:
    assert re.sub(r"\x1b\[[\d;]*m", "", on_terminal(stand, "tree")) == TREE


def test_tree_to_a_depth_below_one_package_and_into_the_base(call: Call, record: Callable[..., Any]) -> None:
    assert call("tree", "two", "--depth", "1")[1].splitlines()[:3] == ["two 1.0", "├── one 1.0", "└── quick 1.0"]
    assert "basic 3.0 (base, plugin given)\n└── helper 2.0 (>=1, base)\n" in call("tree", "given", "--all")[1]
    assert [node["name"] for node in record("tree", "tree", "two", "--depth", "1")["packages"]] == [
        "two",
        "one",
        "quick",
    ]


def test_why_a_package_of_the_base(call: Call) -> None:
    code, out, err = call("why", "Helper")

    assert code == 0
    assert out == (
        "helper 2.0: provided by the base\n"
        "  one 1.0 → shared 1.1 → helper >=1.5\n"
        "  three 1.0 → helper >=9 (bound ignored)\n"
        "  of the base: basic (>=1)\n"
    )
    assert err == "generation 2 relies on helper 2.0: another version in the base needs a new build\n"


def test_why_a_package_of_the_set(call: Call) -> None:
    assert call("why", "shared")[1] == (
        "shared 1.1: a dependency\n  one 1.0 → shared <2\n  two 1.0 → quick 1.0 → shared >=1\n"
    )
    assert call("why", "three")[2] == "the config asks for it; nothing else in generation 2 needs it\n"
    assert call("why", "one")[2] == "needed by 1 package of generation 2\n"
    assert call("why", "one")[1] == "one 1.0: the plugin `one` of the config\n  two 1.0 → one\n"
    assert call("why", "given")[1] == "basic 3.0: the plugin `given` of the config, provided by the base\n"
    assert call("why", "shared", "--generation", "1")[1] == "shared 1.1: a dependency\n  one 1.2 → shared <2\n"


PLUGINS = """\
group                  name        owner             loads
vllm.general_plugins   basic       basic 3.0 (base)  yes
vllm.general_plugins   one         one 1.0           yes
vllm.general_plugins   two         two 1.0           yes
vllm.endpoint_plugins  two_routes  two 1.0           no: only if VLLM_PLUGINS names it

export VLLM_PLUGINS=basic,lora_filesystem_resolver,lora_hf_hub_resolver,one,two,two_routes
"""


def test_plugins(call: Call) -> None:
    code, out, err = call("plugins")

    assert (code, out) == (0, PLUGINS)
    assert err == (
        "`three` has no entry point of the engine's: it is there to be imported\n"
        "VLLM_PLUGINS is not set: the set needs the value above\n"
        "note: it is part of the key of vLLM's compile cache: with another value, models are compiled again\n"
    )
    assert call("plugins", "--export") == (0, PLUGINS.splitlines()[-1] + "\n", "")


def test_plugins_with_a_value_that_is_there_already(call: Call) -> None:
    _, out, err = call("plugins", VLLM_PLUGINS="one, tow")

    assert "\nvllm.general_plugins   basic       basic 3.0 (base)  no: VLLM_PLUGINS does not name it\n" in out
    assert "\nvllm.general_plugins   one         one 1.0           yes: VLLM_PLUGINS names it\n" in out
    # The user left the base's `basic` out, and that stays so.
    assert out.endswith("export VLLM_PLUGINS=lora_filesystem_resolver,lora_hf_hub_resolver,one,two,two_routes\n")
    assert "warning: VLLM_PLUGINS names ` tow`, which nothing provides; did you mean `two`?\n" in err
    assert "VLLM_PLUGINS is `one, tow`: the set needs the value above\n" in err


def test_an_empty_allow_list_is_called_empty(call: Call) -> None:
    _, _, err = call("plugins", VLLM_PLUGINS="")

    assert "VLLM_PLUGINS is empty: the set needs the value above\n" in err
    assert "``" not in err


def test_what_the_engine_loads_is_what_plugins_says(stand: kit.VpmEnv) -> None:
    line = stand("plugins", "--export", check=True).stdout
    value = re.fullmatch(r"export VLLM_PLUGINS=(.*)\n", line)
    assert value
    loaded = json.loads(stand("run", "--", "vllm", "serve", env={"VLLM_PLUGINS": value[1]}, check=True).stdout)[
        "loaded"
    ]
    restricted = stand("plugins", "--json", env={"VLLM_PLUGINS": "two,basic"}, check=True).json["entry_points"]
    fewer = json.loads(stand("run", "--", "vllm", "serve", env={"VLLM_PLUGINS": "two,basic"}, check=True).stdout)

    assert sorted(loaded) == ["basic", "one", "two"]
    told = [point["name"] for point in restricted if point["loads"] and point["group"] == GROUP]
    assert sorted(fewer["loaded"]) == sorted(told)


def test_outdated(call: Call) -> None:
    code, out, err = call("outdated", "--offline")

    assert code == 0
    assert out == (
        "package  version  fits  newest  held by\n"
        "one      1.0      1.0   1.2     plugins.yaml (==1.0)\n"
        "shared   1.1      1.1   2.0     one (<2)\n"
    )
    assert err.endswith("2 of 5 packages could be newer, 0 of them with this base and config\n")
    assert len(call("outdated", "--offline", "--all")[1].splitlines()) == 6
    assert call("outdated", "--offline", "--check")[0] == 0


def test_outdated_names_what_fits_and_writes_nothing(stand: kit.VpmEnv, call: Call) -> None:
    config, lock = stand.folder / "plugins.yaml", stand.folder / "pylock.plugins.toml"
    before, locked = config.read_text(), lock.read_bytes()
    config.write_text(before.replace("version: '==1.0'}", "version: '>=1.0'}"))
    try:
        code, out, err = call("outdated", "--offline", "--check")
    finally:
        config.write_text(before)

    assert code == 3
    assert "\none      1.0      1.2   1.2\n" in out
    assert "2 of 5 packages could be newer, 1 of them with this base and config\n" in err
    assert "hint: `vpm-env build --upgrade` takes what fits; `--upgrade NAME` takes one\n" in err
    assert lock.read_bytes() == locked


def test_info(call: Call) -> None:
    code, out, err = call("info")

    assert (code, err) == (0, "")
    out = re.sub(r"vpm-env: .*", "vpm-env: V", re.sub(r"uv: .*", "uv: V", out))
    assert re.sub(r"size: .*", "size: S", re.sub(r"3\.\d+\.\d+ \(", "3.X (", out)) == (
        "vpm-env: V\n"
        "uv: V\n"
        "home:      /X/home, chosen by `$VPM_ENV_HOME`\n"
        "profile:   default\n"
        "config:    /X/work/plugins.yaml, chosen by the working directory\n"
        "base:      /X/base, chosen by `$VPM_ENV_BASE`\n"
        "base key:  KEY\n"
        "python:    3.X (/X/base/bin/python)\n"
        "engine:    vllm 0.33.0\n"
        "hook:      none\n"
        "packages:  from index http://127.0.0.1:9/none (`index` of the config)\n"
        "packages:  from links /X/links (`find_links` of the config)\n"
        "size: S\n"
    )


def test_info_where_there_is_little(call: Call, tmp_path: Path) -> None:
    code, out, err = call("info", VPM_ENV_BASE="/nowhere", VPM_ENV_HOME=str(tmp_path / "none"))

    assert code == 0
    assert "\nbase:      none\n" in out
    assert "\nhook:      unknown\n" in out
    assert "warning: `$VPM_ENV_BASE` names `/nowhere`, which is no interpreter and no folder of one\n" in err


def test_info_with_a_config_whose_index_lacks_a_variable(call: Call, tmp_path: Path) -> None:
    config = tmp_path / "plugins.yaml"
    config.write_text("index: https://${NO_SUCH_TOKEN}@index.example/simple\nplugins: []\n")
    code, out, err = call("info", "--config", str(config))

    assert code == 0
    assert "\nengine:    vllm 0.33.0\n" in out
    assert "\npackages: " not in out
    assert "warning: `index`: the variable `NO_SUCH_TOKEN` of" in err


def test_gc_says_why_something_stays(call: Call, stand: kit.VpmEnv, collected: Path) -> None:
    digest = json.loads(stand("show", "--json").stdout)["digest"]

    assert call("gc", "--why", digest[:8])[1] == (
        "overlay KEY (NNN B): stays\n  generation 2 of profile default: current\n"
    )
    assert call("gc", "--why", "1")[1] == (
        "overlay KEY (NNN B): stays\n  generation 1 of profile default: rollback target\n"
    )
    assert call("gc", "--why", "shared")[1] == (
        "package shared-1.1 (NNN B): stays\n"
        "  generation 1 of profile default through KEY: rollback target\n"
        "  generation 2 of profile default through KEY: current\n"
    )
    assert call("gc", "--why", "one-1.2", home=collected)[1] == (
        "package one-1.2 (NNN B): goes with the next gc\n  nothing points to it\n"
    )


def test_gc_names_a_process_that_uses_an_overlay(call: Call, stand: kit.VpmEnv) -> None:
    overlay = Path(stand("path", "1", check=True).stdout.strip())
    code = "import fcntl, sys; held = open(sys.argv[1]); fcntl.flock(held, fcntl.LOCK_SH); print(flush=True); input()"
    command = [sys.executable, "-c", code, str(overlay / ".lease")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "\n"
        told = call("gc", "--why", overlay.name)[1]
        holder.communicate("\n")

    assert f"\n  process {holder.pid}: holds its lease\n" in told


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("status", ("status",)),
        ("history", ("history",)),
        ("list", ("list",)),
        ("show", ("show", "2")),
        ("diff", ("diff", "1", "2")),
        ("tree", ("tree", "--all")),
        ("why", ("why", "helper")),
        ("plugins", ("plugins",)),
        ("outdated", ("outdated", "--offline")),
        ("info", ("info",)),
        ("gc-why", ("gc", "--why", "shared")),
    ],
)
def test_json_is_as_its_schema_says(record: Callable[..., Any], schema: str, words: tuple[str, ...]) -> None:
    told = record(schema, *words)

    assert told["version"] == 1
    assert "secret" not in json.dumps(told)


@pytest.mark.parametrize(
    "words", [("show",), ("diff", "1"), ("why", "helper"), ("plugins",), ("outdated", "--offline"), ("info",)]
)
def test_a_terminal_of_80_columns_shows_the_same_in_colours_and_tables(
    stand: kit.VpmEnv, call: Call, words: tuple[str, ...]
) -> None:
    written = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", sized(on_terminal(stand, *words)))
    _, out, err = call(*words)

    drawn = [line for line in written.splitlines() if "─" in line]
    assert bool(drawn) is (words[0] in ("show", "plugins", "outdated"))
    assert all(len(line) <= 80 for line in drawn)
    assert said_in(written) == said_in(out + err)


def said_in(text: str) -> set[str]:
    """Return the words of a text, without lines of tables, and of progress, which takes its time."""
    lines = (line for line in text.splitlines() if not re.search(r"resolving|looking for newer", line))
    return set(re.findall(r"[^\s─│]+", "\n".join(lines))) - {"⠋"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("show", "99999"), 2, "error: the profile `default` has no generation 99999\n\nhint: there are 1 and 2:"),
        (("show", "zz"), 2, "error: `zz` is no generation\n\nhint: name it by its number"),
        (("diff", "1", "ffff"), 2, "error: the profile `default` has no generation whose digest begins with `ffff`"),
        (("diff", "1", "2", "3"), 2, "error: unrecognized arguments: 3\n"),
        (
            ("tree", "sharde"),
            2,
            "error: neither the set nor the base has a package `sharde`\n\nhint: did you mean `shar",
        ),
        (("tree", "--depth", "x"), 2, "error: `x` is no number\n"),
        (("why",), 2, "error: the following arguments are required: PACKAGE\n"),
        (("why", "zzzz"), 2, "error: neither the set nor the base has a package `zzzz`\n\nhint: see `vpm-env list`\n"),
        (
            ("gc", "--why", "shard"),
            2,
            "error: nothing in the store is called `shard`\n\nhint: did you mean `shared`?\n",
        ),
        (("install", "x"), 2, "error: there is no verb `install`\n\nhint: `vpm-env add NAME` puts a plugin into"),
        (("lgo",), 2, "error: there is no verb `lgo`\n\nhint: did you mean `vpm-env log`?\n"),
        (
            ("uninstall", "one"),
            2,
            "error: `uninstall` removes vpm-env's hook and home, and takes no names\n\nhint: `vpm-env rem",
        ),
        (("tree", "--profile", "none"), 1, "error: nothing is current in the profile `none`\n"),
    ],
)
def test_mistakes_are_told(call: Call, words: tuple[str, ...], code: int, said: str) -> None:
    got, out, err = call(*words)

    assert (got, out) == (code, "")
    assert err.startswith(said)


def test_a_generation_goes_by_the_beginning_of_its_digest_too(stand: kit.VpmEnv, call: Call) -> None:
    digests = [entry["digest"] for entry in stand("history", "--json").json["generations"]]

    assert call("path", digests[0][:6].upper())[1] == call("path", "1")[1]
    assert call("diff", digests[0][:4], digests[1])[1] == call("diff", "1", "2")[1]
    first, second = (next(digest[:at] for at in range(1, 64) if digest[:at] not in "12") for digest in digests)
    if first != second and not (first.startswith(second) or second.startswith(first)):
        assert call("path", first)[1] == call("path", "1")[1]
    assert call("gc", "--why", digests[0][:12])[1] == call("gc", "--why", "1")[1]
    assert call("ls") == call("list")
    assert call("log") == call("history")


def test_look_verbs_write_nothing(stand: kit.VpmEnv, call: Call) -> None:
    def state() -> set[tuple[str, int]]:
        paths = [path for part in ("profiles", "overlays", "store") for path in (stand.home / part).rglob("*")]
        return {(str(path), path.lstat().st_mtime_ns) for path in paths}

    before = state()
    for words in (("show",), ("diff", "1"), ("tree",), ("why", "one"), ("plugins",), ("info",), ("gc", "--why", "1")):
        call(*words)

    assert state() == before
