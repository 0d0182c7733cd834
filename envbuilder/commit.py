"""How every build ends: the set becomes a generation, and the generation current, unless it was undone before."""

from __future__ import annotations

import time

from envbuilder import overlay, recording, registry, store
from envbuilder import profile as profiles
from envbuilder.manifest import NOTHING
from envbuilder.planning import Change, Difference, changes
from envbuilder.profile import Generation
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Any

    from envbuilder.errors import Finding
    from envbuilder.followup import Ran
    from envbuilder.manifest import Manifest, ProbeResult
    from envbuilder.paths import Environment
    from envbuilder.profile import Profile
    from envbuilder.report import Reporter


class Draft(NamedTuple):
    """What a new generation records.

    `inputs` are the digests of what the set was made from, `config_file` is where the config lies ("": nowhere here);
    `config` and `lock` are the texts that are kept with the generation. `verb` is what made it.
    """

    manifest: Manifest
    inputs: dict[str, Any]
    config_file: str
    config: str
    lock: str
    verb: str = "build"


class Committed(NamedTuple):
    """What became of a set.

    `kind` is `unchanged`, `held` (the set is the one that was rolled back), `made` (not switched to) or `switched`;
    `before` is what was current, `is_new` says that the generation was made now.
    """

    kind: str
    generation: Generation
    before: Generation | None
    is_new: bool = False


class Outcome(NamedTuple):
    """What a build came to.

    `kind` is `planned` or one of `Committed`; `generation` is None only if `planned`, `digest` only if a package is not
    in the store yet. `difference` is from what was current. `provided`, `ignored` and
    `left_out` are as in the lock, `findings` and `probe` as in the manifest; `to_fetch` is the bytes of packages that
    are not in the store, by name. `ran` are the commands that ran afterwards.
    """

    kind: str
    generation: Generation | None
    before: Generation | None
    digest: str | None
    base_key: str
    difference: Difference
    notes: tuple[str, ...]
    provided: dict[str, str]
    ignored: dict[str, list[str]]
    left_out: dict[str, str]
    findings: tuple[Finding, ...] = ()
    probe: tuple[ProbeResult, ...] = ()
    to_fetch: dict[str, int] = NOTHING
    ran: tuple[Ran, ...] = ()

    @property
    def served(self) -> int | None:
        """Return the number of the generation that a process would get afterwards."""
        found = self.generation if self.kind in ("switched", "unchanged") else self.before
        return found.number if found else None

    @classmethod
    def of(
        cls,
        done: Committed,
        manifest: Manifest,
        difference: Difference,
        *,
        notes: tuple[str, ...],
        ran: tuple[Ran, ...],
    ) -> Outcome:
        """Say what a set that was committed came to."""
        return cls(
            kind=done.kind,
            generation=done.generation,
            before=done.before,
            digest=manifest.digest,
            base_key=done.generation.base_key,
            difference=difference,
            notes=notes,
            provided=manifest.provided,
            ignored=manifest.ignored,
            left_out=manifest.left_out,
            findings=manifest.findings,
            probe=manifest.probe,
            ran=ran,
        )


def commit(profile: Profile, draft: Draft, *, switch: bool, force: bool) -> Committed:
    """Record a set as a generation, unless the newest is the same, and make it current, unless it was undone.

    `force` ends a hold. The profile's lock must be held.
    """
    before, newest = profiles.serving(profile), profiles.newest(profile)
    if before and (newest is None or newest.number < before.number):
        newest = before  # its record is gone
    is_new = newest is None or newest.digest != draft.manifest.digest
    if newest is None or newest.digest != draft.manifest.digest:
        generation = _record(profile, draft)
    else:
        generation = _renewed(profile, newest, draft)
        if before and generation.number == before.number:
            return Committed("unchanged", generation, before)
        if profiles.order(profile).held and not force:
            return Committed("held", generation, before)
    if not switch:
        return Committed("made", generation, before, is_new)
    profiles.switch(profile, generation.number, verb=draft.verb, hold=False)
    return Committed("switched", generation, before, is_new)


