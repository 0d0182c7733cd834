"""A host program with a plugin system: it answers a prompt with the prompt, as its plugins changed it.

A plugin is a function from text to text, announced under the entry-point group `tiny_engine.plugins`. The engine
knows nothing of overlays: it loads what its interpreter can see.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    from envbuilder.plugins import load_plugins_by_group
except ImportError:  # an interpreter without the start-up hook: load them by hand

    def load_plugins_by_group(group: str) -> dict[str, Callable[[str], str]]:
        """Load every plugin of `group`, by name."""
        return {point.name: point.load() for point in entry_points(group=group)}


GROUP = "tiny_engine.plugins"


class Engine:
    """Answer prompts; the plugins are loaded once and work in the order of their names."""

    def __init__(self) -> None:
        self.plugins: dict[str, Callable[[str], str]] = dict(sorted(load_plugins_by_group(GROUP).items()))

    def answer(self, prompt: str) -> str:
        """Return the prompt, handed from plugin to plugin."""
        for plugin in self.plugins.values():
            prompt = plugin(prompt)
        return prompt


def main() -> int:
    """Answer the words on the command line, and say on stderr which plugins had a hand in it."""
    engine = Engine()
    print(engine.answer(" ".join(sys.argv[1:])))
    print(f"tiny-engine: plugins: {', '.join(engine.plugins) or 'none'}", file=sys.stderr)
    return 0
