"""The model, which always likes the first word of its vocabulary a little better."""

from __future__ import annotations

from typing import Any

from fastdeploy.model_executor.models.model_base import ModelForCasualLM
from paddleformers.transformers import PretrainedModel

from fd_add_dummy_model import ARCHITECTURE


class MyPretrainedModel(PretrainedModel):
    """How its weights are laid out."""

    @classmethod
    def arch_name(cls) -> str:
        """Return the architecture that it is registered under."""
        return ARCHITECTURE


class MyModelForCasualLM(ModelForCasualLM):
    """A model without layers."""

    @classmethod
    def name(cls) -> str:
        """Return the architecture that it is registered under."""
        return ARCHITECTURE

    def compute_logits(self, logits: Any) -> Any:
        """Return logits in which the first word stands out."""
        logits[:, 0] += 1.0
        return logits
