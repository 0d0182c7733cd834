"""A package as one file and back: the same everywhere, and whatever is not exactly that leaves nothing behind."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import kit
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from envbuilder import parcel, wrapping
from envbuilder.digest import sealed, sha256_bytes
from envbuilder.errors import CacheError, PackageError
from envbuilder.notation import canonical
from envbuilder.package import Package, PackageFile

if TYPE_CHECKING:
    from collections.abc import Callable

METADATA = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nRequires-Dist: other>=1\n\n"
FILES = {
    "bin/run": (0o555, b"#!python\nprint('run')\n"),
    "data/share/demo/ä ö.txt": (0o444, "ä\n".encode() * 300),
    "include/demo.h": (0o444, b"int demo;\n"),
    "lib/demo-1.0.dist-info/METADATA": (0o444, METADATA),
    "lib/demo-1.0.dist-info/entry_points.txt": (0o444, b"[vllm.general_plugins]\ndemo = demo:register\n"),
    "lib/demo/__init__.py": (0o444, b""),
    "lib/demo/deep/er/exact.bin": (0o444, b"\0" * 1024),
    "lib/demo/large.bin": (0o444, hashlib.shake_256(b"seed").digest(1200) * 1100),
}


class Made(NamedTuple):
    """A package as it lies in a store: its folder, and what its `package.json` says."""

    root: Path
    record: dict[str, Any]
    key: str


def make(root: Path, files: dict[str, tuple[int, bytes]], **fields: Any) -> Made:
    """Put a package where a store would have it."""
    for path, (mode, content) in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
        (root / path).chmod(mode)
    entries = [PackageFile(path, mode, len(content), sha256_bytes(content)) for path, (mode, content) in files.items()]
    told: dict[str, Any] = {
        "name": "demo",
        "version": "1.0",
        "dist_info": "demo-1.0.dist-info",
        "entry_points": {"vllm.general_plugins": {"demo": "demo:register"}},
        "requires": ("other>=1",),
    }
    package = Package.of(entries, **(told | fields))
    (root / "files.json").write_bytes(package.files.to_bytes())
    (root / "package.json").write_bytes(canonical(package.to_dict()))
    return Made(root, package.to_dict(), package.key)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("store") / "package", FILES)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, Path]:
    """Pack what is unpacked many times."""
    folder = tmp_path_factory.mktemp("small")
    made = make(folder / "package", {path: file for path, file in FILES.items() if len(file[1]) < 1 << 20})
    parcel.pack(str(made.root), str(folder / "parcel"))
    return made, folder / "parcel"


@pytest.fixture(scope="module")
def packed(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "parcel"
    parcel.pack(str(made.root), str(path))
    return path


def contents(root: Path) -> dict[str, tuple[int, bytes]]:
    found = (path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): (path.stat().st_mode & 0o7777, path.read_bytes())
        for path in found
        if path.parent != root
    }


def archive_of(packed: Path) -> bytearray:
    return bytearray(zstandard.ZstdDecompressor().decompressobj().decompress(packed.read_bytes()))


def put(path: Path, archive: bytes, *, behind: bytes = b"") -> Path:
    path.write_bytes(zstandard.ZstdCompressor(write_checksum=True).compress(archive) + behind)
    return path


def refused(path: Path, target: Path, record: Any) -> PackageError:
    """Unpack what must be refused, and see that nothing of it stays."""
    with pytest.raises(PackageError) as error:
        parcel.unpack(str(path), str(target), record)
    assert list(target.iterdir()) == []
    assert error.value.message.replace("\n", "").isprintable()
    assert error.value.__cause__ is None
    return error.value


# -- there and back ----------------------------------------------------------------------------------------------------


def test_a_package_comes_back_as_it_was(made: Made, packed: Path, tmp_path: Path) -> None:
    found = parcel.unpack(str(packed), str(tmp_path / "target"), made.record)

    assert contents(tmp_path / "target") == FILES
    assert found.key == made.key
    assert found.to_dict() == made.record
    assert [file.path for file in found.files] == sorted(FILES)
    assert (tmp_path / "target" / "files.json").read_bytes() == (made.root / "files.json").read_bytes()


def test_what_is_made_of_a_real_wheel_comes_back(
    tmp_path: Path, index: kit.Index, base: kit.Base, vpm_env: Any
) -> None:
    points = {"vllm.general_plugins": {"demo": "demo:register"}}
    kit.wheel(index.folder, "demo", "1.0", entry_points=points, files={"demo/__init__.py": "def register(): pass\n"})
    vpm_env.use(base).config(f"index: {index.url}\nplugins:\n  - {{name: demo, source: pypi, package: demo}}\n")
    vpm_env("build", check=True)
    (root,) = (path for path in (vpm_env.home / "store").iterdir() if not path.is_symlink())
    record = json.loads((root / "package.json").read_bytes())
    parcel.pack(str(root), str(tmp_path / "parcel"))

    assert parcel.unpack(str(tmp_path / "parcel"), str(tmp_path / "target"), record).key == root.name


def test_the_same_package_is_the_same_parcel(made: Made, packed: Path, tmp_path: Path) -> None:
    again = make(tmp_path / "again", dict(reversed(FILES.items())))
    (again.root / "lib/demo/__pycache__").mkdir()
    (again.root / "lib/demo/__pycache__/__init__.cpython-311.pyc").write_bytes(b"bytecode")
    first = parcel.pack(str(again.root), str(tmp_path / "one"))

    assert (tmp_path / "one").read_bytes() == packed.read_bytes()
    assert first == (hashlib.sha256(packed.read_bytes()).hexdigest(), packed.stat().st_size)


def test_how_many_threads_pack_it_makes_no_difference(
    packed: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wrapping, "_WINDOW_LOG", 18)  # so that there is work for more than one
    big = [hashlib.shake_256(bytes([at])).digest(1 << 20) for at in range(9)]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    one = b"".join(wrapping.wrapped(big))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert b"".join(wrapping.wrapped(big)) == one


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o077])
def test_modes_are_what_the_list_says_whatever_the_umask(made: Made, packed: Path, tmp_path: Path, umask: int) -> None:
    (tmp_path / "target").mkdir()
    before = os.umask(umask)
    try:
        parcel.unpack(str(packed), str(tmp_path / "target"), made.record)
    finally:
        os.umask(before)
    assert {path: mode for path, (mode, _) in contents(tmp_path / "target").items()} == {
        path: mode for path, (mode, _) in FILES.items()
    }


def test_other_tools_can_read_a_parcel(packed: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive_of(packed))) as archive:
        members = archive.getmembers()
        names = ["files.json", *map(str, range(len(FILES)))]
        assert [member.name for member in members] == names
        assert {(member.uid, member.mtime, member.type) for member in members} == {(0, 0, tarfile.REGTYPE)}
        assert [member.mode for member in members[1:]] == [FILES[path][0] for path in sorted(FILES)]


def test_a_header_says_sizes_beyond_those_of_old_archives() -> None:
    for size in (0, 1, (8 << 30) - 1, 8 << 30, 31 << 30):
        found = tarfile.TarInfo.frombuf(parcel._header("12", size, 0o555), "utf-8", "strict")
        assert (found.name, found.size, found.mode, found.type) == ("12", size, 0o555, tarfile.REGTYPE)


# -- what does not travel ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.chmod(0o644) or path.write_bytes(b"int demx;\n"),
        lambda path: path.chmod(0o644) or path.write_bytes(b"int"),
        lambda path: path.chmod(0o644) or path.write_bytes(b"int demo;\n\n"),
        lambda path: path.unlink(),
        lambda path: path.unlink() or path.symlink_to("/etc/passwd"),
        lambda path: path.unlink() or path.mkdir(),
        lambda path: path.unlink() or os.mkfifo(path),
    ],
)
def test_a_damaged_package_does_not_travel(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    made = make(tmp_path / "package", FILES)
    damage(made.root / "include/demo.h")
    with pytest.raises(PackageError, match=r"`include/demo\.h`") as error:
        parcel.pack(str(made.root), str(tmp_path / "parcel"))
    assert "vpm-env verify" in (error.value.hint or "")
    assert not (tmp_path / "parcel").exists()


def test_a_package_without_its_list_does_not_travel(tmp_path: Path) -> None:
    made = make(tmp_path / "package", FILES)
    (made.root / "files.json").unlink()
    with pytest.raises(PackageError, match=r"`files\.json` is missing or damaged"):
        parcel.pack(str(made.root), str(tmp_path / "parcel"))


# -- what must not come in ---------------------------------------------------------------------------------------------


def drawn(data: st.DataObject, length: int) -> tuple[int, int]:
    """Draw which byte becomes another, and by which bits; the first and the last ones more often than others."""
    near = st.integers(0, min(length, 1500) - 1)
    at = data.draw(st.integers(0, length - 1) | near | near.map(lambda back: length - 1 - back))
    return at, data.draw(st.integers(1, 255))


@settings(deadline=None)
@given(data=st.data())
def test_whatever_bit_flips_it_is_refused_or_makes_no_difference(
    small: tuple[Made, Path], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    made, packed = small
    content = bytearray(packed.read_bytes())
    at, bits = drawn(data, len(content))
    content[at] ^= bits
    folder = tmp_path_factory.mktemp("flipped")
    (folder / "parcel").write_bytes(content)
    try:
        parcel.unpack(str(folder / "parcel"), str(folder / "target"), made.record)
    except PackageError:
        assert list((folder / "target").iterdir()) == []
    else:
        assert contents(folder / "target") == contents(made.root)


@settings(deadline=None)
@given(data=st.data())
def test_whatever_byte_of_the_archive_is_another_it_is_refused(
    small: tuple[Made, Path], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    made, packed = small
    content = archive_of(packed)
    at, bits = drawn(data, len(content))
    content[at] ^= bits
    folder = tmp_path_factory.mktemp("changed")
    refused(put(folder / "parcel", content), folder / "target", made.record)


@pytest.mark.parametrize("left", [0, 1, 4, 100, -1, -2, -4, -5, -100])
def test_a_parcel_that_ends_too_early_is_refused(made: Made, packed: Path, tmp_path: Path, left: int) -> None:
    (tmp_path / "parcel").write_bytes(packed.read_bytes()[:left])
    refused(tmp_path / "parcel", tmp_path / "target", made.record)


@pytest.mark.parametrize("cut", [512, 1024, 1536, 4096])
def test_an_archive_that_ends_too_early_is_refused(made: Made, packed: Path, tmp_path: Path, cut: int) -> None:
    error = refused(put(tmp_path / "parcel", archive_of(packed)[:-cut]), tmp_path / "target", made.record)
    assert "ends too early" in error.message


FRAME = zstandard.ZstdCompressor().compress(b"")
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"


@pytest.mark.parametrize("behind", [b"\0", b"x" * 10, b"x" * 300_000, FRAME, SKIPPABLE])
def test_what_stands_behind_a_parcel_is_refused(made: Made, packed: Path, tmp_path: Path, behind: bytes) -> None:
    (tmp_path / "parcel").write_bytes(packed.read_bytes() + behind)
    error = refused(tmp_path / "parcel", tmp_path / "target", made.record)
    assert "something behind its last file" in error.message


@pytest.mark.parametrize("more", [b"\0", b"\0" * 512, b"x"])
def test_what_stands_behind_the_last_file_is_refused(made: Made, packed: Path, tmp_path: Path, more: bytes) -> None:
    refused(put(tmp_path / "parcel", archive_of(packed) + more), tmp_path / "target", made.record)


@pytest.mark.parametrize("before", [0, 512, 5000, 1024])
def test_a_bomb_is_not_unpacked(small: tuple[Made, Path], tmp_path: Path, before: int) -> None:
    """At the end, or in the middle, come 96 MB of zeros in some 10 KB; no more of them is had than a block."""
    made, packed = small
    content = bytes(archive_of(packed))
    compressor = zstandard.ZstdCompressor().compressobj()
    pieces = [compressor.compress(content[: -before or None]), *(compressor.compress(bytes(1 << 24)) for _ in range(6))]
    (tmp_path / "parcel").write_bytes(b"".join(pieces) + compressor.flush())
    tracemalloc.start()
    try:
        refused(tmp_path / "parcel", tmp_path / "target", made.record)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_many_tiny_blocks_keep_nobody_busy(small: tuple[Made, Path], tmp_path: Path) -> None:
    """A frame may have empty blocks without end, each of three bytes."""
    made, packed = small
    content = packed.read_bytes()
    start = 6
    (tmp_path / "parcel").write_bytes(content[:start] + bytes(3) * 2_000_000 + content[start:])
    refused(tmp_path / "parcel", tmp_path / "target", made.record)


def test_a_list_that_would_fill_the_memory_is_not_read(made: Made, tmp_path: Path) -> None:
    header = parcel._header("files.json", 1 << 32, 0o444)
    error = refused(put(tmp_path / "parcel", header + bytes(1024)), tmp_path / "target", made.record)
    assert "does not begin with a list" in error.message


def test_a_frame_that_wants_too_much_memory_is_refused(made: Made, tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, write_content_size=False)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    (tmp_path / "parcel").write_bytes(compressor.compress(bytes(5000)) + compressor.flush())
    refused(tmp_path / "parcel", tmp_path / "target", made.record)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x1f\x8b", b"{}", bytes(3000), FRAME])
def test_what_is_no_parcel_is_refused(made: Made, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "parcel").write_bytes(content)
    refused(tmp_path / "parcel", tmp_path / "target", made.record)


def spoilt(packed: Path, change: Callable[[tarfile.TarInfo], object], *, member: int = 3) -> bytes:
    """Give a member's header another content with a sound checksum."""
    content = archive_of(packed)
    at, number = 0, -1
    while True:
        info = tarfile.TarInfo.frombuf(bytes(content[at : at + 512]), "utf-8", "strict")
        number += 1
        if number == member:
            change(info)
            content[at : at + 512] = info.tobuf(tarfile.USTAR_FORMAT)
            return bytes(content)
        at += 512 + (info.size + 511) // 512 * 512


