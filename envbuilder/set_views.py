"""How one generation is shown, and how two of them differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envbuilder import profile as profiles
from envbuilder.completed import completed, completion
from envbuilder.console import Table
from envbuilder.finding_words import finding_rows
from envbuilder.planning import ABSENT, signed_size, size_text
from envbuilder.probe_words import noteworthy, probe_record, probed
from envbuilder.revision import sizes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from envbuilder.comparison import Changed, Comparison
    from envbuilder.completed import Completed
    from envbuilder.console import Console
    from envbuilder.lock import LockedPackage
    from envbuilder.manifest import ProbeResult
    from envbuilder.profile import Generation
    from envbuilder.revision import Revision


def show_generation(found: Revision, as_json: bool, console: Console, *, allow_lists: dict[str, str]) -> None:
    """Show all that is known of one generation; `allow_lists` is variable → value for exactly that set."""
    if as_json:
        console.json({**_record(found), "allow_lists": allow_lists})
        return
    console.data(f"{_named(found.generation)}{console.mark('good', _is_current(found))}")
    allowing = (("allow-list", f"{name}={value}") for name, value in allow_lists.items())
    for name, value in (*_lines(found), *allowing):
        console.data(f"{name + ':':<11} {value}")
    console.data("")
    console.table(
        Table(headings=("package", "version", "plugin", ">size", "source", "note"), rows=list(_packages(found)))
    )
    points = list(_points(found))
    if points:
        console.data("")
        console.table(Table(headings=("group", "entry point", "package", "probe"), rows=points))


def _named(generation: Generation) -> str:
    return f"generation {generation.number} ({generation.digest[:12]})"


def _is_current(found: Revision) -> str:
    return ", current" if profiles.current(found.profile) == found.generation.number else ""


def _lines(found: Revision) -> Iterator[tuple[str, str]]:
    generation = found.generation
    yield "made", f"{generation.created.replace('T', ' ')[:16]} by {generation.reason}"
    judged = f": {generation.why} ({generation.judged.replace('T', ' ')[:16]})" if generation.why else ""
    yield "state", ", ".join([generation.state + judged, *(["kept"] if generation.keep else [])])
    yield "config", generation.config
    yield "profile", f"{found.profile.name} for base {found.profile.base_key}"
    yield "base", generation.base.get("label", generation.base_key)
    yield (
        "relies on",
        ", ".join(f"{name} {version}" for name, version in sorted(found.facts.items())) or "nothing of it",
    )
    yield "overlay", _overlay_line(found)
    measured = sizes(found)
    if measured:
        own = f"{size_text(measured.own)} needed by nothing else"
        yield "size", f"{size_text(measured.files)} of files, {size_text(measured.disk)} on disk, {own}"
    yield from _told(found)


def _overlay_line(found: Revision) -> str:
    if found.manifest and not _is_bereft(found):
        return found.overlay
    if profiles.is_on_disk(found.profile, found.generation):
        return f"damaged; `vpm-env switch {found.generation.number}` makes it again, and makes it current"
    state = "a store that lent packages of it is gone" if _is_bereft(found) else "collected"
    return f"{state}; `vpm-env switch {found.generation.number}` rebuilds it from its lock"


def _is_bereft(found: Revision) -> bool:
    return bool(profiles.lost_packages(found.profile, found.generation))


def _told(found: Revision) -> Iterator[tuple[str, str]]:
    """Say what must not go unsaid of a set."""
    stored = found.manifest or found.lock
    for plugin, entry in (stored.provided if stored else {}).items():
        yield "provided", f"{plugin} by the base ({entry})"
    for plugin, names in (stored.ignored if stored else {}).items():
        yield "ignored", f"{plugin} ignores its bounds on {', '.join(names)}"
    for plugin, why in found.generation.left_out.items():
        yield "left out", f"{plugin}: {' '.join(why.split())}"
    yield from finding_rows(found.manifest.findings if found.manifest else ())
    for result in found.manifest.probe if found.manifest else ():
        if noted := noteworthy(result):
            yield "note", noted


def _packages(found: Revision) -> Iterator[tuple[str, ...]]:
    for package in _package_records(found):
        size = package["bytes"]
        notes = [word for word in ("editable", "override") if package[word]]
        yield (
            package["name"],
            package["version"],
            package["plugin"] or "dependency",
            "" if size is None else size_text(size),
            package["source"],
            ", ".join(notes),
        )


def _package_records(found: Revision) -> list[dict[str, Any]]:
    """Describe each package, plugins first; of a collected set what its record knows."""
    members = {member.name: member for member in found.manifest.members} if found.manifest else {}
    locked = {package.name: package for package in found.lock.packages} if found.lock else {}
    records = [
        {
            "name": name,
            "version": version,
            "plugin": plugin,
            "key": members[name].key if name in members else None,
            "bytes": members[name].size if name in members else None,
            "editable": bool(editable),
            "override": members[name].override if name in members else bool(name in locked and locked[name].override),
            "source": _source(locked.get(name)),
        }
        for name, version, plugin, editable in found.generation.packages
    ]
    return sorted(records, key=lambda record: (not record["plugin"], record["name"]))


def _source(package: LockedPackage | None) -> str:
    if package is None:
        return ""
    if package.vcs:
        return f"git {str(package.vcs.get('commit-id', ''))[:12]}".rstrip()
    return "local" if package.directory or package.archive else "index"


def _points(found: Revision) -> Iterator[tuple[str, ...]]:
    for group, name, _, package, result, later in _tried(found):
        yield group, name, package, probed(result, later)


def _tried(found: Revision) -> Iterator[tuple[str, str, str, str, ProbeResult | None, Completed | None]]:
    """Yield each entry point, its value and package, how it did when probed, and later where there is a device."""
    manifest = found.manifest
    if manifest is None:
        return
    results, known = {(result.group, result.name): result for result in manifest.probe}, completed(found.overlay)
    for group, entries in sorted(manifest.entry_points.items()):
        for name, (value, package) in sorted(entries.items()):
            result = results.get((group, name))
            yield group, name, value, package, result, completion(result, known) if result else None


def _record(found: Revision) -> dict[str, Any]:
    generation, manifest, measured = found.generation, found.manifest, sizes(found)
    return {
        "generation": generation.number,
        "digest": generation.digest,
        "profile": found.profile.name,
        "current": profiles.current(found.profile) == generation.number,
        "on_disk": manifest is not None,
        "state": generation.state,
        "why": generation.why,
        "judged": generation.judged,
        "keep": generation.keep,
        "created": generation.created,
        "reason": generation.reason,
        "config": generation.config,
        "base": {"key": generation.base_key, **generation.base},
        "overlay": found.overlay,
        "packages": _package_records(found),
        "entry_points": _point_records(found),
        "facts": found.facts,
        "findings": [finding._asdict() for finding in manifest.findings] if manifest else [],
        "provided": manifest.provided if manifest else {},
        "ignored": manifest.ignored if manifest else {},
        "left_out": generation.left_out,
        "bytes": {"files": measured.files, "disk": measured.disk, "own": measured.own} if measured else None,
    }


def _point_records(found: Revision) -> list[dict[str, Any]]:
    return [
        {
            "group": group,
            "name": name,
            "value": value,
            "package": package,
            "probe": probe_record(result, later) if result else None,
        }
        for group, name, value, package, result, later in _tried(found)
    ]


def show_difference(found: Comparison, as_json: bool, console: Console) -> None:
    """Show how two generations differ."""
    if as_json:
        console.json(_difference(found))
        return
    console.data(f"{_named(found.before.generation)} → {_named(found.after.generation)}")
    _section("packages", map(str, found.packages), console)
    _section("entry points", map(_line, found.entry_points or ()), console)
    _section("base", map(_line, found.base), console)
    _section("settings", map(_line, found.settings or ()), console)
    if found.space:
        console.data("")
        console.data(f"on disk: {signed_size(found.space.added)}, {signed_size(-found.space.removed)}")
        freed = size_text(found.space.freeable)
        console.say(f"collecting generation {found.before.generation.number} would free {freed}")
    if found.is_empty:
        console.say("nothing differs")
    for side in (found.before, found.after):
        if side.manifest is None:
            console.say(f"generation {side.generation.number} was collected: its entry points and bytes are not known")


def _section(title: str, lines: Iterable[str], console: Console) -> None:
    listed = list(lines)
    if listed:
        console.data(f"\n{title}")
    for line in listed:
        console.data(f"  {line}")


def _line(change: Changed) -> str:
    return f"{change.name}: {change.before or ABSENT} → {change.after or ABSENT}"


def _difference(found: Comparison) -> dict[str, Any]:
    return {
        "before": {"generation": found.before.generation.number, "digest": found.before.generation.digest},
        "after": {"generation": found.after.generation.number, "digest": found.after.generation.digest},
        "packages": [
            {
                "name": change.name,
                "before": change.before,
                "after": change.after,
                "bytes": change.size,
                "rebuilt": bool(change.content),
            }
            for change in found.packages
        ],
        "entry_points": None if found.entry_points is None else [change._asdict() for change in found.entry_points],
        "base": [change._asdict() for change in found.base],
        "settings": None if found.settings is None else [change._asdict() for change in found.settings],
        "bytes": found.space._asdict() if found.space else None,
    }
