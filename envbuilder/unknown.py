"""What no index has, and an index that does not answer: what can be said of it.

Of a name that no index has: where it was looked for, and which known name is nearest. None is put in its place.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from envbuilder.config import PyPI
from envbuilder.errors import Conflict, ResolutionError, SourceError
from envbuilder.names import nearest
from envbuilder.origins import LINKS, origins
from envbuilder.process import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from envbuilder.answer import Question
    from envbuilder.base import Base
    from envbuilder.config import Config
    from envbuilder.lock import Lock
    from envbuilder.paths import Environment

_UNREACHED = re.compile(
    r"Failed to fetch: `?(?P<url>[^\s`]+)`?\n\s*(error sending request|HTTP status server error|.*timed out)"
)
_NOT_FOUND = re.compile(r"\b(?P<name>[A-Za-z0-9._-]+)\s+was\s+not\s+found\s+in\s+the\s+(package\s+registry|provided)")


def told(
    error: ResolutionError, *, config: Config, base: Base, env: Environment, previous: Lock | None
) -> ResolutionError:
    """Return the error with what can be said of names that were not found."""
    known = {*base.distributions, *(package.name for package in (previous.packages if previous else ()))}
    known |= {plugin.source.package for plugin in config.plugins if isinstance(plugin.source, PyPI)}
    asked = {plugin.name: plugin.index for plugin in config.enabled if plugin.index}
    places = _places(config, env)
    conflicts = tuple(_told(conflict, known, _of_plugin(conflict, asked) or places) for conflict in error.conflicts)
    return ResolutionError(conflicts, base=error.base)


def unreached(words: str, question: Question) -> SourceError | None:
    """Return the error for an index that does not answer: smaller questions would wait for it as long, one by one."""
    found = _UNREACHED.search(words)
    if not found:
        return None
    own = [root.plugin for root in question.roots if root.index and found["url"].startswith(root.index.url)]
    cause = words.splitlines()[-1].strip()
    return SourceError(
        tuple((name, f"`{found['url']}` does not answer: {cause}") for name in own or ["index"]),
        hint="`vpm-env doctor` looks at each index; `--offline` makes do with what is there",
    )


def _told(conflict: Conflict, known: Iterable[str], places: str) -> Conflict:
    found = _NOT_FOUND.search(conflict.cause)
    if conflict.base_has or not found:
        return conflict
    hints = [line for line in conflict.cause.splitlines() if line.startswith("hint:")]
    cause = "\n".join((f"`{found['name']}` is not found on {places}", *hints))
    near = nearest(found["name"], sorted(set(known) - {found["name"]}), cutoff=0.75)
    ways = (f"did you mean `{near}`? nothing is taken in another's place",) if near else ()
    return conflict._replace(cause=cause, ways_forward=(*conflict.ways_forward, *ways))


def _of_plugin(conflict: Conflict, asked: Mapping[str, str | None]) -> str:
    url = asked.get(conflict.plugin)
    return f"`{redact(url)}`" if url else ""


def _places(config: Config, env: Environment) -> str:
    """Spell where a package without an index of its own is looked for."""
    own = {plugin.index for plugin in config.enabled if plugin.index}
    found = [origin for origin in origins(config, env) if origin.written not in own or not origin.location]
    named = [f"`{one.shown}`" if one.location else "uv's default index" for one in found]
    return " or ".join(dict.fromkeys(named)) or f"any index or {LINKS}"
