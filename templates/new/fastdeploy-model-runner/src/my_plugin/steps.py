"""What is counted; it knows nothing of the engine."""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)


class Steps:
    """Log every so many steps; `every` is their number."""

    def __init__(self, every: int = 1000) -> None:
        self.every = every
        self.done = 0

    def count(self) -> None:
        """Count one."""
        self.done += 1
        if self.done % self.every == 0:
            logger.info("my-plugin: %d steps", self.done)
