"""Plugins that `vpm-env new` begins, and the example for vLLM, in a real server: one set, one start."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import TYPE_CHECKING, Any

import kit
import pytest
from engine import real_vllm, serving

if TYPE_CHECKING:
    from pathlib import Path

    from stands import Stand

pytestmark = pytest.mark.engine

KINDS = ("model", "logits-processor", "stat-logger")
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def asked(server: serving.Server, **more: Any) -> list[int]:
    """Ask for three tokens at random; return them."""
    question = {"model": serving.NAME, "prompt": "abc", "max_tokens": 3, "temperature": 1.0, "return_token_ids": True}
    body = json.dumps({**question, **more}).encode()
    request = urllib.request.Request(f"{server.url}/v1/completions", body, {"Content-Type": "application/json"})
    with _open(request, timeout=60) as answer:
        tokens: list[int] = json.load(answer)["choices"][0]["token_ids"]
    return tokens


def test_what_is_begun_is_served(stand: Stand, vllm: kit.Base, tmp_path: Path) -> None:
    folder = stand.vpm_env.folder
    for kind in KINDS:
        stand("new", f"acme-{kind}", "--kind", kind)
    entries = [(f"acme-{kind}", f"acme-{kind}") for kind in KINDS] + [("entropy", kit.ROOT / "examples/vllm-entropy")]
    lines = "".join(f"  - {{name: {name}, source: local, path: {path}}}\n" for name, path in entries)
    stand.vpm_env.config(f"probe: none  # the server is the probe, and takes half a minute itself\nplugins:\n{lines}")
    stand("build")
    model = real_vllm.model(tmp_path / "model", vllm, kind="llama", architecture="AcmeModelForCausalLM")
    words = [*stand.vpm_env.command, "run", "--", "vllm", "serve", model, *serving.OPTIONS]
    env = {**stand.vpm_env.env, "ENTROPY_LIMIT": "0", "ENTROPY_KEEP": "1", "VLLM_LOG_STATS_INTERVAL": "1"}
    with serving.started(words, env=env, folder=folder, quick=True) as server:
        server.ready()

        answers = [asked(server) for _ in range(4)]
        assert len({*map(tuple, answers)}) == 1  # the example leaves the best word alone, however high the temperature
        banned = answers[0][0]
        assert banned not in asked(server, vllm_xargs={"acme_logits_processor_banned": [banned]})
        assert "Resolved architecture: AcmeModelForCausalLM" in server.said
        told = r"acme-stat-logger: engine 0: 5 requests, \d+ tokens read, 15 tokens written"
        assert server.wait("the statistics", lambda: re.search(told, server.said))
