"""What is looked at before an installer unpacks it, and what never enters the store."""

from __future__ import annotations

import base64
import hashlib
import stat
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import kit
import pytest

from envbuilder import archive, entrance, gate, lock_shape, overlay
from envbuilder import record as records
from envbuilder.errors import PackageError
from envbuilder.lock import LockedPackage
from envbuilder.package import Package, PackageFile
from envbuilder.uv import Uv

if TYPE_CHECKING:
    from pathlib import Path

SHA = "a" * 64
WHEEL = {"url": "https://index.example/demo-1.0-py3-none-any.whl", "hashes": {"sha256": SHA}}


def record(**entry: Any) -> dict[str, Any]:
    own = {"base": {}, "facts": {}, "provided": {}, "left-out": {}, "ignored": {}}
    return {"packages": [{"name": "demo", "version": "1.0", **entry}], "tool": {"vpm-env": own}}


@pytest.mark.parametrize(
    "entry",
    [
        {"wheels": [{**WHEEL, "path": "/tmp/other/demo-1.0-py3-none-any.whl"}]},
        {"sdist": {**WHEEL, "path": "/tmp/other/demo-1.0.tar.gz"}},
        {"archive": {**WHEEL, "path": "demo-1.0-py3-none-any.whl"}},
        {"vcs": {"type": "git", "url": "https://host.example/demo", "path": "/tmp/demo", "commit-id": "0" * 40}},
    ],
)
def test_a_lock_names_one_place_for_a_file(entry: dict[str, Any]) -> None:
    """Who checks and who opens must not choose differently."""
    assert [text for text in lock_shape.problems(record(**entry)) if text.startswith("two places")]
    (table,) = [table[0] if isinstance(table, list) else table for table in entry.values()]
    del table["path"]
    assert not list(lock_shape.problems(record(**entry)))


def test_a_crowd_is_refused_by_its_end_alone() -> None:
    """Nothing of a directory is read, or held, that is too long to be one."""
    asked: list[int] = []
    count = archive.MAX_MEMBERS + 1
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, count * 50, 0)
    end += struct.pack("<4sLQL", b"PK\6\7", 0, count * 50, 1)
    end += struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, count * 50, 0, 0)

    def read(start: int, length: int) -> bytes:
        asked.append(length)
        return end[start - count * 50 :][:length]

    with pytest.raises(archive.Crowded, match=f"{count} members"):
        archive.directory(read, count * 50 + len(end))
    assert sum(asked) < 200


@pytest.mark.parametrize("url", ["https://h.example/demo-1.0-py3-none-any.wh%6c", "https://h.example/d.WHL#sha256=0"])
def test_what_a_url_names_is_a_wheel_however_that_is_spelled(url: str) -> None:
    assert gate._is_wheel({"url": url})
    assert gate._is_wheel({"path": "/tmp/a?b/demo-1.0-py3-none-any.whl"})
    assert not gate._is_wheel({"url": "https://h.example/demo-1.0.tar.gz"})


def test_all_wheels_of_a_release_and_those_of_urls_are_looked_at(tmp_path: Path) -> None:
    good = kit.wheel(tmp_path / "good", "demo")
    bad = kit.wheel(tmp_path / "bad", "demo", record_lies={"demo/__init__.py": None})
    tables = [
        {"url": path.as_uri(), "hashes": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}
        for path in (good, bad)
    ]
    uv = object.__new__(Uv)
    object.__setattr__(uv, "offline", False)

    for package in (
        LockedPackage(name="demo", version="1.0", wheels=tuple(tables)),
        LockedPackage(name="demo", version="1.0", archive=tables[1]),
        LockedPackage(name="demo", version="1.0", archive={**tables[1], "url": None, "path": str(bad)}),
    ):
        with pytest.raises(PackageError, match="not in its RECORD"):
            gate.examine(package, uv=uv, scratch=str(tmp_path))
    assert gate.examine(LockedPackage(name="demo", version="1.0", archive=tables[0]), uv=uv, scratch=str(tmp_path))


