"""Mend packages: rights and bytecode in place; what is in its key is had anew and put in the old one's place.

The new one is fetched into a home of its own in `tmp`, by the very steps of a build, and changes places with the
damaged one only if it has the same key. Overlays name packages, so a process that runs keeps what it has open, and
finds the new files by the same names; the old ones lie in the trash.
"""

from __future__ import annotations

import os
from itertools import groupby
from os.path import join

from envbuilder import bytecode, fs, overlay, protocol, sourcing, store, swapping
from envbuilder import lock as locks
from envbuilder import profile as profiles
from envbuilder.assembly import fill
from envbuilder.base import describe
from envbuilder.caching import pulled_from
from envbuilder.classes import replace
from envbuilder.errors import BaseError, PackageError, SeveralErrors, SourceError, VpmError
from envbuilder.package import SHORT
from envbuilder.package_damage import COMPILE, DROP, FETCH, NAME, RIGHTS
from envbuilder.rebuilding import job_of
from envbuilder.tuples import TYPE_CHECKING, NamedTuple
from envbuilder.unloading import unload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from envbuilder.base import Base
    from envbuilder.damage import Wrong
    from envbuilder.job import Job
    from envbuilder.lock import Lock
    from envbuilder.mending import Mending
    from envbuilder.profile import Profile


class Origin(NamedTuple):
    """A generation whose lock has a package of that name and version; `is_sure` where its overlay has the very key."""

    profile: Profile
    number: int
    is_sure: bool


def mend(mending: Mending, wrong: Sequence[Wrong], needed: frozenset[str]) -> None:
    """Mend packages; one that is to be had anew and that no set needs goes instead."""
    by_key = groupby(sorted(wrong, key=lambda entry: entry.name), key=lambda entry: entry.name)
    for key, entries in [(key, list(of_key)) for key, of_key in by_key]:
        _mend(mending, key, entries, is_needed=key in needed)
    protocol.reached("repair", "swapped")


def _mend(mending: Mending, key: str, entries: Sequence[Wrong], *, is_needed: bool) -> None:
    cures = {entry.cure for entry in entries}
    if os.path.islink(mending.layout.package(key)) and not cures & {FETCH, NAME}:
        home = os.path.dirname(os.path.dirname(os.readlink(mending.layout.package(key))))
        mending.refuse(entries[0], f"it lies in the store of `{home}`: `vpm-env --home {home} verify --repair`")
        return
    if FETCH not in cures:
        _mend_in_place(mending, key, entries)
    elif is_needed:
        _have_anew(mending, key, entries[0])
    else:
        with mending.attempt(entries[0], "no set has it; it went to the trash"):
            store.discard(mending.layout, [key])


def _mend_in_place(mending: Mending, key: str, entries: Sequence[Wrong]) -> None:
    for entry in (entry for entry in entries if entry.cure in _IN_PLACE):
        what, cure = _IN_PLACE[entry.cure]
        with mending.attempt(entry, what.format(entry.text.split(" ")[0], key[:SHORT])):
            cure(mending, entry)
    compiled = {entry.at: entry for entry in reversed(entries) if entry.cure == COMPILE}
    for soabi in sorted(compiled):
        with mending.attempt(compiled[soabi], f"it was compiled again for {soabi}"):
            _compile(mending, mending.layout.package(key), soabi)


def _take_over(_: Mending, entry: Wrong) -> None:
    swapping.take_over(*entry.at)


def _drop(mending: Mending, entry: Wrong) -> None:
    mending.throw(entry.at)


def _name_again(mending: Mending, entry: Wrong) -> None:
    store.name_again(mending.layout, entry.name)


_IN_PLACE: dict[str, tuple[str, Callable[[Mending, Wrong], None]]] = {
    RIGHTS: ("{0} has its owner and mode again", _take_over),
    DROP: ("{0} went to the trash", _drop),
    NAME: ("it has its short name `{1}` again", _name_again),
}


def _compile(mending: Mending, root: str, soabi: str) -> None:
    """Compile for one ABI what is not as it was compiled; without its interpreter the bytecode goes, and its list."""
    from envbuilder import compiling, unpack

    base = next((base for base in _bases(mending) if base.soabi == soabi), None)
    fs.write_plain(join(root, bytecode.UNDERWAY + soabi), b"")
    for path in bytecode.stale(root, soabi):
        mending.throw(path)
    if base is None:
        fs.remove(join(root, bytecode.MARK + soabi))
    else:
        made = compiling.compile_tree(join(root, "lib"), base=base)
        unpack.settle(root)
        fs.sync_tree(root)
        bytecode.note(root, soabi, made, synced=True)
    fs.remove(join(root, bytecode.UNDERWAY + soabi))


