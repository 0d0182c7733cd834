"""Hold a config, the settings around it and a lock to the policies: every breach at once, with both places."""

from __future__ import annotations

import re

from envbuilder import addresses, indexes
from envbuilder.config import Git, Local, PyPI
from envbuilder.config_values import is_archive
from envbuilder.contexts import contextmanager
from envbuilder.errors import Breach, Place, PolicyError, ResolutionError
from envbuilder.origins import origins
from envbuilder.policy import of_machine, rules_of
from envbuilder.process import redact
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from envbuilder.base import Base
    from envbuilder.config import Config
    from envbuilder.depot import Trust
    from envbuilder.direct import Direct
    from envbuilder.lock import Lock, LockedPackage
    from envbuilder.paths import Environment
    from envbuilder.policy import Policy, Rule

_SOURCE_NAMES = ((PyPI, "pypi"), (Git, "git"), (Local, "local"))


_NO_BUILD = re.compile(
    r"hint: Wheels are required for [^\n]*|[^\n]*building (?:source distributions|from source) is disabled[^\n]*"
)


class Subject(NamedTuple):
    """What is judged, and where it stands."""

    place: Place
    name: str


def in_force(config: Config, base: Base, env: Environment) -> tuple[Policy, ...]:
    """Return the policies for a build; raise `PolicyError` where the config or the settings around it break one."""
    policies = (*of_machine(base.prefixes), *((config.policy,) if config.policy else ()))
    if policies:
        _raise([*_of_plugins(policies, config, env), *_of_origins(policies, config, env), *_of_top(policies, config)])
    return policies


def refuse_config(policies: tuple[Policy, ...], config: Config, env: Environment) -> None:
    """Raise `PolicyError` where what a config asks for breaks a policy, wherever it is to be had from."""
    _raise([*_of_plugins(policies, config, env), *_of_top(policies, config)])


def refuse_caches(policies: tuple[Policy, ...], urls: Iterable[str], trust: Trust, config: Config) -> None:
    """Raise `PolicyError` where a cache may not be used, or a signature be taken that is believed here."""
    found: list[Breach] = []
    for url in urls:
        subject = Subject(config.place_of("caches", url), "a cache")
        found += _outside(rules_of(policies, "caches"), url, subject, "is at")
    for rule in rules_of(policies, "keys"):
        if trust.takes_unsigned:
            found += _all((rule,), Subject(Place(config.file), "`--unsigned`"), "takes what nobody signed")
        for key in map(str, trust.keys):
            if key not in rule.allowed:
                subject = Subject(config.place_of("trusted_keys", key), f"the key `{key}`")
                found += _all((rule,), subject, "is trusted")
    _raise(found)


def wheels_only(policies: tuple[Policy, ...]) -> bool:
    """Tell whether nothing may be built from an sdist."""
    return bool(rules_of(policies, "sdists"))


def refuse(policies: tuple[Policy, ...], lock: Lock, lock_file: str, config: Config, env: Environment) -> None:
    """Raise `PolicyError` where something in a lock breaks a policy, whoever requires it."""
    _raise(list(breaches(policies, lock, lock_file, config, env)))


def breaches(
    policies: tuple[Policy, ...], lock: Lock, lock_file: str, config: Config, env: Environment
) -> Iterator[Breach]:
    """Find what of a lock breaks a policy."""
    if not policies:
        return
    places = {plugin.name: plugin.place for plugin in config.plugins}
    for package in lock.packages:
        place = places.get(package.plugin) or _place_in(lock_file, package.name)
        subject = Subject(place, f"`{package.name} {package.version}`")
        yield from _of_files(policies, package, subject, env)
        yield from _of_sources(policies, package, subject, env)


def refuse_direct(policies: tuple[Policy, ...], wanted: Iterable[Direct], config: Config) -> None:
    """Raise `PolicyError` where a package that is required by its URL breaks a policy: before that URL is asked."""
    _raise([breach for each in wanted for breach in _of_direct(policies, each, config)])


@contextmanager
def told(policies: tuple[Policy, ...]) -> Iterator[None]:
    """Name the rule where the resolver says that it may not build."""
    try:
        yield
    except ResolutionError as error:
        rules = rules_of(policies, "sdists")
        if not rules or not any(_NO_BUILD.search(conflict.cause) for conflict in error.conflicts):
            raise
        named = " and ".join(f"`{rule}` ({rule.place})" for rule in rules)
        words = f"only an sdist would do; {named} forbids to build it"
        conflicts = tuple(
            conflict._replace(cause=_NO_BUILD.sub(words, conflict.cause).strip()) for conflict in error.conflicts
        )
        raise ResolutionError(conflicts, base=error.base) from None


def _of_direct(policies: tuple[Policy, ...], wanted: Direct, config: Config) -> Iterator[Breach]:
    place = next((plugin.place for plugin in config.plugins if plugin.name == wanted.plugin), Place(config.file))
    subject = Subject(place, f"`{wanted.name}`, which `{wanted.requirer}` requires,")
    is_git = isinstance(wanted.source, Git)
    yield from _kind(policies, "git" if is_git else "pypi", subject)
    yield from _outside(rules_of(policies, "git" if is_git else "indexes"), wanted.location, subject, "is at")
    if not wanted.is_wheel:
        yield from _all(rules_of(policies, "sdists"), subject, "would have to be built")


def _raise(found: list[Breach]) -> None:
    if found:
        raise PolicyError(tuple(sorted(set(found))))


