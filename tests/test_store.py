"""The store: each package once, checked, compiled, read-only; there as a whole or not at all."""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import shutil
import stat
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kit
import pytest
import tomllib

from envbuilder import base as base_module
from envbuilder import package_damage, paths, sources, stocking, store, uv
from envbuilder.classes import replace
from envbuilder.config import Git, Local, Plugin
from envbuilder.digest import sealed
from envbuilder.errors import BuildError, CommandFailed, PackageError, Place, SeveralErrors, SourceError
from envbuilder.interpreter import Interpreter
from envbuilder.lock import LockedPackage
from envbuilder.report import Reporter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envbuilder.package import Package


class Steps(Reporter):
    """Note the finished steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, what: str, *, size: int | None = None) -> None:
        self.steps.append(what)


class Shop:
    """A store with everything that is needed to add to it."""

    def __init__(self, folder: Path, base: kit.Base) -> None:
        self.folder = folder
        self.layout = paths.Layout(str(folder / "vpm-home"))
        self.env = paths.environment()
        self.base = base_module.describe(Interpreter(python=str(base.python), rule="test"), None, self.env)
        self.report = Steps()
        self.count = 0

    def uv(self, *, offline: bool = False) -> uv.Uv:
        return uv.configure(None, self.env, self.layout, offline=offline)

    def all(self, *locked: LockedPackage, offline: bool = False, **options: Any) -> dict[str, Package]:
        return stocking.add_all(
            locked, base=self.base, layout=self.layout, uv=self.uv(offline=offline), report=self.report, **options
        )

    def add(self, locked: LockedPackage, *, offline: bool = False) -> Package:
        return self.all(locked, offline=offline)[locked.name]

    def build(self, source: Git | Local, *, name: str = "demo", **options: Any) -> tuple[Package, LockedPackage]:
        self.count += 1
        scratch = self.folder / f"scratch{self.count}"
        scratch.mkdir()
        plugin = Plugin(name=name, source=source, place=Place("plugins.yaml"), **options)
        fetched = sources.fetch(
            [plugin],
            layout=self.layout,
            env=self.env,
            previous=None,
            upgrade=False,
            offline=False,
            scratch=str(scratch),
        )[name]
        made = stocking.add_all_built(
            [(fetched, plugin)], base=self.base, layout=self.layout, uv=self.uv(), report=self.report
        )
        return made[name]

    def path(self, package: Package) -> Path:
        return Path(self.layout.package(package.key))


@pytest.fixture
def shop(tmp_path: Path, base: kit.Base) -> Shop:
    return Shop(tmp_path, base)


def lock(index: kit.Index, path: Path, **changes: Any) -> LockedPackage:
    """Lock the file `path` of an index."""
    name, version = path.name.removesuffix(".tar.gz").split("-")[:2]
    record = {
        "name": path.name,
        "url": index.url.replace("/simple", f"/files/{path.name}"),
        "size": path.stat().st_size,
        "hashes": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
    }
    files: dict[str, Any] = {"wheels": (record,)} if path.suffix == ".whl" else {"sdist": record}
    return LockedPackage(name=name.replace("_", "-"), version=version, **{**files, **changes})


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def without_bytecode(names: Iterable[str]) -> set[str]:
    return {name for name in names if not name.endswith(".pyc") and not name.startswith(".compiled")}


def test_a_wheel_becomes_a_package(shop: Shop, index: kit.Index) -> None:
    wheel = kit.wheel(
        index.folder,
        "demo",
        files={"demo/__init__.py": "value = 1\n", "demo/template.py": "print 'two'\n"},
        requires=["numpy"],
        entry_points={"console_scripts": {"demo": "demo:main"}, "vllm.general_plugins": {"demo": "demo:plug"}},
        scripts={"demo-tool": "#!python\nprint(1)\n"},
        data={"share/demo.txt": "data"},
        headers={"demo.h": "int demo;\n"},
    )
    made = shop.add(lock(index, wheel))
    root = shop.path(made)

    assert made.entry_points["vllm.general_plugins"] == {"demo": "demo:plug"}
    assert without_bytecode(tree(root)) == {"files.json", "package.json", *(file.path for file in made.files)}
    assert {"bin/demo-tool", "data/share/demo.txt", "include/demo/demo.h"} <= {file.path for file in made.files}
    assert (root / "bin/demo-tool").read_text() == "#!python\nprint(1)\n"
    assert not (root / "bin/demo").exists()
    assert store.get(shop.layout, made.key) == made
    assert store.keys(shop.layout) == [made.key]
    assert package_damage.problems(shop.layout, made.key) == []
    assert os.readlink(Path(shop.layout.store, made.key[:12])) == f"{made.key}/lib"
    assert os.listdir(shop.layout.tmp) == []
    assert shop.report.steps == ["demo 1.0"]


def test_a_package_is_read_only_and_its_owner_can_remove_it(shop: Shop, index: kit.Index) -> None:
    previous = os.umask(0)
    try:
        root = shop.path(shop.add(lock(index, kit.wheel(index.folder, "demo", scripts={"tool": "#!/bin/sh\n"}))))
    finally:
        os.umask(previous)

    for path in [root, *root.rglob("*")]:
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_dir():
            assert mode == 0o755
        elif not path.name.startswith(".compiled"):
            assert mode == (0o555 if path.name == "tool" else 0o444), path
    shutil.rmtree(root)


def test_what_is_there_needs_no_network_and_no_uv(shop: Shop, index: kit.Index) -> None:
    locked = lock(index, kit.wheel(index.folder, "demo"))
    made = shop.add(locked)
    served = len(index.requests)
    nothing = replace(shop.uv(), binary="/nonexistent/uv")
    again = stocking.add_all([locked], base=shop.base, layout=shop.layout, uv=nothing, report=shop.report)

    assert again == {"demo": made}
    assert store.known([locked], base=shop.base, layout=shop.layout) == again
    assert len(index.requests) == served


@pytest.mark.long
def test_the_key_is_the_same_in_another_home_over_another_base(shop: Shop, index: kit.Index, tmp_path: Path) -> None:
    locked = lock(index, kit.wheel(index.folder, "demo", scripts={"tool": "#!python\n"}, headers={"a.h": ""}))
    others = [path for version, path in kit.pythons().items() if version != shop.base.python_version]
    python = others[0] if others else sys.executable
    other = Shop(tmp_path / "a much longer path", kit.base(tmp_path / "other base", python=python))

    assert other.add(locked).key == shop.add(locked).key


def test_bytecode_is_compiled_for_every_base_that_uses_the_package(
    shop: Shop, index: kit.Index, tmp_path: Path
) -> None:
    locked = lock(index, kit.wheel(index.folder, "demo"))
    made = shop.add(locked)
    compiled = {path.name for path in shop.path(made).rglob("*.pyc")}
    others = [path for version, path in kit.pythons().items() if version != shop.base.python_version]
    if not others:
        pytest.skip("one Python only")
    second = Shop(tmp_path, kit.base(tmp_path / "second", python=others[0]))
    second.add(locked, offline=True)

    assert len(compiled) == 1
    assert len({path.name for path in shop.path(made).rglob("*.pyc")}) == 2
    assert package_damage.problems(shop.layout, made.key) == []


def test_bytecode_is_unchecked_and_names_no_staging_path(shop: Shop, index: kit.Index) -> None:
    made = shop.add(lock(index, kit.wheel(index.folder, "demo")))
    (pyc,) = shop.path(made).rglob("*.pyc")
    content = pyc.read_bytes()

    assert int.from_bytes(content[4:8], "little") == 0b01
    assert marshal.loads(content[16:]).co_filename == "demo/__init__.py"
    assert shop.layout.tmp.encode() not in content


def test_another_file_under_the_locked_name_is_refused(shop: Shop, index: kit.Index) -> None:
    locked = lock(index, kit.wheel(index.folder, "demo"))
    kit.wheel(index.folder, "demo", files={"demo/__init__.py": "evil = 1\n"})
    with pytest.raises(PackageError, match="mismatch"):
        shop.add(locked)

    assert store.keys(shop.layout) == []
    assert os.listdir(shop.layout.tmp) == []


@pytest.mark.parametrize(
    ("lies", "problem"),
    [
        ({"demo/__init__.py": "sha256=AAAA"}, "`demo/__init__.py` is not what its RECORD says"),
        ({"demo/__init__.py": None}, "`demo/__init__.py` is not in its RECORD"),
        ({"demo/gone.py": "sha256=AAAA"}, "`demo/gone.py` of its RECORD is missing"),
    ],
)
def test_a_wheel_whose_record_lies_never_enters(
    shop: Shop, index: kit.Index, lies: dict[str, str | None], problem: str
) -> None:
    with pytest.raises(PackageError) as caught:
        shop.add(lock(index, kit.wheel(index.folder, "demo", record_lies=lies)))

    assert problem in caught.value.problems
    assert store.keys(shop.layout) == []


@pytest.mark.parametrize("member", ["../../outside.py", "/outside.py", "demo-1.0.data/data/../../../outside"])
def test_members_that_reach_out_never_enter(shop: Shop, index: kit.Index, tmp_path: Path, member: str) -> None:
    locked = lock(index, kit.wheel(index.folder, "demo", files={"demo/__init__.py": "", member: "x"}))
    # The second time uv has its own unpacked copy, of which it says nothing any more.
    for _ in range(2):
        with pytest.raises(PackageError):
            shop.add(locked)

    assert store.keys(shop.layout) == []
    assert not list(tmp_path.rglob("outside*"))


def test_an_interpreter_among_the_scripts_is_refused(shop: Shop, index: kit.Index) -> None:
    with pytest.raises(PackageError, match="python"):
        shop.add(lock(index, kit.wheel(index.folder, "demo", scripts={"python": "#!/bin/sh\n"})))


def test_a_damaged_cache_of_uv_is_mended(shop: Shop, index: kit.Index, tmp_path: Path, base: kit.Base) -> None:
    locked = lock(index, kit.wheel(index.folder, "demo", files={"demo/__init__.py": "", "demo/part.py": "part = 1\n"}))
    shop.add(locked)
    cached = [path for path in Path(os.environ["UV_CACHE_DIR"]).rglob("demo/part.py") if path.is_file()]
    for path in cached:
        path.write_bytes(b"")
    other = Shop(tmp_path / "other", base)

    assert cached
    assert package_damage.problems(other.layout, other.add(locked).key) == []


def test_a_local_wheel_with_hostile_members_is_refused(shop: Shop, tmp_path: Path) -> None:
    wheel = kit.wheel(tmp_path / "files", "demo", files={"demo/__init__.py": "", "../../outside.py": ""})
    with pytest.raises(PackageError, match="leads outside"):
        shop.build(Local(path=str(wheel)))


def test_all_that_can_be_had_is_added_and_all_errors_are_told(shop: Shop, index: kit.Index) -> None:
    good = lock(index, kit.wheel(index.folder, "good"))
    liar = lock(index, kit.wheel(index.folder, "liar", record_lies={"liar/__init__.py": None}))
    broken = lock(index, kit.sdist(index.folder, "broken", build_code="raise SystemExit('no compiler found')"))
    one, two = (lock(index, kit.wheel(index.folder, name)) for name in ("one", "two"))
    index.answers |= {f"{name}-1.0-py3-none-any.whl": 404 for name in ("one", "two")}
    with pytest.raises(SeveralErrors) as caught:
        shop.all(good, liar, broken, one, two)

    kinds = {type(error): error for error in caught.value.errors}
    assert set(kinds) == {SourceError, PackageError, BuildError}
    lacking, failed = kinds[SourceError], kinds[BuildError]
    assert isinstance(lacking, SourceError)
    assert [name for name, _ in lacking.missing] == ["one", "two"]
    assert isinstance(failed, BuildError)
    assert "no compiler found" in failed.message
    assert failed.package == "broken 1.0"
    assert [key.split("-")[1] for key in store.keys(shop.layout)] == ["good"]


KILLED = """#!/bin/sh
for folder; do
    case "$folder" in */lib) [ ! -e "$folder/killer" ] || kill -9 $$;; esac
