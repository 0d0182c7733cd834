"""Mend profiles: records and what is kept beside them from where another copy is, then what points."""

from __future__ import annotations

import os
import time
from os.path import isdir, isfile, islink, join, lexists
from typing import TYPE_CHECKING, Any

from envbuilder import fs, notice, overlay, process, protocol, registry, remains
from envbuilder import profile as profiles
from envbuilder.contexts import contextmanager
from envbuilder.digest import read_bytes, sealed, sha256_bytes
from envbuilder.errors import ProfileError, VpmError
from envbuilder.mending import NoLongerWrong
from envbuilder.profile import STATES, Generation, read_order
from envbuilder.profile_damage import (
    CURRENT,
    FOLDER,
    KEPT,
    ORDER,
    POINTER,
    RECORD,
    REGISTRY,
    kept_digest,
    look,
    sound_record,
)
from envbuilder.rebuilding import rebuild
from envbuilder.recollection import digests_of, manifest_of, recipe_of, recipes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from envbuilder.damage import Wrong
    from envbuilder.manifest import Manifest
    from envbuilder.mending import Mending
    from envbuilder.profile import Profile

_TURNS = (RECORD, CURRENT, ORDER, POINTER, REGISTRY)
_REASON = "verify --repair"
_UNKNOWN, _CHOOSE = "no record says which generation was current", "`vpm-env switch N` makes one current"


def mend_kept(mending: Mending, wrong: Sequence[Wrong]) -> None:
    """Put the kept configs and locks back: packages are had by them."""
    for entry in (entry for entry in wrong if entry.cure == KEPT):
        profile, (number, suffix) = entry.at
        with mending.attempt(entry, f"`{number}.{suffix}` is as it was kept"), _locked(mending, entry):
            _keep_again(mending, profile, number, suffix)


def mend(mending: Mending, wrong: Sequence[Wrong]) -> None:
    """Mend what the rest lies in, then records, then what rests on them."""
    folders = [entry for entry in wrong if entry.cure == FOLDER]
    for entry in folders:
        _mend_folder(mending, entry)
    found = [other for entry in folders for other in look(entry.at[0]).wrong]
    for entry in sorted((*wrong, *found), key=_turn):
        if entry.cure in _CURES:
            _mend_one(mending, entry)
    protocol.reached("repair", "restored")


def _turn(entry: Wrong) -> int:
    return _TURNS.index(entry.cure) if entry.cure in _TURNS else -1


def _mend_one(mending: Mending, entry: Wrong) -> None:
    profile, at = entry.at
    what, cure = _CURES[entry.cure]
    if entry.cure == RECORD and _can_be_forgotten(mending, profile, at):
        what, cure = "nothing says any more what generation {} was; it is forgotten", _forget
    elif entry.cure == RECORD and _what_is_left(profile, at) is None:
        what += "; whether it was good, bad or to be kept is not known any more"
    with mending.attempt(entry, what.format(at)), _locked(mending, entry):
        cure(mending, profile, at)


def _mend_folder(mending: Mending, entry: Wrong) -> None:
    """Make a profile's folder again with what was current, if something says what that was; the rest is lost."""
    profile, path = entry.at
    what = f"`{path}` is a folder again; of its generations only the current one is known"
    with mending.attempt(entry, what), _locked(mending, entry):
        number = next((number for number in _told(profile) if _manifest(mending, profile, number)), None)
        if number is None:
            raise ProfileError(f"nothing says what was in `{path}`; if you delete it, `vpm-env build` makes a set")
        mending.throw(path)
        fs.make_dirs(join(profile.path, "generations"))
        _record(mending, profile, number)
        if not lexists(profile.current):
            fs.replace_symlink(profile.current, f"generations/{number}")


@contextmanager
def _locked(mending: Mending, entry: Wrong) -> Iterator[None]:
    """Hold a profile's lock; raise `NoLongerWrong` where nothing is wrong any more: somebody had the lock meanwhile."""
    profile: Profile = entry.at[0]
    with profiles.locked(profile, wait=mending.env.lock_wait, on_wait=mending.report.waiting):
        if (entry.cure, entry.at) not in [(other.cure, other.at) for other in look(profile).wrong]:
            raise NoLongerWrong
        yield


