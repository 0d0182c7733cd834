"""How the housekeeping is shown: the hook, what gc took, what verify found, what uninstall left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder.planning import counted, size_text

if TYPE_CHECKING:
    from envbuilder.console import Console
    from envbuilder.removal import Removed
    from envbuilder.startup import HookStatus
    from envbuilder.sweep import Swept, Verified


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
    overlays, packages = counted(len(swept.overlays), "overlay"), counted(len(swept.packages), "package")
    console.say(f"{verb} {size_text(swept.bytes)}: {overlays}, {packages}")


def show_verified(verified: Verified, as_json: bool, console: Console) -> None:
    """Show what verify found."""
    if as_json:
        damage = [{"kind": entry.kind, "name": entry.name, "problems": entry.problems} for entry in verified.damage]
        console.json({"packages": verified.packages, "overlays": verified.overlays, "damage": damage})
        return
    for entry in verified.damage:
        for problem in entry.problems:
            console.warn(f"{entry.kind} {entry.name}: {problem}")
    packages, overlays = counted(verified.packages, "package"), counted(verified.overlays, "overlay")
    console.say(f"looked at {packages} and {overlays}: {_sound(verified)}")


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
