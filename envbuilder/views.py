"""How sets are shown: what a build came to, the history, the list; as text, and as JSON where it was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envbuilder import overlay
from envbuilder import profile as profiles
from envbuilder.console import Console, Table
from envbuilder.errors import ProfileError
from envbuilder.planning import Change, changes, size_text
from envbuilder.switching import chosen

if TYPE_CHECKING:
    from envbuilder.errors import Finding
    from envbuilder.manifest import Manifest, ProbeResult
    from envbuilder.pipeline import Outcome
    from envbuilder.profile import Generation, Profile


def show_build(outcome: Outcome, as_json: bool, console: Console) -> None:
    """Show what a build came to."""
    if as_json:
        console.json(_build_record(outcome))
        return
    _show_set(outcome, console)
    generation = outcome.generation
    if generation is None:
        for change in outcome.changes:
            console.data(_planned(change, outcome))
        console.say("nothing would change" if not outcome.changes else "nothing was changed: this was a dry run")
        return
    for change in outcome.changes:
        console.say(f"  {change}")
    told, way_forward = _told(outcome, generation)
    console.say(told)
    if way_forward:
        console.hint(way_forward)


def _told(outcome: Outcome, generation: Generation) -> tuple[str, str]:
    """Say how a build ended, and the next step ("" where there is none)."""
    named = f"generation {generation.number} ({generation.digest[:12]})"
    before = outcome.before.number if outcome.before else "none"
    match outcome.kind:
        case "held":
            way = f"`vpm-env switch {generation.number}` takes it again"
            return f"{named} was rolled back and stays so; generation {before} is current", way
        case "unchanged":
            return f"nothing changed: {named} is current", ""
        case "made":
            return f"made {named}; `current` is as it was", f"`vpm-env switch {generation.number}` makes it current"
    way = "" if outcome.before else "`vpm-env status` tells whether engine processes get it"
    return f"switched to {named}, was {before}", way


def _show_set(outcome: Outcome, console: Console) -> None:
    """Tell everything about a set that must not go unsaid."""
    for note in outcome.notes:
        console.say(f"note: {note}")
    for line in said_of(outcome.assembled.lock.provided, outcome.assembled.lock.ignored):
        console.say(f"note: {line}")
    for plugin, why in outcome.assembled.lock.left_out.items():
        console.warn(f"without `{plugin}` (optional): {why}")
    manifest = outcome.assembled.manifest
    if manifest:
        _show_checks(manifest, console)


def said_of(provided: dict[str, str], ignored: dict[str, list[str]]) -> list[str]:
    """Say what a set leaves to the base, and which of the base's bounds it ignores: a sentence each."""
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
    if manifest is None:
        raise ProfileError(
            f"the overlay of generation {generation.number} is damaged", hint="run `vpm-env build --force`"
        )
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
    for line in said_of({}, manifest.ignored):
        console.say(f"note: {line}")


def _split_version(entry: str) -> tuple[str, str]:
    name, _, version = entry.partition(" ")
    return name, version
