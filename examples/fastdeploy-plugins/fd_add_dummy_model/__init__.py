"""A model for FastDeploy. The classes are imported when it is registered: what needs the engine can wait for it."""

from __future__ import annotations

ARCHITECTURE = "MyModelForCasualLM"


def register() -> None:
    """Make the model known; FastDeploy calls this in each of its processes."""
    from fastdeploy.config import ErnieArchitectures
    from fastdeploy.model_executor.models.model_base import ModelRegistry

    from fd_add_dummy_model.model import MyModelForCasualLM, MyPretrainedModel

    if ARCHITECTURE in ModelRegistry.get_supported_archs():
        return
    if ARCHITECTURE.startswith("Ernie"):
        ErnieArchitectures.register_ernie_model_arch(MyModelForCasualLM)
    ModelRegistry.register_model_class(MyModelForCasualLM)
    ModelRegistry.register_pretrained_model(MyPretrainedModel)
