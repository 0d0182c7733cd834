"""How the housekeeping is shown: the hook, what gc took, what uninstall left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder.console import Table
from envbuilder.planning import counted, size_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envbuilder.console import Console
    from envbuilder.going import Item, Used
    from envbuilder.keeping import Marked
    from envbuilder.profile import Profile
    from envbuilder.removal import Removed
    from envbuilder.startup import HookStatus, Installed
    from envbuilder.sweep import Swept


def show_hook(hook: HookStatus, as_json: bool, console: Console) -> None:
    """Show what hook the base has."""
    if as_json:
        fields = {name: getattr(hook, name) for name in hook.__slots__ if name != "version"}
        console.json({"intact": hook.intact, "vpm_env": hook.version, **fields})
        return
    console.data(hook.text)
    if not hook.intact:
        console.hint("run `vpm-env hook install`")


def show_hook_installed(installed: Installed, as_json: bool, console: Console) -> None:
    """Show where a hook was put."""
    if as_json:
        console.json({"action": "install", "folder": installed.folder, "files": list(installed.files)})
        return
    console.say(f"installed the hook in `{installed.folder}`")


def show_hook_removed(paths: Sequence[str], as_json: bool, console: Console) -> None:
    """Show what of a hook was removed."""
    if as_json:
        console.json({"action": "uninstall", "removed": list(paths)})
        return
    for path in paths:
        console.say(f"removed {path}")
    if not paths:
        console.say("the base has no hook; nothing to remove")


def show_hook_texts(texts: Mapping[str, str], as_json: bool, console: Console) -> None:
    """Show what a hook would be, each file under its path."""
    if as_json:
        console.json({"action": "show", "files": [{"path": path, "text": text} for path, text in texts.items()]})
        return
    console.data("\n".join(f"# {path}\n{text}" for path, text in texts.items()))


def show_swept(swept: Swept, dry_run: bool, as_json: bool, console: Console) -> None:
    """Show what gc took, or would take, and why."""
    if as_json:
        record = {name: getattr(swept, name) for name in swept.__slots__ if name not in ("items", "used")}
        items = [{name: getattr(item, name) for name in item.__slots__} for item in swept.items]
        generations = [entry._asdict() for entry in swept.generations]
        lists = {"items": items, "used": [{"kind": u.kind, "name": u.name, "by": u.by} for u in swept.used]}
        console.json({"dry_run": dry_run, **record, "generations": generations, **lists})
        return
    rows = [(item.kind, _shown_name(item), size_text(item.bytes), item.why) for item in swept.items]
    if rows:
        console.table(Table(headings=("", "name", ">frees", "why"), rows=rows))
    for used in swept.used:
        more = f", and {len(used.by) - 1} more" if len(used.by) > 1 else ""
        console.say(f"{_shown_name(used)} stays: {used.by[0]}{more}")
    console.say(_freed(swept, dry_run))
    if swept.over:
        console.warn(f"{size_text(swept.over)} too little: what is left is protected")
        console.hint("current, newest, kept and recent sets stay, rollback targets, and what a process uses")


def _shown_name(item: Item | Used) -> str:
    if item.kind == "overlay":
        return item.name[:12]
    return item.name.split("-", 1)[1] if item.kind == "package" else item.name


def _freed(swept: Swept, dry_run: bool) -> str:
    numbers = [counted(len(swept.overlays), "overlay"), counted(len(swept.packages), "package")]
    others = len([item for item in swept.items if item.kind in ("leftover", "trash")])
    numbers += [counted(others, "leftover")] if others else []
    freed = f"{'would free' if dry_run else 'freed'} {size_text(swept.bytes)}"
    later = f", and {size_text(swept.later)} when the grace is over" if swept.later else ""
    return f"{freed}{later}: {', '.join(numbers)}"


def show_marked(marked: tuple[Marked, ...], profile: Profile, keep: bool, as_json: bool, console: Console) -> None:
    """Show which generations are kept now, or are no longer."""
    if as_json:
        records = [
            {
                "generation": entry.generation.number,
                "digest": entry.generation.digest,
                "keep": keep,
                "changed": entry.changed,
                "on_disk": entry.on_disk,
            }
            for entry in marked
        ]
        console.json({"profile": profile.name, "base": profile.base_key, "generations": records})
        return
    for entry in marked:
        number = entry.generation.number
        console.say(f"generation {number} ({entry.generation.digest[:12]}) {_said_of_mark(keep, entry.changed)}")
        if keep and not entry.on_disk:
            console.hint(f"it was collected before: `vpm-env switch {number}` rebuilds it from its lock")


def _said_of_mark(keep: bool, changed: bool) -> str:
    if keep:
        return "is kept: gc spares it" if changed else "was kept already"
    return "is kept no longer" if changed else "was not kept"


def show_removed(removed: Removed, dry_run: bool, as_json: bool, console: Console) -> None:
    """Show what uninstall took, and what is left."""
    if as_json:
        record = {"removed": list(removed.paths), "bytes": removed.bytes, "left": list(removed.left)}
        console.json({"dry_run": dry_run, **record})
        return
    verb = "would remove" if dry_run else "removed"
    for path in removed.paths:
        console.say(f"{verb} {path}")
    console.say(f"{'would free' if dry_run else 'freed'} {size_text(removed.bytes)}")
    for path in removed.left:
        console.data(f"left: {path}")