def set_to(**fields: Any) -> Callable[[tarfile.TarInfo], object]:
    def change(info: tarfile.TarInfo) -> None:
        for name, value in fields.items():
            setattr(info, name, value)

    return change


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "../../escaped"},
        {"name": "/escaped"},
        {"name": "0"},
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "0"},
        {"type": tarfile.DIRTYPE},
        {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3},
        {"type": tarfile.FIFOTYPE},
        {"type": tarfile.GNUTYPE_SPARSE},
        {"type": tarfile.XHDTYPE},
        {"type": tarfile.GNUTYPE_LONGNAME},
        {"type": tarfile.AREGTYPE},
        {"mode": 0o4555},
        {"mode": 0o644},
        {"size": 5},
        {"uid": 1},
        {"mtime": 1},
        {"uname": "root"},
    ],
    ids=str,
)
def test_no_header_is_obeyed(made: Made, packed: Path, tmp_path: Path, fields: dict[str, Any]) -> None:
    error = refused(put(tmp_path / "parcel", spoilt(packed, set_to(**fields))), tmp_path / "target", made.record)
    assert "does not follow where its list says so" in error.message
    assert not (tmp_path / "escaped").exists()


def wrong_list(rows: Any) -> tuple[bytes, dict[str, Any]]:
    """Return an archive, and a record that agrees with it, whose list of files says something."""
    listed = canonical(rows)
    record = make_record(sha256_bytes(listed))
    body = b""
    for at, row in enumerate(rows):
        size = row[2] if isinstance(row, list) and len(row) == 4 and isinstance(row[2], int) and 0 <= row[2] < 99 else 0
        body += parcel._header(str(at), size, 0o444) + bytes(size + -size % 512)
    head = parcel._header("files.json", len(listed), 0o444) + listed + bytes(-len(listed) % 512)
    return head + body + bytes(1024), record


