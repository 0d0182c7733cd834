"""Tell whether a build has nothing to do, without parsing the config or asking the base.

Compared is with the *newest* generation, not with `current`: a generation that was rolled back stays rolled back
until an input changes.
"""

from __future__ import annotations

import os
from errno import ENOENT, ENOTDIR
from os.path import isdir, islink, join

from envbuilder import profile as profiles
from envbuilder.digest import read_bytes, sha256_bytes
from envbuilder.interpreter import recall
from envbuilder.paths import HOOK, policy_files, prefixes
from envbuilder.profile import Generation, Profile
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from envbuilder.paths import Environment
    from envbuilder.scope import Scope


_LONGEST = 64 << 20
"""Bytes of a config or lock: no reader of either takes more."""

_ABSENT = (ENOENT, ENOTDIR)


class Seen(NamedTuple):
    """What a build sees at a glance: its profile, its config's bytes, and what is remembered of the base."""

    profile: Profile
    config_file: str
    config_sha256: str
    base: dict[str, Any]


class Unchanged(NamedTuple):
    """The newest generation, which a build would make again; `current` is the number of the current one."""

    generation: Generation
    current: int | None
    held: bool


def look(found: Scope) -> Seen | None:
    """Look at config and base; None where there is no config, or where the base has changed or is not known."""
    base = recall(found.interpreter, found.layout, found.engine)
    if found.config_file is None or base is None:
        return None
    profile = Profile(layout=found.layout, name=found.profile_name, base_key=base["key"])
    return Seen(profile, found.config_file, file_digest(found.config_file), base)


def unchanged(found: Scope, seen: Seen) -> Unchanged | None:
    """Return the newest generation if it is what a build would make; None when an input changed or may have."""
    newest = profiles.newest(seen.profile)
    if newest is None or not profiles.is_on_disk(seen.profile, newest) or newest.config != seen.config_file:
        return None
    if not same_inputs(_own(newest.inputs, seen), seen, found.env):
        return None
    return Unchanged(newest, profiles.current(seen.profile), profiles.order(seen.profile).held)


def ask(found: Scope) -> Seen | None:
    """Look again after the base was asked what it is; None where no set was ever made."""
    if found.config_file is None or not isdir(join(found.layout.profiles, found.profile_name)):
        return None
    from envbuilder.base import describe  # only a base that changed pays for it

    describe(found.interpreter, found.layout, found.env, engine=found.engine)
    return look(found)


def _own(inputs: dict[str, Any], seen: Seen) -> dict[str, Any]:
    """Return the inputs with the lock as it is now, if another engine in the base's place has made that its own."""
    digest = file_digest(inputs["lock_file"])
    if digest in ("", inputs["lock_sha256"]):
        return inputs
    from envbuilder import lock  # only a base that had another engine pays for it
    from envbuilder.errors import LockError

    try:
        known = lock.read(inputs["lock_file"])
    except LockError:
        return inputs
    base = known.base if known else {}
    is_others = base.get("prefix") == seen.base["facts"]["prefix"] and base.get("key") != seen.profile.base_key
    return {**inputs, "lock_sha256": digest} if is_others else inputs


def has_stale_hook(seen: Seen) -> bool:
    """Tell whether the base has a start-up hook, and that is for the base as it was before an upgrade."""
    try:
        with open(join(seen.base["facts"]["purelib"], HOOK), encoding="utf-8") as stream:
            return seen.profile.base_key not in stream.read()
    except OSError:
        return False


def same_inputs(inputs: dict[str, Any], seen: Seen, env: Environment) -> bool:
    """Tell whether a set that was made from `inputs` would be made from what is seen now."""
    return (
        inputs["base_digest"] == seen.base["digest"]
        and inputs["config_sha256"] == seen.config_sha256
        and inputs["lock_sha256"] == file_digest(inputs["lock_file"])
        and inputs.get("policies", "") == policies_seen(prefixes_of(seen))
        and _same_sources(inputs["local_sources"], env)
    )


def prefixes_of(seen: Seen) -> tuple[str, ...]:
    """Name the prefixes whose policies hold."""
    facts = seen.base["facts"]
    return prefixes(facts["prefix"], facts["base_prefix"], facts["path"])


def policies_seen(places: Iterable[str]) -> str:
    """Say in short which policies hold on this machine and in a base, and whose they are; "" where there are none."""
    return " ".join(filter(None, map(_policy_seen, policy_files(places))))


def _policy_seen(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError as error:
        return "" if error.errno in _ABSENT and not islink(path) else f"{path} is not to be had"
    return f"{path} {status.st_uid} {status.st_mode} {file_digest(path)}"


def file_digest(path: str) -> str:
    """Digest a file's bytes; "" where there is no regular file, or one that is too large to be ours."""
    try:
        return sha256_bytes(read_bytes(path, _LONGEST))
    except (OSError, ValueError):
        return ""


def _same_sources(recorded: dict[str, list[Any]], env: Environment) -> bool:
    if not recorded:
        return True
    from envbuilder.config import Local  # only configs with local plugins pay for these two
    from envbuilder.sources import fingerprint

    return all(
        fingerprint(Local(path=path, editable=editable), env) == known for path, editable, known in recorded.values()
    )
