"""What only plugins of engines have: logits processors, bounds behind extras and on releases to come, data files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from audited import GENERAL, Ground, Make, told

from envbuilder.audit import audit
from envbuilder.engines import FASTDEPLOY

if TYPE_CHECKING:
    from collections.abc import Mapping


PROCESSORS = "vllm.logits_processors"
V1 = "from vllm.v1.sample.logits_processor import LogitsProcessor as Old, AdapterLogitsProcessor\n"
V2 = "from vllm.v1.worker.gpu.sample import logits_processor as new\n"
LOADER = {
    "vllm/__init__.py": "",
    "vllm/envs.py": "if TYPE_CHECKING:\n    VLLM_USE_V2_MODEL_RUNNER: bool | None = None\n",
    "vllm/v1/sample/logits_processor/__init__.py": "class LogitsProcessor: ...\nclass AdapterLogitsProcessor: ...\n",
    "vllm/v1/worker/gpu/sample/logits_processor/__init__.py": "class LogitsProcessor: ...\n",
    "vllm/v1/worker/gpu/sample/logits_processor/loader.py": "from importlib.metadata import entry_points\n",
}
"""The files of vLLM 0.33 that say which runner it uses, and what that one does with processors."""


@pytest.mark.parametrize(
    ("source", "is_old"),
    [
        (f"{V1}class It(Old): ...\n", True),
        (f"{V1}class It(AdapterLogitsProcessor):\n    def new_req_logits_processor(self, params): ...\n", True),
        (f"try:\n    {V1}except ImportError:\n    Old = object\nclass It(Old): ...\n", True),
        (f"{V1}class Middle(Old): ...\nclass It(Middle): ...\n", True),
        (f"{V1}It = Old\n", False),
        ("class It:\n    def is_argmax_invariant(self): ...\n    def update_state(self, update): ...\n", True),
        ("class It:\n    def apply(self, logits): ...\n", True),
        ("from abc import ABC\nclass Own(ABC, object): ...\nclass It(Own): ...\n", True),
        ("from elsewhere import Own\nclass It(Own): ...\n", False),
        ("@elsewhere\nclass It: ...\n", False),
        (f"{V2}class It(new.LogitsProcessor): ...\n", False),
        (f"{V1}{V2}class It(Old, new.LogitsProcessor):\n    def update_state(self, update): ...\n", False),
        ("from elsewhere import It\n", False),
        ("class It(It): ...\n", False),
        ("class It(:\n", False),
    ],
)
def test_a_logits_processor_for_runner_v1_on_a_base_with_v2(
    ground: Ground, make: Make, source: str, is_old: bool
) -> None:
    ground.wheel("vllm", "0.33.0", files=LOADER)
    ground.wheel("triton", "3.5.0")
    ground.wheel("elsewhere")
    demo = make("demo", files={"demo.py": source}, points={PROCESSORS: {"it": "demo:It"}})

    findings = [finding for finding in audit([demo], ground.base()) if finding.code == "logits-processor"]
    assert told(findings) == ([("logits-processor", "error", "demo")] if is_old else [])
    assert all("`it` of `demo 1.0` is none for vLLM's model runner V2, which the base uses" in f.what for f in findings)


REEXPORTED = {
    "relative": {"demo/__init__.py": "from .proc import P as It\n", "demo/proc.py": f"{V1}class P(Old): ...\n"},
    "absolute": {"demo/__init__.py": "from demo.proc import It\n", "demo/proc.py": f"{V1}class It(Old): ...\n"},
    "star": {"demo/__init__.py": "from .proc import *\n", "demo/proc.py": f"{V1}class It(Old): ...\n"},
    "base": {
        "demo/__init__.py": "from .deep import proc\nclass It(proc.Mine): ...\n",
        "demo/deep/__init__.py": "",
        "demo/deep/proc.py": "from ..mine import Mine\n",
        "demo/mine.py": f"import demo\n{V1}class Mine(Old): ...\n",
    },
    "round": {"demo/__init__.py": "from .proc import It\n", "demo/proc.py": "from . import It\n"},
    "new": {"demo/__init__.py": "from .p import It\n", "demo/p.py": f"{V2}class It(new.LogitsProcessor): ...\n"},
}


@pytest.mark.parametrize("kind", REEXPORTED)
def test_a_logits_processor_is_found_where_it_was_imported_from(ground: Ground, make: Make, kind: str) -> None:
    ground.wheel("vllm", "0.33.0", files=LOADER)
    demo = make("demo", files=REEXPORTED[kind], points={PROCESSORS: {"it": "demo:It"}})
    triton = make("triton", "triton/__init__.py")

    findings = audit([demo, triton], ground.base())
    assert told(findings) == ([] if kind in ("round", "new") else [("logits-processor", "error", "demo")])


@pytest.mark.parametrize(
    ("triton", "files", "variables", "severity"),
    [
        ("triton-rocm", {}, {}, "error"),
        ("", {}, {}, "warning"),
        ("triton", {}, {"VLLM_USE_V2_MODEL_RUNNER": "0"}, "warning"),
        ("", {}, {"VLLM_USE_V2_MODEL_RUNNER": "1"}, "error"),
        ("triton", {"vllm/envs.py": "    VLLM_USE_V2_MODEL_RUNNER: bool = False\n"}, {}, "warning"),
        ("triton", {"vllm/v1/worker/gpu/sample/logits_processor/loader.py": ""}, {}, ""),
    ],
)
def test_which_runner_a_base_uses(
    ground: Ground, make: Make, triton: str, files: Mapping[str, str], variables: Mapping[str, str], severity: str
) -> None:
    ground.wheel("vllm", "0.33.0", files={**LOADER, **files})
    if triton:
        ground.wheel(triton)
    demo = make("demo", files={"demo.py": f"{V1}class It(Old): ...\n"}, points={PROCESSORS: {"it": "demo:It"}})

    findings = audit([demo], ground.base(), variables=variables)
    assert [finding.severity for finding in findings] == ([severity] if severity else [])


@pytest.mark.parametrize(
    ("requires", "expected"),
    [
        (["vllm<0.33; extra == 'vllm'"], ["vllm<0.33"]),
        (["vllm>=0.33; extra == 'vllm'", "vllm"], []),
        (["vllm<0.33; extra == 'dev'", "vllm==0.1; extra == 'tests'"], []),
        (["vllm<0.33; extra == 'serving' and python_version >= '3'"], ["vllm<0.33"]),
        (["vllm==0.32.*; extra == 'vllm-32'", "vllm==0.33.*; extra == 'vllm-33'"], []),
        (["vllm==0.30.*; extra == 'vllm30'", "vllm==0.31.*; extra == 'vllm31'"], ["vllm==0.30.*"]),
        (["torch==2.8; extra == 'vllm'", "numpy<1; extra == 'vllm'"], ["torch==2.8"]),
        (["torch==2.8; extra == 'fast'"], []),
        (['VLLM<0.33; extra == "all"'], ["VLLM<0.33"]),
        (["vllm<0.33; extra == 'all' or python_version < '3'"], []),
        (["vllm-unknown<0.33; extra == 'all'"], []),
    ],
)
def test_bounds_behind_an_extra(ground: Ground, make: Make, requires: list[str], expected: list[str]) -> None:
    ground.wheel("vllm", "0.33.0", files={"vllm/__init__.py": ""})
    ground.wheel("torch", "2.9.0", files={"torch/__init__.py": ""})

    findings = audit([make("demo", "demo.py", requires=requires, plugin="mine")], ground.base())
    assert [(finding.code, finding.severity) for finding in findings] == [("bound-behind-extra", "warning")] * len(
        expected
    )
    assert [finding.what.split("`")[3] for finding in findings] == expected


def test_an_extra_of_a_library_for_an_engine_binds_nobody(ground: Ground, make: Make) -> None:
    ground.wheel("vllm", "0.33.0", files={"vllm/__init__.py": ""})
    ray = make("ray", "ray.py", requires=["vllm==0.29; extra == 'llm'"])
    mine = make("mine", "mine.py", requires=["vllm==0.29; extra == 'llm'"], points={GENERAL: {"a": "mine"}})

    assert told(audit([ray, mine], ground.base())) == [("bound-behind-extra", "warning", "mine")]


def test_a_bound_behind_an_extra_that_is_ignored_is_told_no_more(ground: Ground, make: Make) -> None:
    ground.wheel("vllm", "0.33.0", files={"vllm/__init__.py": ""})
    demo = make("demo", "demo.py", requires=["vllm<0.33; extra == 'vllm'"], plugin="mine")

    assert audit([demo], ground.base(), ignored={"mine": ["vllm"]}) == ()


@pytest.mark.parametrize(
    ("has", "bound", "expected"),
    [
        ("0.11.0.dev3", ">=0.11", "bound-of-release warning"),
        ("0.11.0rc2.dev5+g1a2b3c", ">=0.11.0,<0.12", "bound-of-release warning"),
        ("0.11.0rc1", "==0.11.0", "bound-of-release warning"),
        ("0.11.0.dev3", "<0.11", "requirement-unmet error"),
        ("0.11.0.dev3", ">=0.12", "requirement-unmet error"),
        ("0.11.0.dev3", ">=0.10", ""),
        ("0.11.0.dev3", "==0.11.*", ""),
        ("0.10.2", ">=0.11", "requirement-unmet error"),
        ("0.11.0.post1.dev2", ">=0.11", ""),
    ],
)
def test_a_version_before_the_release_that_a_bound_asks_for(
    ground: Ground, make: Make, has: str, bound: str, expected: str
) -> None:
    ground.wheel("vllm", has, files={"vllm/__init__.py": ""})

    findings = audit([make("demo", "demo.py", requires=[f"vllm{bound}"])], ground.base())
    assert [f"{finding.code} {finding.severity}" for finding in findings] == ([expected] if expected else [])


def test_whoever_an_extra_brings_in_is_named_by_the_plugin_that_asked_for_it(ground: Ground, make: Make) -> None:
    plugin = make("demo", "demo.py", plugin="mine", requires=["fast; extra == 'fast'"])
    fast = make("fast", "patch.pth", "deep.py", requires=["deep"])

    findings = audit([plugin, fast, make("deep", "deep.pth", requires=[])], ground.base(), startup_allowed={"deep"})
    assert [(finding.code, finding.plugin) for finding in findings] == [
        ("startup-code-unallowed", "mine"),
        ("startup-code", "mine"),
    ]


def test_data_files_that_only_the_overlays_python_finds(ground: Ground, make: Make) -> None:
    data = {
        "share/demo/table.json": "{}",
        "etc/demo.conf": "",
        "lib/libdemo.so.1": "",
        "share/man/man1/demo.1": "",
        "share/doc/demo/README": "",
        "share/jupyter/labextensions/demo/package.json": "",
        "etc/jupyter/nbconfig/demo.json": "",
        "pkgconfig/demo.pc": "",
        "lib/cmake/demo/demo.cmake": "",
        "include/demo.h": "",
        "LICENSE": "",
    }
    harmless = {path: "" for path in data if path not in ("share/demo/table.json", "etc/demo.conf")}

    (finding,) = audit([make("demo", "demo.py", data=data), make("quiet", data=harmless)], ground.base())
    assert told([finding]) == [("data-outside", "warning", "demo")]
    assert finding.what == "`demo 1.0` puts `etc/demo.conf` and 1 more below the environment's prefix"


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"vllm/model_executor/models/mine.py": "def register(): ...\n"}, "file-in-base"),
        ({"vllm/__init__.py": "", "vllm/mine.py": "def register(): ...\n"}, "name-in-base"),
    ],
)
def test_files_inside_the_engine_are_told_once(ground: Ground, make: Make, files: Mapping[str, str], code: str) -> None:
    ground.wheel("vllm", "0.33.0", files={"vllm/__init__.py": "", "vllm/model_executor/__init__.py": ""})
    value = f"{max(files)[:-3].replace('/', '.')}:register"
    findings = audit([make("demo", files=files, points={GENERAL: {"mine": value}})], ground.base())

    assert told(findings) == [(code, "error", "demo")]
    assert "(from `vllm 0.33.0`)" in findings[0].what


def test_processors_are_vllms_alone(ground: Ground, make: Make) -> None:
    ground.wheel("fastdeploy-gpu", "2.0", files={"fastdeploy/__init__.py": ""})
    demo = make("demo", files={"demo.py": f"{V1}class It(Old): ...\n"}, points={PROCESSORS: {"it": "demo:It"}})

    findings = audit([demo], ground.base(engine=FASTDEPLOY))
    assert "logits-processor" not in {finding.code for finding in findings}
