"""Which indexes and links count, and which setting names each: the rules of `indexes`, told instead of followed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder import indexes, pipconf
from envbuilder.classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envbuilder.config import Config
    from envbuilder.paths import Environment

INDEX, LINKS = "index", "links"


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """An index or links (`kind`) and the setting that names it.

    `location` is as uv gets it, credentials included, and "" for uv's own default index; `shown` has none. `written`
    is how the setting spells it.
    """

    kind: str
    setting: str
    location: str
    shown: str
    written: str


def origins(config: Config | None, env: Environment) -> tuple[Origin, ...]:
    """List what counts, the plugins' own indexes first; raise `SourceError` for what the config names in vain."""
    values, options = indexes.values_of(config, env), pipconf.read(env)
    settings = indexes.settings(config, env, options, values)
    found = [_origin(INDEX, *named, values) for named in (*_own(config), *_indexes(config, env, options))]
    links = [link.replace("%2C", ",") for link in settings.get(indexes.LINKS, "").split(",") if link]
    return (*found, *(_origin(LINKS, _links_setting(config, env), link, values) for link in links))


def are_plain(config: Config | None, env: Environment) -> bool:
    """Tell whether any of them is asked without TLS; where none is, nothing else is either."""
    return any(is_plain(origin.location) for origin in origins(config, env))


def is_plain(url: str) -> bool:
    """Tell whether somebody on the way could answer in the place of whom a URL names."""
    return url.lower().startswith(("http://", "git://"))


def _own(config: Config | None) -> Iterator[tuple[str, str]]:
    for plugin in config.enabled if config else ():
        if plugin.index:
            yield f"`index` of the plugin `{plugin.name}`", plugin.index


def _indexes(config: Config | None, env: Environment, options: Mapping[str, str]) -> list[tuple[str, str]]:
    if config and config.index:
        return [("`index` of the config", url) for url in config.index]
    words = [(name, word) for name in indexes.VARIABLES for word in (env.get(name) or "").split()]
    if words:
        return [(f"`${name}`", _url(word)) for name, word in words]
    if indexes.none_wanted(config, env, options):
        return []
    named = [(name, word) for name in ("index-url", "extra-index-url") for word in options.get(name, "").split()]
    where = pipconf.origins(env)
    found = [(f"pip's `{name}` (`{where[name]}`)", word) for name, word in named]
    if not options.get("index-url", "").strip():
        found.append(("uv's own default", ""))
    return found


def _links_setting(config: Config | None, env: Environment) -> str:
    if config and config.find_links:
        return "`find_links` of the config"
    if env.get(indexes.LINKS):
        return f"`${indexes.LINKS}`"
    return f"pip's `find-links` (`{pipconf.origins(env).get('find-links', '')}`)"


def _url(word: str) -> str:
    """Take the name off an entry of `UV_INDEX`."""
    name, equals, location = word.partition("=")
    return location if equals and "/" not in name else word


def _origin(kind: str, setting: str, location: str, values: Mapping[str, str]) -> Origin:
    filled = indexes.fill(location, values)
    shown = indexes.mask(filled, dict(values))
    return Origin(kind=kind, setting=setting, location=filled, shown=shown, written=location)
