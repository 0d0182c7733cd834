"""Where a lock lies: beside the config for the kind of base that it was made for, in the home for others."""

from __future__ import annotations

import os
from os.path import dirname, exists, join
from typing import TYPE_CHECKING

from envbuilder import fs, halves
from envbuilder import lock as locks
from envbuilder import profile as profiles
from envbuilder.paths import lock_name

if TYPE_CHECKING:
    from envbuilder.base import Base
    from envbuilder.config import Config
    from envbuilder.job import Job
    from envbuilder.lock import Lock
    from envbuilder.profile import Profile


def previous(config: Config, base: Base, profile: Profile) -> tuple[Lock | None, str]:
    """Return the lock for such a base and where it is: beside the config, else in the home."""
    name = lock_name(config.file)
    beside, in_home = join(dirname(config.file), name), join(profile.path, name)
    lock = locks.read(beside)
    ours = lock is None or is_for(lock, base)
    if ours and (exists(beside) or os.access(dirname(beside), os.W_OK)):
        return _own(lock, base, profile) or lock, beside
    return locks.read(in_home), in_home


def _own(lock: Lock | None, base: Base, profile: Profile) -> Lock | None:
    """Return the base's own last lock where another engine in its place has left its lock beside the config."""
    if lock is None or lock.base.get("prefix") != base.prefix or lock.base.get("key") == base.key:
        return None
    newest = profiles.newest(profile)
    return locks.read(profile.file(newest.number, "pylock.toml")) if newest else None


def is_for(lock: Lock, base: Base) -> bool:
    """Tell whether a lock was made for such a base, wherever it is installed, or for this one before an upgrade."""
    mine = locks.base_record(base)
    same_kind = all(lock.base.get(name) == mine[name] for name in ("soabi", "platform", "engine", "engine_version"))
    return same_kind or lock.base.get("prefix") == mine["prefix"]


def write(job: Job, profile: Profile, lock: Lock) -> str:
    """Write the lock if it is another than last time's; beside the config, or in the home where that is read-only."""
    text, in_home = locks.dump(lock), join(profile.path, lock_name(job.config.file))
    halves.clear(job.lock_file, in_home)
    if job.previous is not None and locks.dump(job.previous) == text:
        before = locks.read(job.lock_file)  # somebody may have written it in another way, or `previous` lies elsewhere
        if before is not None and locks.dump(before) == text:
            return job.lock_file
    for path in dict.fromkeys((job.lock_file, in_home)):
        try:
            fs.make_dirs(dirname(path))
            fs.write_atomic(path, text.encode())
            return path
        except OSError as error:
            told = job.report.warn if error.errno in fs.FULL else job.report.note
            told(f"the lock cannot be written to `{path}`: {(error.strerror or str(error)).lower()}")
    return in_home
