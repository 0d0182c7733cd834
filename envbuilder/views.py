"""How sets are shown: the history and the list, as text, and as JSON where it was asked for."""

from __future__ import annotations

from envbuilder import overlay
from envbuilder import profile as profiles
from envbuilder.build_view import said_of
from envbuilder.console import Console, Table
from envbuilder.errors import ProfileError
from envbuilder.planning import size_text
from envbuilder.remains import UNKNOWN
from envbuilder.steps import steps
from envbuilder.switching import chosen
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from envbuilder.manifest import Member
    from envbuilder.profile import Generation, Profile


def show_history(profile: Profile, as_json: bool, console: Console) -> None:
    """Show every generation, oldest first, with what it changed; of one whose record is lost, what is left of it."""
    known = [profiles.known(profile, number) for number in profiles.numbers(profile)]
    if lost := [str(entry.number) for entry in known if entry.reason == profiles.LOST]:
        records = "the record of generation" if len(lost) == 1 else "the records of generations"
        console.warn(f"{records} {', '.join(lost)} cannot be read: {profiles.REPAIR}")
    now = profiles.current(profile)
    if as_json:
        console.json(
            {
                "profile": profile.name,
                "base": profile.base_key,
                "current": now,
                "held": profiles.order(profile).held,
                "generations": [
                    {**generation_record(entry), "on_disk": profiles.is_on_disk(profile, entry)} for entry in known
                ],
            }
        )
        return
    said = steps(profile, known)
    rows = [_history_row(profile, entry, what, now, console) for entry, what in zip(known, said, strict=True)]
    if rows:
        console.table(Table(headings=("", ">generation", "digest", "state", "made", "changes"), rows=rows))
    else:
        console.say(f"the profile `{profile.name}` has no generations for this base")


def _history_row(
    profile: Profile, entry: Generation, said: tuple[str, ...], now: int | None, console: Console
) -> tuple[str, ...]:
    words = [entry.state if entry.reason != profiles.LOST else UNKNOWN] + (["kept"] if entry.keep else [])
    if not profiles.is_on_disk(profile, entry):
        words.append("its store is gone" if profiles.lost_packages(profile, entry) else "collected")
    heading = {"bad": "failed", "untried": "not judged"}.get(entry.state)
    judged = [f"{heading}: {entry.why}"] if heading and entry.why else []
    what = [*said, *(f"without {plugin}" for plugin in entry.left_out), *judged]
    mark = console.mark("good", "→") if entry.number == now else ""
    made = entry.created.replace("T", " ")[:16]
    return (mark, str(entry.number), entry.digest[:12], ", ".join(words), made, "; ".join(what))


def generation_record(entry: Generation) -> dict[str, Any]:
    """Return what is shown of a generation as JSON."""
    names = ("name", "version", "plugin", "editable")
    shown = {name: value for name, value in entry._asdict().items() if name != "kept"}
    return {**shown, "packages": [dict(zip(names, package, strict=True)) for package in entry.packages]}


def show_list(profile: Profile, as_json: bool, console: Console) -> None:
    """Show what the current set is made of."""
    generation = chosen(profile, None)
    manifest = overlay.get(profile.layout, profile.base_key, generation.digest)
    if manifest is None:
        way = f"`vpm-env switch {generation.number}` makes it again from its lock"
        raise ProfileError(f"the overlay of generation {generation.number} is damaged", hint=way)
    if as_json:
        console.json({"generation": generation.number, **manifest.to_dict()})
        return
    rows = [
        (
            member.name,
            member.version,
            member.plugin or "dependency",
            size_text(member.size),
            _note(member, manifest.selection.get(member.name)),
        )
        for member in sorted(manifest.members, key=lambda member: (not member.plugin, member.name))
    ]
    rows += [(*_split_version(entry), plugin, "", "provided by base") for plugin, entry in manifest.provided.items()]
    rows += [(plugin, "", plugin, "", "left out") for plugin in generation.left_out]
    console.table(Table(headings=("package", "version", "plugin", ">size", "note"), rows=rows))
    for line in said_of({}, manifest.ignored):
        console.say(f"note: {line}")


def _note(member: Member, selection: list[str] | None) -> str:
    words = [word for word, said in (("editable", member.editable), ("override", member.override)) if said]
    if selection is not None:
        names = ", ".join(point.partition(":")[2] for point in selection)
        words.append(f"only {names}" if names else "no entry points")
    return ", ".join(words)


def _split_version(entry: str) -> tuple[str, str]:
    name, _, version = entry.partition(" ")
    return name, version
