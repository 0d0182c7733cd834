"""The model: Qwen 2, until something here differs from it."""

from __future__ import annotations

from fastdeploy.model_executor.models.qwen2 import Qwen2ForCausalLM, Qwen2PretrainedModel

from my_plugin import ARCHITECTURE


class MyPluginForCausalLM(Qwen2ForCausalLM):
    """Override `compute_logits`, `forward` or `load_weights`, or begin with another model of FastDeploy."""

    @classmethod
    def name(cls) -> str:
        """Return the architecture that it is registered under."""
        return ARCHITECTURE


class MyPluginPretrainedModel(Qwen2PretrainedModel):
    """How its weights are laid out."""

    @classmethod
    def arch_name(cls) -> str:
        """Return the architecture that it is registered under."""
        return ARCHITECTURE