def _bases(mending: Mending) -> Iterator[Base]:
    for profile in profiles.all_profiles(mending.layout):
        try:
            found = mending.scope_of(profile)
            yield describe(found.interpreter, mending.layout, mending.env, engine=found.engine)
        except VpmError:
            continue


def _have_anew(mending: Mending, key: str, entry: Wrong) -> None:
    """Have a package by the lock of one of the generations that have it, the surest first."""
    refused: VpmError | None = None
    for origin in sorted(_origins(mending, key), key=lambda origin: not origin.is_sure):
        try:
            job, lock = _job(mending, origin)
            _fetch_and_swap(mending, job, lock, key, _inputs(origin))
        except VpmError as error:
            refused = error
            continue
        with mending.attempt(entry, "it was had anew from its source"):
            store.name_again(mending.layout, key)
        return
    why = " ".join(_told(refused).split()) if refused else _unknown(mending, key)
    mending.refuse(entry, f"`{key[33:]}` cannot be had anew: {why}")


def _unknown(mending: Mending, key: str) -> str:
    """Say what to do about a package that only sets without a generation have, which were pulled that way."""
    layout, path = mending.layout, mending.layout.package(key)
    sets = ((base, digest) for base in fs.names_in(layout.overlays) for digest in fs.names_in(layout.overlay(base, "")))
    digest = next((digest for base, digest in sets if key in overlay.members(layout, base, digest)), "")
    moved = f" once `{path}` is moved away" if os.path.lexists(path) else ""
    pull = f"; `vpm-env pull URL {digest} --no-generation` has it{moved}" if digest else ""
    return f"no lock that is kept here says where it came from{pull}"


def _job(mending: Mending, origin: Origin) -> tuple[Job, Lock]:
    found = mending.scope_of(origin.profile)
    try:
        file = profiles.read(origin.profile, origin.number).config
    except VpmError:
        file = found.config_file or join(mending.layout.home, "plugins.yaml")
    return job_of(found, origin.profile, origin.number, file, mending.report, offline=mending.offline)


def _inputs(origin: Origin) -> Mapping[str, Any]:
    try:
        return profiles.read(origin.profile, origin.number).inputs
    except VpmError:
        return {}


def _told(error: VpmError) -> str:
    """Say why something could not be had: of which plugin, and what."""
    if isinstance(error, SeveralErrors):
        return "; ".join(map(_told, error.errors))
    if isinstance(error, SourceError):
        return "; ".join(f"{name}: {why}" for name, why in error.missing)
    return error.message


def _origins(mending: Mending, key: str) -> Iterator[Origin]:
    for profile in profiles.all_profiles(mending.layout):
        for number in reversed(profiles.numbers(profile)):
            try:
                lock = locks.read(profile.file(number, "pylock.toml"))
            except VpmError:
                continue
            if lock and any(f"{each.name}-{each.version}" == key[33:] for each in lock.packages):
                target = os.path.basename(fs.target_of(profile.pointer(number)))
                yield Origin(profile, number, key in overlay.members(mending.layout, profile.base_key, target))


def _pulled(job: Job, inputs: Mapping[str, Any], key: str) -> set[str]:
    """Have a package from the cache that its set came from; nothing where that set was built."""
    depot = pulled_from(inputs, job.env)
    card = depot.card(key) if depot else None
    if depot is None or card is None:
        return set()
    return {package.key for package in unload(job, depot, [card]).packages.values()}


def _made(job: Job, lock: Lock, scratch: str) -> set[str]:
    """Have the packages of a lock from where it says."""
    plugins = {each.plugin for each in lock.packages if each.is_built}
    chosen = tuple(plugin for plugin in job.config.enabled if plugin.name in plugins)
    built = sourcing.have(job, chosen, scratch)
    return {package.key for package in fill(job, lock, built).values()}


def _fetch_and_swap(mending: Mending, job: Job, lock: Lock, key: str, inputs: Mapping[str, Any]) -> None:
    layout = mending.layout
    wanted = tuple(each for each in lock.packages if f"{each.name}-{each.version}" == key[33:])
    fs.make_dirs(layout.tmp)
    with fs.staging(layout.tmp) as scratch:
        apart = job.layout._replace(home=join(scratch, "home"), stores=())
        own = replace(job, layout=apart)
        fs.make_dirs(apart.tmp)
        fs.link(layout.cache, apart.cache)
        try:
            made = _pulled(own, inputs, key) or _made(own, replace(lock, packages=wanted), join(scratch, "sources"))
        except OSError as error:
            raise BaseError(str(error)) from None
        protocol.reached("repair", "fetched")
        if key not in made:
            problems = ("what its source gives now is something else",)
            raise PackageError(package=wanted[0].plugin or wanted[0].name, problems=problems)
        store.put_in_place(layout, apart.package(key), key)
        for name in fs.names_in(apart.sources):
            fs.rename(join(apart.sources, name), join(layout.sources, name))
