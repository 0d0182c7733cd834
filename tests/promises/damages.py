"""Every kind of damage that a home can take, and what verify must say of it: the table of R9."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import kit
import stands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOUND, ADDED, IGNORED, NOTHING = "damage", "added", "ignored", "nothing"
"""What verify says: that it is damage (exit 1), that it was added, that every verb ignores it, nothing."""
GROUP = "vllm.general_plugins"
GOES = ("store/*/lib/new.py", "store/*/.cache", "store/*/.cache/x", "*/k.nbi", "*.opt-1.pyc")
"""What somebody added to a package goes where that is had anew."""
BINARY = b"\x7fELF" + bytes(range(256)) * 8


@dataclass(frozen=True)
class Site:
    """A home with a set of every kind of thing in it, and where these things are."""

    vpm_env: kit.VpmEnv
    base: kit.Base
    wheels: Path

    @property
    def home(self) -> Path:
        return self.vpm_env.home

    def package(self, name: str) -> Path:
        (found,) = [path for path in self.home.glob(f"store/*-{name}-1.0") if len(path.name) > 12]
        return found

    @property
    def profile(self) -> Path:
        (found,) = self.home.glob("profiles/default/*")
        return found

    @property
    def profile_name(self) -> str:
        """Return what verify calls the profile."""
        return f"default ({self.base_key})"

    @property
    def base_key(self) -> str:
        (found,) = self.home.glob("overlays/*")
        return found.name

    @property
    def overlay(self) -> Path:
        return Path(os.path.realpath(self.profile / "generations" / "2"))

    @property
    def farm(self) -> Path:
        (found,) = self.overlay.glob("lib/python*/site-packages")
        return found

    @property
    def skeleton(self) -> Path:
        (found,) = self.home.glob("cache/skeletons/*")
        return found

    def kept(self, suffix: str, number: int = 2) -> Path:
        return self.profile / "generations" / f"{number}.{suffix}"

    def source(self, name: str) -> Path:
        """Name the record of the input that gave a package."""
        key = self.package(name).name
        return next(path for path in self.home.glob("sources/*.json") if key in path.read_text())


@dataclass(frozen=True)
class Kind:
    """One kind of damage: to what, how, and what verify says; `refused` is why it cannot be mended, "" where it can.

    `alone` is damage that would hide others, or be hidden by them. `changes` are patterns of paths in the home, or in
    the base, that are not what they were after a repair: something is lost for good, or is put elsewhere.
    """

    name: str
    harm: Callable[[Site], None]
    says: str
    outcome: str = FOUND
    refused: str = ""
    alone: bool = False
    changes: tuple[str, ...] = ()


def site(folder: Path) -> Site:
    """Build two generations, the second with everything in it: current is the second."""
    vpm_env = stands.small(folder, dists=("shadow==1.0",))
    wheels = folder / "wheels"
    kit.wheel(
        wheels,
        "one",
        files={
            "one/__init__.py": "def f(): return 1\ndef main(): print('one')\n",
            "one/deep/__init__.py": "",
            "one/data.bin": bytes(range(256)) * 16,
            "one/lib.so": BINARY,
            "single.py": "y = 2\n",
            "shared/a.py": "a = 1\n",
        },
        entry_points={GROUP: {"one": "one:f"}, "console_scripts": {"one": "one:main"}},
        scripts={"raw": "#!/bin/sh\necho raw\n"},
        data={"share/one/conf.txt": "conf\n"},
        headers={"one.h": "#define ONE 1\n"},
    )
    points = {GROUP: {"first": "two:f", "second": "two:f"}}
    kit.wheel(
        wheels, "two", files={"two/__init__.py": "def f(): pass\n", "shared/b.py": "b = 1\n"}, entry_points=points
    )
    kit.wheel(wheels, "shadow", files={"shadow/__init__.py": "new = True\n"})
    kit.wheel(wheels, "lost", files={"lost/__init__.py": "x = 1\n", "lost/b.py": ""})
    for name in ("three", "four", "five", "six", "seven", "eight"):
        kit.wheel(wheels, name, files={f"{name}/__init__.py": f"name = {name!r}\n", f"{name}/b.py": "b = 1\n"})
    kit.project(folder / "local", "local")
    repository = kit.git_repository(folder / "repository")
    kit.project(repository.folder, "fromgit")
    repository.commit()
    head = f"probe: none\nfind_links: [{wheels}]\n"
    git = f"{{name: fromgit, source: git, url: {repository.url}}}"
    vpm_env.config(f"plugins:\n  - {git}\n")  # from here on its repository is known
    vpm_env("build", "--no-switch", check=True)
    shutil.rmtree(vpm_env.home / "profiles")
    vpm_env.config(head + "plugins:\n  - {name: one, source: pypi, package: one}\n")
    vpm_env("build", "--offline", check=True)
    names = ("three", "four", "five", "six", "seven", "eight", "lost")
    rows = [f"{{name: {name}, source: pypi, package: {name}}}" for name in ("one", *names)]
    rows.append("{name: two, source: pypi, package: two, entry_points: [first]}")
    rows.append("{name: shadow, source: pypi, package: shadow}")
    rows.append(f"{{name: local, source: local, path: {folder / 'local'}}}")
    rows.append(git)
    vpm_env.config(f"{head}override: [shadow]\nplugins:\n" + "".join(f"  - {row}\n" for row in rows))
    vpm_env("build", "--offline", check=True)
    (wheels / "lost-1.0-py3-none-any.whl").unlink()
    shutil.rmtree(folder / "uv")
    return Site(vpm_env, kit.describe(Path(vpm_env.env["VPM_ENV_BASE"]), kind="venv"), wheels)


def flip(path: Path, at: float = 0.5) -> None:
    """Change one bit."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    _write(path, bytes(content))


