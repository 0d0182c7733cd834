"""How the status is shown: first whether a new engine process gets the set, then everything around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envbuilder.build_view import said_of
from envbuilder.completed import completion
from envbuilder.finding_words import finding_rows
from envbuilder.planning import counted
from envbuilder.probe_words import named_record, state
from envbuilder.registry import warning_of_manager
from envbuilder.views import generation_record

if TYPE_CHECKING:
    from envbuilder.allowed import Listing
    from envbuilder.console import Console
    from envbuilder.profile import Generation
    from envbuilder.prospect import Gets, NextBuild
    from envbuilder.status import Status


def show_status(found: Status, as_json: bool, console: Console) -> None:
    """Show first whether a new engine process gets the set, then everything around it."""
    if as_json:
        console.json(_status_record(found))
        return
    console.data(console.mark(_weight(found), found.headline))
    console.data("")
    for name, value in _status_lines(found):
        console.data(f"{name + ':':<10} {value}")
    if found.way_forward:
        console.hint(found.way_forward)


def _weight(found: Status) -> str:
    return "good" if found.active else "warning" if found.builds_first else "error"


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
    if found.builds_first:
        lines.append(("next start", _next_start(found.builds_first)))
    lines += [("failed", _failure(name, why)) for name, why in found.failed.items()]
    lines += [("drift", change) for change in found.drift]
    lines += [("warning", line) for line in _warnings(found)]
    if found.manifest and found.current:
        lines += [("note", line) for line in said_of(found.manifest.provided, found.manifest.ignored)]
        lines += [("left out", f"{plugin}: {why}") for plugin, why in found.current.left_out.items()]
        lines += finding_rows(found.manifest.findings)
        lines += [
            ("probe", state(result, completion(result, found.completed)))
            for result in found.manifest.probe
            if result.status != "ok"
        ]
        lines += [("allow-list", f"{name}={value}") for name, value in _allow_lists(found).items()]
    return lines


def _failure(plugin: str, why: str) -> str:
    return f"the last build, for `{plugin}`: {' '.join(why.split())}"


def _next_start(build: NextBuild) -> str:
    return f"builds first from `{build.config}`: {build.why}; if that fails: {build.policy}"


def _allow_lists(found: Status) -> dict[str, str]:
    return found.listing.settings if found.listing else {}


def _warnings(found: Status) -> list[str]:
    """Say what else in the base loads plugins, and what this environment keeps from loading."""
    return list(filter(None, [warning_of_manager(found.base), _warning_of_list(found.listing)]))


def _warning_of_list(listing: Listing | None) -> str:
    if listing is None or not listing.left_out:
        return ""
    names = ", ".join(f"`{name}`" for name in listing.left_out)
    does = "an engine that is started here does not load them"
    return f"{listing.variable} is set and leaves out {names}: {does}; set it to `{listing.value}`"


def _current_line(current: Generation) -> str:
    editable = [name for name, _, _, is_editable in current.packages if is_editable]
    plugins = sum(1 for _, _, plugin, _ in current.packages if plugin)
    words = [f"generation {current.number}", current.state, counted(plugins, "plugin")]
    words += [f"editable: {', '.join(editable)}"] if editable else []
    return ", ".join(words)


def _fields(it: Gets | NextBuild | None) -> dict[str, Any] | None:
    return {name: getattr(it, name) for name in it.__slots__} if it else None


def _status_record(found: Status) -> dict[str, Any]:
    return {
        "active": found.active,
        "why_not": found.why_not,
        "way_forward": found.way_forward,
        "gets": _fields(found.gets),
        "builds_first": _fields(found.builds_first),
        "failed": found.failed,
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
        "allow_lists": _allow_lists(found),
        "provided": found.manifest.provided if found.manifest else {},
        "ignored": found.manifest.ignored if found.manifest else {},
        "probe": [
            named_record(result, completion(result, found.completed))
            for result in (found.manifest.probe if found.manifest else ())
            if result.status != "ok"
        ],
        "findings": [finding._asdict() for finding in found.manifest.findings] if found.manifest else [],
    }
