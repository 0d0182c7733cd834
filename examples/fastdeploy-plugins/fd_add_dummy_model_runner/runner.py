"""The model runner: FastDeploy's own, with a word at its start."""

from __future__ import annotations

import logging
from typing import Any

from fastdeploy.worker.gpu_model_runner import GPUModelRunner


class MyModelRunner(GPUModelRunner):
    """Say that it is there, and run models as FastDeploy does."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        logging.getLogger(__name__).info("the model runner of fastdeploy-plugins works")
