"""The model runner: FastDeploy's own, until something here differs from it."""

from __future__ import annotations

from typing import Any

from fastdeploy.worker.gpu_model_runner import GPUModelRunner

from my_plugin.steps import Steps


class MyPlugin(GPUModelRunner):
    """Count the steps, and do them as FastDeploy does; its arguments have changed from release to release."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.steps = Steps()

    def execute_model(self, *arguments: Any, **options: Any) -> Any:
        """Do one step."""
        self.steps.count()
        return super().execute_model(*arguments, **options)