def _keep_again(mending: Mending, profile: Profile, number: int, suffix: str) -> None:
    """Find another copy of what was kept: it is one if it has the digest."""
    record = profiles.read(profile, number)
    for content in _copies(mending, record, suffix):
        if sha256_bytes(content) == record.kept[suffix]:
            path = profile.file(number, suffix)
            if isdir(path) and not islink(path):
                mending.throw(path)
            return fs.write_atomic(path, content)
    source = record.config if suffix == "plugins.yaml" else record.inputs.get("lock_file") or "the lock"
    raise ProfileError(f"there is no other copy of `{number}.{suffix}`: `{source}` is another by now, or gone")


def _copies(mending: Mending, record: Generation, suffix: str) -> Iterator[bytes]:
    """Yield what may be the same file: where it came from, what other generations keep, what the cache remembers."""
    paths = [record.config if suffix == "plugins.yaml" else str(record.inputs.get("lock_file") or "")]
    for profile in profiles.all_profiles(mending.layout):
        paths += [profile.file(number, suffix) for number in profiles.numbers(profile)]
    for path in filter(isfile, paths):
        try:
            content = read_bytes(path)
        except (OSError, ValueError):
            continue
        yield content
        if suffix == "plugins.yaml":
            yield process.without_credentials(content.decode("utf-8-sig", "replace")).encode()
    if suffix == "plugins.yaml":
        for known in recipes(mending.layout):
            yield str(known.get("config", "")).encode()


def _record(mending: Mending, profile: Profile, number: int) -> None:
    """Write a record again, of what its overlay says; what only the record said is taken from what is left of it."""
    manifest = _manifest(mending, profile, number)
    if manifest is None:
        hint = "`vpm-env build` or `vpm-env switch N` makes another one current"
        raise ProfileError(f"nothing says any more what generation {number} was", hint=hint)
    left, recipe = _what_is_left(profile, number), recipe_of(mending.layout, profile.base_key, manifest.digest)
    inputs = recipe[0]["inputs"] if recipe else {}
    found = remains.fields(manifest.digest, manifest, made=_made(profile, number))
    kept = {suffix: kept_digest(profile.file(number, suffix)) for suffix in ("plugins.yaml", "pylock.toml")}
    made = Generation(number=number, base_key=profile.base_key, reason=_REASON, **found)._replace(
        inputs={**found["inputs"], **inputs},
        config=str(inputs.get("config_file", "")),
        kept={suffix: digest for suffix, digest in kept.items() if digest},
    )
    if left:
        own = ("created", "keep", "config", "inputs", "reason", "why", "judged")
        state = left.state if left.state in STATES else "untried"
        made = made._replace(state=state, **{name: getattr(left, name) for name in own})
    path = profile.file(number, "json")
    fs.make_dirs(os.path.dirname(path))
    if isdir(path) and not islink(path):
        mending.throw(path)
    profiles.rewrite(profile, made)
    if not lexists(profile.pointer(number)) and profiles.is_on_disk(profile, made):
        profiles.point(profile, made)


def _manifest(mending: Mending, profile: Profile, number: int) -> Manifest | None:
    """Return what a generation was, by its overlay, the cache, or its lock."""
    digests = digests_of(profile, number)
    overlays = (overlay.get(mending.layout, profile.base_key, digest) for digest in digests)
    remembered = (manifest_of(mending, profile.base_key, digest) for digest in digests)
    return next(filter(None, (*overlays, *remembered)), None)


def _made(profile: Profile, number: int) -> float:
    """Return about when a generation was made: when what is kept of it was written."""
    paths = (profile.file(number, "pylock.toml"), profile.pointer(number))
    return min((os.lstat(path).st_mtime for path in paths if lexists(path)), default=time.time())


def _can_be_forgotten(mending: Mending, profile: Profile, number: int) -> bool:
    """Tell whether nothing says what a generation was that is not current."""
    return number != profiles.current(profile) and _manifest(mending, profile, number) is None


