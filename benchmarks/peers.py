"""What users would pick instead, each in a folder of its own: Nix profiles, uv, pip."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from measure import Command, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

_DERIVATION = (
    '{ n }: derivation { name = "plugin-${n}"; system = builtins.currentSystem; builder = "/bin/sh";'
    ' args = [ "-c" "%s -p $out/bin; echo ${n} > $out/bin/plugin" ]; }\n'
)
_SETTINGS = "build-users-group =\nsandbox = false\nsubstituters =\n"


@dataclass(frozen=True)
class Nix:
    """A Nix store and a profile in one folder, with as many generations as were asked for; no daemon, no network."""

    folder: Path

    @cached_property
    def env(self) -> dict[str, str]:
        """Return the environment that keeps Nix in its folder."""
        places = {"STORE": "store", "DATA": "data", "STATE": "state", "LOG": "log", "CONF": "conf"}
        for name in (*places.values(), "user"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "conf" / "nix.conf").write_text(_SETTINGS)
        (self.folder / "plugin.nix").write_text(_DERIVATION % shutil.which("mkdir"))
        variables = {f"NIX_{name}_DIR": str(self.folder / inner) for name, inner in places.items()}
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder / "user"), "LC_ALL": "C.UTF-8", **variables}

    def generations(self, count: int) -> None:
        """Install one version after the other, each of which makes a generation; two differ, more point to these."""
        for number in range(1, min(count, 2) + 1):
            self.call("--install", "--file", self.folder / "plugin.nix", "--argstr", "n", str(number)).run()
        for number in range(3, count + 1):
            target = os.readlink(self.folder / f"profile-{2 - number % 2}-link")
            os.symlink(target, self.folder / f"profile-{number}-link")

    def call(self, *words: str | Path) -> Command:
        """Return a call of `nix-env` on the profile."""
        found = shutil.which("nix-env")
        if found is None:
            raise Unavailable("nix-env is not installed (Debian: nix-bin)")
        return Command(words=[found, "--profile", self.folder / "profile", *words], env=self.env, cwd=self.folder)

    def rollback(self) -> Command:
        """Return a rollback from the second generation to the first."""
        forth = self.call("--switch-generation", "2")
        back = self.call("--rollback")
        return Command(words=back.words, env=back.env, cwd=back.cwd, prepare=forth.run)

    def switch(self) -> Command:
        """Return a switch from the first generation to the second."""
        back = self.call("--switch-generation", "1")
        forth = self.call("--switch-generation", "2")
        return Command(words=forth.words, env=forth.env, cwd=forth.cwd, prepare=back.run)


def pip_install(python: Path, venv: Path, env: dict[str, str], index: str, requirements: Path) -> Command:
    """Return `python -m venv` and an install with the pip that comes with it, as one process."""
    flags = f"--quiet --no-deps --disable-pip-version-check --index-url {index}"
    words = f"{python} -m venv {venv} && {venv}/bin/python -m pip install {flags} -r {requirements}"
    return Command(
        words=["/bin/sh", "-c", words],
        env={**env, "PIP_CACHE_DIR": str(venv.parent / "pip-cache")},
        cwd=venv.parent,
        prepare=lambda: shutil.rmtree(venv, ignore_errors=True),
    )
