"""How a change of the config is shown: a line for each plugin, or what a dry run would write."""

from __future__ import annotations

from difflib import unified_diff
from os.path import basename
from typing import TYPE_CHECKING, Any

from envbuilder.planning import ABSENT
from envbuilder.process import without_credentials

if TYPE_CHECKING:
    from envbuilder.console import Console
    from envbuilder.edit import Change, Edited
    from envbuilder.written import Draft

_CONTEXT = 2
_STYLES = {"+": "good", "-": "error", "@": "dim"}


def show_edit(draft: Draft, edited: Edited, *, dry_run: bool, builds: bool, console: Console) -> None:
    """Show what became of the plugins, and the next step unless a build follows."""
    if dry_run:
        for line in _diff(draft, edited):
            console.data(console.mark(_STYLES[line[0]], line) if line[0] in _STYLES else line)
        return console.say(
            "nothing was written: this was a dry run" if _differs(draft, edited) else "nothing would change"
        )
    if draft.is_new:
        console.say(f"wrote `{draft.file}` for {draft.engine}")
    for change in edited.changes:
        console.say(_line(change))
    if _differs(draft, edited) and not builds:
        console.hint("`vpm-env build` makes what the config asks for now")
    return None


def edit_record(draft: Draft, edited: Edited, *, dry_run: bool) -> dict[str, Any]:
    """Return a change as plain data; URLs are without credentials."""
    lines = {plugin.name: plugin.place.line for plugin in edited.config.plugins}
    return {
        "config": draft.file,
        "created": draft.is_new and not dry_run,
        "written": _differs(draft, edited) and not dry_run,
        "changes": [
            {
                "action": change.action,
                "plugin": change.plugin,
                "line": lines.get(change.plugin),
                "keys": [{"key": key, "before": _safe(old), "after": _safe(new)} for key, old, new in change.keys],
            }
            for change in edited.changes
        ],
        "diff": "\n".join(_diff(draft, edited)),
    }


def _line(change: Change) -> str:
    name = f"`{change.plugin}`"
    if change.action == "kept":
        return f"{name} is there as it is asked for; nothing to change"
    if change.action == "added":
        said = ", ".join(_written(value) for key, _, value in change.keys if key not in ("source", "enabled"))
        return f"added {name}" + (f": {said}" if said else "")
    if change.action == "changed":
        keys = (f"{key} {_written(old)} → {_written(new)}" for key, old, new in change.keys)
        return f"{name} is there already; changed {', '.join(keys)}"
    return f"{change.action} {name}"


def _written(value: Any) -> str:
    """Spell a value for a line that people read."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "true" if value else "false"
    safe = _safe(value)
    return ", ".join(map(str, safe)) if isinstance(safe, list) else str(safe)


def _listed(names: Any) -> list[Any]:
    return names if isinstance(names, list) else [names]


def _safe(value: Any) -> Any:
    if isinstance(value, dict):  # entry points by their groups
        return [f"{group}:{_safe(name)}" for group, names in value.items() for name in _listed(names)]
    if isinstance(value, (list, tuple)):
        return [_safe(item) for item in value]
    return without_credentials(value) if isinstance(value, str) else value


def _differs(draft: Draft, edited: Edited) -> bool:
    return draft.is_new or edited.after != edited.before


def _diff(draft: Draft, edited: Edited) -> list[str]:
    """Return what changes, as everybody reads it; a new file is compared with the one that `init` would write."""
    name = basename(draft.file)
    old, new = (without_credentials(text.decode("utf-8-sig")).splitlines() for text in (edited.before, edited.after))
    return list(unified_diff(old, new, fromfile=name, tofile=name, lineterm="", n=_CONTEXT))
