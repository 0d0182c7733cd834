"""Homes put together by hand, and bases with the start-up hook in them: for tests of what happens in the base."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kit

from envbuilder import base as bases
from envbuilder import startup
from envbuilder.digest import sha256_of
from envbuilder.interpreter import Interpreter
from envbuilder.manifest import Manifest, Member
from envbuilder.paths import Environment, Layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envbuilder.base import Base

ASK = """
import json, sys
hook = sys.modules.get("_vpm_env_hook")
names = ("state", "reason", "digest", "generation", "overlay", "base_key", "profile", "pinned", "lease")
told = {name: getattr(hook, name, None) for name in names} if hook else {}
import os
told.update(path=sys.path, pin=os.environ.get("VPM_ENV_PIN"), modules=sorted(sys.modules))
print(json.dumps(told))
"""


def described(base: kit.Base) -> Base:
    """Ask a base what it holds, as vpm-env does."""
    variables = {**os.environ, **base.env}
    return bases.describe(Interpreter(str(base.python), "test"), None, Environment(variables=variables))


@dataclass
class Rig:
    """A base with `vllm`, and a home of its own."""

    base: kit.Base
    home: Path
    facts: Base

    @classmethod
    def of(cls, base: kit.Base, home: Path) -> Rig:
        """Describe the base, and take out whatever hook an earlier test left in it."""
        facts = described(base)
        startup.uninstall(facts)
        return cls(base=base, home=home, facts=facts)

    @property
    def layout(self) -> Layout:
        return Layout(str(self.home))

    @property
    def profile(self) -> Path:
        return self.home / "profiles" / "default" / self.facts.key

    def install(self, *, home: Path | None = None, **options: Any) -> startup.Installed:
        """Install the hook."""
        layout = Layout(str(home or self.home))
        return startup.install(self.facts, layout=layout, profile="default", command=("/opt/vpm-env",), **options)

    def overlay(
        self,
        label: str,
        *names: str,
        override: bool = False,
        facts: Mapping[str, str] | None = None,
        entry_points: Mapping[str, Mapping[str, str]] | None = None,
    ) -> str:
        """Make an overlay of packages `names`, each one module with `VALUE = label`; return its digest."""
        (self.home / "store").mkdir(parents=True, exist_ok=True)
        (self.home / "format").write_text("1\n")
        members = tuple(self._package(name, label, override=override) for name in names or ("plug",))
        manifest = Manifest(
            soabi=self.facts.soabi,
            platform=self.facts.platform,
            python_version=self.facts.python_version,
            base={"key": self.facts.key, "prefix": self.facts.prefix},
            members=members,
            facts=dict(facts or {"vllm": self.facts.engine_version}),
        )
        path = Path(self.layout.overlay(self.facts.key, manifest.digest))
        site = path / "lib" / f"python{self.facts.python_version}" / "site-packages"
        site.mkdir(parents=True, exist_ok=True)
        for member in members:
            folder = path / "override" if member.override else site
            folder.mkdir(exist_ok=True)
            module = self.home / "store" / member.key[:12] / f"{member.name}.py"
            (folder / module.name).symlink_to(os.path.relpath(module, folder))
            dist_info = folder / f"{member.name}-1.0.dist-info"
            dist_info.mkdir()
            (dist_info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {member.name}\nVersion: 1.0\n")
            points = (entry_points or {}).get(member.name, {})
            lines = [f"[{group}]\n{point}\n" for group, point in points.items()]
            (dist_info / "entry_points.txt").write_text("".join(lines))
        (path / ".lease").write_text("")
        (path / "overlay.json").write_text(json.dumps(manifest.to_dict()))
        return manifest.digest

    def _package(self, name: str, label: str, *, override: bool) -> Member:
        key = f"{sha256_of([name, label])[:32]}-{name}-1.0"
        library = self.home / "store" / key / "lib"
        library.mkdir(parents=True)
        (library / f"{name}.py").write_text(f"VALUE = {label!r}\ndef register(): print({name + ' ' + label!r})\n")
        (self.home / "store" / key[:12]).symlink_to(f"{key}/lib")
        return Member(name=name, version="1.0", key=key, plugin=name, override=override)

    def generation(self, number: int, digest: str, *, profile: str = "default", switch: bool = True) -> None:
        """Give an overlay a number, and make it current."""
        folder = self.home / "profiles" / profile / self.facts.key / "generations"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(number)).symlink_to(f"../../../../overlays/{self.facts.key}/{digest}")
        if switch:
            self.switch(number, profile=profile)

    def switch(self, number: int, *, profile: str = "default") -> None:
        """Make a generation current."""
        folder = self.home / "profiles" / profile / self.facts.key
        (folder / "new").symlink_to(f"generations/{number}")
        (folder / "new").replace(folder / "current")

    def site(self, digest: str) -> str:
        """Return the directory that an active overlay adds to `sys.path`."""
        version = self.facts.python_version
        return f"{self.layout.overlay(self.facts.key, digest)}/lib/python{version}/site-packages"

    def pin(self, digest: str) -> str:
        return f"{self.facts.key}:{digest}"

    def start(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        guarded: bool = False,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Start the base's python; whatever is wrong, it must start, and say nothing of its own.

        One that is `guarded` may: it runs the guard, and has set up no logs.
        """
        done = subprocess.run(
            [str(self.base.python), *map(str, arguments)],
            env={**os.environ, **self.base.env, **(env or {})},
            cwd=cwd or self.base.prefix,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **options,
        )
        assert done.returncode == 0, done.stderr
        assert guarded or done.stderr == ""
        return done

    def ask(self, *flags: str, env: Mapping[str, str] | None = None, **options: Any) -> dict[str, Any]:
        """Start a plain python and return what the hook did in it."""
        return dict(json.loads(self.start(*flags, "-c", ASK, env=env, **options).stdout))

    def run_script(self, name: str, text: str = ASK, *flags: str, **options: Any) -> dict[str, Any]:
        """Run a script called `name` and return the JSON that it printed."""
        folder = self.home.parent / "scripts"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        return dict(json.loads(self.start(*flags, folder / name, **options).stdout))


def vllm_base(
    folder: Path, *, kind: str = "venv", python: str | Path, name: str = "vllm", pip: bool = False
) -> kit.Base:
    """Make a base that has a tiny vLLM."""
    base = kit.base(folder / "base", kind=kind, python=python, home=folder, pip=pip)
    kit.fake_vllm(base, name=name)
    return base


def give(path: Path, *, uid: int | None = None, gid: int | None = None, mode: int | None = None) -> None:
    """Give a tree's directories and files to another owner or group, and set the mode of its directories."""
    for folder, _, files in os.walk(path):
        for entry in (folder, *(os.path.join(folder, name) for name in files)):
            os.chown(entry, -1 if uid is None else uid, -1 if gid is None else gid, follow_symlinks=False)
        if mode is not None:
            os.chmod(folder, mode)


def remove(path: Path) -> None:
    """Remove a tree."""
    shutil.rmtree(path, ignore_errors=True)
