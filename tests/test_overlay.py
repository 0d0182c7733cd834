"""Overlays: a real interpreter sees what a real site-packages would show, from anywhere, and costs next to nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import kit
import pytest

from envbuilder import disposal, overlay, overlay_damage
from envbuilder.base import describe
from envbuilder.digest import sha256_bytes
from envbuilder.interpreter import Interpreter
from envbuilder.manifest import Manifest, Member
from envbuilder.overlay import Part
from envbuilder.package import SHORT, Package, PackageFile
from envbuilder.paths import Layout, environment, site_packages
from envbuilder.skeleton import skeleton

if TYPE_CHECKING:
    from envbuilder.base import Base


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(home=str(tmp_path / "h"))
    for path in (made.store, made.tmp, made.trash):
        os.makedirs(path)
    return made


def put(layout: Layout, name: str, files: dict[str, str], *, points: dict[str, str] | None = None) -> Package:
    """Put a package into the store by hand."""
    info = f"{name.replace('-', '_')}-1.0.dist-info"
    files = {**files, f"lib/{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"}
    files[f"lib/{info}/SOURCES.txt"] = "\n".join(path[4:] for path in files if path.startswith("lib/")) + "\n"
    entries = tuple(
        PackageFile(path=path, mode=0o444, size=len(text), sha256=sha256_bytes(text.encode()))
        for path, text in sorted(files.items())
    )
    package = Package.of(
        entries, name=name, version="1.0", dist_info=info, entry_points={"console_scripts": points or {}}
    )
    root = Path(layout.package(package.key))
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        (root / path).chmod(0o444)
    os.symlink(f"{package.key}/lib", Path(layout.store, package.key[:SHORT]))
    return package


def known(base: kit.Base, layout: Layout) -> Base:
    return describe(Interpreter(python=str(base.python), rule="test"), layout, environment())


def make(layout: Layout, base: Base, *packages: Package, override: tuple[Package, ...] = ()) -> Path:
    parts = tuple(Part(package=package) for package in packages)
    parts += tuple(Part(package=package, override=True) for package in override)
    manifest = Manifest(
        soabi=base.soabi,
        platform=base.platform,
        python_version=base.python_version,
        base={"key": base.key},
        members=tuple(
            Member(name=part.package.name, version="1.0", key=part.package.key, override=part.override)
            for part in parts
        ),
        facts={},
    )
    path = layout.overlay(base.key, manifest.digest)
    made = skeleton(base, layout, environment())
    overlay.link(path, layout=layout, skeleton=made, python_version=base.python_version, parts=parts)
    overlay.seal(path, manifest)
    return Path(path)


def code(made: Path, text: str, *, at: str = "bin/python", env: dict[str, str] | None = None) -> str:
    done = subprocess.run([made / at, "-c", text], capture_output=True, text=True, env={**os.environ, **(env or {})})
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.mark.parametrize("kind", kit.mostly_long(kit.KINDS, "venv", "system"))
def test_the_overlays_python_sees_overlay_and_base(kind: str, layout: Layout, tmp_path: Path) -> None:
    under = kit.base(tmp_path / "base", kind=kind)
    kit.install(under, kit.wheel(tmp_path, "lower", "1.0", files={"lower/__init__.py": "name = 'lower'"}))
    base = known(under, layout)
    made = make(layout, base, put(layout, "upper", {"lib/upper/__init__.py": "name = 'upper'"}))

    shown = code(
        made, "import sys, upper, lower; print(upper.__file__, lower.__file__, sys.prefix)", env=dict(under.env)
    )

    upper = site_packages(str(made), base.python_version) + "/upper/__init__.py"
    assert shown == f"{upper} {under.code('import lower; print(lower.__file__)')} {made}"


def test_entering_through_current_resolves_once(layout: Layout, base: kit.Base, tmp_path: Path) -> None:
    """A switch under a running process must not reach it, nor its children."""
    found = known(base, layout)
    first = make(layout, found, put(layout, "one", {"lib/mod/__init__.py": "", "lib/mod/late.py": "which = 1"}))
    second = make(layout, found, put(layout, "two", {"lib/mod/__init__.py": "", "lib/mod/late.py": "which = 2"}))
    current = tmp_path / "pointer"
    os.symlink(first, current)
    late = "import mod.late as late; print(late.which)"
    code_of_parent = f"""
