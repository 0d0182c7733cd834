"""A package index of plain files on loopback, served by a process of its own: as little time of its own as can be."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import kit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SERVER = """
import functools, http.server, sys

class Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

handler = functools.partial(Quiet, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@dataclass(frozen=True)
class Shelf:
    """An index over `folder`; `url` is its simple API."""

    folder: Path
    url: str

    def add(self, name: str, version: str = "1.0", **wheel: Any) -> None:
        """Publish a wheel, `wheel` as `kit.wheel` takes it, with its metadata beside it, and its project's page."""
        project = self.folder / "simple" / name
        path = kit.wheel(project, name, version, **wheel)
        with zipfile.ZipFile(path) as archive:
            inner = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            path.with_name(f"{path.name}.metadata").write_bytes(archive.read(inner))
        lines = map(_link, sorted(project.glob("*.whl")))
        (project / "index.html").write_text(f"<!DOCTYPE html><html><body>{''.join(lines)}</body></html>")


def _link(path: Path) -> str:
    content, metadata = (_sha256(each) for each in (path, path.with_name(f"{path.name}.metadata")))
    return f'<a href="{path.name}#sha256={content}" data-core-metadata="sha256={metadata}">{path.name}</a>\n'


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def serving(folder: Path) -> Iterator[Shelf]:
    """Serve an empty index until the block ends."""
    (folder / "simple").mkdir(parents=True)
    words = [sys.executable, "-I", "-c", _SERVER, str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            yield Shelf(folder, f"http://127.0.0.1:{server.stdout.readline().strip()}/simple")
        finally:
            server.terminate()
