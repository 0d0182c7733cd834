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
from measure import Command, Unavailable
from uv import find_uv_bin

from envbuilder import fs, lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

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

    def config(self, *packages: str) -> None:
        """Write a config that asks for these packages."""
        head = f"index: {self.index}\n" if self.index else ""
        lines = [f"  - {{name: {name}, source: pypi, package: {name}}}\n" for name in packages]
        (self.work / "plugins.yaml").write_text(f"{head}plugins:\n{''.join(lines)}")

    def vpm_env(self, *words: str, prepare: Callable[[], None] = lambda: None) -> Command:
        """Return a call of the installed `vpm-env`."""
        script = self.tool.scripts / "vpm-env"
        return Command(words=[self.tool.python, script, *words], env=self.env, cwd=self.work, prepare=prepare)

    def bare(self) -> Command:
        """Return the start of the interpreter that vpm-env is installed in, and nothing else."""
        return Command(words=[self.tool.python, "-I", "-c", "pass"], env=self.env, cwd=self.work)

    def forget(self, *names: str) -> None:
        """Remove parts of the home, such as `overlays`."""
        for name in names:
            fs.remove_tree(self.home / name)

    def uv(self, *words: str | Path) -> list[str | Path]:
        return [find_uv_bin(), *words, "--quiet", "--no-config"]

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


@contextmanager
def synthetic(folder: Path) -> Iterator[tuple[Rig, kit.Index]]:
    """Lend a rig over a base with a tiny engine, and an index of its own on loopback."""
    with kit.index(folder / "index") as served:
        yield Rig(folder, index=served.url), served


def publish(folder: Path, names: Sequence[str], *, files: int = 1, version: str = "1.0") -> None:
    """Write a wheel for each name; each holds `files` modules of 400 bytes."""
    for name in names:
        package = name.replace("-", "_")
        text = "".join(f"value_{number} = {number}\n" for number in range(28))
        content = {f"{package}/part{at // 50}/module{at}.py": text for at in range(files - 1)}
        kit.wheel(folder, name, version, files={f"{package}/__init__.py": "", **content})


def with_real_packages(rig: Rig, *packages: str) -> None:
    """Install packages of the real index into the rig's base."""
    words = rig.uv("pip", "install", "--python", rig.base.python, *packages)
    done = subprocess.run(list(map(str, words)), env=rig.env, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise Unavailable(
            f"the real index cannot be had: {done.stderr.strip().splitlines()[0] if done.stderr else '?'}"
        )