done
exec {python} "$@"
"""


def test_a_module_that_kills_the_compiler_is_blamed_on_its_own_package(
    shop: Shop, index: kit.Index, tmp_path: Path
) -> None:
    """The others, some of which were to be compiled by the same start, are there."""
    python = tmp_path / "python"
    python.write_text(KILLED.format(python=shop.base.python))
    python.chmod(0o755)
    shop.base = replace(shop.base, python=str(python))
    names = [f"good-{number}" for number in range(6)]
    locked = [lock(index, kit.wheel(index.folder, name)) for name in names]
    killer = lock(index, kit.wheel(index.folder, "killer"))
    with pytest.raises(CommandFailed) as caught:
        shop.all(*locked[:3], killer, *locked[3:])

    assert caught.value.code == -9
    assert sorted(key.split("-", 1)[1] for key in store.keys(shop.layout)) == [f"{name}-1.0" for name in names]
    assert {step.split()[0] for step in shop.report.steps} == set(names)


@pytest.mark.parametrize(("size", "starts"), [(100, 1), (200_000, 5)], ids=["small", "large"])
def test_an_interpreter_starts_for_what_takes_as_long_as_its_start(
    shop: Shop, index: kit.Index, tmp_path: Path, size: int, starts: int
) -> None:
    python, log = tmp_path / "python", tmp_path / "starts"
    python.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {shop.base.python} "$@"\n')
    python.chmod(0o755)
    shop.base = replace(shop.base, python=str(python))
    names = [f"demo{number}" for number in range(5)]
    files = {name: {f"{name}.py": "# " + "x" * size + "\n"} for name in names}
    made = shop.all(*(lock(index, kit.wheel(index.folder, name, files=files[name])) for name in names))

    assert sum("_compile.py" in line for line in log.read_text().splitlines()) == starts
    assert all(list(shop.path(package).rglob("*.pyc")) for package in made.values())


def test_offline_lists_every_file_that_is_missing(shop: Shop, index: kit.Index) -> None:
    here, *missing = (lock(index, kit.wheel(index.folder, name)) for name in ("here", "one", "two"))
    source = lock(index, kit.sdist(index.folder, "three"))
    shop.add(here)
    with pytest.raises(SourceError) as caught:
        shop.all(here, *missing, source, offline=True)

    for name in ("one-1.0-py3-none-any.whl", "two-1.0-py3-none-any.whl", "three-1.0.tar.gz"):
        assert name in caught.value.message
    assert "here-1.0" not in caught.value.message


def test_an_sdist_is_built(shop: Shop, index: kit.Index) -> None:
    locked = lock(index, kit.sdist(index.folder, "demo", entry_points={"g": {"a": "demo:a"}}))
    made = shop.add(locked)

    assert made.entry_points == {"g": {"a": "demo:a"}}
    assert shop.add(locked, offline=True) == made


def test_several_wheels_are_told_apart_by_the_base(shop: Shop, index: kit.Index) -> None:
    tag = f"cp{shop.base.python_version.replace('.', '')}"
    right = lock(index, kit.wheel(index.folder, "demo", tag=f"{tag}-none-any"))
    wrong = lock(index, kit.wheel(index.folder, "demo", files={"wrong.py": ""}, tag="cp39-none-any"))
    made = shop.add(replace(right, wheels=(*wrong.wheels, *right.wheels)))

    assert made.top_level == {"demo"}


def test_a_wheel_of_another_name_is_refused(shop: Shop, index: kit.Index) -> None:
    locked = lock(index, kit.wheel(index.folder, "demo", metadata="Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n"))
    with pytest.raises(PackageError):
        shop.add(locked)


def test_two_builds_at_once_make_a_package_once(index: kit.Index, tmp_path: Path, base: kit.Base) -> None:
    locked = [lock(index, kit.wheel(index.folder, f"p{number}")) for number in range(6)]
    shops = [Shop(tmp_path, base) for _ in range(3)]
    made: list[dict[str, Package]] = []
    threads = [
        threading.Thread(target=lambda at, order: made.append(at.all(*order)), args=(each, order))
        for each, order in zip(shops, (locked, locked[::-1], locked[3:] + locked[:3]), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 3
    assert made[0] == made[1] == made[2]
    assert sorted(step for each in shops for step in each.report.steps) == [f"p{number} 1.0" for number in range(6)]


def test_damage_is_found_and_mended(shop: Shop, index: kit.Index) -> None:
    files = {"demo/__init__.py": "", "demo/a.py": "", "demo/b.py": ""}
    locked = lock(index, kit.wheel(index.folder, "demo", files=files))
    made = shop.add(locked)
    root = shop.path(made)
    (root / "lib/demo/__init__.py").chmod(0o644)
    (root / "lib/demo/a.py").unlink()
    (root / "lib/demo/b.py").chmod(0o600)
    (root / "lib/demo/b.py").write_text("evil = 1\n")
    (root / "lib/demo/new.py").write_text("")
    (root / "lib/demo/__pycache__/new.cpython-311.pyc").write_text("")

    assert package_damage.problems(shop.layout, made.key) == [
        "`lib/demo/__init__.py` has the mode 644, not 444",
        "`lib/demo/a.py` is missing",
        "`lib/demo/b.py` has another content",
    ]
    store.discard(shop.layout, [made.key])
    assert store.keys(shop.layout) == []
    assert os.listdir(shop.layout.store) == []
    assert len(os.listdir(shop.layout.trash)) == 1
    assert shop.add(locked).key == made.key
    assert package_damage.problems(shop.layout, made.key) == []


@pytest.mark.parametrize("content", ["", "{", "{}", json.dumps(sealed({"format": 1})), json.dumps({"format": 99})])
def test_a_package_with_a_damaged_manifest_is_made_again(shop: Shop, index: kit.Index, content: str) -> None:
    locked = lock(index, kit.wheel(index.folder, "demo"))
    made = shop.add(locked)
    manifest = shop.path(made) / "package.json"
    manifest.chmod(0o644)
    manifest.write_text(content)

    assert store.get(shop.layout, made.key) is None
    assert package_damage.problems(shop.layout, made.key) == ["`package.json` is missing or damaged"]
    assert shop.add(locked) == made
    assert package_damage.problems(shop.layout, made.key) == []


def test_another_packages_manifest_is_not_taken_for_this_ones(shop: Shop, index: kit.Index) -> None:
    one, two = (shop.add(lock(index, kit.wheel(index.folder, name))) for name in ("one", "two"))
    shop.path(one).joinpath("package.json").unlink()
    shutil.copy(shop.path(two) / "package.json", shop.path(one))

    assert store.get(shop.layout, one.key) is None


def test_a_lost_alias_comes_back(shop: Shop, index: kit.Index) -> None:
    locked = lock(index, kit.wheel(index.folder, "demo"))
    alias = Path(shop.layout.store, shop.add(locked).key[:12])
    alias.unlink()
    shop.add(locked)

    assert alias.is_symlink()


def test_size_counts_what_the_disk_holds(shop: Shop, index: kit.Index) -> None:
    made = shop.add(lock(index, kit.wheel(index.folder, "demo", files={"demo.py": "#" * 100_000})))

    assert 100_000 <= store.size(shop.layout, made.key) <= 200_000


# --- what is built ---------------------------------------------------------------------------------------------------


def test_a_folder_builds_to_the_same_key_twice_and_stays_untouched(shop: Shop, tmp_path: Path, base: kit.Base) -> None:
    folder = kit.project(tmp_path / "project", "demo", entry_points={"g": {"a": "demo:a"}}, requires=["numpy>=1"])
    before = kit.tree_hash(folder)
    made, locked = shop.build(Local(path=str(folder)), extras=("x",))
    elsewhere = Shop(tmp_path / "elsewhere", base)
    elsewhere.folder.mkdir()

    assert kit.tree_hash(folder) == before
    assert (locked.name, locked.version, locked.plugin) == ("demo", "1.0", "demo")
    assert locked.directory == {"path": str(folder)}
    assert locked.tree
    assert made.requires == ("numpy>=1",)
    assert elsewhere.build(Local(path=str(folder)))[0].key == made.key
    assert not any(b"file://" in path.read_bytes() for path in shop.path(made).rglob("*") if path.is_file())


def test_git_and_a_folder_of_the_same_content_make_the_same_package(shop: Shop, tmp_path: Path) -> None:
    folder = kit.project(tmp_path / "project", "demo", layout="src")
    repository = kit.git_repository(folder)
    from_git, locked = shop.build(Git(url=repository.url, ref="main"))
    from_folder, _ = shop.build(Local(path=str(folder)))

    assert locked.vcs is not None
    assert locked.vcs["commit-id"] == repository.head
    assert from_git.key == from_folder.key


def test_a_local_wheel_and_sdist_are_sources(shop: Shop, index: kit.Index, tmp_path: Path) -> None:
    wheel = kit.wheel(index.folder, "demo", scripts={"tool": "#!python\n"})
    made, locked = shop.build(Local(path=str(wheel)))
    from_sdist, _ = shop.build(Local(path=str(kit.sdist(tmp_path / "files", "demo"))))

    assert locked.archive is not None
    assert locked.archive["path"] == str(wheel)
    assert shop.add(lock(index, wheel), offline=True) == made
    assert from_sdist.name == "demo"


@pytest.mark.parametrize(("name", "version"), [("demo", "2.0"), ("other", "1.0")])
def test_a_lock_that_says_something_else_of_a_known_file_is_refused(
    shop: Shop, index: kit.Index, name: str, version: str
) -> None:
    wheel = kit.wheel(index.folder, "demo", "1.0")
    shop.add(lock(index, wheel))
    told = replace(lock(index, wheel), name=name, version=version)

    with pytest.raises(PackageError, match=rf"it says that it is demo 1\.0, not {name} {version}"):
        shop.add(told)


@pytest.mark.long
def test_what_is_unchanged_is_not_built_again(shop: Shop, tmp_path: Path) -> None:
    counter = tmp_path / "builds"
    code = f"open({str(counter)!r}, 'a').write('built\\n')"
    folder = kit.project(tmp_path / "project", "demo", build_code=code)
    shop.build(Local(path=str(folder)))
    built = counter.read_text()
    shop.build(Local(path=str(folder)))
    assert counter.read_text() == built
    (folder / "demo/__init__.py").write_text("changed = 1\n")
    shop.build(Local(path=str(folder)))

    assert counter.read_text() != built


def test_a_failed_build_names_the_plugin_and_has_its_log(shop: Shop, tmp_path: Path) -> None:
    code = "import sys; print('looking for CUDA', file=sys.stderr); sys.exit('no CUDA here')"
    folder = kit.project(tmp_path / "project", "demo", build_code=code)
    with pytest.raises(BuildError) as caught:
        shop.build(Local(path=str(folder)), name="my-plugin")

    assert caught.value.plugin == "my-plugin"
    assert "looking for CUDA" in caught.value.log
    assert "no CUDA here" in caught.value.message
    assert os.listdir(shop.layout.tmp) == []


def test_without_isolation_a_build_sees_what_the_base_has(shop: Shop, base: kit.Base, tmp_path: Path) -> None:
    kit.install(base, kit.wheel(tmp_path / "wheels", "torchlike", "2.5", files={"torchlike.py": "version = '2.5'\n"}))
    code = "import torchlike; assert torchlike.version == '2.5'"
    folder = kit.project(tmp_path / "project", "demo", build_code=code)
    before = kit.tree_hash(base.prefix)
    with pytest.raises(BuildError, match="torchlike"):
        shop.build(Local(path=str(folder)))
    made, _ = shop.build(Local(path=str(folder)), build_isolation=False)

    assert made.name == "demo"
    assert kit.tree_hash(base.prefix) == before


def test_without_isolation_a_missing_backend_is_explained(shop: Shop, tmp_path: Path) -> None:
    folder = kit.project(tmp_path / "project", "demo", backend="hatchling")
    with pytest.raises(BuildError) as caught:
        shop.build(Local(path=str(folder)), build_isolation=False)

    assert caught.value.hint
    assert "build_isolation" in caught.value.hint


def test_without_isolation_an_sdist_of_an_index_sees_the_base_too(
    shop: Shop, base: kit.Base, index: kit.Index, tmp_path: Path
) -> None:
    kit.install(base, kit.wheel(tmp_path / "wheels", "torchlike", files={"torchlike.py": ""}))
    locked = lock(index, kit.sdist(index.folder, "demo", build_code="import torchlike"))
    with pytest.raises(BuildError):
        shop.add(locked)

    assert shop.all(locked, not_isolated=frozenset({"demo"}))["demo"].name == "demo"


# --- editable --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layout", "root"), [("flat", ""), ("src", "src/")])
def test_an_editable_links_to_its_source(shop: Shop, tmp_path: Path, layout: str, root: str) -> None:
    files = {"demo/__init__.py": "", "demo/inner/deep.py": "x = 1\n", "single.py": "y = 1\n"}
    folder = kit.project(tmp_path / "project", "demo", files=files, layout=layout, entry_points={"g": {"a": "demo:a"}})
    before = kit.tree_hash(folder)
    made, locked = shop.build(Local(path=str(folder), editable=True))

    assert made.editable == {"demo": str(folder / f"{root}demo"), "single.py": str(folder / f"{root}single.py")}
    assert {file.path.split("/")[1] for file in made.files} == {made.dist_info}
    assert made.top_level == {"demo", "single.py"}
    assert made.entry_points == {"g": {"a": "demo:a"}}
    assert locked.is_editable
    assert kit.tree_hash(folder) == before
    listed = (shop.path(made) / "lib" / made.dist_info / "SOURCES.txt").read_text().splitlines()
    assert {"demo/__init__.py", "single.py"} <= set(listed)
    assert "demo/inner/deep.py" not in listed
    assert package_damage.problems(shop.layout, made.key) == []


@pytest.mark.long
def test_an_editables_key_follows_its_metadata_and_places_but_not_its_code(shop: Shop, tmp_path: Path) -> None:
    folder = kit.project(tmp_path / "project", "demo")
    editable = Local(path=str(folder), editable=True)
    first = shop.build(editable)[0].key
    (folder / "demo/__init__.py").write_text("changed = 1\n")
    (folder / "demo/added.py").write_text("")
    assert shop.build(editable)[0].key == first
    kit.project(folder, "demo", entry_points={"g": {"new": "demo:new"}})
    assert shop.build(editable)[0].key != first
    moved = folder.rename(tmp_path / "moved")
    assert shop.build(Local(path=str(moved), editable=True))[0].key != first


def test_what_only_the_wheel_has_stays_a_file(shop: Shop, tmp_path: Path) -> None:
    code = (
        "import pathlib; here = pathlib.Path.cwd();"
        "(here / 'demo/_version.py').write_text('v = 1'); (here / 'demo/inner/_ext.so').write_bytes(b'ext');"
        "(here / 'top.so').write_bytes(b'top')"
    )
    files = {"demo/__init__.py": "a = 1\n", "demo/inner/__init__.py": "b = 1\n", "demo/other/__init__.py": "c = 1\n"}
    folder = kit.project(tmp_path / "project", "demo", files=files, build_code=code)
    made, _ = shop.build(Local(path=str(folder), editable=True))

    assert made.editable == {
        "demo/__init__.py": str(folder / "demo/__init__.py"),
        "demo/inner/__init__.py": str(folder / "demo/inner/__init__.py"),
        "demo/other": str(folder / "demo/other"),
    }
    kept = {file.path for file in made.files if made.dist_info not in file.path}
    assert {"lib/demo/_version.py", "lib/demo/inner/_ext.so"} <= kept
    assert {"demo", "demo/inner", "demo/__pycache__"} <= set(made.physical)
    assert made.top_level == {"demo"}


@pytest.mark.network
@pytest.mark.parametrize(
    ("backend", "layout"), [("setuptools", "flat"), ("setuptools", "src"), ("hatchling", "flat"), ("hatchling", "src")]
)
def test_editables_of_real_backends(shop: Shop, tmp_path: Path, backend: str, layout: str) -> None:
    files = {"demo/__init__.py": "", "demo/inner/__init__.py": "x = 1\n", "demo/data.json": "{}"}
    folder = kit.project(
        tmp_path / "project", "demo", files=files, backend=backend, layout=layout, entry_points={"g": {"a": "demo:a"}}
    )
    before = kit.tree_hash(folder)
    made, _ = shop.build(Local(path=str(folder), editable=True))
    plain, _ = shop.build(Local(path=str(folder)))

    root = folder / "src" if layout == "src" else folder
    found = {name: target for name, target in made.editable.items() if not name.endswith(".json")}
    assert found.get("demo", found.get("demo/__init__.py", "")).startswith(str(root / "demo"))
    assert made.entry_points == plain.entry_points == {"g": {"a": "demo:a"}}
    assert kit.tree_hash(folder) == before


@pytest.mark.network
def test_setuptools_directories_by_other_names_are_found(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    (folder / "code/core").mkdir(parents=True)
    (folder / "code/core/__init__.py").write_text("core = 1\n")
    (folder / "code/core/part.py").write_text("part = 1\n")
    (folder / "pyproject.toml").write_text(
        "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"
        "[project]\nname = 'demo'\nversion = '1'\n"
        "[tool.setuptools]\npackages = ['demo']\npackage-dir = {demo = 'code/core'}\n"
    )
    made, _ = shop.build(Local(path=str(folder), editable=True))

    assert made.editable == {"demo": str(folder / "code/core")}


@pytest.mark.network
def test_a_version_from_tags_is_the_folders_own(shop: Shop, tmp_path: Path) -> None:
    repository = kit.git_repository(
        tmp_path / "project",
        {
            "pyproject.toml": "[build-system]\nrequires = ['setuptools', 'setuptools-scm']\n"
            "build-backend = 'setuptools.build_meta'\n[project]\nname = 'demo'\ndynamic = ['version']\n"
            "[tool.setuptools]\npy-modules = ['demo']\n[tool.setuptools_scm]\n",
            "demo.py": "",
        },
    )
    repository.tag("v4.5")

    assert shop.build(Local(path=str(repository.folder)))[0].version == "4.5"
    assert shop.build(Git(url=repository.url))[0].version == "4.5"


@pytest.mark.network
def test_real_packages_of_the_real_index(shop: Shop, tmp_path: Path) -> None:
    wanted = tmp_path / "wanted.in"
    wanted.write_text("raif-vllm\nhotwire-vllm\nscipy\npandas\n")
    arguments = ["pip", "compile", "--no-deps", "--python", shop.base.python, "--format", "pylock.toml", str(wanted)]
    answer = shop.uv().run(arguments, cwd=str(tmp_path))
    assert answer.code == 0, answer.output
    locked = [
        LockedPackage(
            name=record["name"],
            version=record["version"],
            wheels=tuple(record.get("wheels", ())),
            sdist=record.get("sdist"),
        )
        for record in tomllib.loads(answer.stdout)["packages"]
    ]
    made = shop.all(*locked)
    again = shop.all(*locked, offline=True)

    assert made == again
    assert set(made) == {"raif-vllm", "hotwire-vllm", "scipy", "pandas"}
    for package in made.values():
        assert package_damage.problems(shop.layout, package.key) == []
    assert made["raif-vllm"].entry_points["vllm.general_plugins"]
    assert made["scipy"].top_level == {"scipy", "scipy.libs"}
    assert made["scipy"].physical == ()


@pytest.mark.parametrize("content", [None, "", "[]"])
def test_a_damaged_list_of_files_is_found(shop: Shop, index: kit.Index, content: str | None) -> None:
    """Builds do not read it; whoever does is told."""
    made = shop.add(lock(index, kit.wheel(index.folder, "demo")))
    files = shop.path(made) / "files.json"
    files.chmod(0o644)
    files.unlink() if content is None else files.write_text(content)

    assert package_damage.problems(shop.layout, made.key) == ["`files.json` is missing or damaged"]
    known = store.get(shop.layout, made.key)
    assert known is not None
    with pytest.raises(PackageError, match="files"):
        list(known.files)
