"""What a request may say; it knows nothing of the engine."""

from __future__ import annotations

from typing import Any

ARGUMENT = "my_plugin_banned"
"""The name under `vllm_xargs` of a request."""


def banned(params: Any) -> list[int]:
    """Return the tokens that a request bans, none if it names none; raise `ValueError` for what are no tokens.

    `params` are its sampling parameters.
    """
    tokens = (params.extra_args or {}).get(ARGUMENT, [])
    if not isinstance(tokens, list) or not all(isinstance(token, int) and token >= 0 for token in tokens):
        raise ValueError(f"{ARGUMENT} is a list of token ids, not {tokens!r}")
    return tokens
