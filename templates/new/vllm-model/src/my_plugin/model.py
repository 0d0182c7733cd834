"""The model: Llama, until something here differs from it."""

from __future__ import annotations

from vllm.model_executor.models.llama import LlamaForCausalLM


class MyPluginForCausalLM(LlamaForCausalLM):
    """Override `compute_logits`, `forward` or `load_weights`, or begin with another model of vLLM."""
