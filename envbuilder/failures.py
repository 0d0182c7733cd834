"""How the last build failed that engines waited for: replicas that wait for one fail with it, and not one by one."""

from __future__ import annotations

import time
from os.path import dirname
from typing import TYPE_CHECKING

from envbuilder import fs
from envbuilder.contexts import contextmanager
from envbuilder.digest import read
from envbuilder.errors import FailedMeanwhile, VpmError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.config import Config
    from envbuilder.profile import Profile


@contextmanager
def shared(profile: Profile, config: Config, *, since: float) -> Iterator[None]:
    """Fail as a build of this config did that ended after `since` (seconds since the epoch); note how this one fails.

    The build's lock must be held.
    """
    file = profile.layout.failure(profile.name, profile.base_key)
    if known := _known(file, config, since):
        raise known
    try:
        yield
    except VpmError as error:
        record = {"ended": time.time(), "config_sha256": config.sha256, "message": error.message, "hint": error.hint}
        try:
            fs.make_dirs(dirname(file))
            fs.write_json(file, record)
        except OSError:
            pass  # each fails by himself
        raise


def _known(file: str, config: Config, since: float) -> FailedMeanwhile | None:
    """Return the failure that was noted since; one of the future was noted by a clock that was wrong."""
    try:
        record = read(file)
        is_news = since <= record["ended"] <= time.time() and record["config_sha256"] == config.sha256
        return FailedMeanwhile(str(record["message"]), hint=record["hint"]) if is_news else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
