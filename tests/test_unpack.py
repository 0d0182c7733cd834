"""From a staged tree to a package: what is refused, what is taken out, what is described."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
import shutil
import stat
import struct
import subprocess
import zipfile
from typing import TYPE_CHECKING

import kit
import pytest

from envbuilder import elf, unpack
from envbuilder.errors import PackageError
from envbuilder.gate import examine_file
from envbuilder.package import Package

if TYPE_CHECKING:
    from pathlib import Path

SITE = "lib/python3.11/site-packages"
METADATA = "Metadata-Version: 2.1\nName: Demo\nVersion: 1.0\nRequires-Dist: numpy>=1\n"
ENTRY_POINTS = "[console_scripts]\ndemo = demo:main\n[g]\nb = demo:b\na = demo:a\n"


def stage(folder: Path, *, record: dict[str, str | None] | None = None, **files: str | bytes) -> Path:
    """Write what an installer leaves for `demo` 1.0: `files` by paths below the prefix; `record` changes RECORD."""
    content = {
        f"{SITE}/demo/__init__.py": "value = 1\n",
        f"{SITE}/demo-1.0.dist-info/METADATA": METADATA,
        f"{SITE}/demo-1.0.dist-info/INSTALLER": "uv",
        f"{SITE}/demo-1.0.dist-info/direct_url.json": '{"url": "file:///secret/place"}',
        f"{SITE}/demo-1.0.dist-info/REQUESTED": "",
        **files,
    }
    lines = {os.path.relpath(path, SITE): _line(path, text) for path, text in content.items()}
    lines |= {path: line for path, line in (record or {}).items() if line is not None}
    for path in (path for path, line in (record or {}).items() if line is None):
        del lines[path]
    content[f"{SITE}/demo-1.0.dist-info/RECORD"] = "\n".join([*lines.values(), "demo-1.0.dist-info/RECORD,,"]) + "\n"
    for path, text in content.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)
    (folder / ".lock").touch()
    return folder


def _line(path: str, text: str | bytes) -> str:
    content = text.encode() if isinstance(text, str) else text
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{os.path.relpath(path, SITE)},sha256={digest},{len(content)}"


def take(tmp_path: Path, **kwargs: object) -> tuple[Package, Path]:
    target = tmp_path / "package"
    prefix = stage(tmp_path / "prefix", **kwargs)  # type: ignore[arg-type]
    return unpack.take(str(prefix), str(target), package="demo", source={}), target


def problems(tmp_path: Path, **kwargs: object) -> str:
    with pytest.raises(PackageError) as caught:
        take(tmp_path, **kwargs)
    return "\n".join(caught.value.problems)


def test_a_sound_tree_is_described(tmp_path: Path) -> None:
    made, target = take(tmp_path)

    assert (made.name, made.version, made.dist_info) == ("demo", "1.0", "demo-1.0.dist-info")
    assert made.requires == ("numpy>=1",)
    assert made.top_level == {"demo"}
    assert [file.path for file in made.files] == sorted(file.path for file in made.files)
    for file in made.files:
        content = (target / file.path).read_bytes()
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert stat.S_IMODE((target / file.path).stat().st_mode) == file.mode == 0o444
    present = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert present == {file.path for file in made.files}


def test_what_the_installer_notes_is_taken_out(tmp_path: Path) -> None:
    _, target = take(tmp_path)
    dist_info = target / "lib/demo-1.0.dist-info"

    assert sorted(path.name for path in dist_info.iterdir()) == ["INSTALLER", "METADATA", "SOURCES.txt"]
    assert (dist_info / "INSTALLER").read_text() == "vpm-env\n"


def test_every_lie_of_record_is_told_at_once(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        record={
            "demo/__init__.py": "demo/__init__.py,sha256=AAAA,9",
            "demo/gone.py": "demo/gone.py,sha256=AAAA,9",
            "demo/extra.py": None,
            "demo/bare.py": "demo/bare.py,,",
            "demo/weak.py": "demo/weak.py,md5=AAAA,1",
            "../../../../outside.py": "../../../../outside.py,sha256=AAAA,9",
            "/etc/passwd": "/etc/passwd,sha256=AAAA,9",
            "demo/bell": "demo/be\x07ll,sha256=AAAA,9",
        },
        **{f"{SITE}/demo/extra.py": "1", f"{SITE}/demo/bare.py": "1", f"{SITE}/demo/weak.py": "1"},
    )

    assert "`demo/__init__.py` is not what its RECORD says" in told
    assert "`demo/gone.py` of its RECORD is missing" in told
    assert "`demo/extra.py` is not in its RECORD" in told
    assert "its RECORD has no hash of `demo/bare.py`" in told
    assert "`demo/weak.py` is not what its RECORD says" in told
    assert "`../outside.py`, which leads outside" in told
    assert "`/etc/passwd`, which leads outside" in told
    assert r"be\x07ll" in told


def test_stronger_hashes_hold_too(tmp_path: Path) -> None:
    digest = base64.urlsafe_b64encode(hashlib.sha512(b"value = 1\n").digest()).rstrip(b"=").decode()
    made, _ = take(tmp_path, record={"demo/__init__.py": f"demo/__init__.py,sha512={digest},10"})

    assert made.name == "demo"


def test_a_symlink_in_the_tree_is_refused(tmp_path: Path) -> None:
    prefix = stage(tmp_path / "prefix")
    init = prefix / SITE / "demo/__init__.py"
    other = tmp_path / "same.py"
    shutil.move(init, other)
    init.symlink_to(other)
    with pytest.raises(PackageError, match="no regular file"):
        unpack.take(str(prefix), str(tmp_path / "package"), package="demo", source={})


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ("Metadata-Version: 2.1\nVersion: 1.0\n", "METADATA is damaged"),
        ("Metadata-Version: 2.1\nName: demo\n", "METADATA is damaged"),
        ("Metadata-Version: 2.1\nName: demo\nVersion: newest\n", "METADATA is damaged"),
        (
            "Name: demo\nVersion: 1.0\n" + 2000 * "Content-Type: message/rfc822\n\n",
            "METADATA is damaged: RecursionError",
        ),
    ],
)
def test_damaged_metadata_is_refused(tmp_path: Path, metadata: str, text: str) -> None:
    assert text in problems(tmp_path, **{f"{SITE}/demo-1.0.dist-info/METADATA": metadata})


def test_a_damaged_list_of_entry_points_is_refused(tmp_path: Path) -> None:
    listed = {f"{SITE}/demo-1.0.dist-info/entry_points.txt": "[vllm.general_plugins]\ndemo demo:register\n"}

    assert "its entry_points.txt is damaged: TypeError" in problems(tmp_path, **listed)


def test_two_dist_infos_are_refused(tmp_path: Path) -> None:
    assert "2 dist-info" in problems(tmp_path, **{f"{SITE}/other-1.dist-info/METADATA": "Name: other\nVersion: 1\n"})


@pytest.mark.parametrize("name", ["other.egg-info/PKG-INFO", "OTHER-1.DIST-INFO/METADATA", "other.egg-info"])
def test_what_poses_as_another_distribution_is_refused(tmp_path: Path, name: str) -> None:
    told = problems(tmp_path, **{f"{SITE}/{name}": "Name: other\nVersion: 1\n"})

    assert f"its `{name.partition('/')[0]}` would pass for another distribution" in told


def test_many_problems_are_cut_short(tmp_path: Path) -> None:
    told = problems(tmp_path, record={f"demo/m{n}.py": f"demo/m{n}.py,sha256=AA,1" for n in range(50)})

    assert len(told.splitlines()) == 21
    assert told.endswith("and 30 more")


def test_files_are_sorted_into_rooms(tmp_path: Path) -> None:
    made, target = take(
        tmp_path,
        **{
            "bin/demo-tool": "#!/somewhere/long/bin/python3.11\nprint(1)\n",
            "bin/demo-shell": "#!/bin/bash\ntrue\n",
            "bin/demo": "#!/somewhere/bin/python\nimport demo\n",
            "include/site/python3.11/demo/demo.h": "int demo;\n",
            "share/demo/data.txt": "data\n",
            f"{SITE}/demo-1.0.dist-info/entry_points.txt": ENTRY_POINTS,
        },
    )

    paths = {file.path: file for file in made.files}
    assert {path for path in paths if not path.startswith("lib/")} == {
        "bin/demo-tool",
        "bin/demo-shell",
        "include/demo/demo.h",
        "data/share/demo/data.txt",
    }
    assert (target / "bin/demo-tool").read_text() == "#!python\nprint(1)\n"
    assert (target / "bin/demo-shell").read_text() == "#!/bin/bash\ntrue\n"
    assert paths["bin/demo-tool"].mode == 0o555
    assert made.entry_points == {"console_scripts": {"demo": "demo:main"}, "g": {"a": "demo:a", "b": "demo:b"}}


@pytest.mark.parametrize(
    "line",
    [
        "#!/p/python",
        "#!/usr/bin/env python3",
        "#!/usr/bin/env -S python3.12",
        '#!"/with space/python"',
        "#!python",
    ],
)
def test_the_key_depends_on_no_path_of_an_interpreter(tmp_path: Path, line: str) -> None:
    if "space" in line:
        line = "#!/bin/sh\n'''exec' \"/with space/python\" \"$0\" \"$@\"\n' '''"
    _, target = take(tmp_path, **{"bin/tool": f"{line}\nprint(1)\n"})

    assert (target / "bin/tool").read_text() == "#!python\nprint(1)\n"


def test_bytecode_of_a_wheel_is_dropped_and_sourceless_modules_are_content(tmp_path: Path) -> None:
    made, target = take(
        tmp_path, **{f"{SITE}/demo/__pycache__/a.cpython-311.pyc": b"old", f"{SITE}/demo/sourceless.pyc": b"code"}
    )

    assert not list(target.rglob("a.cpython-311.pyc"))
    assert "lib/demo/sourceless.pyc" in {file.path for file in made.files}


def test_startup_code_is_left_for_the_audit_to_see(tmp_path: Path) -> None:
    made, _ = take(tmp_path, **{f"{SITE}/evil.pth": "import os\n", f"{SITE}/sitecustomize.py": ""})

    assert {"lib/evil.pth", "lib/sitecustomize.py"} <= {file.path for file in made.files}


@pytest.mark.parametrize("version", list(kit.pythons()))
def test_importlib_metadata_lists_the_files_in_an_overlay(tmp_path: Path, version: str) -> None:
    made, target = take(
        tmp_path,
        **{
            "bin/tool": "#!python\n",
            "share/data.txt": "x",
            f'{SITE}/demo/a "quoted" name, with comma.txt': "x",
            f"{SITE}/demo-1.0.dist-info/entry_points.txt": "[console_scripts]\ndemo = demo:main\n",
        },
        record={
            'demo/a "quoted" name, with comma.txt': _line("x", "x").replace(
                "../../../x", '"demo/a ""quoted"" name, with comma.txt"'
            )
        },
    )
    overlay = tmp_path / "overlay"
    shutil.copytree(target / "lib", overlay / "lib/pythonX/site-packages")
    shutil.copytree(target / "bin", overlay / "bin")
    shutil.copytree(target / "data", overlay, dirs_exist_ok=True)
    (overlay / "bin/demo").write_text("")
    code = (
        "import importlib.metadata as m, sys; d = m.Distribution.at(sys.argv[1]);"
        "print(sorted(str(f) for f in d.files)); print(all(f.locate().exists() for f in d.files))"
    )
    at = overlay / "lib/pythonX/site-packages" / made.dist_info
    done = subprocess.run([kit.pythons()[version], "-c", code, at], capture_output=True, text=True, check=True)

    listed, all_there = done.stdout.splitlines()
    assert "'../../../bin/demo', '../../../bin/tool', '../../../share/data.txt'" in listed
    assert "demo/__init__.py" in listed
    assert '"quoted" name, with comma' in listed
    assert all_there == "True"


def test_hostile_members_of_an_archive_are_refused(tmp_path: Path) -> None:
    wheel = kit.wheel(tmp_path, "demo")
    link = zipfile.ZipInfo("demo/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(link, "/etc/passwd")
        for name in ("../outside.py", "/absolute.py", "demo/new\nline.py", "demo-1.0.data/data/../../x", "c:/x"):
            archive.writestr(name, "")
    with pytest.raises(PackageError) as caught:
        examine_file(str(wheel), package="demo")

    told = "\n".join(caught.value.problems)
    assert "'demo/link' is a symbolic link" in told
    assert told.count("leads outside") == 4
    assert "control characters" in told


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "demo-1.0-py3-none-any.whl"
    path.write_text("<html>")
    with pytest.raises(PackageError, match="no zip archive"):
        examine_file(str(path), package="demo")


def library(runpath: str) -> bytes:
    """Write a 64-bit little-endian ELF library that holds nothing but a RUNPATH."""
    strings = b"\0" + runpath.encode() + b"\0"
    table, dynamic_at = 64 + 2 * 56, 64 + 2 * 56 + len(strings)
    dynamic = struct.pack("<qQqQqQ", 5, 0x1000 + table, 29, 1, 0, 0)
    end = dynamic_at + len(dynamic)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 4, 0, 0x1000, 0x1000, end, end, 4096)
    dyn = struct.pack("<IIQQQQQQ", 2, 4, dynamic_at, 0x1000 + dynamic_at, 0, len(dynamic), len(dynamic), 8)
    return header + load + dyn + strings + dynamic


def test_a_library_that_looks_for_a_neighbour_package_makes_its_directories_physical(tmp_path: Path) -> None:
    outside = library("$ORIGIN:$ORIGIN/../../nvjitlink/lib")
    inside = library("$ORIGIN/../demo.libs:/usr/lib")
    made, _ = take(
        tmp_path,
        **{
            f"{SITE}/nvidia/cufft/lib/libcufft.so.12": outside,
            f"{SITE}/demo/ext.so": inside,
            f"{SITE}/demo.libs/liba.so.1": library("$ORIGIN"),
        },
    )

    assert made.physical == ("nvidia", "nvidia/cufft", "nvidia/cufft/lib")


def test_a_library_that_looks_for_what_lies_below_the_overlay_makes_its_directories_physical(tmp_path: Path) -> None:
    made, _ = take(
        tmp_path,
        **{f"{SITE}/mkl/a.so": library("$ORIGIN/../../.."), f"{SITE}/far/b.so": library("$ORIGIN/../../../../../out")},
    )

    assert made.physical == ("mkl",)


def test_what_libraries_say_of_themselves_is_recorded(tmp_path: Path) -> None:
    wanting = kit.library("libc.so.6", runpath="$ORIGIN:/b", soname="liba.so", wants={"libc.so.6": ["GLIBC_2.2.5"]})
    made, _ = take(
        tmp_path, **{f"{SITE}/demo/a.so": wanting, f"{SITE}/demo/not.so": b"text", "share/b.so.1": kit.library()}
    )

    assert made.compiled == [
        ["lib/demo/a.so", 62, "liba.so", ["libc.so.6"], ["$ORIGIN", "/b"], ["GLIBC_2.2.5"]],
        ["data/share/b.so.1", 62, "", [], [], []],
    ]
    assert Package.from_dict(made.to_dict(), files="").compiled == made.compiled


def searched(path: Path) -> tuple[str, ...]:
    said = elf.read(str(path))
    return said.searched if said else ()


def test_runpaths_are_read_as_the_linker_wrote_them(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    path = tmp_path / "lib.so"
    command = [compiler, "-shared", "-o", path, "-x", "c", os.devnull, "-Wl,-rpath,$ORIGIN/../a:/b"]
    subprocess.run(command, check=True, capture_output=True)

    assert searched(path) == ("$ORIGIN/../a", "/b")


def test_damaged_libraries_have_no_runpaths(tmp_path: Path) -> None:
    sound = library("$ORIGIN/..")
    path = tmp_path / "lib.so"
    path.write_bytes(sound)
    assert searched(path) == ("$ORIGIN/..",)
    for cut in range(len(sound) - 20):
        path.write_bytes(sound[:cut])
        assert searched(path) in ((), ("$ORIGIN/..",))
    for position in range(len(sound)):
        path.write_bytes(sound[:position] + b"\xff" + sound[position + 1 :])
        searched(path)


def test_the_package_that_was_locked_is_required(tmp_path: Path) -> None:
    made, _ = take(tmp_path)
    unpack.require(made, name="demo", version="1.0.0")
    with pytest.raises(PackageError, match=r"demo 1.0, not demo 2.0"):
        unpack.require(made, name="demo", version="2.0")


def test_metadata_stays_readable(tmp_path: Path) -> None:
    _, target = take(tmp_path)
    distribution = importlib.metadata.Distribution.at(target / "lib/demo-1.0.dist-info")

    assert (distribution.metadata["Name"], distribution.version) == ("Demo", "1.0")