@pytest.mark.parametrize("what", ["files", "requires"])
def test_no_package_enters_that_could_not_be_read_again(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(entrance, "_MOST_LISTED", 4000)
    monkeypatch.setattr(entrance, "_MOST_SAID", 4000)

    def made(count: int) -> Package:
        files = [
            PackageFile(f"lib/demo/{number}.py", 0o444, 0, SHA) for number in range(count if what == "files" else 1)
        ]
        requires = tuple(f"some-package-{number}" for number in range(count if what == "requires" else 0))
        return Package.of(files, name="demo", version="1.0", dist_info="demo-1.0.dist-info", requires=requires)

    entrance.require_fit(made(30), "/nowhere", startup_allowed=())
    with pytest.raises(PackageError, match="4000 are the limit"):
        entrance.require_fit(made(200), "/nowhere", startup_allowed=())


def test_a_hint_does_not_say_what_does_not_help(tmp_path: Path) -> None:
    def refused(*names: str, allowed: tuple[str, ...] = ()) -> PackageError:
        files = [PackageFile(f"lib/{name}", 0o444, 0, SHA) for name in names]
        made = Package.of(files, name="demo", version="1.0", dist_info="demo-1.0.dist-info")
        with pytest.raises(PackageError) as told:
            entrance.require_fit(made, str(tmp_path), startup_allowed=allowed)
        return told.value

    assert "startup_code: [demo]" in str(refused("a.pth").hint)
    for error in (refused("sitecustomize.py"), refused("a.pth", "sitecustomize.py", allowed=("demo",))):
        assert "no config can allow it" in error.message
        assert "startup_code" not in str(error.hint)
    assert "cache" not in str(refused("_vpm_env.pth").hint)


OWN_NAMES = (
    *("python", "python3", "python3.13", "python3.13t", "pythonw.exe", "pypy3.10"),
    *("activate", "activate.fish", "Activate.ps1", "activate_this.py", "deactivate", "deactivate.bat"),
)
OTHER_NAMES = (
    *("activate-global-python-argcomplete", "activate_project", "activate.py", "deactivate-all"),
    *("python-argcomplete-check-easy-install-script", "python3-config", "pythonpath", "pypy-tool"),
)


@pytest.mark.parametrize(("names", "is_own"), [(OWN_NAMES, True), (OTHER_NAMES, False)], ids=["own", "other"])
def test_only_what_an_environment_has_itself_is_its_own(tmp_path: Path, names: tuple[str, ...], is_own: bool) -> None:
    """As a command, as a script in a wheel, and where scripts are written: a name is refused, or is there."""
    for name in names:
        wheel = kit.wheel(tmp_path / name, "demo", scripts={name: "#!python\n"})
        fields = {"name": "demo", "version": "1.0", "dist_info": "demo-1.0.dist-info"}
        by_point = Package.of([], entry_points={"console_scripts": {name: "demo:f"}}, **fields)
        by_file = Package.of([PackageFile(f"bin/{name}", 0o555, 0, SHA)], **fields)

        assert overlay.is_own_script(name) is is_own
        told = [
            _refusal(gate.examine_file, str(wheel), package="demo"),
            *(_refusal(entrance.require_fit, made, "/nowhere", startup_allowed=()) for made in (by_point, by_file)),
        ]
        assert ["environment's own" in text for text in told] == [is_own] * 3, (name, told)


def test_the_modes_of_folders_are_nobodys_rights(tmp_path: Path) -> None:
    """`zip -r` in a folder of a group writes them down with its bit."""
    wheel = kit.wheel(tmp_path, "demo", files={"demo/__init__.py": ""})
    for name, kind, is_good in (("demo/", stat.S_IFDIR, True), ("demo-1.0.dist-info/", 0, True), ("demo/a", 0, False)):
        entry = zipfile.ZipInfo(name)
        entry.external_attr = (kind | 0o2755) << 16
        with zipfile.ZipFile(wheel, "a") as opened:
            opened.writestr(entry, b"")
        assert ("owner's rights" not in _refusal(gate.examine_file, str(wheel), package="demo")) is is_good


def test_a_hash_is_the_same_however_it_is_spelled(tmp_path: Path) -> None:
    """Some builders write hex into RECORD where base64 belongs."""
    path = tmp_path / "a.py"
    path.write_bytes(b"x = 1\n")
    digest = hashlib.sha256(b"x = 1\n").digest()
    other = hashlib.sha256(b"x = 2\n").digest()
    for value, holds in ((digest, True), (other, False)):
        for spelled in (value.hex(), value.hex().upper(), base64.urlsafe_b64encode(value).decode()):
            assert records._held(str(path), f"sha256={spelled}") == (digest if holds else b"")
    assert not records._held(str(path), "sha256=")
    assert not records._held(str(path), f"md5={hashlib.md5(b'x = 1').hexdigest()}")


def _refusal(ask: Any, *args: Any, **kwargs: Any) -> str:
    try:
        ask(*args, **kwargs)
    except PackageError as error:
        return error.message
    return ""
