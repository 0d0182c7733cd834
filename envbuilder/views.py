"""How sets are shown: the history and the list, as text, and as JSON where it was asked for."""

from __future__ import annotations

from envbuilder import overlay
from envbuilder import profile as profiles
from envbuilder.build_view import said_of
from envbuilder.console import Console, Table
from envbuilder.errors import ProfileError
from envbuilder.planning import Change, changes, size_text
from envbuilder.switching import chosen
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from envbuilder.manifest import Member
    from envbuilder.profile import Generation, Profile


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
