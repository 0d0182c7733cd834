"""How it is shown what went into a cache or came out of one, and what one holds."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from envbuilder.console import one_line
from envbuilder.finding_words import show_findings
from envbuilder.planning import counted, size_text

if TYPE_CHECKING:
    from typing import Any

    from envbuilder.carrying import Exported
    from envbuilder.console import Console
    from envbuilder.delivery import Pulled
    from envbuilder.following import Followed
    from envbuilder.inventory import Inventory
    from envbuilder.loading import Pushed
    from envbuilder.waybill import Channel, Waybill


def show_pushed(pushed: Pushed, number: int, url: str, as_json: bool, console: Console) -> None:
    """Show what a push came to."""
    if as_json:
        console.json(_pushed_record(pushed, number))
        return
    named = f"generation {number} ({pushed.digest[:12]})"
    moved = f"{counted(pushed.sent, 'package')}, {size_text(pushed.bytes)}"
    told = f"pushed {named}: {moved}" if pushed.is_new else f"`{url}` has {named} already"
    were = "was" if pushed.had == 1 else "were"
    console.say(f"{told}; {pushed.had} {were} there" if pushed.is_new and pushed.had else told)
    if pushed.channel:
        console.say(f"the channel `{pushed.channel.name}` names it now")
    else:
        console.hint(f"`vpm-env pull {quote(url)} {pushed.digest}` has it on another machine")


def _pushed_record(pushed: Pushed, number: int) -> dict[str, Any]:
    return {
        "digest": pushed.digest,
        "generation": number,
        "new": pushed.is_new,
        "packages": {"sent": pushed.sent, "bytes": pushed.bytes, "had": pushed.had},
        "channel": pushed.channel.name if pushed.channel else None,
    }


def show_pulled(pulled: Pulled, as_json: bool, console: Console) -> None:
    """Show what a pull came to."""
    if as_json:
        console.json(pulled_record(pulled))
        return
    show_findings(pulled.findings, console)
    for result in pulled.failed:
        console.warn(f"it was pushed in spite of a failed probe: {result.group}: {result.name} {result.wrong}")
    if pulled.done is None:
        console.data(pulled.path)
        return
    named = f"generation {pulled.done.generation.number} ({pulled.digest[:12]})"
    before = pulled.done.before.number if pulled.done.before else "none"
    console.say(
        {
            "unchanged": f"nothing changed: {named} is current",
            "made": f"made {named}; `current` is as it was",
        }.get(pulled.done.kind, f"switched to {named}, was {before}")
    )
    if pulled.done.kind == "made":
        console.hint(f"`vpm-env switch {pulled.done.generation.number}` makes it current")


def pulled_record(pulled: Pulled) -> dict[str, Any]:
    """Return what a pull came to, as plain data."""
    done = pulled.done
    return {
        "digest": pulled.digest,
        "base_key": pulled.base_key,
        "path": pulled.path,
        "generation": done.generation.number if done else None,
        "before": done.before.number if done and done.before else None,
        "switched": bool(done and done.kind == "switched"),
        "packages": {"fetched": pulled.fetched, "bytes": pulled.bytes, "had": pulled.had},
        "ran": [one._asdict() for one in pulled.ran],
    }


def show_followed(followed: Followed, as_json: bool, console: Console) -> None:
    """Show what a look at a channel came to."""
    channel = followed.channel
    if as_json:
        pulled = pulled_record(followed.pulled) if followed.pulled else None
        console.json(
            {
                "channel": channel.name,
                "serial": channel.serial,
                "digest": channel.digest,
                "pulled": pulled,
                "other": followed.other,
            }
        )
        return
    console.detail(f"`{channel.name}` names {channel.digest[:12]}, by its move {channel.serial}")
    if followed.other is not None:
        now = f"{followed.other[:12]} is current" if followed.other else "nothing is current"
        console.say(f"`{channel.name}` names {channel.digest[:12]}, and {now}; that stays so until the channel moves")
    if followed.pulled:
        show_pulled(followed.pulled, False, console)


def show_channel(channel: Channel, as_json: bool, console: Console) -> None:
    """Show which set a channel names."""
    if as_json:
        console.json(_channel_record(channel))
        return
    before = f", before {channel.before[-1][:12]}" if channel.before else ""
    console.data(f"{channel.name}  {channel.digest}  (move {channel.serial}{before})")


def _channel_record(channel: Channel) -> dict[str, Any]:
    return {
        "channel": channel.name,
        "digest": channel.digest,
        "serial": channel.serial,
        "before": list(channel.before),
    }


def show_listed(found: Inventory, as_json: bool, console: Console) -> None:
    """Show what a cache holds."""
    if as_json:
        console.json(
            {
                "channels": [_channel_record(channel) for channel in found.channels],
                "sets": [_set_record(each) for each in found.sets],
                "unread": [{"path": path, "reason": reason} for path, reason in found.unread],
            }
        )
        return
    for channel in found.channels:
        console.data(f"channel  {channel.name} → {channel.digest[:12]} (move {channel.serial})")
    for each in found.sets:
        manifest = each.manifest
        of = f"{manifest.base['engine']} {manifest.base['engine_version']}".strip()
        plugins = ", ".join(f"{member.name} {member.version}" for member in manifest.members if member.plugin)
        console.data(
            f"set      {each.digest}  {of}, {manifest.soabi}, {size_text(each.size)}: {plugins or 'no plugins'}"
        )
    for path, reason in found.unread:
        console.warn(one_line(f"{path}: {reason}"))
    if not (found.channels or found.sets or found.unread):
        console.say("the cache is empty")


def _set_record(waybill: Waybill) -> dict[str, Any]:
    manifest = waybill.manifest
    return {
        "digest": waybill.digest,
        "engine": manifest.base["engine"],
        "engine_version": manifest.base["engine_version"],
        "soabi": manifest.soabi,
        "platform": manifest.platform,
        "bytes": waybill.size,
        "packages": [
            {"name": member.name, "version": member.version, "key": member.key} for member in manifest.members
        ],
    }


def show_exported(exported: Exported, number: int, path: str, as_json: bool, console: Console) -> None:
    """Show what an export came to."""
    if as_json:
        record = {"digest": exported.digest, "generation": number, "file": path, "bytes": exported.bytes}
        record["sha256"] = exported.sha256
        console.json({**record, "wheels": list(exported.wheels)})
        return
    console.say(f"wrote generation {number} ({exported.digest[:12]}) to `{path}`, {size_text(exported.bytes)}")
    if exported.wheels:
        console.say(
            f"sha256 {exported.sha256}: compare it over there before you install the wheels, which nobody signs"
        )
    console.hint(f"`vpm-env import {quote(path)}` has it on another machine")
