"""How `check` is shown: one line a base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envbuilder.console import Table
from envbuilder.finding_words import numbered
from envbuilder.planning import counted
from envbuilder.probe_words import named_record, noteworthy, untried

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envbuilder.check import Checked
    from envbuilder.console import Console


def show_checked(checked: Sequence[Checked], as_json: bool, console: Console) -> None:
    """Show whether the config fits each base, and the first reason where it does not."""
    if as_json:
        fit = all(entry.fits for entry in checked)
        console.json({"fits": fit, "bases": [_record(entry) for entry in checked]})
        return
    rows = [
        (_mark(entry, console), entry.label, entry.reason or _contents(entry), f"{entry.seconds:.1f} s")
        for entry in checked
    ]
    console.table(Table(headings=("", "base", "result", ">took"), rows=rows))
    for entry in checked:
        _show_details(entry, console)
    if any(entry.fits and entry.kept for entry in checked):
        console.hint("what was made stays for a build; `vpm-env gc` removes what none takes")


def _mark(entry: Checked, console: Console) -> str:
    return console.mark("good", "fits") if entry.fits else console.mark("error", "fails")


def _contents(entry: Checked) -> str:
    assembled = entry.assembled
    if assembled is None:
        return ""
    without = [f"without `{plugin}`" for plugin in assembled.lock.left_out]
    warnings = numbered(assembled.manifest.findings)
    devices = untried(assembled.manifest.probe)
    packages = counted(len(assembled.manifest.members), "package")
    return ", ".join(filter(None, [packages, *without, *warnings, devices]))


def _show_details(entry: Checked, console: Console) -> None:
    """Say with `-v` what the one line leaves out."""
    if entry.error and "\n" in entry.error.message:
        console.detail(f"{entry.label}:")
        for line in entry.error.message.splitlines():
            console.detail(f"  {line}")
    for result in entry.assembled.manifest.probe if entry.assembled else ():
        if noted := noteworthy(result):
            console.detail(f"{entry.label}: {noted}")


def _record(entry: Checked) -> dict[str, Any]:
    manifest = entry.assembled.manifest if entry.assembled else None
    error = entry.error
    return {
        "base": entry.base.key if entry.base else None,
        "label": entry.label,
        "named": entry.named or None,
        "fits": entry.fits,
        "reason": entry.reason or None,
        "error": {"kind": type(error).__name__, "message": error.message, "hint": error.hint} if error else None,
        "seconds": round(entry.seconds, 3),
        "digest": manifest.digest if manifest else None,
        "packages": {member.name: member.version for member in manifest.members} if manifest else {},
        "left_out": dict(entry.assembled.lock.left_out) if entry.assembled else {},
        "warnings": [finding._asdict() for finding in manifest.findings] if manifest else [],
        "probe": [named_record(result) for result in manifest.probe] if manifest else [],
        "needs_device": [
            f"{result.group}:{result.name}" for result in manifest.probe if result.status == "needs-device"
        ]
        if manifest
        else [],
    }
