"""A model for vLLM."""

from __future__ import annotations

ARCHITECTURE = "MyPluginForCausalLM"
"""What a checkpoint's `config.json` says under `architectures`."""


def register() -> None:
    """Tell vLLM which class the architecture is; it is imported by the processes that need it, and no others."""
    from vllm import ModelRegistry

    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, "my_plugin.model:MyPluginForCausalLM")