def make_record(files_sha256: str) -> dict[str, Any]:
    package = Package.of([], name="demo", version="1.0", dist_info="demo-1.0.dist-info")
    return sealed(package.to_dict() | {"files_sha256": files_sha256})


ZEROS = sha256_bytes(bytes(5))


@pytest.mark.parametrize(
    "path",
    [
        "lib/../../escaped",
        "lib/..",
        "lib/.",
        "lib/./a",
        "lib",
        "lib/",
        "lib//a",
        "/lib/a",
        "../lib/a",
        "escaped",
        "src/a",
        "",
        "lib\\..\\a",
        "lib/a\\b",
        "lib/a\nb",
        "lib/a\0b",
        "lib/\x1b[31m",
        "lib/\u202egnp.py",
        "lib/\udc80",
        "lib/" + "x" * 256,
        "lib/" + "ä" * 200,
        "lib/" + "x/" * 600 + "x",
        "lib/demo/__pycache__/demo.cpython-311.pyc",
        "LIB/a",
        "package.json",
        ".compiled-cpython-311",
    ],
)
def test_no_list_leads_out_of_a_package(tmp_path: Path, path: str) -> None:
    archive, record = wrong_list([[path, 0o444, 5, ZEROS]])
    refused(put(tmp_path / "parcel", archive), tmp_path / "deep" / "target", record)
    assert {each.name for each in tmp_path.rglob("*")} == {"deep", "home", "parcel", "target"}


