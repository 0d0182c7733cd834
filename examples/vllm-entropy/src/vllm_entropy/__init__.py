"""A logits processor for vLLM: where the model is unsure, only its best words may be said.

The entropy of the next word says how unsure the model is: 0 where it is certain, the logarithm of the number of words
where all are alike. Above $ENTROPY_LIMIT (3 by default) all but the best $ENTROPY_KEEP words (5) are taken
out. It works with both of vLLM's model runners, which want an interface each.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from vllm.v1.sample.logits_processor import LogitsProcessor as FirstInterface

try:
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as SecondInterface
except ImportError:  # a release with one model runner

    class SecondInterface:  # type: ignore[no-redef]
        """Nothing to be had."""


if TYPE_CHECKING:
    import torch
    from vllm.config import VllmConfig


class EntropyProcessor(SecondInterface, FirstInterface):
    """Let the best words stand where the model is unsure; it knows no requests, only rows of logits."""

    def __init__(self, vllm_config: VllmConfig, *_state: Any) -> None:
        self.limit = float(os.environ.get("ENTROPY_LIMIT", "3"))
        self.keep = int(os.environ.get("ENTROPY_KEEP", "5"))

    def is_argmax_invariant(self) -> bool:
        """Say that the best word stays the best one: greedy requests need not pass through here."""
        return True

    def update_state(self, batch_update: Any) -> None:
        """Do nothing: no request is another's business."""

    def apply(self, logits: torch.Tensor, context: Any = None) -> torch.Tensor:
        """Return the logits, each row with all of its words or with the best ones alone."""
        chances = logits.softmax(dim=-1)
        entropy = -(chances * chances.clamp_min(1e-30).log()).sum(dim=-1, keepdim=True)
        worst_kept = logits.topk(self.keep, dim=-1).values[:, -1:]
        return logits.masked_fill((entropy > self.limit) & (logits < worst_kept), float("-inf"))
