"""A model runner for FastDeploy."""

from __future__ import annotations

from typing import Any


def get_runner() -> Any:
    """Return the class that GPU workers make instead of FastDeploy's own."""
    from fd_add_dummy_model_runner.runner import MyModelRunner

    return MyModelRunner