def followed(profile: Profile, done: Committed, *, env: Environment, report: Reporter) -> tuple[Ran, ...]:
    """Run what the config wants run after this; no lock may be held."""
    happened = {"on_build": done.is_new, "on_switch": done.kind == "switched"}
    inputs = done.generation.inputs
    wanted = {key: inputs[key] for key, now in happened.items() if now and key in inputs}
    if not wanted:
        return ()
    from envbuilder.followup import Event, follow  # few configs have commands

    event = Event("build", done.generation, done.before.number if done.before else None)
    return follow(profile, event, wanted, done.generation, env=env, report=report)


def planned(profile: Profile, after: dict[str, tuple[str, str, int | None]], manifest: Manifest | None) -> Difference:
    """Say how a set, name → (version, key or "", bytes if known), differs from the current one.

    `manifest` is None where the set cannot be described yet.
    """
    current = profiles.serving(profile)
    old = overlay.get(profile.layout, profile.base_key, current.digest) if current else None
    before = {member.name: member.content for member in old.members} if old else {}
    found = [
        _told_by_commit(change, before[change.name][1], after[change.name][1], profile) if change.content else change
        for change in changes(before, after)
    ]
    if old is None or manifest is None:
        return Difference(tuple(found))
    told = {change.name for change in found}
    found += [change for change in _reselected(old, manifest) if change.name not in told]
    facts = [
        Change(f"{name} of the base", old.facts.get(name), manifest.facts.get(name))
        for name in sorted(old.facts.keys() | manifest.facts.keys())
        if old.facts.get(name) != manifest.facts.get(name)
    ]
    return Difference(tuple(sorted(found)), tuple(facts))


def _reselected(old: Manifest, new: Manifest) -> list[Change]:
    """List the packages of both sets of which other entry points are selected."""
    both = {member.name for member in old.members} & {member.name for member in new.members}
    return [
        Change(member.name, member.version, member.version, 0, "other entry points")
        for member in new.members
        if member.name in both and old.selection.get(member.name) != new.selection.get(member.name)
    ]


def _told_by_commit(change: Change, old: str, new: str, profile: Profile) -> Change:
    """Say which commits two contents of one version come from, where both come from git."""
    packages = [store.get(profile.layout, key) for key in (old, new)]
    commits = [str(package.source.get("vcs", {}).get("commit-id", "")) if package else "" for package in packages]
    return change._replace(content=" → ".join(commit[:8] for commit in commits)) if all(commits) else change


def _renewed(profile: Profile, newest: Generation, draft: Draft) -> Generation:
    """Note what the newest generation would be made from now; one whose record is lost gets another."""
    if newest.reason == profiles.LOST:
        return _record(profile, draft, newest.number)
    generation = newest._replace(inputs=draft.inputs, config=draft.config_file)
    profiles.rewrite(profile, generation)
    profiles.point(profile, generation)
    registry.keep(profile, generation, draft.manifest)
    return generation


def _record(profile: Profile, draft: Draft, number: int = 0) -> Generation:
    """Record a generation under this number, 0 for the next."""
    manifest = draft.manifest
    generation = Generation(
        number=number,
        digest=manifest.digest,
        base_key=profile.base_key,
        created=time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        state="untried",
        keep=False,
        config=draft.config_file,
        base=manifest.base,
        inputs=draft.inputs,
        packages=[[member.name, member.version, member.plugin, member.editable] for member in manifest.members],
        left_out=manifest.left_out,
        reason=f"{draft.verb} --force" if manifest.failed and draft.verb == "build" else draft.verb,
    )

    def beside(numbered: Generation) -> None:
        registry.keep(profile, numbered, manifest)

    write = recording.put if number else recording.add
    return write(profile, generation, config=draft.config.encode(), lock=draft.lock, beside=beside)
