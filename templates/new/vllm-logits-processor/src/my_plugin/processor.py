"""The class that vLLM makes, one for each worker.

vLLM has two model runners with an interface each, and refuses a class that lacks the one of its own; this has both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm.v1.sample.logits_processor import LogitsProcessor as FirstInterface
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from my_plugin.banned import banned

try:
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as SecondInterface
except ImportError:  # a release with one model runner

    class SecondInterface:  # type: ignore[no-redef]
        """Nothing to be had."""


if TYPE_CHECKING:
    import torch
    from vllm import SamplingParams
    from vllm.config import VllmConfig


class MyPlugin(SecondInterface, FirstInterface):
    """Take the tokens that a request bans out of its answer."""

    def __init__(self, vllm_config: VllmConfig, *_state: Any) -> None:
        self.banned: dict[int, list[int]] = {}

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Refuse a request that says nonsense; it gets an error, and the others go on."""
        banned(sampling_params)

    def is_argmax_invariant(self) -> bool:
        """Say that the most likely token may be another one afterwards, so that no request does without this."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """Follow the requests to their rows, in the first model runner."""
        process_dict_updates(self.banned, batch_update, lambda params, *_tokens: banned(params) or None)

    def add_request(self, req_idx: int, sampling_params: SamplingParams) -> bool:
        """Begin a request, in the second model runner; say whether it bans anything."""
        self.banned[req_idx] = banned(sampling_params)
        return bool(self.banned[req_idx])

    def apply(self, logits: torch.Tensor, context: Any = None) -> torch.Tensor:
        """Change the logits (rows, words of the vocabulary) in place; rows are requests in the first model runner."""
        rows = range(len(logits)) if context is None else context.expanded_idx_mapping.tolist()
        for row, request in enumerate(rows):
            if tokens := self.banned.get(request):
                logits[row, tokens] = float("-inf")
        return logits
