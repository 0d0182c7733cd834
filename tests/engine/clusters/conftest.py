"""One cluster of Ray for all that is tried on it; it is gone when the next folder's tests begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from engine import ray_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engine.ray_nodes import Cluster


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory, uv_cache: Path) -> Iterator[Cluster]:
    """Start four nodes of Ray, which each test leaves as it found them."""
    with ray_nodes.cluster(tmp_path_factory.mktemp("ray"), uv_cache) as made:
        yield made
