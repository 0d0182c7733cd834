"""How answers are shown: each as text, and as JSON where it was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envbuilder import overlay
from envbuilder import profile as profiles
from envbuilder.console import Console, Table
from envbuilder.planning import Change, changes, size_text
from envbuilder.switching import chosen

if TYPE_CHECKING:
    from envbuilder.errors import Finding
    from envbuilder.manifest import Manifest, ProbeResult
    from envbuilder.pipeline import Outcome
    from envbuilder.profile import Generation, Profile
    from envbuilder.removal import Removed
    from envbuilder.startup import HookStatus
    from envbuilder.status import Status
    from envbuilder.sweep import Swept, Verified


def show_build(outcome: Outcome, as_json: bool, console: Console) -> None:
    """Show what a build came to."""
    if as_json:
        console.json(_build_record(outcome))
        return
    _show_set(outcome, console)
    generation, before = outcome.generation, outcome.before
    if generation is None:
        for change in outcome.changes:
            console.data(_planned(change, outcome))
        console.say("nothing would change" if not outcome.changes else "nothing was changed: this was a dry run")
        return
    for change in outcome.changes:
        console.say(f"  {change}")
    named = f"generation {generation.number} ({generation.digest[:12]})"
    if outcome.kind == "held":
        now = before.number if before else "none"
        console.say(f"{named} was rolled back and stays so; generation {now} is current")
        console.hint(f"`vpm-env switch {generation.number}` takes it again")
    elif outcome.kind == "unchanged":
        console.say(f"nothing changed: {named} is current")
    elif outcome.kind == "made":
        console.say(f"made {named}; `current` is as it was")
        console.hint(f"`vpm-env switch {generation.number}` makes it current")
    else:
        console.say(f"switched to {named}, was {before.number if before else 'none'}")
        if before is None:
            console.hint("`vpm-env status` tells whether engine processes get it")


def _show_set(outcome: Outcome, console: Console) -> None:
    """Tell everything about a set that must not go unsaid."""
    for note in outcome.notes:
        console.say(f"note: {note}")
    for line in _said_of(outcome.assembled.lock.provided, outcome.assembled.lock.ignored):
        console.say(f"note: {line}")
    for plugin, why in outcome.assembled.lock.left_out.items():
        console.warn(f"without `{plugin}` (optional): {why}")
    manifest = outcome.assembled.manifest
    if manifest:
        _show_checks(manifest, console)


def _said_of(provided: dict[str, str], ignored: dict[str, list[str]]) -> list[str]:
    lines = [f"`{plugin}` is provided by the base ({entry})" for plugin, entry in provided.items()]
    return lines + [f"`{plugin}` ignores its bounds on {', '.join(names)}" for plugin, names in ignored.items()]


def _show_checks(manifest: Manifest, console: Console) -> None:
    for finding in manifest.findings:
        console.warn(finding_line(finding))
    for result in manifest.probe:
        if result.status == "needs-device":
            console.say(f"note: {result.group}: {result.name} needs a device to load: {result.error}")


def finding_line(finding: Finding) -> str:
    """Say a finding in one line."""
    return f"{finding.code}: {finding.what}: {finding.why}; {finding.way_forward}"


def _planned(change: Change, outcome: Outcome) -> str:
    locked = outcome.assembled.lock.package(change.name)
    sizes = [wheel["size"] for wheel in locked.wheels if "size" in wheel] if locked and change.size is None else []
    return f"{change}, {size_text(max(sizes))} to fetch" if sizes else str(change)


def _build_record(outcome: Outcome) -> dict[str, Any]:
    lock, manifest = outcome.assembled.lock, outcome.assembled.manifest
    return {
        "result": outcome.kind,
        "generation": outcome.generation.number if outcome.generation else None,
        "digest": outcome.generation.digest if outcome.generation else None,
        "before": outcome.before.number if outcome.before else None,
        "base": outcome.base.key,
        "changes": [
            {"name": change.name, "before": change.before, "after": change.after, "bytes": change.size}
            for change in outcome.changes
        ],
        "provided": lock.provided,
        "ignored": lock.ignored,
        "left_out": lock.left_out,
        "findings": [finding._asdict() for finding in manifest.findings] if manifest else [],
        "probe": [_probe_record(result) for result in manifest.probe] if manifest else [],
    }


def _probe_record(result: ProbeResult) -> dict[str, Any]:
    return {
        "entry_point": f"{result.group}:{result.name}",
        "plugin": result.plugin,
        "status": result.status,
        "error": result.error,
        "seconds": round(result.seconds, 3),
    }


def show_history(profile: Profile, as_json: bool, console: Console) -> None:
    """Show every generation, oldest first, with what it changed."""
    known = profiles.generations(profile)
    now = profiles.current(profile)
    if as_json:
        console.json(
            {
                "profile": profile.name,
                "base": profile.base_key,
                "current": now,
                "held": profiles.order(profile).held,
                "generations": [{**entry._asdict(), "on_disk": profiles.is_on_disk(profile, entry)} for entry in known],
            }
        )
        return
    rows, before = [], None
    for entry in known:
        rows.append(_history_row(profile, entry, before, now, console))
        before = entry
    if rows:
        console.table(Table(headings=("", ">generation", "digest", "state", "made", "changes"), rows=rows))
    else:
        console.say(f"the profile `{profile.name}` has no generations for this base")


def _history_row(
    profile: Profile, entry: Generation, before: Generation | None, now: int | None, console: Console
) -> tuple[str, ...]:
    words = [entry.state] + (["kept"] if entry.keep else [])
    words += [] if profiles.is_on_disk(profile, entry) else ["collected"]
    what = [str(change) for change in _between(before, entry)]
    what += [f"without {plugin}" for plugin in entry.left_out]
    mark = console.mark("good", "→") if entry.number == now else ""
    made = entry.created.replace("T", " ")[:16]
    return (mark, str(entry.number), entry.digest[:12], ", ".join(words), made, "; ".join(what) or "same packages")


def _between(before: Generation | None, after: Generation) -> tuple[Change, ...]:
    old = {name: (version, "", 0) for name, version, _, _ in before.packages} if before else {}
    new: dict[str, tuple[str, str, int | None]] = {name: (version, "", 0) for name, version, _, _ in after.packages}
    return changes(old, new)


def show_list(profile: Profile, as_json: bool, console: Console) -> None:
    """Show what the current set is made of."""
    generation = chosen(profile, None)
    manifest = overlay.get(profile.layout, profile.base_key, generation.digest)
    assert manifest is not None or not profiles.is_on_disk(profile, generation)
    if manifest is None:
        return
    if as_json:
        console.json({"generation": generation.number, **manifest.to_dict()})
        return
    rows = [
        (
            member.name,
            member.version,
            member.plugin or "dependency",
            size_text(member.size),
            ", ".join(word for word, said in (("editable", member.editable), ("override", member.override)) if said),
        )
        for member in sorted(manifest.members, key=lambda member: (not member.plugin, member.name))
    ]
    rows += [(*_split_version(entry), plugin, "", "provided by base") for plugin, entry in manifest.provided.items()]
    rows += [(plugin, "", plugin, "", "left out") for plugin in generation.left_out]
    console.table(Table(headings=("package", "version", "plugin", ">size", "note"), rows=rows))
    for line in _said_of({}, manifest.ignored):
        console.say(f"note: {line}")


def _split_version(entry: str) -> tuple[str, str]:
    name, _, version = entry.partition(" ")
    return name, version


def show_status(found: Status, as_json: bool, console: Console) -> None:
    """Show first whether a new engine process gets the set, then everything around it."""
    if as_json:
        console.json(_status_record(found))
        return
    current = found.current
    if found.active and current:
        console.data(
            console.mark("good", f"a new engine process gets generation {current.number} ({current.digest[:12]})")
        )
    else:
        console.data(console.mark("error", f"a new engine process does not get a set: {found.why_not}"))
    console.data("")
    for name, value in _status_lines(found):
        console.data(f"{name + ':':<10} {value}")
    if found.way_forward:
        console.hint(found.way_forward)


def _status_lines(found: Status) -> list[tuple[str, str]]:
    lines = [
        ("base", f"{found.base.label}, chosen by {found.base.rule}"),
        ("config", (found.config_file or "none") + (" (changed since the last build)" if found.config_changed else "")),
        ("home", found.profile.layout.home),
        ("profile", f"{found.profile.name} for base {found.profile.base_key}"),
        ("hook", found.hook),
    ]
    if found.current:
        lines.append(("current", _current_line(found)))
    if found.held and found.newest and found.current and found.newest.number != found.current.number:
        lines.append(("held", f"generation {found.newest.number} was rolled back; a changed config ends the hold"))
    if found.rollback_target is not None:
        lines.append(("rollback", f"would go to generation {found.rollback_target}"))
    lines += [("drift", change) for change in found.drift]
    if found.manifest and found.current:
        lines += [("note", line) for line in _said_of(found.manifest.provided, found.manifest.ignored)]
        lines += [("left out", f"{plugin}: {why}") for plugin, why in found.current.left_out.items()]
        lines += [("warning", finding_line(finding)) for finding in found.manifest.findings]
        lines += [
            ("probe", f"{result.name}: {result.status}") for result in found.manifest.probe if result.status != "ok"
        ]
        lines += [("allow-list", f"{name}={value}") for name, value in found.manifest.allow_lists.items()]
    return lines


def _current_line(found: Status) -> str:
    assert found.current is not None
    editable = [name for name, _, _, is_editable in found.current.packages if is_editable]
    plugins = sum(1 for _, _, plugin, _ in found.current.packages if plugin)
    words = [f"generation {found.current.number}", found.current.state, f"{plugins} plugins"]
    words += [f"editable: {', '.join(editable)}"] if editable else []
    return ", ".join(words)


def _status_record(found: Status) -> dict[str, Any]:
    return {
        "active": found.active,
        "why_not": found.why_not,
        "way_forward": found.way_forward,
        "base": {
            "key": found.base.key,
            "prefix": found.base.prefix,
            "python": found.base.python,
            "rule": found.base.rule,
        },
        "engine": {"name": found.base.engine.name, "version": found.base.engine_version},
        "home": found.profile.layout.home,
        "profile": found.profile.name,
        "config": found.config_file,
        "config_changed": found.config_changed,
        "hook": found.hook,
        "current": found.current._asdict() if found.current else None,
        "newest": found.newest.number if found.newest else None,
        "held": found.held,
        "rollback_target": found.rollback_target,
        "drift": list(found.drift),
        "allow_lists": found.manifest.allow_lists if found.manifest else {},
        "provided": found.manifest.provided if found.manifest else {},
        "ignored": found.manifest.ignored if found.manifest else {},
    }


def show_hook(hook: HookStatus, as_json: bool, console: Console) -> None:
    """Show what hook the base has."""
    if as_json:
        fields = {name: getattr(hook, name) for name in hook.__slots__}
        console.json({**fields, "intact": hook.intact})
        return
    console.data(hook.text)
    if not hook.intact:
        console.hint("run `vpm-env hook install`")


def show_swept(swept: Swept, dry_run: bool, as_json: bool, console: Console) -> None:
    """Show what gc took, or would take."""
    if as_json:
        console.json({"dry_run": dry_run, **{name: getattr(swept, name) for name in swept.__slots__}})
        return
    for name in swept.generations:
        console.say(f"  generation {name}")
    for key in swept.packages:
        console.say(f"  package {key.split('-', 1)[1]}")
    for digest in swept.leased:
        console.say(f"  {digest[:12]} stays: a process uses it")
    verb = "would free" if dry_run else "freed"
    console.say(f"{verb} {size_text(swept.bytes)}: {len(swept.overlays)} overlays, {len(swept.packages)} packages")


def show_verified(verified: Verified, as_json: bool, console: Console) -> None:
    """Show what verify found."""
    if as_json:
        damage = [{"kind": entry.kind, "name": entry.name, "problems": entry.problems} for entry in verified.damage]
        console.json({"packages": verified.packages, "overlays": verified.overlays, "damage": damage})
        return
    for entry in verified.damage:
        for problem in entry.problems:
            console.warn(f"{entry.kind} {entry.name}: {problem}")
    console.say(f"looked at {verified.packages} packages and {verified.overlays} overlays: {_sound(verified)}")


def _sound(verified: Verified) -> str:
    return f"{len(verified.damage)} damaged" if verified.damage else "all as they were made"


def show_removed(removed: Removed, dry_run: bool, console: Console) -> None:
    """Show what uninstall took, and what is left."""
    verb = "would remove" if dry_run else "removed"
    for path in removed.paths:
        console.say(f"{verb} {path}")
    console.say(f"{'would free' if dry_run else 'freed'} {size_text(removed.bytes)}")
    for path in removed.left:
        console.data(f"left: {path}")
