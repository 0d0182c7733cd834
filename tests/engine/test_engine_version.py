"""Another engine in the base: a set is for one engine, and each engine finds its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from engine import marker, real_vllm, serving

if TYPE_CHECKING:
    from pathlib import Path

    from stands import Stand

pytestmark = pytest.mark.engine

NEW = "0.32.1+cpu"
ACTIVE = "import sys; hook = sys.modules['_vpm_env_hook']; print(hook.state, hook.digest)"


def test_a_new_engine_under_a_kept_home_and_the_old_one_again(stand: Stand, llama: Path, tmp_path: Path) -> None:
    for version in ("1.0", "2.0"):
        marker.publish(stand.index.folder, version)
    marker.build(stand, "1.0")
    stand("hook", "install", "--auto")
    digest = stand("status", "--json").json["current"]["digest"]
    env = {**stand.env, "VPM_ENV_CONFIG": str(stand.vpm_env.folder / "plugins.yaml")}

    def loaded(name: str) -> tuple[marker.Records, str]:
        """Start a server and end it when its first process has loaded plugins."""
        records = marker.Records(tmp_path / name)
        with serving.started(marker.serve(stand, llama), env={**env, **records.env}, folder=tmp_path / name) as server:
            server.wait("it loaded plugins", lambda: records.all)
        return records, server.said

    def state() -> list[str]:
        return stand.run(stand.base.python, "-c", ACTIVE).stdout.split()

    assert state() == ["active", digest]

    real_vllm.be_version(stand.base, NEW)
    status = stand("status", check=False)
    assert status.exit == 1
    assert f"vllm {real_vllm.VERSION}" in status.stdout
    assert f"vllm {NEW}" in status.stdout
    assert state()[0] == "base-changed"
    marker.wants(stand, "2.0")
    records, said = loaded("new")
    assert "vpm-env: switched to generation 1 (" in said
    assert records.versions == {"2.0"}
    assert not [overlay for overlay in records.overlays if overlay.endswith(digest)]

    # The old image comes with the hook that was written into it.
    real_vllm.be_version(stand.base, real_vllm.VERSION)
    stand("hook", "install", "--auto")
    assert state() == ["active", digest]
    marker.wants(stand, "1.0")
    records, said = loaded("old")
    assert "vpm-env: nothing to do: generation 1 (" in said
    assert records.versions == {"1.0"}
