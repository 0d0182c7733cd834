"""Where packages come from: indexes, links and certificates, as the variables that tell uv.

Each setting comes from the first place that has it: the config, `UV_*` variables, pip's variables and files.
"""

from __future__ import annotations

import re
from os.path import abspath, exists, expanduser, isdir
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from envbuilder import pipconf
from envbuilder.classes import dataclass
from envbuilder.config import Git
from envbuilder.errors import SourceError
from envbuilder.process import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from envbuilder.config import Config
    from envbuilder.paths import Environment

VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")
LINKS = "UV_FIND_LINKS"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET_LENGTH = 4
"""Shorter values of variables are left in place: putting names for a `1` would make nonsense of every URL."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PluginIndex:
    """The index that one plugin's package is taken from; `url` is filled in and has no credentials."""

    name: str
    url: str


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put `values` in the place of every `${NAME}`; unknown names stay."""
    return _VARIABLE.sub(lambda match: values.get(match[1], match[0]), text)


def mask(url: str, values: Mapping[str, str]) -> str:
    """Take out of a URL what no file may hold: user info goes, values of variables become `${NAME}` again."""
    url = without_credentials(url)
    for name, value in sorted(values.items(), key=lambda item: (-len(item[1]), item[0])):
        if len(value) >= _SECRET_LENGTH:
            url = url.replace(value, f"${{{name}}}")
    return url


def without_credentials(url: str) -> str:
    """Return the URL without its user info and without parameters whose names say that they are secret."""
    parts = urlsplit(url)
    try:
        _ = parts.port
    except ValueError:
        # A slash in a password ends the host too early.
        return re.sub(r"(?<=://).*@", "", url)
    url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else url
    return redact(url)


def credentials(url: str) -> tuple[str, str]:
    """Return user and password of a URL, decoded; "" for what it lacks."""
    parts = urlsplit(url)
    return unquote(parts.username or ""), unquote(parts.password or "")


def values_of(config: Config | None, env: Environment) -> dict[str, str]:
    """Look up every `${NAME}` of the config's URLs.

    Raise `SourceError` with all variables of indexes that are not set and all folders of `find_links` that are not
    there. What is wrong with a git URL is told with the other sources that cannot be had.
    """
    wanted = [(who, url, name) for who, url in urls(config) for name in _VARIABLE.findall(url)]
    repositories = (
        {plugin.source.url for plugin in config.enabled if isinstance(plugin.source, Git)} if config else set()
    )
    missing = [
        (who, f"the variable `{name}` of `{without_credentials(url)}` is not set")
        for who, url, name in wanted
        if env.get(name) is None and url not in repositories
    ]
    folders = [link for link in config.find_links if "://" not in link and "${" not in link] if config else []
    missing += [("find_links", f"there is no folder `{folder}`") for folder in folders if not isdir(folder)]
    if missing:
        raise SourceError(tuple(dict.fromkeys(missing)))
    return {name: env.variables[name] for _, _, name in wanted if env.get(name) is not None}


def urls(config: Config | None) -> Iterator[tuple[str, str]]:
    """Yield `(who names it, URL as written)` for every URL of the config and its enabled plugins."""
    if config is None:
        return
    yield from (("index", url) for url in config.index)
    yield from (("find_links", url) for url in config.find_links)
    for plugin in config.enabled:
        if plugin.index:
            yield plugin.name, plugin.index
        if isinstance(plugin.source, Git):
            yield plugin.name, plugin.source.url


def has_variable_path(config: Config | None) -> bool:
    """Tell whether a variable stands behind the host of an index or of links."""
    repositories = {plugin.source.url for plugin in config.enabled if isinstance(plugin.source, Git)} if config else ()
    behind = (url.partition("://")[2].partition("/")[2] for _, url in urls(config) if url not in repositories)
    return any(map(_VARIABLE.search, behind))


def variables(config: Config | None) -> tuple[str, ...]:
    """List the variables that the config's URLs name, sorted."""
    return tuple(sorted({name for _, url in urls(config) for name in _VARIABLE.findall(url)}))


