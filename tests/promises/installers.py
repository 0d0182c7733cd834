"""What pip and uv make of a wheel file, asked as users ask them."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

from uv import find_uv_bin

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_PIP = (sys.executable, "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check")
_UV = (find_uv_bin(), "pip", "install", "--no-cache", "--no-config", "--offline", "--python", sys.executable)
_SECONDS = 120


def _takes(command: Sequence[str], wheel: Path, prefix: Path) -> bool:
    """Install a wheel below `prefix`, and tell whether that was done without an error or a warning."""
    home = {"HOME": str(wheel.parent), "PATH": "/usr/bin:/bin", "PIP_ROOT_USER_ACTION": "ignore"}
    done = subprocess.run(
        [*command, "--no-deps", "--no-index", "--prefix", prefix, wheel],
        env=home,
        cwd=wheel.parent,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS,
    )
    return done.returncode == 0 and not re.search("warning|error", done.stderr, re.IGNORECASE)


def _by_pip(wheel: Path, prefix: Path) -> bool:
    return _takes(_PIP, wheel, prefix)


def _by_uv(wheel: Path, prefix: Path) -> bool:
    return _takes(_UV, wheel, prefix)


INSTALLERS: dict[str, Callable[[Path, Path], bool]] = {"pip": _by_pip, "uv": _by_uv}
"""Each tells whether it takes a wheel without a word."""
