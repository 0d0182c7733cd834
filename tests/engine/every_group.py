"""A plugin with an entry point in each of the engine's groups; each writes down that it ran, and in which process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import kit

if TYPE_CHECKING:
    from pathlib import Path

FILE = "EVERY_GROUP_FILE"
"""The variable that names the file for their lines: group, process."""

NAMES = {
    "vllm.general_plugins": "every:general",
    "vllm.platform_plugins": "every:platform",
    "vllm.io_processor_plugins": "every:io_processor",
    "vllm.stat_logger_plugins": "every.stats:Stats",
    "vllm.logits_processors": "every.logits:Logits",
    "vllm.endpoint_plugins": "every:Endpoint",
}

MODULE = f"""
import multiprocessing
import os


def note(group):
    if "{FILE}" in os.environ and "VPM_ENV_PROBE" not in os.environ:
        with open(os.environ["{FILE}"], "ab", buffering=0) as stream:
            stream.write(f"{{group}} {{multiprocessing.current_process().name}}\\n".encode())


def general():
    note("general")


def platform():
    note("platform")  # None says that this machine is none of ours


def io_processor():
    note("io_processor")
    return "every.io.Io"


class Endpoint:
    name = "every"
    required_tasks = None

    def attach_router(self, app):
        note("endpoint")
        app.add_api_route("/every", lambda: "every", methods=["GET"])

    async def init_state(self, engine_client, state, args):
        pass
"""
STATS = """
from every import note
from vllm.v1.metrics.loggers import StatLoggerBase


class Stats(StatLoggerBase):
    def __init__(self, vllm_config, engine_index=0):
        note("stat_logger")

    def record(self, *arguments, **named):
        pass

    def log_engine_initialized(self):
        pass
"""
LOGITS = """
from every import note
from vllm.v1.sample.logits_processor import LogitsProcessor


class Logits(LogitsProcessor):
    def __init__(self, vllm_config, device, is_pin_memory):
        note("logits")

    def is_argmax_invariant(self):
        return True

    def update_state(self, batch_update):
        pass

    def apply(self, logits):
        return logits
"""
IO = """
from vllm.plugins.io_processors.interface import IOProcessor


class Io(IOProcessor):
    def pre_process(self, prompt, request_id=None, **named):
        return "abc"

    def post_process(self, model_output, request_id=None, **named):
        return None
"""


def publish(folder: Path, name: str, version: str, *, requires: list[str]) -> None:
    """Write its wheel, under any name."""
    files = {"every/__init__.py": MODULE, "every/stats.py": STATS, "every/logits.py": LOGITS, "every/io.py": IO}
    points = {group: {"every": target} for group, target in NAMES.items()}
    kit.wheel(folder, name, version, files=files, entry_points=points, requires=requires)


def told(path: Path) -> dict[str, set[str]]:
    """Return group → the processes that it ran in."""
    found: dict[str, set[str]] = {}
    for line in path.read_text().splitlines():
        group, process = line.split(" ")
        found.setdefault(group, set()).add(process)
    return found
