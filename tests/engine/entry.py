"""The first process of the engine, with all that vpm-env does in it and without."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine import marker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
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
    """A script that goes by the engine's name, over a base whose hook builds, with nothing to build."""

    stand: Stand
    script: Path

    @classmethod
    def of(cls, stand: Stand, folder: Path) -> Entry:
        """Build a set of some plugins, and start once, so that the next start knows that there is nothing to do."""
        names = [f"plugin-{number}" for number in range(PLUGINS - 1)]
        for name in names:
            stand.publish(name, entry_points={marker.GENERAL: {name: "json:dumps"}})
        marker.publish(stand.index.folder, "1.0")
        stand.build("marker", *names)
        stand("hook", "install", "--auto")
        made = cls(stand, folder / "vllm")
        made.script.write_text(SCRIPT)
        made.told()
        return made

    @property
    def words(self) -> Sequence[str | Path]:
        return [self.stand.base.python, self.script, "serve"]

    def told(self) -> list[str]:
        """Name the plugins that it finds."""
        return self.stand.run(*self.words).stdout.split()

    @contextmanager
    def without_hook(self) -> Iterator[None]:
        """Take the hook out of sight."""
        pth = self.stand.base.purelib / "_vpm_env_hook.pth"
        (dist_info,) = self.stand.base.purelib.glob("vpm_env_hook-*.dist-info")
        away = {path: self.script.parent / path.name for path in (pth, dist_info)}
        for path, elsewhere in away.items():
            path.rename(elsewhere)
        try:
            yield
        finally:
            for path, elsewhere in away.items():
                elsewhere.rename(path)

    def added_seconds(self, *, runs: int) -> list[float]:
        """Return the processor time that vpm-env adds, of pairs of starts without it and with it."""
        pairs = []
        for _ in range(runs):
            with self.without_hook():
                bare = self._seconds()
            pairs.append(self._seconds() - bare)
        return pairs

    def _seconds(self) -> float:
        child = subprocess.Popen(list(map(str, self.words)), env=self.stand.env, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        return usage.ru_utime + usage.ru_stime
