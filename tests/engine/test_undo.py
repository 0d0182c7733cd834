"""An undo reaches what starts after it, and stays undone, whatever the config asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from engine import marker, serving

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from engine.serving import Server
    from stands import Stand

pytestmark = pytest.mark.engine


def test_a_rollback_while_a_server_runs_is_for_its_restarts(stand: Stand, llama: Path, tmp_path: Path) -> None:
    for version in ("1.0", "2.0"):
        marker.publish(stand.index.folder, version)
        marker.build(stand, version)
    stand("hook", "install", "--auto")
    env = {**stand.env, "VPM_ENV_CONFIG": str(stand.vpm_env.folder / "plugins.yaml")}

    def start(number: int) -> tuple[marker.Records, AbstractContextManager[Server]]:
        records = marker.Records(tmp_path / str(number))
        words, variables = marker.serve(stand, llama), {**env, **records.env}
        return records, serving.started(words, env=variables, folder=records.folder, quick=True)

    def generations() -> list[Any]:
        return [(entry["number"], entry["state"]) for entry in stand("history", "--json").json["generations"]]

    records, running = start(1)
    with running as server:
        server.ready()
        stand("rollback")

        # What it says comes from a module that it did not have before.
        assert server.complete() == "222"
        assert records.versions == {"2.0"}
    before = generations()

    records, running = start(2)
    with running as server:
        assert server.ready().complete() == "111"
        assert records.versions == {"1.0"}
        assert "generation 2 was rolled back" in server.said

    records, running = start(3)
    with running as server:
        server.wait("it loaded plugins", lambda: records.all)
        assert records.versions == {"1.0"}
    assert generations() == before
    assert stand("status", "--json").json["held"]
