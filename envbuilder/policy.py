"""What may be built at all: the `policy:` of a config, of the machine and of a base. Policies only add up.

A machine's policy is root's word: one that somebody else may have written, or that cannot be read or understood, stops
every build instead of being passed over.
"""

from __future__ import annotations

import os
import re
import stat
from os.path import dirname

from envbuilder import addresses
from envbuilder.config_fields import Fields
from envbuilder.document import MAX_BYTES, Mapping, parse
from envbuilder.errors import ConfigError, Place, Problem
from envbuilder.paths import policy_files
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SOURCES = ("pypi", "git", "local")
_FORBIDDABLE = ("sdists", "editables", "startup_code", "overrides")
KEYS = ("sources", "indexes", "git", "caches", "keys", "hashes", *_FORBIDDABLE)


_KEY = re.compile(r"[\w.-]+:[A-Za-z0-9+/]{43}=", re.ASCII)


class Rule(NamedTuple):
    """One rule and where it stands; `allowed` are the words of a list."""

    key: str
    place: Place
    allowed: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.key in _FORBIDDABLE:
            return f"{self.key}: false"
        return "hashes: required" if self.key == "hashes" else f"{self.key}: [{', '.join(self.allowed)}]"

    def covers(self, url: str) -> bool:
        """Tell whether one of the prefixes covers a URL or an absolute path."""
        return any(addresses.covers(prefix, url) for prefix in self.allowed)


class Policy(NamedTuple):
    """The rules of one file; what it does not speak of, it allows."""

    file: str
    rules: tuple[Rule, ...]

    def rule(self, key: str) -> Rule | None:
        """Return the rule of this key, if there is one."""
        return next((rule for rule in self.rules if rule.key == key), None)


def rules_of(policies: tuple[Policy, ...], key: str) -> tuple[Rule, ...]:
    """List what all policies say under a key: each holds."""
    return tuple(rule for policy in policies if (rule := policy.rule(key)))


def policy_of(fields: Fields, file: str) -> Policy:
    """Read the rules of a mapping; what is wrong is noted in its problems."""
    fields.check_keys(KEYS)
    written = fields.mapping.values
    for key in (key for key in KEYS if key in written and not fields.has(key) and not _is_list(fields, key)):
        fields.complain(key, "has no value; leave the key out to allow everything")
    found = [_listed(fields, "sources", _source), _listed(fields, "indexes", addresses.prefix)]
    found += [_listed(fields, key, addresses.prefix) for key in ("git", "caches")]
    found.append(_listed(fields, "keys", trusted_key))
    if fields.choice("hashes", ("required",)):
        found.append(_rule(fields, "hashes"))
    found += [_rule(fields, key) for key in _FORBIDDABLE if not fields.boolean(key, default=True)]
    return Policy(file, tuple(rule for rule in found if rule))


def of_machine(prefixes: Sequence[str]) -> tuple[Policy, ...]:
    """Read the policies of this machine and of a base, which has these prefixes.

    Raise `ConfigError` for one that cannot hold.
    """
    found = []
    for path, owner in zip(policy_files(prefixes), (0, *map(_owner, prefixes)), strict=True):
        content = _content(path, trusted={0, owner})
        if content is not None:
            found.append(_parsed(path, content))
    return tuple(found)


def _parsed(path: str, content: bytes) -> Policy:
    document = parse(content, file=path)
    problems = list(document.problems)
    fields = Fields.of(document.root, key="", what="keys such as `sources:`", problems=problems)
    policy = policy_of(fields, path) if fields else None
    if problems or policy is None:
        raise ConfigError(tuple(sorted(set(problems))), hint=_HINT)
    return policy


_HINT = "nothing is built on this machine until its administrator has put the policy right"


def _content(path: str, *, trusted: set[int]) -> bytes | None:
    """Return a policy's bytes, None where there is none; raise `ConfigError` for one that not only root could write."""
    if not os.path.lexists(path) and _is_absent(path):
        return None
    try:
        with open(path, "rb") as stream:
            _require_trusted(path, os.fstat(stream.fileno()), trusted)
            _require_trusted(path, os.stat(dirname(path)), trusted, what="its folder")
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _refused(path, f"the policy cannot be read: {(error.strerror or str(error)).lower()}") from None


def _is_absent(path: str) -> bool:
    """Tell whether there is no such file, rather than one that cannot be looked at."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _require_trusted(path: str, status: os.stat_result, trusted: set[int], *, what: str = "the policy") -> None:
    if status.st_uid not in trusted:
        raise _refused(path, f"{what} belongs to user {status.st_uid}, and must belong to root")
    # What is mounted read-only, as Kubernetes does it, nobody writes to whatever its mode says.
    is_fixed = bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not is_fixed:
        raise _refused(path, f"{what} can be written by others (mode {stat.S_IMODE(status.st_mode):04o})")


def _refused(path: str, reason: str) -> ConfigError:
    return ConfigError((Problem(Place(path), "", reason),), hint=_HINT)


def _owner(prefix: str) -> int:
    try:
        return os.stat(prefix).st_uid
    except OSError:
        return 0


def _listed(fields: Fields, key: str, check: Callable[[str], str]) -> Rule | None:
    return _rule(fields, key, fields.texts(key, check)) if key in fields.mapping.values else None


def _rule(fields: Fields, key: str, allowed: tuple[str, ...] = ()) -> Rule:
    return Rule(key, fields.mapping.keys.get(key, fields.place), allowed)


def _is_list(fields: Fields, key: str) -> bool:
    """Tell whether a list is written: an empty one allows nothing."""
    node = fields.mapping.values[key]
    return not isinstance(node, Mapping) and hasattr(node, "items")


def trusted_key(text: str) -> str:
    """Check a key whose signatures are believed: `NAME:` and 32 bytes in base64."""
    if not _KEY.fullmatch(text):
        raise ValueError("must be a key as `vpm-env cache keygen` prints it: `NAME:` and 44 letters")
    return text


def _source(text: str) -> str:
    if text not in SOURCES:
        raise ValueError(f"must be one of {', '.join(f'`{name}`' for name in SOURCES)}")
    return text
