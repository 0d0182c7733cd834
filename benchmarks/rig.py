"""What is measured: vpm-env in a venv of its own, a base with an engine, a home, and wheels made on the spot."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import kit
import shelf
from measure import Command, Unavailable, nothing
from uv import find_uv_bin

from envbuilder import fs, lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from shelf import Shelf

PACKAGES = 60
FILES = 30_000
"""Modules of a set of so many packages."""

_SCRIPT = (
    "#!{python}\nimport sys\nfrom envbuilder.__main__ import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
)


@dataclass(frozen=True)
class Rig:
    """One folder with everything in it; `network` keeps the machine's settings for indexes and certificates."""

    folder: Path
    index: str | None = None
    network: bool = False

    @cached_property
    def tool(self) -> kit.Base:
        """Install vpm-env, bytecode included, into a venv; its dependencies are those of this interpreter."""
        made = kit.base(self.folder / "tool")
        target = made.purelib / "envbuilder"
        shutil.copytree(kit.ROOT / "envbuilder", target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        (made.purelib / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        script = made.scripts / "vpm-env"
        script.write_text(_SCRIPT.format(python=made.python))
        script.chmod(0o755)
        made.run("-m", "compileall", "-q", target)
        return made

    @cached_property
    def base(self) -> kit.Base:
        made = kit.base(self.folder / "base")
        kit.fake_vllm(made)
        return made

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @cached_property
    def work(self) -> Path:
        folder = self.folder / "work"
        folder.mkdir()
        return folder

    @cached_property
    def env(self) -> dict[str, str]:
        (self.folder / "user").mkdir()
        variables = kit.clean_environment(self.folder / "user", network=self.network)
        own = {"VPM_ENV_HOME": self.home, "VPM_ENV_BASE": self.base.python, "UV_CACHE_DIR": self.folder / "uv-cache"}
        return {**variables, **{name: str(value) for name, value in own.items()}}

    def config(self, *packages: str, versions: Mapping[str, str] | None = None, head: str = "") -> None:
        """Write a config that asks for these packages, some in the versions given; `head` are lines before that."""
        head += f"index: {self.index}\n" if self.index else ""
        asked = {name: f", version: '{version}'" for name, version in (versions or {}).items()}
        lines = [f"  - {{name: {name}, source: pypi, package: {name}{asked.get(name, '')}}}\n" for name in packages]
        (self.work / "plugins.yaml").write_text(f"{head}plugins:\n{''.join(lines)}")

    def vpm_env(self, *words: str, prepare: Callable[[], None] = nothing, home: Path | None = None) -> Command:
        """Return a call of the installed `vpm-env`, on another home if one is given."""
        script = self.tool.scripts / "vpm-env"
        env = {**self.env, "VPM_ENV_HOME": str(home or self.home)}
        return Command(words=[self.tool.python, script, *words], env=env, cwd=self.work, prepare=prepare)

    def python(self, code: str, *words: str | Path) -> Command:
        """Return code to be run by the interpreter that vpm-env is installed in, and by nothing more of it."""
        return Command(words=[self.tool.python, "-I", "-c", code, *words], env=self.env, cwd=self.work)

    def bare(self) -> Command:
        """Return the start of the interpreter that vpm-env is installed in, and nothing else."""
        return self.python("pass")

    def forget(self, *names: str) -> None:
        """Remove parts of the home, such as `overlays`."""
        for name in names:
            fs.remove_tree(self.home / name)

    def forgetting(self, *names: str) -> Callable[[], None]:
        """Return what removes parts of the home."""
        return lambda: self.forget(*names)

    @property
    def overlay(self) -> Path:
        """Return the overlay that is current."""
        (link,) = (self.home / "profiles").glob("default/*/current")
        return link.resolve()

    def linked(self) -> Command:
        """Return the making of as many directories and links as the current overlay has, in C."""
        copy = self.folder / "links"
        script = 'exec cp -al "$(readlink -f "$1"/profiles/default/*/current)" "$2"'
        return Command(
            words=["/bin/sh", "-c", script, "sh", self.home, copy],
            env=self.env,
            cwd=self.work,
            prepare=lambda: shutil.rmtree(copy, ignore_errors=True),
        )

    def uv(self, *words: str | Path) -> list[str | Path]:
        return [find_uv_bin(), *words, "--quiet", "--no-config"]

    def requirements(self, name: str = "requirements.txt") -> Path:
        """Write what the lock has as a file for uv and pip."""
        path = self.work / name
        path.write_text("\n".join(self.locked()) + "\n")
        return path

    def uv_again(self, requirements: Path, prepare: Callable[[], None] = nothing) -> Command:
        """Return `uv pip sync` of a file into the environment that `uv_sync` made."""
        where = ["--index-url", self.index] if self.index else []
        python = self.folder / "by-uv" / "bin" / "python"
        words = self.uv("pip", "sync", "--link-mode", "hardlink", "--offline", *where, "--python", python, requirements)
        return Command(words=words, env=self.env, cwd=self.work, prepare=prepare)

    def uv_sync(self, requirements: Path, *, offline: bool = True) -> Command:
        """Return `uv venv` and `uv pip sync` of a file, with hard links, as one process; from uv's cache alone."""
        venv = self.folder / "by-uv"
        where = [*(["--offline"] if offline else []), *(["--index-url", self.index] if self.index else [])]
        steps = (
            self.uv("venv", "--python", self.base.python, venv),
            self.uv(
                "pip", "sync", "--link-mode", "hardlink", *where, "--python", venv / "bin" / "python", requirements
            ),
        )
        return Command(
            words=["/bin/sh", "-c", " && ".join(" ".join(map(str, step)) for step in steps)],
            env=self.env,
            cwd=self.work,
            prepare=lambda: shutil.rmtree(venv, ignore_errors=True),
        )

    def locked(self) -> list[str]:
        """Return `name==version` of everything in the lock."""
        found = lock.read(self.work / "pylock.plugins.toml")
        assert found is not None
        return [f"{package.name}=={package.version}" for package in found.packages]


def names(count: int = PACKAGES) -> list[str]:
    """Name so many packages."""
    return [f"package-{number:02}" for number in range(count)]


def title(count: int) -> str:
    """Say how many packages that are."""
    return f"{count} package{'' if count == 1 else 's'}"


@contextmanager
def synthetic(folder: Path) -> Iterator[tuple[Rig, Shelf]]:
    """Lend a rig over a base with a tiny engine, and an index of its own on loopback."""
    with shelf.serving(folder / "index") as served:
        yield Rig(folder, index=served.url), served


def publish(index: Shelf, names: Sequence[str], *, files: int = 1, version: str = "1.0", plugin: bool = False) -> None:
    """Write a wheel for each name; each holds `files` modules of 400 bytes, and is a plugin if so asked."""
    for name in names:
        package = name.replace("-", "_")
        text = "".join(f"value_{number} = {number}\n" for number in range(28))
        content = {f"{package}/part{at // 50}/module{at}.py": text for at in range(files - 1)}
        points = {"vllm.general_plugins": {name: f"{package}:register"}} if plugin else None
        code = "def register(): pass\n" if plugin else ""
        index.add(name, version, files={f"{package}/__init__.py": code, **content}, entry_points=points)


def with_real_packages(rig: Rig, *packages: str) -> None:
    """Install packages of the real index into the rig's base."""
    words = rig.uv("pip", "install", "--python", rig.base.python, *packages)
    done = subprocess.run(list(map(str, words)), env=rig.env, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise Unavailable(
            f"the real index cannot be had: {done.stderr.strip().splitlines()[0] if done.stderr else '?'}"
        )
