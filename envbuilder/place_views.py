"""How vpm-env's places are shown: what it works with here, and why something is on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envbuilder.planning import size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envbuilder.console import Console
    from envbuilder.info import Info
    from envbuilder.roots import Kept


def show_info(found: Info, as_json: bool, console: Console) -> None:
    """Show what vpm-env works with here."""
    if as_json:
        console.json(_info_record(found))
        return
    for name, value in _info_lines(found):
        console.data(f"{name + ':':<10} {value}")
    for trouble in found.troubles:
        console.warn(trouble)


def _info_lines(found: Info) -> Iterator[tuple[str, str]]:
    yield "vpm-env", f"{found.version}, on Python {found.python_version} ({found.python})"
    yield "uv", f"{found.uv_version} ({found.uv})" if found.uv else "none"
    yield "home", f"{found.home}, chosen by {found.home_rule}"
    yield "profile", found.profile or "none"
    yield "config", f"{found.config_file}, chosen by {found.config_rule}" if found.config_file else "none"
    if found.base:
        yield "base", f"{found.base.prefix}, chosen by {found.base.rule}"
        yield "base key", found.base.key
        yield "python", f"{found.base.version} ({found.base.python})"
        engine = found.base.engine_name or found.base.engine.name
        yield "engine", f"{engine} {found.base.engine_version}".rstrip()
    else:
        yield "base", "none"
    yield "hook", found.hook
    for source, rule in found.sources:
        yield "packages", f"from {source} ({rule})"
    for policy in found.policies:
        for one in policy.rules:
            yield "policy", f"{one} ({one.place})"
    yield "size", _size_line(found)


def _size_line(found: Info) -> str:
    parts = [f"{name} {size_text(size)}" for name, size in found.parts.items() if size]
    told = f"{size_text(sum(found.parts.values()))} ({', '.join(parts)})" if parts else size_text(0)
    return f"{told}, {size_text(found.free)} free" if found.free is not None else told


def _info_record(found: Info) -> dict[str, Any]:
    base = found.base
    return {
        "vpm_env": {"version": found.version, "python": found.python, "python_version": found.python_version},
        "uv": {"path": found.uv, "version": found.uv_version} if found.uv else None,
        "home": {"path": found.home, "rule": found.home_rule, "bytes": found.parts, "free_bytes": found.free},
        "profile": found.profile,
        "config": {"path": found.config_file, "rule": found.config_rule} if found.config_file else None,
        "base": {
            "key": base.key,
            "prefix": base.prefix,
            "python": base.python,
            "python_version": base.version,
            "platform": base.platform,
            "rule": base.rule,
            "distributions": len(base.distributions),
        }
        if base
        else None,
        "engine": {"name": base.engine.name, "distribution": base.engine_name, "version": base.engine_version}
        if base
        else None,
        "hook": found.hook,
        "sources": [{"what": source, "rule": rule} for source, rule in found.sources],
        "policies": [
            {"rule": str(rule), "file": rule.place.file, "line": rule.place.line}
            for policy in found.policies
            for rule in policy.rules
        ],
        "troubles": list(found.troubles),
    }


def show_kept(found: Sequence[Kept], as_json: bool, console: Console) -> None:
    """Show what keeps overlays and packages on disk."""
    if as_json:
        console.json({"kept": [_kept_record(kept) for kept in found]})
        return
    for kept in found:
        name = kept.name[:12] if kept.kind == "overlay" else kept.name.partition("-")[2]
        console.data(
            f"{kept.kind} {name} ({size_text(kept.bytes)}): {'stays' if kept.stays else 'goes with the next gc'}"
        )
        for holder in kept.holders:
            console.data(f"  {holder.what}: {holder.why or 'nothing spares it'}")
        if not kept.holders:
            console.data("  nothing points to it")


def _kept_record(kept: Kept) -> dict[str, Any]:
    holders = [{"what": holder.what, "why": holder.why} for holder in kept.holders]
    return {"kind": kept.kind, "name": kept.name, "stays": kept.stays, "bytes": kept.bytes, "holders": holders}
