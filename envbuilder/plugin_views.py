"""How plugins are shown as the engine sees them, and what could be newer."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Any

from envbuilder.console import Table
from envbuilder.planning import counted

if TYPE_CHECKING:
    from envbuilder.allowed import Listing, Point
    from envbuilder.console import Console
    from envbuilder.outdated import Outdated, Row
    from envbuilder.revision import Revision


def show_listing(found: Revision, listing: Listing, *, export: bool, as_json: bool, console: Console) -> None:
    """Show every entry point that the engine sees, and the allow-list for exactly this set; `export`: only that."""
    if as_json:
        console.json(_listing_record(found, listing))
        return
    if not export:
        _show_points(listing, console)
    if listing.variable is None:
        console.say(f"the engine `{listing.engine.name}` has no allow-list that is known: its host decides what loads")
        return
    console.data(f"export {listing.variable}={quote(listing.value)}")
    for name in listing.unlistable:
        console.warn(f"`{name}` cannot be listed in {listing.variable}, because it holds a comma")
    if not export:
        _tell(listing, listing.variable, console)


def _show_points(listing: Listing, console: Console) -> None:
    rows = [(point.group, point.name, _owner(point), _loads(point, console)) for point in listing.points]
    if rows:
        console.table(Table(headings=("group", "name", "owner", "loads"), rows=rows))
        console.data("")
    for plugin in listing.silent:
        console.say(f"`{plugin}` has no entry point of the engine's: it is there to be imported")


def _owner(point: Point) -> str:
    owner = f"{point.package} {point.version}"
    return f"{owner} (base)" if point.in_base else owner


def _loads(point: Point, console: Console) -> str:
    word = console.mark("good", "yes") if point.loads else console.mark("error", "no")
    return f"{word}: {point.why}" if point.why else word


def _tell(listing: Listing, variable: str, console: Console) -> None:
    for name, near in listing.unknown:
        shown = f"{variable} names `{name}`, which nothing provides"
        console.warn(f"{shown}; did you mean `{near}`?" if near else shown)
    if listing.present == listing.value:
        console.say(f"{variable} has this value already")
        return
    now = "is not set" if listing.present is None else f"is `{listing.present}`" if listing.present else "is empty"
    need = "the set needs the value above" if listing.needed else "everything of the set loads as it is"
    console.say(f"{variable} {now}: {need}")
    if listing.engine.list_note:
        console.say(f"note: {listing.engine.list_note}")


def _listing_record(found: Revision, listing: Listing) -> dict[str, Any]:
    return {
        "generation": found.generation.number,
        "digest": found.generation.digest,
        "engine": listing.engine.name,
        "variable": listing.variable,
        "present": listing.present,
        "value": listing.value,
        "needed": listing.needed,
        "unknown": [{"name": name, "near": near} for name, near in listing.unknown],
        "unlistable": list(listing.unlistable),
        "without_entry_points": list(listing.silent),
        "entry_points": [
            {
                "group": point.group,
                "name": point.name,
                "value": point.value,
                "package": point.package,
                "version": point.version,
                "owner": "base" if point.in_base else "set",
                "plugin": point.plugin,
                "loads": point.loads,
                "why": point.why,
            }
            for point in listing.points
        ],
    }


def show_outdated(found: Outdated, *, every: bool, as_json: bool, console: Console) -> None:
    """Show what could be newer; `every`: also what could not."""
    if as_json:
        console.json(_outdated_record(found))
        return
    rows = [_row(row, console) for row in found.rows if every or row.is_outdated]
    if rows:
        console.table(Table(headings=("package", "version", "fits", "newest", "held by"), rows=rows))
    if found.unknown:
        console.warn(f"what is newest is not known: {found.unknown}")
    outdated = sum(row.is_outdated for row in found.rows)
    movable = sum(row.can_move for row in found.rows)
    total = counted(len(found.rows), "package")
    if not outdated:
        console.say(f"nothing newer for {total}")
        return
    console.say(f"{outdated} of {total} could be newer, {movable} of them with this base and config")
    if found.added:
        console.say(f"an upgrade would bring in {', '.join(found.added)}")
    if movable:
        console.hint("`vpm-env build --upgrade` takes what fits; `--upgrade NAME` takes one")


def _row(row: Row, console: Console) -> tuple[str, ...]:
    fits = "goes" if row.fits is None else row.fits
    newest = row.newest or ("—" if row.source == "index" else row.source)
    return (
        row.name,
        row.locked,
        console.mark("good", fits) if row.can_move else fits,
        newest,
        ", ".join(row.held_by),
    )


def _outdated_record(found: Outdated) -> dict[str, Any]:
    return {
        "generation": found.found.generation.number,
        "packages": [
            {
                "name": row.name,
                "plugin": row.plugin,
                "source": row.source,
                "locked": row.locked,
                "fits": row.fits,
                "newest": row.newest,
                "held_by": list(row.held_by),
            }
            for row in found.rows
        ],
        "added": list(found.added),
        "unknown": found.unknown,
    }
