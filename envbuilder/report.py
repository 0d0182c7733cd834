"""What the stages tell while they work; nobody need listen.

Stages call a `Reporter`; this one is silent. The console has the ones that draw and print.
"""

from __future__ import annotations

from envbuilder.contexts import contextmanager
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Reporter:
    """Take note of progress, in silence. Subclasses show it; no method may raise or return anything that matters."""

    @contextmanager
    def stage(self, verb: str, *, total: int | None = None, minor: bool = False) -> Iterator[None]:
        """Enclose one stage, such as `resolving`; `total` is how many steps it expects, `minor` says that few care."""
        yield

    def step(self, what: str, *, size: int | None = None) -> None:
        """Note one finished step of the current stage, such as `raif-vllm 0.2.0`, and its bytes."""

    def note(self, text: str) -> None:
        """Say something once that the user should know and that is no reason to stop."""

    def warn(self, text: str) -> None:
        """Say something loudly that the user must know and that is no reason to stop."""

    def detail(self, text: str) -> None:
        """Say something that only `-v` shows."""

    def waiting(self, holder: str, seconds: float) -> None:
        """Say who holds a lock that is wanted, and for how long that has been waited for."""
        self.note(f"waiting for {holder}, {seconds:.0f} s so far")
