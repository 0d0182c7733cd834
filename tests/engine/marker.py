"""A plugin that shows which set it is of, in every process and in every answer."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import kit
from engine import serving

if TYPE_CHECKING:
    from pathlib import Path

    from engine.serving import Server
    from stands import Stand

GENERAL = "vllm.general_plugins"
PROCESSOR = "marker.logits:Marker"
"""No entry point, which the probe would import at every build, and the engine with it: the engine is told its name."""

PLUGIN = '''
"""Write down, in every process that loads plugins, what this process has; stop the first one at a gate."""

import importlib.metadata
import json
import multiprocessing
import os
import sys

VERSION = "{version}"


def wait():
    """Let the first process that comes here wait until the gate, a FIFO, was opened and closed by the test."""
    gate = os.environ.get("MARKER_GATE", "")
    try:
        os.rename(gate, gate + ".reached")
    except OSError:
        return
    with open(gate + ".reached", "rb") as stream:
        stream.read()


def register():
    from marker import late

    told = {{
        "pid": os.getpid(),
        "name": multiprocessing.current_process().name,
        "command": sys.orig_argv,
        "versions": [VERSION, late.VERSION, importlib.metadata.version("marker")],
        "files": [__file__, late.__file__],
        "pin": os.environ.get("VPM_ENV_PIN"),
    }}
    if "MARKER_FILE" in os.environ and "VPM_ENV_PROBE" not in os.environ:
        with open(os.environ["MARKER_FILE"], "ab", buffering=0) as stream:
            stream.write(json.dumps(told).encode() + b"\\n")


wait()
'''
LOGITS = '''
"""Let the engine say nothing but the version, and look it up when it says the first word."""

from vllm.v1.sample.logits_processor import LogitsProcessor


class Marker(LogitsProcessor):
    def __init__(self, vllm_config, device, is_pin_memory):
        pass

    def is_argmax_invariant(self):
        return False

    def update_state(self, batch_update):
        pass

    def apply(self, logits):
        from marker import word

        token = 3 + sorted(__import__("tokenizers").pre_tokenizers.ByteLevel.alphabet()).index(word.WORD)
        logits[:] = float("-inf")
        logits[:, token] = 0.0
        return logits
'''


def publish(folder: Path, version: str) -> None:
    """Write the plugin's wheel; with version `2.0`, a server answers `222`."""
    files = {
        "marker/__init__.py": PLUGIN.format(version=version),
        "marker/late.py": f"VERSION = {version!r}\n",
        "marker/logits.py": LOGITS,
        "marker/word.py": f"WORD = {version[0]!r}\n",
    }
    kit.wheel(folder, "marker", version, files=files, entry_points={GENERAL: {"marker": "marker:register"}})


@dataclass(frozen=True)
class Records:
    """What the processes of a server wrote down, and the gate at which the first of them stops."""

    folder: Path
    gated: bool = False
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.env["MARKER_FILE"] = str(self.folder / "records")
        if self.gated:
            os.mkfifo(self.folder / "gate")
            self.env["MARKER_GATE"] = str(self.folder / "gate")

    @property
    def all(self) -> list[dict[str, Any]]:
        path = self.folder / "records"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def kinds(self) -> set[str]:
        """Name the processes: as multiprocessing does, or what the command is for."""
        return {_kind(told) for told in self.all}

    @property
    def overlays(self) -> set[str]:
        """Return the overlays that the modules came from, each as a pin would name it."""
        files = {file for told in self.all for file in told["files"]}
        return {":".join(file.partition("/overlays/")[2].split("/")[:2]) for file in files}

    @property
    def versions(self) -> set[str]:
        return {version for told in self.all for version in told["versions"]}

    @property
    def pins(self) -> set[str | None]:
        return {told["pin"] for told in self.all}

    def stopped(self, server: Server) -> int:
        """Wait for the first process to stop at the gate; to close the file that is returned lets it go on."""
        return int(server.wait("a process came to the gate", self._opened))

    def _opened(self) -> int | None:
        try:
            return os.open(self.folder / "gate.reached", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None


def _kind(told: dict[str, Any]) -> str:
    if told["name"] != "MainProcess":
        return str(told["name"])
    return "registry" if told["command"][-1] == "vllm.model_executor.models.registry" else "serve"


def build(stand: Stand, version: str) -> None:
    """Build a set with a version of the plugin, and switch to it."""
    wants(stand, version)
    stand("build")


def wants(stand: Stand, version: str) -> None:
    """Write a config that asks for a version of the plugin."""
    stand.vpm_env.config(
        f"index: {stand.index.url}\nplugins:\n"
        f"  - {{name: marker, source: pypi, package: marker, version: =={version}}}\n"
    )


def serve(stand: Stand, model: Path) -> list[str | Path]:
    """Return the words that start a server which says the version."""
    return [stand.base.scripts / "vllm", "serve", model, *serving.OPTIONS, "--logits-processors", PROCESSOR]
