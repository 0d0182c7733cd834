"""A logger of statistics for vLLM."""
