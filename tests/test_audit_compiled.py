"""Compiled code against another Python, processor, C library, CUDA or torch, and RUNPATHs that lead nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import kit
import pytest
from audited import Ground, Make, told
from kit.libraries import AARCH64

from envbuilder import abi, elf, symbols
from envbuilder.audit import audit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from envbuilder.errors import Finding
    from envbuilder.subject import Subject

EXTENSION = "_C.cpython-311-x86_64-linux-gnu.so"


def found(ground: Ground, *subjects: Subject, variables: Mapping[str, str] | None = None) -> Sequence[Finding]:
    """Audit over a base of CPython 3.11 on x86-64, whatever this machine is."""
    base = ground.base(version="3.11.7", soabi="cpython-311-x86_64-linux-gnu", platform="linux-x86_64")
    return audit(subjects, base, variables=variables or {})


def codes(findings: Sequence[Finding]) -> list[str]:
    return [f"{finding.code} {finding.severity}" for finding in findings]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (("demo/_C.cpython-311-x86_64-linux-gnu.so",), []),
        (("demo/_C.abi3.so",), []),
        (("demo/_C.so",), []),
        (("demo/_C.pypy311-pp73-x86_64-linux-gnu.so",), ["compiled-python error"]),
        (("demo/_C.pypy311-pp73-x86_64-linux-gnu.so", "demo/_C.abi3.so"), []),
        (("demo/_C.cpython-310-x86_64-linux-gnu.so",), ["compiled-python error"]),
        (("demo/_C.cpython-311-x86_64-linux-musl.so",), ["compiled-python error"]),
        (("demo/_C.cpython-310-x86_64-linux-gnu.so", "demo/_D.abi3.so"), ["compiled-python warning"]),
        (("demo/_C.cpython-310-x86_64-linux-gnu.so", "demo/_C.cpython-311-x86_64-linux-gnu.so"), []),
        (("a/py310/_C.cpython-310-x86_64-linux-gnu.so", "a/py311/_C.cpython-311-x86_64-linux-gnu.so"), []),
        (("demo/_C.cpython-310-x86_64-linux-gnu.so", "demo/_C.py"), []),
        (("demo/_C.cpython-310-x86_64-linux-gnu.so", "demo/_C/__init__.py"), []),
    ],
)
def test_extension_modules_for_another_python(
    ground: Ground, make: Make, paths: tuple[str, ...], expected: list[str]
) -> None:
    files = {path: kit.library() if path.endswith(".so") else "" for path in paths}

    assert codes(found(ground, make("demo", files=files))) == expected


def test_an_extension_that_is_linked_against_another_libpython(ground: Ground, make: Make) -> None:
    (finding,) = found(ground, make("demo", files={f"demo/{EXTENSION}": kit.library("libpython3.12.so.1.0")}))

    assert codes([finding]) == ["compiled-python error"]
    assert finding.what == (
        f"`demo/{EXTENSION}` of `demo 1.0` needs `libpython3.12.so.1.0`, and the base has Python 3.11"
    )


def test_an_abi3_module_is_none_for_a_free_threaded_python(ground: Ground, make: Make) -> None:
    demo = make("demo", files={"demo/_C.abi3.so": kit.library()})
    base = ground.base(version="3.13.1", soabi="cpython-313t-x86_64-linux-gnu", platform="linux-x86_64")

    assert codes(audit([demo], base)) == ["compiled-python error"]


def test_compiled_code_for_another_processor(ground: Ground, make: Make) -> None:
    other = kit.library("libnothing.so.1", machine=AARCH64)
    demo = make("demo", files={"demo/_C.abi3.so": other})
    mixed = make("mixed", files={"mixed/arm/lib.so": other, "mixed/intel/lib.so": kit.library()})

    (finding,) = found(ground, demo, mixed)
    assert (finding.code, finding.severity, finding.package) == ("compiled-machine", "error", "demo")
    assert finding.what == "the compiled code of `demo 1.0` is for aarch64, and the base is `linux-x86_64`"


@pytest.mark.skipif(not abi.glibc(), reason="this machine has another C library than glibc")
@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (["GLIBC_2.2.5"], []),
        (["GLIBC_2.2.5", "GLIBC_PRIVATE", "GLIBC_2.999"], ["compiled-version error"]),
        (["GLIBCXX_3.4"], []),
        (["GLIBCXX_3.4.999"], ["compiled-version error"]),
        (["OMP_99.0"], []),
    ],
)
def test_compiled_code_that_wants_newer_libraries(
    ground: Ground, make: Make, versions: list[str], expected: list[str], tmp_path: Path
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libstdc++.so.6").write_bytes(kit.library(offers=["libstdc++.so.6", "GLIBCXX_3.4"]))
    demo = make("demo", files={f"demo/{EXTENSION}": kit.library(wants={"libc.so.6": versions})})

    findings = found(ground, demo, variables={"LD_LIBRARY_PATH": str(tmp_path / "lib")})
    assert codes(findings) == expected
    assert all(versions[-1] in finding.what for finding in findings)


def test_versions_that_a_library_of_the_machine_offers(tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    path.write_bytes(kit.library(offers=["lib.so", "A_1", "A_1.2"], wants={"x": ["B_1.9", "B_1.10"], "y": ["C_2"]}))

    assert elf.provided(str(path)) == {"lib.so", "A_1", "A_1.2"}
    assert elf.read(str(path)) == elf.Elf(62, "", (), (), ("B_1.10", "C_2"))


@pytest.mark.parametrize(
    ("tag", "fits"),
    [
        ("cp311-cp311-manylinux_2_17_x86_64", True),
        ("cp38-abi3-manylinux2014_x86_64", True),
        ("cp310-abi3-linux_x86_64", True),
        ("py3-none-any", True),
        ("py3-none-manylinux_2_28_x86_64", True),
        ("cp311-none-any", True),
        ("py39-none-manylinux_2_28_x86_64", True),
        ("py2.py3-none-any", True),
        ("py312-none-any", False),
        ("no-tag", False),
        ("cp312-abi3-linux_x86_64", False),
        ("cp310-cp310-linux_x86_64", False),
        ("cp311-cp311-manylinux_2_17_aarch64", False),
        ("cp311-cp311t-linux_x86_64", False),
    ],
)
def test_tags_of_the_wheel(ground: Ground, make: Make, tag: str, fits: bool) -> None:
    demo = make("demo", files={"demo/_C.abi3.so": kit.library()}, tags=["cp39-cp39-win_amd64", tag])

    assert codes(found(ground, demo)) == ([] if fits else ["wheel-tag warning"])


def test_libraries_that_are_there(ground: Ground, make: Make, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libtold.so.1").write_bytes(kit.library())
    ground.wheel("torch", "2.9.0", files={"torch/lib/libtorch.so": kit.library(), "torch/__init__.py": ""})
    needs = ("libc.so.6", "ld-linux-x86-64.so.2", "libcuda.so.1", "libnvidia-ml.so.1", "libtorch.so", "libtold.so.1")
    demo = make(
        "demo",
        files={
            f"demo/{EXTENSION}": kit.library(*needs, "libown-1f.so.2", "libheld.so", runpath="$ORIGIN/../demo.libs"),
            "demo.libs/libown-1f.so.2": kit.library(),
        },
    )
    other = make("other", files={"other/held.bin.so": kit.library(soname="libheld.so", rpath="${ORIGIN}/..")})
    plain = make("plain", files={f"plain/{EXTENSION}": kit.library("libheld.so")})

    findings = found(ground, demo, other, plain, variables={"LD_LIBRARY_PATH": str(tmp_path / "lib")})
    assert codes(findings) == ["runpath-nowhere warning"], "demo looks elsewhere for what only `other` has"
    assert "`libheld.so`" in findings[0].what
    assert "`other 1.0` has it" in findings[0].what


def test_a_library_that_nothing_has(ground: Ground, make: Make) -> None:
    plugin = make("plugin", "plugin.py", plugin="mine", requires=["demo"])
    demo = make(
        "demo", files={f"demo/{EXTENSION}": kit.library("libfft.so.3"), "demo/_D.so": kit.library("libfft.so.3")}
    )

    (finding,) = found(ground, plugin, demo)
    assert told([finding]) == [("library-missing", "warning", "demo")]
    assert finding.plugin == "mine"
    assert finding.what == (
        f"`demo/{EXTENSION}` and 1 more of `demo 1.0` needs `libfft.so.3`, and neither the set nor the base nor this "
        "machine has it"
    )


def test_what_is_lacking_in_one_way_is_one_finding(ground: Ground, make: Make) -> None:
    files = {f"demo/_{name}.abi3.so": kit.library(f"lib{name}.so.1", "libz9.so") for name in "ade"}

    (finding,) = found(ground, make("demo", files=files))
    assert finding.what.startswith("`demo/_a.abi3.so` of `demo 1.0` needs `liba.so.1`, and neither")
    assert finding.what.endswith("; so it is with 3 more that it needs")
    assert [detail.split(" needs ")[1].split(",")[0] for detail in finding.details] == [
        "`liba.so.1`",
        "`libz9.so`",
        "`libd.so.1`",
        "`libe.so.1`",
    ]


LACKING = kit.library("libfft.so.3")
FINE = kit.library("libc.so.6")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"libops_cuda12.so": LACKING, "libops_cuda13.so": LACKING, "libops_cpu.so": FINE}, []),
        ({"libops_cuda12.so": LACKING, "libother_cpu.so": FINE}, ["library-missing warning"]),
        ({"_C.abi3.so": FINE, "transport/libplugin_x.so": LACKING}, []),
        ({"_C.abi3.so": kit.library("libplugin_x.so"), "libplugin_x.so": LACKING}, ["library-missing warning"]),
        (
            {"_C.abi3.so": kit.library("l1.so"), "_D.abi3.so": FINE, "l1.so": kit.library("l2.so"), "l2.so": LACKING},
            ["library-missing warning"],
        ),
        ({"_C.abi3.so": FINE, "_D.abi3.so": LACKING}, ["library-missing warning"]),
    ],
)
def test_what_no_module_needs_is_no_finding_where_something_of_its_kind_is_left(
    ground: Ground, make: Make, files: Mapping[str, bytes], expected: list[str]
) -> None:
    demo = make("demo", files={f"demo/{name}": content for name, content in files.items()})

    assert codes(found(ground, demo)) == expected


@pytest.mark.parametrize(
    ("runpath", "shown"),
    [
        ("$ORIGIN/../../fft/lib", "lib/python3.11/site-packages/fft/lib"),
        ("$ORIGIN:$ORIGIN/../../../..", "lib"),
        ("/home/author/build/lib", "/home/author/build/lib"),
    ],
)
def test_a_runpath_that_leads_nowhere(ground: Ground, make: Make, runpath: str, shown: str) -> None:
    extension = {f"demo/in/{EXTENSION}": kit.library("libfft.so.3", runpath=runpath)}
    (finding,) = found(ground, make("demo", files=extension))

    assert codes([finding]) == ["runpath-nowhere warning"]
    assert finding.what.endswith(f"needs `libfft.so.3` and looks for it in `{shown}`, where it is not")


def test_a_runpath_into_a_package_that_is_in_the_base(ground: Ground, make: Make) -> None:
    ground.wheel("fft", "3.1", files={"fft/lib/libfft.so.3": kit.library(), "fft/__init__.py": ""})
    ground.wheel("nvidia-cufft", "13.0", files={"nvidia/cufft/lib/libcufft.so.12": kit.library()})
    looking = kit.library("libfft.so.3", runpath="$ORIGIN/../fft/lib")
    of_torch = kit.library("libcufft.so.12", runpath="$ORIGIN/../nvidia/cufft/lib")

    (finding,) = found(ground, make("demo", files={f"demo/{EXTENSION}": looking, "demo/_D.so": of_torch}))
    assert finding.code == "runpath-nowhere"
    assert finding.what.endswith("where it is not; `fft 3.1` has it")
    assert finding.why == "it loads only if something has loaded that library before"


def test_a_runpath_below_the_prefix_finds_data_files_where_its_folder_is_real(ground: Ground, make: Make) -> None:
    mkl = make("mkl", data={"lib/libmkl.so.2": kit.library()})
    user = make("user", files={f"user/{EXTENSION}": kit.library("libmkl.so.2", runpath="$ORIGIN/../../..")})
    real = type(user)(package=user.package._replace(physical=("user",)), lib=user.lib)

    assert codes(found(ground, mkl, real)) == []
    assert codes(found(ground, mkl, user)) == ["runpath-nowhere warning"]


@pytest.mark.parametrize(
    ("had", "expected"),
    [
        ("libcudemo.so.12", []),
        ("libcudemo.so.13", ["compiled-cuda error"]),
        ("libother.so", ["library-missing warning"]),
    ],
)
def test_another_cuda(ground: Ground, make: Make, had: str, expected: list[str]) -> None:
    ground.wheel("nvidia-cuda-runtime", "13.0", files={f"nvidia/cuda_runtime/lib/{had}": kit.library()})
    demo = make("demo", files={f"demo/{EXTENSION}": kit.library("libcudemo.so.12")})

    findings = found(ground, demo)
    assert codes(findings) == expected
    if expected == ["compiled-cuda error"]:
        assert findings[0].what.endswith(
            "needs `libcudemo.so.12`, and there is `libcudemo.so.13` (from `nvidia-cuda-runtime 13.0`)"
        )


def test_one_of_several_kernels_for_another_cuda_is_a_warning(ground: Ground, make: Make) -> None:
    ground.wheel("nvidia-cuda-runtime", "13.0", files={"nvidia/cuda_runtime/lib/libcudemo.so.13": kit.library()})
    files = {f"demo/{EXTENSION}": kit.library("libcudemo.so.12"), "demo/_cpu.abi3.so": kit.library("libc.so.6")}

    assert codes(found(ground, make("demo", files=files))) == ["compiled-cuda warning"]


ADD = "_ZN2at3addERKNS_6TensorES2_RKN3c106ScalarE"
"""`at::add(at::Tensor const&, at::Tensor const&, c10::Scalar const&)`."""
OLD = "_ZNK3c1010TensorImpl6oldestEv"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([ADD, "PyErr_SetString", "_ZSt4cout", "_ZN4demo3addEv"], []),
        ([ADD, OLD], ["compiled-torch error"]),
        ([], []),
    ],
)
def test_another_torch(ground: Ground, make: Make, wanted: list[str], expected: list[str]) -> None:
    libraries = {"libtorch_cpu.so": kit.library("libc10.so", defined=[ADD, "other"]), "libc10.so": kit.library()}
    files = {f"torch/lib/{name}": content for name, content in libraries.items()}
    ground.wheel("torch", "2.14.0", files={"torch/__init__.py": "", **files})
    demo = make("demo", files={f"demo/{EXTENSION}": kit.library("libtorch_cpu.so", undefined=wanted)})

    findings = found(ground, demo)
    assert codes(findings) == expected
    assert all(finding.what.endswith(f"needs `{OLD}`, which torch 2.14.0 does not have") for finding in findings)


def test_a_torch_with_cuda_where_the_base_has_none(ground: Ground, make: Make) -> None:
    ground.wheel("torch", "2.14.0", files={"torch/__init__.py": "", "torch/lib/libc10.so": kit.library()})
    demo = make("demo", files={f"demo/{EXTENSION}": kit.library("libc10.so", "libc10_cuda.so")})

    (finding,) = found(ground, demo)
    assert codes([finding]) == ["compiled-torch warning"]
    assert "`libc10_cuda.so`" in finding.what


def test_symbols_are_found_by_their_hash(tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    names = [f"name{number}" for number in range(50)]
    path.write_bytes(kit.library(undefined=["a", "b"], defined=names))

    assert symbols.wanted(str(path)) == {"a", "b"}
    assert symbols.lacking([*names, "a", "name50"], [str(path)]) == ["a", "name50"]
    content = path.read_bytes()
    for cut in range(0, len(content), 97):
        path.write_bytes(content[:cut])
        assert symbols.wanted(str(path)) <= {"a", "b", ""}
        assert symbols.lacking(["name3"], [str(path)]) in (None, [], ["name3"])


def test_an_extension_that_was_built_in_an_editable_tree_is_read_as_it_is_now(
    ground: Ground, make: Make, tmp_path: Path
) -> None:
    tree = tmp_path / "tree" / "demo"
    tree.mkdir(parents=True)
    demo = make("demo", editable={"demo": tree})
    assert codes(found(ground, demo)) == []
    (tree / "_C.cpython-310-x86_64-linux-gnu.so").write_bytes(kit.library())

    assert codes(found(ground, demo)) == ["compiled-python error"]
