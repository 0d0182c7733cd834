"""Mend profiles: records and what is kept beside them from where another copy is, then what points."""

from __future__ import annotations

import os
import time
from os.path import isdir, isfile, islink, join, lexists
from typing import TYPE_CHECKING, Any

from envbuilder import fs, notice, overlay, process, protocol, registry
from envbuilder import profile as profiles
from envbuilder.digest import sealed, sha256_bytes
from envbuilder.errors import ProfileError, VpmError
from envbuilder.mending import manifests_known
from envbuilder.pipeline import rebuild
from envbuilder.profile import STATES, Generation
from envbuilder.profile_damage import CURRENT, KEPT, ORDER, POINTER, RECORD, REGISTRY, read_order, sound_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from envbuilder.damage import Wrong
    from envbuilder.mending import Mending
    from envbuilder.profile import Profile

_TURNS = (RECORD, CURRENT, ORDER, POINTER, REGISTRY)


def mend_kept(mending: Mending, wrong: Sequence[Wrong]) -> None:
    """Put the kept configs and locks back: packages are had by them."""
    for entry in (entry for entry in wrong if entry.cure == KEPT):
        profile, (number, suffix) = entry.at
        with mending.attempt(entry, f"`{number}.{suffix}` is as it was kept"), _locked(mending, profile):
            _keep_again(mending, profile, number, suffix)


def mend(mending: Mending, wrong: Sequence[Wrong]) -> None:
    """Mend records, then what rests on them."""
    for entry in sorted(wrong, key=lambda entry: _TURNS.index(entry.cure) if entry.cure in _TURNS else -1):
        if entry.cure in _CURES:
            profile, at = entry.at
            what, cure = _CURES[entry.cure]
            with mending.attempt(entry, what.format(at)), _locked(mending, profile):
                cure(mending, profile, at)
    protocol.reached("repair", "restored")


def _locked(mending: Mending, profile: Profile) -> Any:
    return profiles.locked(profile, wait=mending.env.lock_wait, on_wait=mending.report.waiting)


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
        with open(path, "rb") as stream:
            content = stream.read()
        yield content
        if suffix == "plugins.yaml":
            yield process.without_credentials(content.decode("utf-8-sig", "replace")).encode()
    if suffix == "plugins.yaml":
        for known in manifests_known(mending.layout):
            yield str(known.get("config", "")).encode()


def _record(mending: Mending, profile: Profile, number: int) -> None:
    """Write a record again, of what its overlay says; what only the record said is taken from what is left of it."""
    digest = os.path.basename(fs.target_of(profile.pointer(number)))
    manifest = overlay.get(mending.layout, profile.base_key, digest)
    if manifest is None:
        raise ProfileError(f"generation {number} has no overlay that says what it was")
    left = _what_is_left(profile, number)
    known = next((each for each in manifests_known(mending.layout) if _is_of(each, digest)), {})
    kept = {suffix: _digest(profile.file(number, suffix)) for suffix in ("plugins.yaml", "pylock.toml")}
    path = profile.file(number, "json")
    if isdir(path) and not islink(path):
        mending.throw(path)
    generation = Generation(
        number=number,
        digest=digest,
        base_key=profile.base_key,
        created=left.created if left else time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        state=left.state if left and left.state in STATES else "untried",
        keep=bool(left and left.keep),
        config=left.config if left else str(_known_inputs(known).get("config_file", "")),
        base=manifest.base,
        inputs=left.inputs if left else {**_NO_INPUTS, **_known_inputs(known)},
        packages=[[each.name, each.version, each.plugin, each.editable] for each in manifest.members],
        left_out=manifest.left_out,
        reason=left.reason if left else "verify --repair",
        why=left.why if left else "",
        judged=left.judged if left else "",
        kept={suffix: digest for suffix, digest in kept.items() if digest},
    )
    profiles.rewrite(profile, generation)


_NO_INPUTS: dict[str, Any] = {
    **dict.fromkeys(("config_sha256", "config_digest", "base_digest", "lock_file", "lock_sha256"), ""),
    "plugins": {},
    "local_sources": {},
}
"""What a record says whose inputs nobody remembers: the next build finds them changed, and looks at everything."""


def _known_inputs(known: dict[str, object]) -> dict[str, Any]:
    inputs = known.get("inputs")
    return dict(inputs) if isinstance(inputs, dict) else {}


def _is_of(known: dict[str, object], digest: str) -> bool:
    manifest = known.get("manifest")
    return isinstance(manifest, dict) and manifest.get("digest") == digest


def _what_is_left(profile: Profile, number: int) -> Generation | None:
    """Return what a damaged record says, if it can be read and its parts are of the right kinds."""
    try:
        found = profiles.read(profile, number)
    except VpmError:
        return None
    texts = (found.created, found.config, found.reason, found.state, found.why, found.judged)
    return found if all(isinstance(text, str) for text in texts) and isinstance(found.inputs, dict) else None


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as stream:
            return sha256_bytes(stream.read())
    except OSError:
        return ""


def _current(mending: Mending, profile: Profile, _: object) -> None:
    known = profiles.numbers(profile)
    candidates = [*read_order(profile).get("order", [])[-1:], *_told(profile)]
    number = next((number for number in candidates if number in known), None)
    if number is None:
        raise ProfileError("no record says which generation was current", hint="`vpm-env switch N` makes one current")
    if lexists(profile.current) and not islink(profile.current):
        mending.throw(profile.current)
    fs.replace_symlink(profile.current, f"generations/{number}")


def _told(profile: Profile) -> list[int]:
    said = notice.read(profile.layout)
    is_about_it = said is not None and profile.name == profiles.DEFAULT and said.base_key == profile.base_key
    return [said.generation] if is_about_it and said is not None and said.generation is not None else []


def _order(mending: Mending, profile: Profile, _: object) -> None:
    """Write the order again: what was current when is lost, so earlier generations come before, by their numbers."""
    number = profiles.current(profile)
    path = join(profile.path, "order.json")
    if isdir(path) and not islink(path):
        mending.throw(path)
    if number is None:
        fs.remove(path)
        return
    earlier = [each for each in profiles.numbers(profile) if each < number and _is_no_failure(profile, each)]
    record = {"format": profiles.FORMAT, "order": [*earlier, number], "held": False}
    fs.write_json(path, sealed({**record, "before": [], "held_before": False, "switches": []}))


def _is_no_failure(profile: Profile, number: int) -> bool:
    record = sound_record(profile, number)
    return record is not None and record.state != "bad"


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