def nest(path: Path) -> None:
    """Write what nests more deeply than any reader goes."""
    _write(path, b"[" * 200_000)


def swell(path: Path) -> None:
    """Make a file of gigabytes that has no blocks."""
    _write(path, b"")
    os.truncate(path, 3 << 30)


def _empty(path: Path) -> None:
    _write(path, b"")


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def cut(path: Path) -> None:
    content = path.read_bytes()
    _write(path, content[: len(content) // 2])


def zero(path: Path) -> None:
    _write(path, bytes(path.stat().st_size))


def _write(path: Path, content: bytes) -> None:
    """Write in place, so that all names of the file have it."""
    mode = path.stat().st_mode
    path.chmod(0o600)
    path.write_bytes(content)
    path.chmod(mode & 0o7777)


def link(path: Path, target: str | Path) -> None:
    path.unlink()
    path.symlink_to(target)


def folder_for(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inner").write_text("")


def copy_by_link(path: Path) -> None:
    """Let a symlink to the very same content take a file's place."""
    content = path.read_bytes()
    aside = path.parents[len(path.parents) - 4] / f"aside-{path.name}"
    aside.write_bytes(content)
    link(path, aside)


def resealed(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Change a record so that its checksum holds."""
    from envbuilder.digest import sealed

    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(sealed(record)))


def own(path: Path) -> None:
    os.chown(path, 12345, 12345)


def relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def swap_folder(path: Path) -> None:
    """Let a symlink take a folder's place."""
    aside = path.with_name(f"{path.name}-aside")
    path.rename(aside)
    path.symlink_to(aside.name)


def unchecked(path: Path, source: Path) -> None:
    """Write bytecode that Python would run without a look at its source."""
    content = next(source.parent.glob("__pycache__/*.pyc")).read_bytes()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def compiled(site: Site, name: str, stem: str = "__init__") -> Path:
    return next(site.package(name).glob(f"lib/{name}/__pycache__/{stem}.*.pyc"))


def other_mark(site: Site) -> None:
    (mark,) = site.package("five").glob(".compiled-*")
    mark.unlink()
    mark.write_text("")


def _lead_elsewhere(site: Site) -> None:
    other = site.package("three").name
    resealed(site.source("four"), lambda record: record.update(key=other))


WAYS: dict[str, Callable[[Path], None]] = {
    "flipped": flip,
    "cut": cut,
    "empty": _empty,
    "deleted": Path.unlink,
    "nested": nest,
    "huge": swell,
    "FIFO": _fifo,
    "a folder": folder_for,
}
"""What may become of a record."""


def kinds() -> Iterator[Kind]:
    """Yield the table."""
    yield from _of_packages()
    yield from _of_overlays()
    yield from _of_profiles()
    yield from _of_homes()


def _of_packages() -> Iterator[Kind]:  # noqa: PLR0915 (a table)
    lib = "lib/one/__init__.py"
    yield Kind("py: bit flipped", lambda s: flip(s.package("one") / lib), "`lib/one/__init__.py` has another content")
    yield Kind("py: cut", lambda s: cut(s.package("two") / "lib/two/__init__.py"), "`lib/two/__init__.py` has another")
    yield Kind("py: zeroed", lambda s: zero(s.package("three") / "lib/three/b.py"), "`lib/three/b.py` has another")
    yield Kind("py: deleted", lambda s: (s.package("four") / "lib/four/b.py").unlink(), "`lib/four/b.py` is missing")
    yield Kind("py: writable", lambda s: (s.package("five") / "lib/five/b.py").chmod(0o644), "b.py` has the mode 644")
    yield Kind("py: setuid", lambda s: (s.package("six") / "lib/six/b.py").chmod(0o4555), "b.py` has the mode 4555")
    yield Kind("py: symlink", lambda s: copy_by_link(s.package("seven") / "lib/seven/b.py"), "b.py` is no regular file")
    yield Kind("py: folder", lambda s: folder_for(s.package("eight") / "lib/eight/b.py"), "b.py` is no regular file")
    yield Kind("py: fifo", lambda s: _fifo(s.package("three") / "lib/three/b.py"), "b.py` is no regular file")
    yield Kind("py: time only", lambda s: os.utime(s.package("four") / "lib/four/b.py", (1, 1)), "", NOTHING)
    if os.geteuid() == 0:
        yield Kind("py: owner", lambda s: own(s.package("five") / "lib/five/b.py"), "b.py` belongs to uid 12345")
    yield Kind("py: of git", lambda s: flip(s.package("fromgit") / "lib/fromgit/__init__.py"), "fromgit/__init__.py`")
    yield Kind("py: of a folder", lambda s: flip(s.package("local") / "lib/local/__init__.py"), "local/__init__.py`")
    yield Kind("py: top level", lambda s: flip(s.package("one") / "lib/single.py"), "`lib/single.py` has another")
    yield Kind("so: bit flipped", lambda s: flip(s.package("one") / "lib/one/lib.so"), "lib.so` has another content")
    yield Kind("data: deleted", lambda s: (s.package("one") / "lib/one/data.bin").unlink(), "data.bin` is missing")
    yield Kind("METADATA: flipped", lambda s: flip(_dist_info(s, "six") / "METADATA", 0.9), "METADATA` has another")
    yield Kind(
        "entry_points.txt: cut", lambda s: cut(_dist_info(s, "one") / "entry_points.txt"), "entry_points.txt` has"
    )
    yield Kind("SOURCES.txt: deleted", lambda s: (_dist_info(s, "seven") / "SOURCES.txt").unlink(), "SOURCES.txt` is m")
    yield Kind("script: flipped", lambda s: flip(s.package("one") / "bin/raw", 0.9), "`bin/raw` has another content")
    yield Kind(
        "data file: flipped", lambda s: flip(s.package("one") / "data/share/one/conf.txt"), "conf.txt` has another"
    )
    yield Kind(
        "header: deleted", lambda s: next(s.package("one").glob("include/**/one.h")).unlink(), "one.h` is missing"
    )
    yield Kind(
        "package.json: flipped",
        lambda s: flip(s.package("eight") / "package.json"),
        "`package.json` is missing or d",
        alone=True,
    )
    yield Kind(
        "package.json: empty",
        lambda s: _write(s.package("three") / "package.json", b""),
        "`package.json` is miss",
        alone=True,
    )
    yield Kind(
        "package.json: deleted",
        lambda s: (s.package("four") / "package.json").unlink(),
        "`package.json` is missin",
        alone=True,
    )
    yield Kind(
        "package.json: writable", lambda s: (s.package("five") / "package.json").chmod(0o666), "has the mode 666"
    )
    yield Kind(
        "files.json: flipped",
        lambda s: flip(s.package("six") / "files.json"),
        "`files.json` is missing or dama",
        alone=True,
    )
    yield Kind(
        "files.json: deleted",
        lambda s: (s.package("seven") / "files.json").unlink(),
        "`files.json` is missing",
        alone=True,
    )
    yield Kind(
        "package: deleted", lambda s: shutil.rmtree(s.package("eight")), "it is missing in the store", alone=True
    )
    yield Kind("package: world-writable", lambda s: (s.package("three") / "lib/three").chmod(0o777), "has the mode 777")
    yield Kind(
        "package: folder by symlink", lambda s: swap_folder(s.package("four") / "lib/four"), "`lib/four` is no folder"
    )
    for name in ("FIFO", "nested", "huge", "a folder"):
        yield Kind(
            f"package.json: {name}",
            lambda s, harm=WAYS[name]: harm(s.package("three") / "package.json"),  # type: ignore[misc]
            "`package.json` is missing or damaged",
            alone=True,
        )
    yield Kind("files.json: huge", lambda s: swell(s.package("four") / "files.json"), "`files.json` is m", alone=True)
    yield Kind("script: FIFO", lambda s: _fifo(s.package("one") / "bin/raw"), "bin/raw` is no regular file", alone=True)
    yield Kind("script: huge", lambda s: swell(s.package("one") / "bin/raw"), "bin/raw` has another", alone=True)
    yield Kind("package: a link", lambda s: swap_folder(s.package("five")), "it is a link to", alone=True)
    yield Kind("pyc: other code", lambda s: _other_code(s, "six"), "pyc` is not what was compiled")
    yield Kind("pyc: deleted", lambda s: compiled(s, "seven", "b").unlink(), "pyc` is missing")
    yield Kind("pyc: writable", lambda s: compiled(s, "eight", "b").chmod(0o666), "pyc` has the mode 666")
    yield Kind("pyc: a link", lambda s: copy_by_link(compiled(s, "three", "b")), "pyc` is no regular file")
    yield Kind("pyc: stranger's", _strange_bytecode, "is bytecode that nobody made here")
    yield Kind("pyc list: empty", other_mark, "does not say what was compiled")
    yield Kind(
        "pyc list: flipped", lambda s: flip(next(s.package("four").glob(".compiled-*"))), "does not say what was"
    )
    yield Kind(
        "added: a module's cache",
        lambda s: _add(s.package("one") / "lib/one/__pycache__/k.nbi"),
        "k.nbi`",
        ADDED,
        changes=("*/k.nbi",),
    )
    yield Kind(
        "added: a folder", lambda s: _add(s.package("six") / "lib/six/.cache/x"), ".cache/x`", ADDED, changes=GOES
    )
    yield Kind(
        "added: at the top", lambda s: _add(s.package("two") / "lib/new.py"), "`lib/new.py`", ADDED, changes=GOES
    )
    yield Kind("added: Python's bytecode", _python_bytecode, "opt-1.pyc`", ADDED, changes=GOES)
    yield Kind("alias: missing", lambda s: _alias(s, "seven").unlink(), "its short name")
    yield Kind(
        "alias: elsewhere", lambda s: relink(_alias(s, "eight"), f"{s.package('one').name}/lib"), "its short name"
    )
    yield Kind("alias: a folder", lambda s: folder_for(_alias(s, "three")), "is no link to a package")
    yield Kind(
        "alias: to nothing", lambda s: (s.home / "store/0123456789ab").symlink_to("x/lib"), "no package", IGNORED
    )
    yield Kind("source record: torn", lambda s: cut(s.source("one")), "cannot be read", IGNORED, changes=("sources/*",))
    yield Kind("source record: to another", _lead_elsewhere, "not to four-1.0", changes=("sources/*",))
    yield Kind(
        "source record: of another",
        lambda s: s.source("six").write_bytes(s.source("seven").read_bytes()),
        "is about another input",
        changes=("sources/*",),
    )
    yield Kind(
        "py of what is gone",
        lambda s: (s.package("lost") / "lib/lost/b.py").unlink(),
        "`lib/lost/b.py` is missing",
        refused="lost",
    )


def _dist_info(site: Site, name: str) -> Path:
    return site.package(name) / "lib" / f"{name}-1.0.dist-info"


def _alias(site: Site, name: str) -> Path:
    return site.home / "store" / site.package(name).name[:12]


def _add(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("x = 1\n")


def _other_code(site: Site, name: str) -> None:
    """Let the bytecode of one module be that of another: it is sound, and no source would ever say so."""
    _write(compiled(site, name, "b"), compiled(site, name, "__init__").read_bytes())


def _strange_bytecode(site: Site) -> None:
    honest = compiled(site, "five", "b")
    honest.with_name(honest.name.replace(".pyc", ".opt-2.pyc")).write_bytes(honest.read_bytes())


def _python_bytecode(site: Site) -> None:
    env = {"PYTHONPATH": str(site.package("four") / "lib"), "VPM_ENV_DISABLE": "1"}
    site.base.run("-O", "-c", "import four.b", env=env)


def _of_overlays() -> Iterator[Kind]:  # noqa: PLR0915 (a table)
    yield Kind(
        "overlay.json: flipped", lambda s: flip(s.overlay / "overlay.json"), "`overlay.json` is missing", alone=True
    )
    yield Kind(
        "overlay.json: empty", lambda s: _write(s.overlay / "overlay.json", b""), "`overlay.json` is m", alone=True
    )
    yield Kind(
        "overlay.json: deleted", lambda s: (s.overlay / "overlay.json").unlink(), "`overlay.json` is m", alone=True
    )
    for name in ("FIFO", "nested", "huge", "a folder"):
        yield Kind(
            f"overlay.json: {name}",
            lambda s, harm=WAYS[name]: harm(s.overlay / "overlay.json"),  # type: ignore[misc]
            "`overlay.json` is m",
            alone=True,
        )
    yield Kind("overlay.json: of another", _other_manifest, "`overlay.json` describes", alone=True)
    yield Kind(
        "overlay: deleted",
        lambda s: shutil.rmtree(s.overlay),
        "overlay of generation 2 is gone",
        alone=True,
        changes=("*/overlay.json",),
    )
    yield Kind("overlay: world-writable", lambda s: s.overlay.chmod(0o777), "has the mode 777")
    yield Kind("lease: FIFO", lambda s: _fifo(s.overlay / ".lease"), "`.lease` is missing", alone=True)
    yield Kind("lease: a folder", lambda s: folder_for(s.overlay / ".lease"), "`.lease` is missing", alone=True)
    yield Kind("own script: huge", lambda s: swell(s.overlay / "bin/one"), "`bin/one` is not as it was", alone=True)
    yield Kind("activate: huge", lambda s: swell(s.overlay / "bin/activate"), "`bin/activate` has", alone=True)
    yield Kind("lease: missing", lambda s: (s.overlay / ".lease").unlink(), "`.lease` is missing")
    yield Kind("lease: a link", lambda s: link(s.overlay / ".lease", "/dev/null"), "`.lease` is missing")
    yield Kind(".pth: flipped", lambda s: flip(s.farm / "_vpm_env.pth"), "_vpm_env.pth` has another content")
    yield Kind(".pth: deleted", lambda s: (s.farm / "_vpm_env.pth").unlink(), "_vpm_env.pth` is missing")
    yield Kind("layer: cut", lambda s: cut(s.farm / "_vpm_env_layer.py"), "_vpm_env_layer.py` has another content")
    yield Kind(
        "layer's pyc: flipped", lambda s: flip(next(s.farm.glob("__pycache__/_vpm_env_layer*"))), "pyc` has another"
    )
    yield Kind("pyvenv.cfg: flipped", lambda s: flip(s.overlay / "pyvenv.cfg"), "`pyvenv.cfg` has another content")
    yield Kind(
        "bin/python: elsewhere", lambda s: relink(s.overlay / "bin/python", "/bin/true"), "`bin/python` is not the"
    )
    yield Kind("bin/python: missing", lambda s: (s.overlay / "bin/python").unlink(), "`bin/python` is missing")
    yield Kind("activate: flipped in all", lambda s: flip(s.overlay / "bin/activate"), "`bin/activate` has another")
    yield Kind("activate: setuid", lambda s: (s.overlay / "bin/activate.fish").chmod(0o4755), "has the mode 4755")
    yield Kind("own script: flipped", lambda s: flip(s.overlay / "bin/one"), "`bin/one` is not as it was written")
    yield Kind("script: not executable", lambda s: (s.overlay / "bin/raw").chmod(0o600), "`bin/raw` cannot be run")
    yield Kind("script: added", lambda s: _add(s.overlay / "bin/evil"), "`bin/evil` does not belong there")
    yield Kind(
        "list: flipped",
        lambda s: flip(s.overlay / "skeleton.json"),
        "`skeleton.json` is missing or damaged",
        alone=True,
    )
    yield Kind(
        "list: deleted",
        lambda s: (s.overlay / "skeleton.json").unlink(),
        "`skeleton.json` is missing or damaged",
        alone=True,
    )
    yield Kind("link: missing", lambda s: (s.farm / "three").unlink(), "site-packages/three` is missing")
    yield Kind("link: elsewhere", lambda s: relink(s.farm / "four", "/tmp"), "site-packages/four` is not the link")
    yield Kind("link: a folder", lambda s: folder_for(s.farm / "five"), "site-packages/five` is not the link")
    yield Kind("link: to another package", _crossed, "site-packages/six` is not the link")
    yield Kind("hard link: another file", _other_file, "site-packages/single.py` is not the link")
    yield Kind("hard link's bytecode", _other_bytecode, "single.cpython")
    yield Kind("namespace: by symlink", lambda s: swap_folder(s.farm / "shared"), "shared` is no folder")
    yield Kind("namespace: a share missing", lambda s: (s.farm / "shared/a.py").unlink(), "shared/a.py` is missing")
    yield Kind(
        "dist-info: a file missing", lambda s: (s.farm / "seven-1.0.dist-info/METADATA").unlink(), "METADATA` is m"
    )
    yield Kind("dist-info: added", lambda s: _add(s.farm / "eight-1.0.dist-info/entry_points.txt"), "does not belong")
    yield Kind("farm: a .pth", lambda s: _add(s.farm / "evil.pth"), "evil.pth` does not belong there")
    yield Kind("farm: a module", lambda s: _add(s.farm / "sitecustomize.py"), "sitecustomize.py` does not belong")
    yield Kind("farm: a link", lambda s: (s.farm / "extra").symlink_to("/tmp"), "extra` does not belong there")
    yield Kind("farm: bytecode", _farm_bytecode, "evil.cpython-311.pyc` is bytecode that nobody made")
    yield Kind("farm: added in a namespace", lambda s: _add(s.farm / "shared/c.txt"), "shared/c.txt`", ADDED)
    yield Kind(
        "own entry_points.txt: flipped", lambda s: flip(s.farm / "two-1.0.dist-info/entry_points.txt"), "not as it"
    )
    yield Kind("own entry_points.txt: the package's", _all_points, "not as it was written")
    yield Kind("override: missing", lambda s: (s.overlay / "override/shadow").unlink(), "`override/shadow` is missing")
    yield Kind(
        "override: added", lambda s: _add(s.overlay / "override/torch.py"), "`override/torch.py` does not belong"
    )
    yield Kind("data link: missing", lambda s: (s.overlay / "share").unlink(), "`share` is missing")
    yield Kind("header link: elsewhere", _header, "is not the link that it was")
    made_anew = ("cache/skeletons/*",)  # by the next build, where no overlay shares its files
    flipped = "skeleton in cache: flipped"
    yield Kind(flipped, lambda s: _apart(s.skeleton / "bin/activate"), "the skeleton", changes=made_anew)
    cut_list = "skeleton in cache: cut list"
    yield Kind(cut_list, lambda s: _apart(s.skeleton / "skeleton.json"), "the skeleton", changes=made_anew)
    yield Kind("unfinished overlay", _unfinished, "was never finished", IGNORED)


def _other_manifest(site: Site) -> None:
    first = Path(os.path.realpath(site.profile / "generations" / "1"))
    (site.overlay / "overlay.json").write_bytes((first / "overlay.json").read_bytes())


def _crossed(site: Site) -> None:
    target = os.readlink(site.farm / "seven")
    relink(site.farm / "six", target)


def _other_file(site: Site) -> None:
    (site.farm / "single.py").unlink()
    (site.farm / "single.py").write_text("y = 3\n")


def _other_bytecode(site: Site) -> None:
    (found,) = site.farm.glob("__pycache__/single.*.pyc")
    other = compiled(site, "one").read_bytes()
    found.unlink()
    found.write_bytes(other)


def _farm_bytecode(site: Site) -> None:
    (site.farm / "__pycache__/evil.cpython-311.pyc").write_bytes(compiled(site, "one").read_bytes())


def _all_points(site: Site) -> None:
    at = site.farm / "two-1.0.dist-info/entry_points.txt"
    at.unlink()
    os.link(_dist_info(site, "two") / "entry_points.txt", at)


def _header(site: Site) -> None:
    (found,) = [path for path in (site.overlay / "include").rglob("*") if path.is_symlink()]
    relink(found, "/usr/include")


def _apart(path: Path) -> None:
    """Damage a file of the cache alone: its other names keep theirs."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-7] + b"garbage")


def _unfinished(site: Site) -> None:
    path = site.overlay.with_name("0" * 64)
    path.mkdir()
    (path / "pyvenv.cfg").write_text("")


def _of_profiles() -> Iterator[Kind]:
    def current(site: Site) -> Path:
        return site.profile / "current"

    yield Kind("current: missing", lambda s: current(s).unlink(), "`current` is missing", alone=True)
    yield Kind("current: dangling", lambda s: relink(current(s), "generations/99"), "which there is not", alone=True)
    yield Kind("current: outside", lambda s: relink(current(s), "/tmp"), "`current` leads to `/tmp`", alone=True)
    yield Kind("current: a file", lambda s: _file(current(s)), "`current` is no link", alone=True)
    yield Kind("current: a folder", lambda s: folder_for(current(s)), "`current` is no link", alone=True)
    yield Kind("pointer: missing", lambda s: s.kept("x").with_name("2").unlink(), "whose overlay is gone", alone=True)
    yield Kind(
        "pointer: elsewhere", lambda s: relink(s.kept("x").with_name("2"), "/tmp"), "does not lead to", alone=True
    )
    yield Kind("pointer: of another digest", _other_digest, "does not lead to its overlay", alone=True)
    yield Kind(
        "pointer of a kept one: missing",
        _unpointed,
        "generation 1 has its overlay and no pointer",
        alone=True,
        changes=("*/generations/1.json",),
    )
    yield Kind(
        "current and order.json: missing",
        lambda s: [(s.profile / name).unlink() for name in ("current", "order.json")],
        "`current` is missing",
        alone=True,
        changes=("*/order.json",),
    )
    yield from _of_orders()
    yield from _of_records()
    yield from _of_profile_folders()
    yield Kind("N.plugins.yaml: flipped", lambda s: flip(s.kept("plugins.yaml")), "`2.plugins.yaml` is not as it was")
    yield Kind("N.plugins.yaml: FIFO", lambda s: _fifo(s.kept("plugins.yaml")), "`2.plugins.yaml` is not", alone=True)
    yield Kind("N.pylock.toml: huge", lambda s: swell(s.kept("pylock.toml")), "`2.pylock.toml` is not", alone=True)
    yield Kind("N.registry: FIFO", lambda s: _fifo(s.kept("registry")), "`2.registry` is not as it was", alone=True)
    yield Kind("N.pylock.toml: cut", lambda s: cut(s.kept("pylock.toml")), "`2.pylock.toml` is not as it was kept")
    yield Kind(
        "N.pylock.toml: deleted", lambda s: s.kept("pylock.toml").unlink(), "`2.pylock.toml` is missing", alone=True
    )
    yield Kind("N.registry: flipped", lambda s: flip(s.kept("registry"), 0.9), "`2.registry` is not as it was written")
    yield Kind(
        "N.pylock.toml of what is gone",
        lambda s: s.kept("pylock.toml", 1).unlink(),
        "`1.pylock.toml` is missing",
        refused="there is no other copy",
        alone=True,
    )


def _unpointed(site: Site) -> None:
    resealed(site.kept("json", 1), lambda record: record.update(keep=True))
    (site.profile / "generations" / "1").unlink()


def _of_orders() -> Iterator[Kind]:
    def order(site: Site) -> Path:
        return site.profile / "order.json"

    for name, harm in WAYS.items():
        yield Kind(
            f"order.json: {name}",
            lambda s, harm=harm: harm(order(s)),  # type: ignore[misc]
            "`order.json` is missing" if name == "deleted" else "`order.json` is damaged",
            alone=True,
            changes=("*/order.json",),
        )


def _of_records() -> Iterator[Kind]:
    """Yield records of generations that are lost or are none: of the current one, and of one before."""
    for number, which in ((1, "older"), (2, "current")):
        for name, harm in WAYS.items():
            what = "missing" if name == "deleted" else "not as it was written"
            yield Kind(
                f"N.json of the {which} one: {name}",
                lambda s, harm=harm, number=number: harm(s.kept("json", number)),  # type: ignore[misc]
                f"record of generation {number} is {what}",
                alone=True,
                changes=(f"*/generations/{number}.json",),
            )
    changed = ("*/generations/1.json",)
    yield Kind("N.json: another state", _other_state, "record of generation 1 is not as", changes=changed)
    yield Kind(
        "N.json and its pointer: deleted",
        lambda s: [(s.profile / "generations" / name).unlink() for name in ("1", "1.json")],
        "record of generation 1 is missing",
        alone=True,
        changes=changed,
    )
    yield Kind(
        "N.json and all that says what it was: deleted",
        _all_of_the_first,
        "record of generation 1 is missing",
        alone=True,
        changes=("*/order.json", "*/generations/1*", "overlays/*"),
    )


def _all_of_the_first(site: Site) -> None:
    """Leave nothing by which the first generation could be told; what it kept is no use without that."""
    shutil.rmtree(os.path.realpath(site.profile / "generations" / "1"))
    for name in ("1", "1.json", "1.registry"):
        (site.profile / "generations" / name).unlink()


def _of_profile_folders() -> Iterator[Kind]:
    lost = ("profiles/*", "overlays/*")
    yield Kind("profile: a file", _profile_file, "is no folder", alone=True, changes=lost)
    yield Kind("profile: a file, of which nobody knows", _unknown_profile, "is no folder", refused="nothing says what")
    yield Kind(
        "generations: a file", lambda s: file_for(s.profile / "generations"), "is no folder", alone=True, changes=lost
    )
    yield Kind("profiles of one name: a file", lambda s: file_for(s.profile.parent), "is no folder", refused="nobody")


def _profile_file(site: Site) -> None:
    file_for(site.profile)


def _unknown_profile(site: Site) -> None:
    (site.home / "registry.json").unlink()
    file_for(site.profile)


def file_for(path: Path) -> None:
    """Let a file take a folder's place."""
    shutil.rmtree(path)
    path.write_text("")


def _file(path: Path) -> None:
    path.unlink()
    path.write_text("generations/2")


def _other_digest(site: Site) -> None:
    pointer = site.profile / "generations" / "2"
    relink(pointer, os.readlink(site.profile / "generations" / "1"))


def _other_state(site: Site) -> None:
    path = site.kept("json", 1)
    path.write_text(path.read_text().replace('"keep": false', '"keep": true'))


def _of_homes() -> Iterator[Kind]:
    yield Kind("format: flipped", lambda s: (s.home / "format").write_text("q\n"), "`format` is damaged", alone=True)
    yield Kind("format: deleted", lambda s: (s.home / "format").unlink(), "`format` is missing", alone=True)
    yield Kind(
        "registry.json: FIFO",
        lambda s: _fifo(s.home / "registry.json"),
        "`registry.json` is not as it was",
        changes=("registry.json.before-vpm-env",),
    )
    yield Kind("flocks/gc: a folder", lambda s: folder_for(s.home / "flocks/gc"), "is no lock file", alone=True)
    yield Kind("flocks/gc: FIFO", lambda s: _fifo(s.home / "flocks/gc"), "is no lock file", alone=True)
    yield Kind("format: FIFO", lambda s: _fifo(s.home / "format"), "`format` is damaged", alone=True)
    yield Kind("format: huge", lambda s: swell(s.home / "format"), "`format` is damaged", alone=True)
    yield Kind("registry.json: cut", lambda s: cut(s.home / "registry.json"), "`registry.json` is not as it was")
    yield Kind("home: store for all", lambda s: (s.home / "store").chmod(0o777), "`store` has the mode 777")
    yield Kind("home: profiles for all", lambda s: s.profile.chmod(0o777), "has the mode 777")
    yield Kind("facts of a base: flipped", _other_fact, "bases/")
    yield Kind("recipe: cut", lambda s: cut(next(s.home.glob("cache/recipes/*.json"))), "cannot be read", IGNORED)
    hook = "_vpm_env_hook.py` is not as it was written"
    yield Kind("hook: flipped", lambda s: flip(s.base.purelib / "_vpm_env_hook.py"), hook)
    yield Kind("hook: cut", lambda s: cut(s.base.purelib / "_vpm_env/without.py"), "without.py` is not as it was")
    yield Kind("hook's bytecode", lambda s: flip(_hook_bytecode(s)), "pyc` is not as it was written")
    yield Kind("hook: RECORD deleted", lambda s: _record(s).unlink(), "its RECORD is missing", alone=True)
    yield Kind(
        "hook: half removed",
        lambda s: (s.base.purelib / "_vpm_env_hook.py").unlink(),
        "there is half of it",
        refused="what it was made for cannot be read",
        alone=True,
    )


def _other_fact(site: Site) -> None:
    (path,) = site.home.glob("cache/bases/*.json")
    path.write_text(path.read_text().replace('"shadow"', '"shades"'))


def _hook_bytecode(site: Site) -> Path:
    return min(site.base.purelib.glob("__pycache__/_vpm_env_hook.*.pyc"))


def _record(site: Site) -> Path:
    (found,) = site.base.purelib.glob("vpm_env_hook-*.dist-info/RECORD")
    return found
