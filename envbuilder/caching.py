"""Which caches a call uses, and whose signatures it believes: words of the call, variables, and the config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder import indexes, policing
from envbuilder.depot import Depot, Trust
from envbuilder.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from envbuilder.config import Config
    from envbuilder.job import Job
    from envbuilder.keys import PublicKey
    from envbuilder.order import Order
    from envbuilder.paths import Environment

VARIABLE, TRUSTED = "VPM_ENV_CACHES", "VPM_ENV_TRUSTED_KEYS"
"""Lists of words with spaces between them."""
_PATIENCE = 5.0
"""Seconds: a build that waits longer for a cache might as well make the package."""


def urls(config: Config | None, env: Environment) -> tuple[str, ...]:
    """Name the caches that a build asks: the config's first."""
    return tuple(dict.fromkeys((*(config.caches if config else ()), *_words(env, VARIABLE))))


def trust(config: Config | None, env: Environment, given: Iterable[str] = (), *, unsigned: bool = False) -> Trust:
    """Say whom to believe; raise `UsageError` for a word that is no key."""
    written = (*given, *_words(env, TRUSTED), *(config.trusted_keys if config else ()))
    return Trust(keys=tuple(dict.fromkeys(map(_key, written))), takes_unsigned=unsigned)


def depot(url: str, trusted: Trust, env: Environment, *, timeout: float = 30.0) -> Depot:
    """Open a cache, which may be silent for `timeout` seconds; raise `CacheError` where its URL names none."""
    from envbuilder.bucket import open_bucket  # most builds have no cache

    place = indexes.fill(url, env.variables)
    if ":" not in place:
        place = env.expand(place)
    return Depot(open_bucket(place, env=env.variables, timeout=timeout), trusted)


def depots(config: Config, env: Environment) -> tuple[Depot, ...]:
    """Open the caches that a build takes packages from."""
    found = urls(config, env)
    trusted = trust(config, env) if found else Trust()
    return tuple(depot(url, trusted, env, timeout=_PATIENCE) for url in found)


def pulled_from(inputs: Mapping[str, Any], env: Environment) -> Depot | None:
    """Open the cache that a generation with these inputs was pulled from, believing whom was believed then.

    None for one that was built; raise `CacheError` where the cache cannot be opened.
    """
    cache = inputs.get("cache")
    return depot(cache["url"], trust(None, env, cache["keys"]), env) if cache else None


def supplying(job: Job) -> Callable[[Order], Order]:
    """Return what lets a build look into its caches for each package before it makes it; raise as `depots` does."""
    from envbuilder.supply import as_ordered, from_caches  # a build that makes no package asks nobody

    found = () if job.request.offline else depots(job.config, job.env)
    if not found:
        return as_ordered
    policing.refuse_caches(job.policies, [each.shown for each in found], found[0].trust, job.config)
    return from_caches(found, job.layout, job.report, startup_allowed=frozenset(job.config.startup_code))


def _words(env: Environment, variable: str) -> list[str]:
    return (env.get(variable) or "").split()


def _key(text: str) -> PublicKey:
    from envbuilder.keys import parse_public

    try:
        return parse_public(text)
    except ValueError as error:
        raise UsageError(f"`{text}` is {error}", hint="`vpm-env cache keygen` prints the key to trust") from None
