"""The first process of the engine, with all that vpm-env does in it and without."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import kit
from engine import marker

if TYPE_CHECKING:
    from pathlib import Path

    from stands import Stand

PLUGINS = 10
MOST_INSTRUCTIONS = 50e6
MOST_SECONDS = 0.030

SCRIPT = """
import hashlib, importlib.metadata, importlib.util, json, logging, multiprocessing  # the engine has them by then
points = importlib.metadata.entry_points(group="vllm.general_plugins")
found = {point.name: point.load() for point in points if point.name in ("marker", "vpm_env_guard")}
for function in found.values():
    function()
print(*sorted(found))
"""
"""What the engine's script does with its plugins, without the engine, whose seconds would hide the milliseconds."""


@dataclass(frozen=True)
class Entry:
    """A script that goes by the engine's name, over a base whose hook builds, with nothing to build.

    `bare` is an interpreter that sees all of the base but the hook.
    """

    stand: Stand
    script: Path
    bare: Path

    @classmethod
    def of(cls, stand: Stand, folder: Path) -> Entry:
        """Build a set of some plugins, and start once, so that the next start knows that there is nothing to do."""
        script = folder / "vllm"
        script.write_text(SCRIPT)
        made = cls(stand, script, bare=_bare(stand.base, folder / "bare"))
        names = [f"plugin{number}" for number in range(PLUGINS - 1)]
        for name in names:
            points = {marker.GENERAL: {name: f"{name}:register"}}
            stand.publish(name, files={f"{name}.py": "def register(): pass\n"}, entry_points=points)
        marker.publish(stand.index.folder, "1.0")
        stand.build("marker", *names)
        stand("hook", "install", "--auto")
        made.told()
        return made

    def words(self, *, hooked: bool = True) -> list[str | Path]:
        return [self.stand.base.python if hooked else self.bare, self.script, "serve"]

    def told(self, *, hooked: bool = True) -> list[str]:
        """Name the plugins that it finds."""
        return self.stand.run(*self.words(hooked=hooked)).stdout.split()

    def added_seconds(self, *, runs: int) -> list[float]:
        """Return the processor time that vpm-env adds, of pairs of starts without it and with it."""
        for hooked in (False, True):
            self._seconds(hooked=hooked)
        return [-self._seconds(hooked=False) + self._seconds(hooked=True) for _ in range(runs)]

    def _seconds(self, *, hooked: bool) -> float:
        words = list(map(str, self.words(hooked=hooked)))
        child = subprocess.Popen(words, env=self.stand.env, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        return usage.ru_utime + usage.ru_stime


def _bare(base: kit.Base, folder: Path) -> Path:
    """Make a prefix with links to all packages of a base, as long as that has no hook; return its interpreter.

    To take the hook out of the base for a moment would change the folder that its next start looks at.
    """
    made = kit.base(folder, python=base.python)
    for path in base.purelib.iterdir():
        (made.purelib / path.name).symlink_to(path)
    return made.python
