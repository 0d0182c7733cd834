"""Run `vpm-env` as a user would: a child process with a clean environment."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

from kit.machine import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kit.bases import Base

_BOOT = "import runpy, sys; sys.path.insert(0, {root!r}); runpy.run_module('envbuilder', run_name='__main__')"


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    exit: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Parse what it printed on stdout."""
        return json.loads(self.stdout)

    @property
    def output(self) -> str:
        """Return both streams, for a message."""
        return f"exit {self.exit}\n--- stdout\n{self.stdout}--- stderr\n{self.stderr}"


@dataclass
class VpmEnv:
    """`vpm_env("build", "--json")`; every part of it may be changed by a test before it calls.

    `home` is $VPM_ENV_HOME, `folder` the working directory, `env` the whole environment of the children. With a `uid`
    they run as that user and its group of the same number, which only root can have.
    """

    home: Path
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable
    uid: int | None = None

    def __call__(
        self,
        *arguments: str | Path,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        check: bool = False,
        timeout: float = 300,
    ) -> Finished:
        """Run it to its end; `env` adds variables (None takes one away), `check` demands exit 0."""
        variables = {**self.env, **(env or {})}
        user: dict[str, Any] = {"user": self.uid, "group": self.uid, "extra_groups": []} if self.uid else {}
        done = subprocess.run(
            [*self.command, *map(str, arguments)],
            env={name: value for name, value in variables.items() if value is not None},
            cwd=cwd or self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **user,
        )
        finished = Finished(done.returncode, done.stdout, done.stderr)
        assert not check or finished.exit == 0, finished.output
        assert "Traceback (most recent call last)" not in finished.stderr, finished.output
        return finished

    @property
    def command(self) -> list[str]:
        """Return the words to start it with: installed, or straight from the checkout."""
        installed = any(metadata.distributions(name="vpm-env"))
        if self.python == sys.executable and installed:
            return [self.python, "-m", "envbuilder"]
        return [self.python, "-c", _BOOT.format(root=str(ROOT))]

    def use(self, base: Base) -> VpmEnv:
        """Let $VPM_ENV_BASE name this base, and give the variables it needs."""
        self.env.update({"VPM_ENV_BASE": str(base.python), **base.env})
        return self

    def config(self, text: str) -> Path:
        """Write `plugins.yaml` in the working directory."""
        path = self.folder / "plugins.yaml"
        path.write_text(text)
        return path