def _forget(mending: Mending, profile: Profile, number: int) -> None:
    """Take a generation out of the order, and what is left of its record and its pointer away."""
    record = read_order(profile)
    if {number} & {*record.get("order", ()), *record.get("before", ())}:
        kept = {name: [each for each in record[name] if each != number] for name in ("order", "before")}
        fs.write_json(join(profile.path, "order.json"), sealed({**record, **kept}))
    for path in (profile.file(number, "json"), profile.pointer(number)):
        mending.throw(path)


def _what_is_left(profile: Profile, number: int) -> Generation | None:
    """Return what a damaged record says, if it can be read and its parts are of the right kinds."""
    try:
        found = profiles.read(profile, number)
    except VpmError:
        return None
    texts = (found.created, found.config, found.reason, found.state, found.why, found.judged)
    return found if all(isinstance(text, str) for text in texts) and isinstance(found.inputs, dict) else None


def _current(mending: Mending, profile: Profile, _: object) -> None:
    known = profiles.numbers(profile)
    candidates = [*read_order(profile).get("order", [])[-1:], *_told(profile)]
    number = next((number for number in candidates if number in known), None)
    if number is None:
        raise ProfileError(_UNKNOWN, hint=_CHOOSE)
    if lexists(profile.current) and not islink(profile.current):
        mending.throw(profile.current)
    fs.replace_symlink(profile.current, f"generations/{number}")
    if not read_order(profile):
        _order(mending, profile, None)


def _told(profile: Profile) -> list[int]:
    said = notice.read(profile.layout)
    is_about_it = said is not None and profile.name == profiles.DEFAULT and said.base_key == profile.base_key
    return [said.generation] if is_about_it and said is not None and said.generation is not None else []


def _order(mending: Mending, profile: Profile, _: object) -> None:
    """Write the order again: what was current when is lost, so earlier generations come before, by their numbers.

    An undo stays one, and gc takes every set that is there for one that was current lately.
    """
    number = profiles.current(profile)
    path = join(profile.path, "order.json")
    if isdir(path) and not islink(path):
        mending.throw(path)
    if number is None:
        raise ProfileError(_UNKNOWN, hint=_CHOOSE)
    known = {each: sound_record(profile, each) for each in profiles.numbers(profile)}
    earlier = [each for each, record in known.items() if each < number and record and record.state != "bad"]
    there = [each for each, record in known.items() if record and profiles.is_on_disk(profile, record)]
    record = {"format": profiles.FORMAT, "order": [*earlier, number], "held": number != max(known, default=number)}
    switches = remains.switches(there, profile.current)
    fs.write_json(path, sealed({**record, "before": [], "held_before": False, "switches": switches}))


def _pointer(mending: Mending, profile: Profile, number: int) -> None:
    """Let a generation lead to its overlay again, which is made again if it is gone."""
    generation = sound_record(profile, number)
    if generation is None:
        raise ProfileError(f"the record of generation {number} is damaged")
    path = profile.pointer(number)
    if lexists(path) and not islink(path):
        mending.throw(path)
    if overlay.get(mending.layout, profile.base_key, generation.digest) is None:
        rebuild(mending.scope_of(profile), mending.report)(profile, generation)
    profiles.point(profile, generation)


def _registry(mending: Mending, profile: Profile, number: int) -> None:
    generation = profiles.read(profile, number)
    path = profile.file(number, "registry")
    if islink(path) or not isfile(path):
        mending.throw(path)
    registry.keep(profile, generation, overlay.get(mending.layout, profile.base_key, generation.digest))


_CURES: dict[str, tuple[str, Callable[[Mending, Profile, Any], None]]] = {
    RECORD: ("the record of generation {} was written again", _record),
    CURRENT: ("`current` names what it named", _current),
    ORDER: ("`order.json` was written again; what was current when is lost", _order),
    POINTER: ("generation {} leads to its overlay again", _pointer),
    REGISTRY: ("`{}.registry` was written again", _registry),
}
