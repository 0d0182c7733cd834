"""What one build is to do, and everything that it needs for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder.classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from envbuilder.base import Base
    from envbuilder.config import Config
    from envbuilder.lock import Lock
    from envbuilder.paths import Environment, Layout
    from envbuilder.policy import Policy
    from envbuilder.report import Reporter
    from envbuilder.uv import Uv


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What `build` was asked; `upgrade` is None for nothing, empty for everything, else normalized names.

    `exclude_newer` (as `moments.checked` returns it) takes the place of the config's. `auto` says that an engine waits
    for it: one that waited for another such build does not fail as that did, but with it.
    """

    dry_run: bool = False
    switch: bool = True
    locked: bool = False
    offline: bool = False
    force: bool = False
    upgrade: frozenset[str] | None = None
    exclude_newer: str | None = None
    auto: bool = False

    @property
    def upgraded_sources(self) -> bool | frozenset[str]:
        """Say whose git refs are looked up anew: all, or the plugins of these names."""
        return self.upgrade or self.upgrade is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Everything that making one set needs.

    `previous` is the lock of last time, if it is for such a base. `uv` configures uv when somebody asks for it.
    `policies` hold for what is made; the config keeps them already.
    """

    config: Config
    base: Base
    layout: Layout
    env: Environment
    uv: Callable[[], Uv]
    request: Request
    previous: Lock | None
    lock_file: str
    report: Reporter
    policies: tuple[Policy, ...] = ()