import os, subprocess, sys
import mod
os.unlink({str(current)!r})
os.symlink({str(second)!r}, {str(current)!r})
{late}
sys.stdout.flush()
subprocess.run([sys.executable, "-c", {late!r}])
print(sys.executable, sys.prefix, *[path for path in sys.path if "/pointer" in path])
"""

    shown = code(current, code_of_parent)

    assert shown.split() == ["1", "1", f"{first}/bin/python", str(first)]
    assert code(current, "import mod.late as l; print(l.which)") == "2"


def test_metadata_are_those_of_a_real_site_packages(layout: Layout, base: kit.Base) -> None:
    package = put(layout, "meta-data", {"lib/meta_data/__init__.py": "", "lib/meta_data/x.py": ""})
    made = make(layout, known(base, layout), package)

    shown = code(
        made,
        "import importlib.metadata as m; print(m.version('meta-data'), "
        "sorted(str(f) for f in m.files('meta-data') if f.suffix == '.py'), m.packages_distributions()['meta_data'])",
    )

    assert shown == "1.0 ['meta_data/__init__.py', 'meta_data/x.py'] ['meta-data']"


def test_an_override_comes_before_the_base(layout: Layout, base: kit.Base, tmp_path: Path) -> None:
    kit.install(base, kit.wheel(tmp_path, "both", "0.9", files={"both.py": "which = 'base'"}))
    package = put(layout, "both", {"lib/both.py": "which = 'override'"})
    made = make(layout, known(base, layout), override=(package,))

    assert code(made, "import both, importlib.metadata as m; print(both.which, m.version('both'))") == "override 1.0"


def test_scripts_of_packages_and_of_the_base_are_there(layout: Layout, base: kit.Base, tmp_path: Path) -> None:
    entry = {"console_scripts": {"lower-tool": "lower:main"}}
    files = {"lower/__init__.py": "def main():\n    import upper; print('lower with', upper.__name__)"}
    kit.install(base, kit.wheel(tmp_path, "lower", "1.0", files=files, entry_points=entry))
    package = put(layout, "upper", {"lib/upper/__init__.py": "def main(): print('upper')"}, points={"up": "upper:main"})
    made = make(layout, known(base, layout), package)
    moved = Path(layout.home).rename(tmp_path / "moved") / made.relative_to(layout.home)

    shown = [subprocess.check_output([moved / "bin" / name], text=True) for name in ("up", "lower-tool")]

    assert shown == ["upper\n", "lower with upper\n"]


def test_activate_works_after_the_home_moved(layout: Layout, base: kit.Base, tmp_path: Path) -> None:
    made = make(layout, known(base, layout), put(layout, "upper", {"lib/upper.py": ""}))
    moved = Path(layout.home).rename(tmp_path / "moved") / made.relative_to(layout.home)

    shown = subprocess.check_output(
        [
            "bash",
            "-c",
            f"source {moved}/bin/activate && echo $VIRTUAL_ENV && command -v python && python -c 'import upper'",
        ],
        text=True,
    )

    assert shown.split() == [str(moved), f"{moved}/bin/python"]


@pytest.mark.parametrize("name", ["o'brien", "a b", "$HOME", "naïve"])
def test_activate_works_below_any_name(name: str, base: kit.Base, tmp_path: Path) -> None:
    layout = Layout(home=str(tmp_path / name))
    for path in (layout.store, layout.tmp, layout.trash):
        os.makedirs(path)
    made = make(layout, known(base, layout), put(layout, "upper", {"lib/upper.py": ""}))

    words = 'source "$0"/bin/activate && echo "$VIRTUAL_ENV" "$VIRTUAL_ENV_PROMPT" && python -c "import upper"'
    done = subprocess.run(["bash", "-c", words, made], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == (f"{made} vpm-env\n", "")


def test_an_overlay_that_shares_its_packages_is_small(layout: Layout, base: kit.Base) -> None:
    """At most 64 KiB and 5 KiB for each package, besides scripts: on file systems that keep short links in inodes."""
    packages = [
        put(layout, f"package-{n:03}", {f"lib/package_{n:03}/m{i}.py": "" for i in range(9)}) for n in range(60)
    ]
    made = make(layout, known(base, layout), *packages)

    size, seen = 0, set()
    for folder, folders, files in os.walk(made):
        for name in folders + files:
            status = os.lstat(os.path.join(folder, name))
            if status.st_nlink == 1 or os.path.isdir(os.path.join(folder, name)):
                size += status.st_blocks * 512 if status.st_ino not in seen else 0
                seen.add(status.st_ino)

    assert size <= 64 * 1024 + 60 * 5 * 1024


def test_the_manifest_is_what_makes_an_overlay_valid(layout: Layout, base: kit.Base) -> None:
    made = make(layout, known(base, layout), put(layout, "upper", {"lib/upper.py": ""}))
    assert overlay.read(str(made)) is not None

    manifest = made / "overlay.json"
    manifest.write_text(manifest.read_text().replace('"1.0"', '"1.1"'))

    assert overlay.read(str(made)) is None


def test_verify_finds_a_link_that_was_changed(layout: Layout, base: kit.Base) -> None:
    found = known(base, layout)
    package = put(layout, "upper", {"lib/upper/__init__.py": "", "lib/single.py": ""})
    made = make(layout, found, package)
    parts = (Part(package=package),)
    manifest = overlay.read(str(made))
    assert manifest is not None
    assert not overlay_damage.against_parts(layout, found.key, made.name, manifest, parts).wrong
    farm = Path(site_packages(str(made), found.python_version))

    (farm / "upper").unlink()
    (farm / "upper").symlink_to("/tmp")
    (farm / "single.py").unlink()
    (farm / "single.py").write_text("")

    wrong = overlay_damage.against_parts(layout, found.key, made.name, manifest, parts).wrong
    assert [entry.text.split("`")[1].rpartition("/")[2] for entry in wrong] == ["single.py", "upper"]


def test_an_overlay_in_use_is_not_discarded(layout: Layout, base: kit.Base) -> None:
    found = known(base, layout)
    made = make(layout, found, put(layout, "upper", {"lib/upper.py": ""}))
    user = subprocess.Popen(
        [made / "bin/python", "-c", "print('up', flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert user.stdout is not None
    user.stdout.readline()

    assert not disposal.discard(layout, found.key, made.name)
    user.communicate(b"\n")
    assert disposal.discard(layout, found.key, made.name)
    assert not made.exists()


def test_a_script_never_replaces_the_interpreter(layout: Layout, base: kit.Base) -> None:
    package = put(
        layout, "evil", {"lib/evil.py": "def main(): ..."}, points={"python": "evil:main", "python3": "evil:main"}
    )
    made = make(layout, known(base, layout), package)

    assert (made / "bin" / "python").is_symlink()
    assert (made / "bin" / "python3").is_symlink()


def test_a_short_name_that_is_another_packages_is_not_used(layout: Layout, base: kit.Base) -> None:
    package = put(layout, "upper", {"lib/upper/__init__.py": "name = 'upper'"})
    alias = Path(layout.store, package.key[:SHORT])
    alias.unlink()
    alias.symlink_to("somebody-elses/lib")

    made = make(layout, known(base, layout), package)

    assert code(made, "import upper; print(upper.name)") == "upper"
