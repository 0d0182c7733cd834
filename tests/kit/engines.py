"""Stand-ins for engines other than vLLM, with the rules of their plugin loaders and nothing else."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from kit.bases import install

if TYPE_CHECKING:
    from kit.bases import Base

_FAKE_FASTDEPLOY = {
    "fastdeploy/__init__.py": "",
    "fastdeploy/plugins.py": '''\
"""A list is split at its commas and nowhere else. Without one, old versions load all plugins, newer ones none."""

import importlib.metadata
import os

LOADS_UNLISTED = False


def load_plugins_by_group(group):
    listed = os.environ.get("FD_PLUGINS")
    names = None if listed is None else listed.split(",")
    if names is None and not LOADS_UNLISTED:
        return {}
    found = {}
    for point in importlib.metadata.entry_points(group=group):
        if names is None or point.name in names:
            try:
                found[point.name] = point.load()
            except Exception as error:
                print("not loaded:", point.name, error)
    return found


def run_all(kind):
    """Registrations: every plugin is called, and what one raises is not caught."""
    plugins = load_plugins_by_group(f"fastdeploy.{kind}_plugins")
    for function in plugins.values():
        function()
    return sorted(plugins)


def the_one(kind):
    """Slots: exactly one plugin fills it, and whatever is wrong, the built-in does."""
    try:
        (function,) = load_plugins_by_group(f"fastdeploy.{kind}_plugins").values()
        return function().__name__
    except Exception:
        return "built-in"
''',
    "fastdeploy/worker.py": '''\
"""What each process of the engine does at its start; it prints what came of it as one line of JSON."""

import json
import os

from fastdeploy import plugins

REGISTRATIONS = ("model_register", "reasoning_parser", "tool_parser", "output_fallback")
SLOTS = ("model_runner", "input_processor", "token_processor")


def main():
    told = {kind: plugins.run_all(kind) for kind in REGISTRATIONS}
    told |= {kind: plugins.the_one(kind) for kind in SLOTS}
    print(json.dumps({**told, "list": os.environ.get("FD_PLUGINS"), "pin": os.environ.get("VPM_ENV_PIN")}), flush=True)


if __name__ == "__main__":
    main()
''',
    "fastdeploy/entrypoints.py": '''\
"""`fastdeploy serve`: the process itself, and a worker as a child of its own."""

import subprocess
import sys


def main():
    from fastdeploy import worker

    worker.main()
    subprocess.run([sys.executable, "-m", "fastdeploy.worker"], check=True)


if __name__ == "__main__":
    main()
''',
}


_FAKE_SGLANG = {
    "sglang/__init__.py": "",
    "sglang/cli/__init__.py": "",
    "sglang/plugins.py": '''\
"""Blanks around names in the list count for nothing, and an empty list is none. What a plugin raises is printed."""

import importlib.metadata
import os
import sys


def load(group, is_listed=True):
    text = os.environ.get("SGLANG_PLUGINS") if is_listed else ""
    names = {word.strip() for word in text.split(",") if word.strip()} if text else None
    found = {}
    for point in importlib.metadata.entry_points(group=group):
        if names is None or point.name in names:
            try:
                found[point.name] = point.load()
            except Exception as error:
                print("not loaded:", point.name, error, file=sys.stderr)
    return found


def call_all(group):
    for name, function in load(group).items():
        try:
            function()
            yield name
        except Exception as error:
            print("raised:", name, error, file=sys.stderr)


def the_one(group, is_listed):
    found = [made for made in (function() for function in load(group, is_listed).values()) if made]
    if len(found) > 1:
        raise RuntimeError(f"several platforms: {found}")
    return found[0] if found else "built-in"
''',
    "sglang/worker.py": '''\
"""What each process of the engine does at its start; it prints what came of it as one line of JSON."""

import json
import os

from sglang import plugins


def main():
    told = {"platform": plugins.the_one("sglang.srt.platforms", True)}
    told["plugins"] = sorted(plugins.call_all("sglang.srt.plugins"))
    told["backends"] = sorted(plugins.load("sglang.serve_backends", False))
    told["images"] = sorted(plugins.call_all("sglang.multimodal_gen.plugins"))
    told["image_platform"] = plugins.the_one("sglang.multimodal_gen.platforms", False)
    print(json.dumps({**told, "pin": os.environ.get("VPM_ENV_PIN")}), flush=True)


if __name__ == "__main__":
    main()
''',
    "sglang/launch_server.py": '''\
"""The process itself, and a worker as a child of its own."""

import subprocess
import sys


def main():
    from sglang import worker

    worker.main()
    subprocess.run([sys.executable, "-m", "sglang.worker"], check=True)


if __name__ == "__main__":
    main()
''',
    "sglang/cli/main.py": '''\
"""`sglang serve`, `sglang generate`; `sglang version` loads nothing."""

import sys


def main():
    if sys.argv[1] in ("serve", "generate"):
        from sglang import launch_server

        launch_server.main()


if __name__ == "__main__":
    main()
''',
}


def fake_sglang(base: Base, version: str = "0.5.23") -> None:
    """Install a tiny SGLang with its `bin/sglang`."""
    from kit.artifacts import wheel

    folder = base.prefix.parent / f".wheel-sglang-{version}"
    points = {"console_scripts": {"sglang": "sglang.cli.main:main"}}
    install(base, wheel(folder, "sglang", version, files=_FAKE_SGLANG, entry_points=points))
    shutil.rmtree(folder)


def fake_fastdeploy(
    base: Base, version: str = "2.3.0", *, name: str = "fastdeploy-gpu", loads_unlisted: bool = False
) -> None:
    """Install a tiny FastDeploy with its `bin/fastdeploy`; `loads_unlisted` as before November 2025."""
    from kit.artifacts import wheel

    folder = base.prefix.parent / f".wheel-{name}-{version}"
    files = dict(_FAKE_FASTDEPLOY)
    if loads_unlisted:
        files["fastdeploy/plugins.py"] = files["fastdeploy/plugins.py"].replace(
            "LOADS_UNLISTED = False", "LOADS_UNLISTED = True"
        )
    points = {"console_scripts": {"fastdeploy": "fastdeploy.entrypoints:main"}}
    install(base, wheel(folder, name, version, files=files, entry_points=points))
    shutil.rmtree(folder)
