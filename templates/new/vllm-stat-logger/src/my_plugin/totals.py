"""What is counted; it knows nothing of the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Totals:
    """What an engine has done since it started: requests that ended, tokens that it read and wrote."""

    requests: int = 0
    read: int = 0
    written: int = 0

    def add(self, iteration: Any) -> None:
        """Count one step; vLLM calls what it tells of one `IterationStats`."""
        self.requests += len(iteration.finished_requests)
        self.read += iteration.num_prompt_tokens
        self.written += iteration.num_generation_tokens

    def __str__(self) -> str:
        return f"{self.requests} requests, {self.read} tokens read, {self.written} tokens written"