ROW = ["lib/a", 0o444, 5, ZEROS]


@pytest.mark.parametrize(
    "rows",
    [
        [ROW, ROW],
        [["lib/b", 0o444, 5, ZEROS], ROW],
        [ROW, ["lib/a/b", 0o444, 5, ZEROS]],
        [["lib/a", 0o644, 5, ZEROS]],
        [["lib/a", 0o4555, 5, ZEROS]],
        [["lib/a", 0o444, -1, ZEROS]],
        [["lib/a", 0o444, 1 << 60, ZEROS]],
        [["lib/a", 0o444, True, ZEROS]],
        [["lib/a", 0o444, 5.0, ZEROS]],
        [["lib/a", 0o444, 5, ZEROS.upper()]],
        [["lib/a", 0o444, 5, "0"]],
        [["lib/a", 0o444, 5, None]],
        [["lib/a", 0o444, 5]],
        [["lib/a", 0o444, 5, ZEROS, 1]],
        [[1, 0o444, 5, ZEROS]],
        ["lib/a"],
        [None],
        [[f"lib/{at:02}", 0o444, 31 << 30, ZEROS] for at in range(3)],
    ],
    ids=lambda rows: str(rows)[:60],
)
def test_what_no_list_says_is_refused(tmp_path: Path, rows: list[Any]) -> None:
    archive, record = wrong_list(rows)
    refused(put(tmp_path / "parcel", archive), tmp_path / "target", record)