def settings(
    config: Config | None, env: Environment, options: Mapping[str, str], values: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables for uv: indexes and their strategy, links, certificates; an empty one is to be unset.

    `options` are pip's.
    """
    _require_no_query(config, env, options)
    found = {**_certificates(env, options), **_links(config, env, options, values)}
    if config and config.index:
        *others, last = (fill(url, values).replace(" ", "%20") for url in config.index)
        return {**found, **dict.fromkeys(VARIABLES, ""), "UV_DEFAULT_INDEX": last, "UV_INDEX": " ".join(others)}
    if any(map(env.get, VARIABLES)):
        named = {name: (env.get(name) or "").split() for name in VARIABLES}
        return {**found, **{name: " ".join(map(_absolute_entry, words)) for name, words in named.items()}}
    return {**found, **_of_pip(options)}


def _require_no_query(config: Config | None, env: Environment, options: Mapping[str, str]) -> None:
    """Refuse what uv would ask for in vain and write into its cache; a config is checked where it is read."""
    named = {} if config and config.index else {f"${name}": env.get(name) or "" for name in VARIABLES}
    if not any(named.values()) and not (config and config.index):
        named |= {f"pip's {name}": options.get(name, "") for name in ("index-url", "extra-index-url")}
    wrong = [name for name, value in named.items() if set(value) & {"?", "#"}]
    if wrong:
        text = "holds a `?` or `#`, and no index has a query; a credential goes before the host"
        raise SourceError(tuple((name, text) for name in wrong), hint="in a password these are `%3F` and `%23`")


def note_on_order(config: Config | None, env: Environment, options: Mapping[str, str]) -> str | None:
    """Say in what order indexes are asked where somebody who knows pip or uv would expect another."""
    if config and config.index:
        return None
    if not any(map(env.get, VARIABLES)) and options.get("extra-index-url", "").split():
        first = "`index-url`, then the extra ones" if options.get("index-url", "").split() else "the extra ones first"
        return f"pip's indexes are asked in order, {first}; the first that has a package is the only one asked for it"
    if (env.get("UV_INDEX_STRATEGY") or "first-index") != "first-index":
        return "`UV_INDEX_STRATEGY` is not followed: the first index that has a package is the only one asked for it"
    return None


def none_wanted(config: Config | None, env: Environment, options: Mapping[str, str]) -> bool:
    """Tell whether pip is told to ask no index, and nothing that goes before pip names one."""
    return (
        not (config and config.index) and not any(map(env.get, VARIABLES)) and pipconf.is_true(options.get("no-index"))
    )


def of_plugins(config: Config | None, values: Mapping[str, str]) -> tuple[dict[str, PluginIndex], dict[str, str]]:
    """Return the plugins' own indexes, by plugin, and the variables through which uv learns their credentials."""
    own = [plugin for plugin in config.enabled if plugin.index] if config else []
    found: dict[str, PluginIndex] = {}
    variables: dict[str, str] = {}
    for number, plugin in enumerate(own, start=1):
        url = fill(plugin.index or "", values)
        found[plugin.name] = PluginIndex(name=f"vpm-env-{number}", url=without_credentials(url))
        if any(credentials(url)):
            stem = f"UV_INDEX_VPM_ENV_{number}"
            variables |= dict(zip((f"{stem}_USERNAME", f"{stem}_PASSWORD"), credentials(url), strict=True))
    return found, variables


def secrets_in(urls: Iterable[str], values: Mapping[str, str], variables: Mapping[str, str]) -> tuple[str, ...]:
    """List what must be struck out of a child's output: values of `${NAME}`, passwords and tokens, in each spelling."""
    words = [word for text in urls for word in re.split(r"[\s,]+", text) if "@" in word]
    found = {value for value in values.values() if len(value) >= _SECRET_LENGTH}
    found |= {password or user for user, password in map(credentials, words)}
    # What is no URL for its slash or bracket in a password is told whole by whoever cannot read it.
    found |= {word.partition("://")[2].rpartition("@")[0].partition(":")[2] for word in words}
    found |= {value for name, value in variables.items() if re.fullmatch(r"UV_INDEX_.+_PASSWORD", name)}
    return tuple(sorted({spelling for secret in found if secret for spelling in (secret, quote(secret, safe=""))}))


def _certificates(env: Environment, options: Mapping[str, str]) -> dict[str, str]:
    found = {}
    named = ("SSL_CERT_FILE", "SSL_CERT_DIR", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS")
    bundle = options.get("cert") or env.get("REQUESTS_CA_BUNDLE")
    if bundle and not any(map(env.get, named)):
        found["SSL_CERT_FILE"] = abspath(expanduser(bundle))
    if (client := options.get("client-cert")) and not env.get("SSL_CLIENT_CERT"):
        found["SSL_CLIENT_CERT"] = abspath(expanduser(client))
    if (hosts := options.get("trusted-host")) and not env.get("UV_INSECURE_HOST"):
        found["UV_INSECURE_HOST"] = " ".join(hosts.split())
    return found


def _links(
    config: Config | None, env: Environment, options: Mapping[str, str], values: Mapping[str, str]
) -> dict[str, str]:
    if config and config.find_links:
        links = [fill(link, values) for link in config.find_links]
    elif named := env.get(LINKS):
        links = [_absolute(link) for link in named.split(",") if link]
    else:
        words = map(_absolute, options.get("find-links", "").split())
        # pip goes on without a folder that is not there; uv would not.
        links = [link for link in words if "://" in link or exists(link)]
    return {LINKS: ",".join(link.replace(",", "%2C") for link in links)}


def _of_pip(options: Mapping[str, str]) -> dict[str, str]:
    """Put pip's indexes into an order: pip asks all and takes the newest, so a stranger's release could win.

    The first that has a name is the only one asked for it: `index-url` where it is set, then the extra ones, and what
    is public by default last.
    """
    index, extra = options.get("index-url", "").split(), options.get("extra-index-url", "").split()
    ordered = [_absolute(location) for location in (*index, *extra)]
    if index:
        *others, last = ordered
        return {"UV_DEFAULT_INDEX": last, "UV_INDEX": " ".join(others)}
    return {"UV_INDEX": " ".join(ordered)} if ordered else {}


def _absolute(location: str) -> str:
    """Return a URL as it is and a path as an absolute one, because uv runs in a folder of its own."""
    return location if "://" in location else abspath(expanduser(location))


def _absolute_entry(word: str) -> str:
    """Do the same for an entry of `UV_INDEX`, which may begin with `name=`."""
    name, equals, location = word.partition("=")
    return f"{name}={_absolute(location)}" if equals and "/" not in name else _absolute(word)
