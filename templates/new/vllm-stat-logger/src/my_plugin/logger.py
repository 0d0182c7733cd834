"""The class that vLLM makes, one for each engine of an API server."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from vllm.v1.metrics.loggers import StatLoggerBase

from my_plugin.totals import Totals

if TYPE_CHECKING:
    from vllm.config import VllmConfig

logger = logging.getLogger("vllm.my_plugin")  # below `vllm`, so that the engine's own handler writes it


class MyPlugin(StatLoggerBase):
    """Log what the engine did, whenever that has changed."""

    def __init__(self, vllm_config: VllmConfig, engine_index: int = 0) -> None:
        self.engine_index = engine_index
        self.totals = Totals()
        self.logged = str(self.totals)

    def log_engine_initialized(self) -> None:
        """Say that it is there."""
        logger.info("my-plugin counts for engine %d", self.engine_index)

    def record(self, scheduler_stats: Any, iteration_stats: Any, *_more: Any, **_others: Any) -> None:
        """Count a step; a step without an answer has no statistics."""
        if iteration_stats is not None:
            self.totals.add(iteration_stats)

    def log(self) -> None:
        """Write a line if there is something new; vLLM calls this every ten seconds."""
        if str(self.totals) != self.logged:
            self.logged = str(self.totals)
            logger.info("my-plugin: engine %d: %s", self.engine_index, self.logged)