@pytest.mark.parametrize("listed", [b"{}", b"[", b"null", b"[ ]", b"[" * 100_000, b"\xff", b'{"a":1,"a":1}', b"[NaN]"])
def test_a_list_that_is_none_is_refused(tmp_path: Path, listed: bytes) -> None:
    archive = parcel._header("files.json", len(listed), 0o444) + listed + bytes(-len(listed) % 512 + 1024)
    record = make_record(sha256_bytes(listed))
    error = refused(put(tmp_path / "parcel", archive), tmp_path / "target", record)
    assert "its list of files" in error.message


def test_the_list_of_another_package_is_refused(packed: Path, tmp_path: Path) -> None:
    record = make(tmp_path / "other", FILES | {"lib/demo/more.py": (0o444, b"")}).record
    error = refused(packed, tmp_path / "target", record)
    assert "is not the one of this package" in error.message


# -- records -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../escaped"},
        {"name": "Demo"},
        {"name": 1},
        {"version": "1.0/../x"},
        {"version": "1.00-x"},
        {"version": "01.0"},
        {"dist_info": "../demo-1.0.dist-info"},
        {"dist_info": "other-1.0.dist-info"},
        {"top_level": []},
        {"top_level": ["demo", "more"]},
        {"size": 1},
        {"size": True},
        {"format": 2},
        {"editable": {"demo": "/home/somebody/demo"}},
        {"entry_points": {}},
        {"entry_points": {"vllm.general_plugins": {"demo": "evil:register"}}},
        {"entry_points": {"vllm.general_plugins": ["demo"]}},
        {"entry_points": {"vllm.general_plugins": {"demo": 1}}},
        {"entry_points": []},
        {"requires": []},
        {"requires": "other>=1"},
        {"requires": [1]},
        {"physical": ["../../.."]},
        {"physical": ["demo/none"]},
        {"physical": [[]]},
        {"compiled": [["lib/a.so"]]},
        {"compiled": [[1, 2, 3, 4, 5, 6]]},
        {"compiled": "x"},
        {"source": "x"},
        {"more": 1},
        {"files_sha256": None},
    ],
    ids=str,
)
def test_a_record_that_says_something_else_is_refused(
    made: Made, packed: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    refused(packed, tmp_path / "target", sealed(made.record | change))


@pytest.mark.parametrize("record", [{}, None, [], {"files_sha256": "x"}, {"checksum": 1}])
def test_what_is_no_record_is_refused(packed: Path, tmp_path: Path, record: Any) -> None:
    refused(packed, tmp_path / "target", record)


def test_a_record_whose_checksum_does_not_hold_is_refused(made: Made, packed: Path, tmp_path: Path) -> None:
    error = refused(packed, tmp_path / "target", made.record | {"source": {"url": "elsewhere"}})
    assert "the record of this package is damaged" in error.message


@pytest.mark.parametrize(
    "name", sorted(Package.of([], name="a", version="1", dist_info="a").to_dict().keys() - {"checksum"})
)
def test_a_record_that_lacks_something_is_refused(made: Made, packed: Path, tmp_path: Path, name: str) -> None:
    refused(packed, tmp_path / "target", sealed({each: value for each, value in made.record.items() if each != name}))


@pytest.mark.parametrize("posing", ["other-1.0.dist-info", "Other.EGG-INFO", "other.egg-link"])
def test_a_package_does_not_pass_for_another(tmp_path: Path, posing: str) -> None:
    made = make(tmp_path / "package", FILES | {f"lib/{posing}/METADATA": (0o444, METADATA)})
    parcel.pack(str(made.root), str(tmp_path / "parcel"))
    error = refused(tmp_path / "parcel", tmp_path / "target", made.record)
    assert "would pass for another distribution" in error.message


@pytest.mark.parametrize("name", ["Name: other", "Version: 2.0"])
def test_metadata_are_those_of_the_package(tmp_path: Path, name: str) -> None:
    word = name.partition(":")[0]
    lines = [name if line.startswith(f"{word}:") else line for line in METADATA.decode().split("\n")]
    content = "\n".join(lines).encode()
    made = make(tmp_path / "package", FILES | {"lib/demo-1.0.dist-info/METADATA": (0o444, content)})
    parcel.pack(str(made.root), str(tmp_path / "parcel"))
    assert "does not agree" in refused(tmp_path / "parcel", tmp_path / "target", made.record).message


# -- around it ---------------------------------------------------------------------------------------------------------


def test_nothing_is_unpacked_over_what_is_there(made: Made, packed: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "precious").write_text("precious")
    with pytest.raises(FileExistsError):
        parcel.unpack(str(packed), str(tmp_path / "target"), made.record)
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["precious"]


@pytest.mark.skipif(not Path("/usr/bin/zstd").exists(), reason="no zstd on this machine")
def test_zstd_itself_reads_a_parcel(packed: Path) -> None:
    done = subprocess.run(["zstd", "-dc", str(packed)], capture_output=True, check=True)
    assert done.stdout == bytes(archive_of(packed))


def test_what_is_not_installed_is_named(
    made: Made, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    for call in (
        lambda: parcel.pack(str(made.root), str(tmp_path / "parcel")),
        lambda: parcel.unpack(str(packed), str(tmp_path / "target"), made.record),
    ):
        with pytest.raises(CacheError, match="`zstandard` is not installed"):
            call()
    assert not (tmp_path / "parcel").exists()
