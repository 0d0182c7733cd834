"""A model runner for FastDeploy."""

from __future__ import annotations

from typing import Any


def get_runner() -> Any:
    """Return the class that GPU workers make; what this raises FastDeploy does not tell anybody."""
    from my_plugin.runner import MyPlugin

    return MyPlugin
