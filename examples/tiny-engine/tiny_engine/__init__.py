"""A host program with a plugin system: it answers a prompt with the prompt, as its plugins changed it.

`tiny-engine WORDS` answers once. `tiny-engine serve --port 8000` answers `/answer?WORDS` until it is ended, and says at
`/health` that it can.

A plugin is a function from text to text, announced under the entry-point group `tiny_engine.plugins`. The engine
knows nothing of overlays: it loads what its interpreter can see.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import entry_points
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

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


def serve(engine: Engine, port: int) -> None:
    """Answer on loopback until the process is ended."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, words = self.path.partition("?")
            known = {"/health": "ok", "/answer": engine.answer(unquote_plus(words))}
            answer = known.get(path, "not found").encode()
            self.send_response(200 if path in known else 404)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_words: object) -> None:
            """Stay silent: who asks knows."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"tiny-engine: serving on http://127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
    server.serve_forever()


def main() -> int:
    """Answer the words on the command line, or serve; say on stderr which plugins have a hand in it."""
    engine = Engine()
    words = sys.argv[1:]
    told = f"tiny-engine: plugins: {', '.join(engine.plugins) or 'none'}"
    if words[:1] == ["serve"]:
        print(told, file=sys.stderr, flush=True)
        serve(engine, int(words[words.index("--port") + 1]) if "--port" in words else 8000)
    print(engine.answer(" ".join(words)))
    print(told, file=sys.stderr)
    return 0
