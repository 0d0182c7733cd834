"""What a distribution says of itself: headers of its METADATA and entry points, as `importlib.metadata` reads them.

That brings `email` and more, a tenth of a `pull`; so what leaves no doubt is read here, and it is asked for the rest.
A law holds both to the same.
"""

from __future__ import annotations

import re
from os.path import join

from envbuilder.contexts import contextmanager
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.metadata import Distribution

_HEADERS = re.compile(r"(?:[!-9;-~]+:[^\r\n]*(?:\n|\Z))+(?=\n|\Z)")
"""Headers of one line each up to an empty line or the end."""
_ELSEWHERE = "requires.txt"
"""Where requirements of old stand, which count if METADATA has none."""
_BODY = "content-type"
"""What lets `email` read what stands behind the headers, too, and fail there."""


class Headers(NamedTuple):
    """What METADATA says: None for a name or a version that is not there."""

    name: str | None
    version: str | None
    requires: tuple[str, ...]


def headers(dist_info: str) -> Headers:
    """Read the headers that count; raise `ValueError` for what Python cannot read, and `OSError`."""
    found = _HEADERS.match(_text(dist_info, "METADATA"))
    if found:
        lines = [line.partition(":") for line in found[0].rstrip("\n").split("\n")]
        said = [(name.lower(), value.lstrip(" \t")) for name, _, value in lines]
        first = dict(reversed(said))
        requires = tuple(value for name, value in said if name == "requires-dist")
        if _BODY not in first and (requires or not _text(dist_info, _ELSEWHERE)):
            return Headers(first.get("name"), first.get("version"), requires)
    with _readable():
        distribution = _distribution(dist_info)
        metadata = distribution.metadata
        return Headers(metadata["Name"], metadata["Version"], tuple(distribution.requires or ()))


def entry_points(dist_info: str) -> list[tuple[str, str, str]]:
    """List group, name and value of each entry point as they stand there; errors as `headers`."""
    pairs = [(group, *line.partition("=")) for group, line in _grouped(_text(dist_info, "entry_points.txt"))]
    if all(equals for _, _, equals, _ in pairs):
        return [(group, name.strip(), value.strip()) for group, name, _, value in pairs]
    with _readable():
        return [(point.group, point.name, point.value) for point in _distribution(dist_info).entry_points]


def _grouped(text: str) -> Iterator[tuple[str, str]]:
    """Pair each line that says something with the group that it stands below."""
    group = None
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line.strip("[]")
        elif line and not line.startswith("#") and group is not None:
            yield group, line


def _text(dist_info: str, name: str) -> str:
    try:
        with open(join(dist_info, name), encoding="utf-8") as stream:
            return stream.read()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
        return ""


@contextmanager
def _readable() -> Iterator[None]:
    """Make one error of all that bad metadata lead to."""
    try:
        yield
    except (AttributeError, LookupError, RecursionError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _distribution(dist_info: str) -> Distribution:
    from importlib.metadata import Distribution  # few packages pay for it

    return Distribution.at(dist_info)