def _of_plugins(policies: tuple[Policy, ...], config: Config, env: Environment) -> Iterator[Breach]:
    for plugin in config.enabled:
        source, subject = plugin.source, Subject(plugin.place, f"`{plugin.name}`")
        kind = next(name for known, name in _SOURCE_NAMES if isinstance(source, known))
        yield from _kind(policies, kind, subject)
        if isinstance(source, Git):
            url = indexes.fill(source.url, env.variables)
            yield from _outside(rules_of(policies, "git"), url, subject, "is at")
        if isinstance(source, Local) and source.editable:
            yield from _all(rules_of(policies, "editables"), subject, "is editable")
        if isinstance(source, Local) and is_archive(source.path) and not source.path.endswith(".whl"):
            yield from _all(rules_of(policies, "sdists"), subject, "is an sdist")


def _of_top(policies: tuple[Policy, ...], config: Config) -> Iterator[Breach]:
    for name in config.override:
        subject = Subject(config.place_of("override", name), f"`override` of `{name}`")
        yield from _all(rules_of(policies, "overrides"), subject, "puts a package in the base's place")

    for name in config.startup_code:
        subject = Subject(config.place_of("startup_code", name), f"`startup_code` of `{name}`")
        yield from _all(rules_of(policies, "startup_code"), subject, "lets code run at the start of Python")


def _of_origins(policies: tuple[Policy, ...], config: Config, env: Environment) -> Iterator[Breach]:
    """Judge what the resolver would ask, whether the config names it or a variable or a file of pip."""
    rules = rules_of(policies, "indexes")
    for origin in origins(config, env) if rules else ():
        subject = Subject(_place_of(origin.setting, origin.written, config), origin.setting)
        if origin.location:
            yield from _outside(rules, origin.location, subject, "is", shown=origin.shown)
        else:
            default = Subject(Place(config.file), "uv's own default index")
            yield from _all(rules, default, "would be asked, because no `index` is named")


def _place_of(setting: str, written: str, config: Config) -> Place:
    """Return where an origin is named: in the config, else the variable or file that its setting speaks of."""
    own = next((plugin.place for plugin in config.enabled if plugin.index and plugin.index == written), None)
    key = "find_links" if "find_links" in setting else "index"
    if "of the config" in setting:
        return config.place_of(key, written)
    return own or Place(setting.rpartition("(")[2].strip("`)") if "(" in setting else setting.strip("`"))


def _of_files(
    policies: tuple[Policy, ...], package: LockedPackage, subject: Subject, env: Environment
) -> Iterator[Breach]:
    """Judge the files of an index, or those that a requirement names by their URL."""
    files = [*package.wheels, *([package.sdist] if package.sdist else [])]
    if package.archive and not package.is_built:
        files.append(package.archive)
    for file in files:
        url = indexes.fill(_located(file), env.variables)
        yield from _outside(rules_of(policies, "indexes"), url, subject, "comes from")
        if not (file.get("hashes") or {}).get("sha256"):
            yield from _all(rules_of(policies, "hashes"), subject, "has a file without a sha256")
    if package.archive and not (package.is_built or addresses.ends_with(_located(package.archive), ".whl")):
        yield from _all(rules_of(policies, "sdists"), subject, "would have to be built")
    if package.sdist and not package.wheels:
        yield from _all(rules_of(policies, "sdists"), subject, "has no wheel for this base, only an sdist")
    if files:
        yield from _kind(policies, "pypi", subject)


def _of_sources(
    policies: tuple[Policy, ...], package: LockedPackage, subject: Subject, env: Environment
) -> Iterator[Breach]:
    if package.vcs:
        yield from _kind(policies, "git", subject)
        url = indexes.fill(str(package.vcs.get("url", "")), env.variables)
        yield from _outside(rules_of(policies, "git"), url, subject, "is at")
        if not package.plugin:
            yield from _all(rules_of(policies, "sdists"), subject, "would have to be built")
    if package.directory or (package.archive and package.is_built):
        yield from _kind(policies, "local", subject)
    if package.is_editable:
        yield from _all(rules_of(policies, "editables"), subject, "is editable")
    if package.override:
        yield from _all(rules_of(policies, "overrides"), subject, "stands in the base's place")


def _place_in(lock_file: str, name: str) -> Place:
    """Return the line of a package in a lock; the file alone where that lock has it not, or not yet."""
    try:
        with open(lock_file, encoding="utf-8", errors="replace") as stream:
            lines = stream.read().splitlines()
        return Place(lock_file, lines.index(f'name = "{name}"') + 1, 1)
    except (OSError, ValueError):
        return Place(lock_file)


def _located(file: Mapping[str, Any]) -> str:
    return str(file.get("url") or file.get("path") or "")


def _kind(policies: tuple[Policy, ...], kind: str, subject: Subject) -> Iterator[Breach]:
    rules = tuple(rule for rule in rules_of(policies, "sources") if kind not in rule.allowed)
    yield from _all(rules, subject, f"is of `source: {kind}`")


def _outside(rules: tuple[Rule, ...], url: str, subject: Subject, verb: str, *, shown: str = "") -> Iterator[Breach]:
    outside = tuple(rule for rule in rules if not rule.covers(url))
    yield from _all(outside, subject, f"{verb} `{shown or redact(url)}`")


def _all(rules: tuple[Rule, ...], subject: Subject, what: str) -> Iterator[Breach]:
    for rule in rules:
        yield Breach(place=subject.place, text=f"{subject.name} {what}", rule=str(rule), rule_place=rule.place)
