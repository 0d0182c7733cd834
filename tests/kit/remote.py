"""Single files out of published wheels, without the wheels: for tests against the real code of engines."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from kit.machine import MACHINE, network_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kit.bases import Base

_READ = """
import json, sys, zipfile
from pip._internal.network.lazy_wheel import LazyZipOverHTTP
from pip._internal.network.session import PipSession
url, *names = sys.argv[1:]
with LazyZipOverHTTP(url, PipSession()) as file:
    archive = zipfile.ZipFile(file)
    print(json.dumps({name: archive.read(name).decode() for name in names}))
"""


def members(base: Base, requirement: str, *names: str) -> Mapping[str, str]:
    """Return files of a wheel (path → text), read by ranges with pip's own code; skip the test where that cannot be."""
    import pytest
    from uv import find_uv_bin

    from kit.bases import bundled

    settings = network_settings()
    settings |= {name: MACHINE[name] for name in ("PATH", "HOME") if name in MACHINE}
    words = [find_uv_bin(), "pip", "compile", "-", "--no-deps", "--quiet", "--format", "pylock.toml"]
    asked = subprocess.run(
        [*words, "--python", str(base.python)], input=requirement, env=settings, capture_output=True, text=True
    )
    found = re.search(r'url = "(?P<url>[^"]+x86_64\.whl)"', asked.stdout)
    if found is None:
        return pytest.skip(f"no wheel of {requirement} is to be had: {asked.stderr.strip()[:200]}")
    pip = {"PYTHONPATH": os.fspath(bundled(base, "pip")), "VPM_ENV_DISABLE": "1"}
    command = [str(base.python), "-W", "ignore", "-c", _READ, found["url"], *names]
    read = subprocess.run(command, env={**settings, **pip}, capture_output=True, text=True, cwd=Path(base.prefix))
    if read.returncode:
        return pytest.skip(f"the index does not serve parts of files: {read.stderr.strip()[-200:]}")
    files: dict[str, str] = json.loads(read.stdout)
    return files
