"""vpm-env: immutable plugin overlays for LLM serving engines.

The package imports nothing on purpose: a verb pays only for the rooms that it enters.
"""

__version__ = "0.1.0"
