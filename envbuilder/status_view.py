"""How the status is shown: first whether a new engine process gets the set, then everything around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envbuilder.build_view import finding_line, said_of
from envbuilder.planning import counted
from envbuilder.registry import warning_of_manager
from envbuilder.views import generation_record

if TYPE_CHECKING:
    from envbuilder.console import Console
    from envbuilder.profile import Generation
    from envbuilder.status import Status


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
        lines.append(("current", _current_line(found.current)))
    if found.held and found.newest and found.current and found.newest.number != found.current.number:
        lines.append(("held", f"generation {found.newest.number} was rolled back; a changed config ends the hold"))
    if found.rollback_target is not None:
        lines.append(("rollback", f"would go to generation {found.rollback_target}"))
    lines += [("drift", change) for change in found.drift]
    lines += [("warning", line) for line in _warnings(found)]
    if found.manifest and found.current:
        lines += [("note", line) for line in said_of(found.manifest.provided, found.manifest.ignored)]
        lines += [("left out", f"{plugin}: {why}") for plugin, why in found.current.left_out.items()]
        lines += [("warning", finding_line(finding)) for finding in found.manifest.findings]
        lines += [
            ("probe", f"{result.name}: {result.status}") for result in found.manifest.probe if result.status != "ok"
        ]
        lines += [("allow-list", f"{name}={value}") for name, value in found.manifest.allow_lists.items()]
    return lines


def _warnings(found: Status) -> list[str]:
    """Say what else in the base loads plugins."""
    return list(filter(None, [warning_of_manager(found.base)]))


def _current_line(current: Generation) -> str:
    editable = [name for name, _, _, is_editable in current.packages if is_editable]
    plugins = sum(1 for _, _, plugin, _ in current.packages if plugin)
    words = [f"generation {current.number}", current.state, counted(plugins, "plugin")]
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
        "current": generation_record(found.current) if found.current else None,
        "newest": found.newest.number if found.newest else None,
        "held": found.held,
        "rollback_target": found.rollback_target,
        "drift": list(found.drift),
        "warnings": _warnings(found),
        "allow_lists": found.manifest.allow_lists if found.manifest else {},
        "provided": found.manifest.provided if found.manifest else {},
        "ignored": found.manifest.ignored if found.manifest else {},
    }
