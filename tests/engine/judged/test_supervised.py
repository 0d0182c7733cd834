"""A published plugin that ends every process of the engine: the server is back by itself, on the set before."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from engine import marker, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from engine.serving import Server
    from stands import Stand

pytestmark = pytest.mark.engine

FORCED = """\
probe: none
plugins:
  - name: meralion
    source: pypi
    package: vllm-plugin-meralion2
    version: "==0.3.0"
"""
"""Its `register()` raises under this engine, and nothing in its metadata says so. What it requires may do so before."""
AT_ITS_PORT = 'for port; do :; done; events="$1"; shift; url="http://127.0.0.1:$port/health"; '
WATCHED = ("run", "--rollback", "--health-interval", "1s", "--good-after", "2s")


def base_files(stand: Stand) -> set[tuple[str, int, int]]:
    """Name every file of the base, with its size and when it was written."""
    return {(str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in _sources(stand.base.prefix)}


def _sources(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix != ".pyc" and path.name != "__pycache__")


def watched(stand: Stand, model: Path, folder: Path, records: marker.Records) -> AbstractContextManager[Server]:
    """Start a server under `vpm-env run --health --rollback`; its words end with its port."""
    call = " ".join([*stand.vpm_env.command, *WATCHED, '--health "$url" --events "$events" -- "$@"'])
    words = ["sh", "-c", f"{AT_ITS_PORT}exec {call}", "sh", folder / "events", "vllm", *marker.serve(stand, model)[1:]]
    return serving.started(words, env={**stand.vpm_env.env, **records.env}, folder=stand.vpm_env.folder, quick=True)


def events(folder: Path) -> list[dict[str, Any]]:
    path = folder / "events"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def kinds(folder: Path) -> list[tuple[str, int]]:
    return [(event["event"], event["generation"]) for event in events(folder)]


def test_a_set_that_ends_the_engine_is_left_for_the_last_good_one(stand: Stand, llama: Path, tmp_path: Path) -> None:
    marker.publish(stand.index.folder, "1.0")
    marker.build(stand, "1.0")
    stand.vpm_env.config(FORCED)
    stand("build")
    before = base_files(stand)
    first, second = marker.Records(tmp_path / "first"), marker.Records(tmp_path / "second")

    with watched(stand, llama, first.folder, first) as server:
        server.wait("its set is good", lambda: ("good", 1) in kinds(first.folder))
        assert server.complete() == "111"
        server.process.terminate()
        assert server.ended() == 0
        told = server.said
    with watched(stand, llama, second.folder, second) as server:
        server.wait("it loaded plugins", lambda: second.all)
        server.process.terminate()
        server.ended()

    assert [kind for kind, number in kinds(first.folder) if number == 2] == ["started", "failed", "bad", "rolled-back"]
    assert [kind for kind, number in kinds(first.folder) if number == 1] == ["started", "healthy", "good", "stopped"]
    (failed,) = [event for event in events(first.folder) if event["event"] == "failed"]
    assert "Error: " in "\n".join(failed["log"])
    assert "failed: it ended with exit 1 after " in told
    assert kinds(second.folder)[0] == ("started", 1)
    history = stand("history", "--json").json
    assert [entry["state"] for entry in history["generations"]] == ["good", "bad"]
    assert (history["current"], history["held"]) == (1, True)
    assert "generation 2 was rolled back" in stand("build").output
    assert base_files(stand) == before
