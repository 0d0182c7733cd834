"""A model for FastDeploy."""

from __future__ import annotations

ARCHITECTURE = "MyPluginForCausalLM"
"""What a checkpoint's `config.json` says under `architectures`."""


def register() -> None:
    """Tell FastDeploy which classes the architecture is; each of its processes calls this."""
    from fastdeploy.model_executor.models.model_base import ModelRegistry

    if ARCHITECTURE in ModelRegistry.get_supported_archs():
        return
    from my_plugin.model import MyPluginForCausalLM, MyPluginPretrainedModel

    ModelRegistry.register_model_class(
        MyPluginForCausalLM, architecture=ARCHITECTURE, module_name="model", module_path="my_plugin"
    )
    ModelRegistry.register_pretrained_model(MyPluginPretrainedModel)
