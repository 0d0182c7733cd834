"""A logits processor for vLLM: a request names tokens that its answer must not have."""
