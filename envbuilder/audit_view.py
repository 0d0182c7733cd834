"""How the audit of a set is shown: each finding with what, why and the way forward, and a line that counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder.finding_words import label_of, numbered
from envbuilder.planning import counted

if TYPE_CHECKING:
    from envbuilder.console import Console
    from envbuilder.errors import Finding
    from envbuilder.inspection import Inspected

_STYLES = {"error": "error", "warning": "warning", "accepted": "dim"}


def show_audit(found: Inspected, as_json: bool, console: Console) -> None:
    """Show what the audit of a generation found."""
    generation = found.generation
    if as_json:
        console.json(
            {
                "generation": generation.number,
                "digest": generation.digest,
                "base": found.base.key,
                "drift": list(found.drifted),
                "findings": [finding._asdict() for finding in found.findings],
            }
        )
        return
    console.data(f"generation {generation.number} ({generation.digest[:12]}) on {found.base.label}")
    for change in found.drifted:
        console.data(f"{console.mark('warning', 'drift:')} {change}")
    for finding in found.findings:
        _show(finding, console)
    looked = counted(len(generation.packages), "package")
    told = ", ".join(numbered(found.findings)) or "nothing found"
    console.say(f"\n{looked}: {told}")


def _show(finding: Finding, console: Console) -> None:
    label = label_of(finding)
    by = f" by `{finding.plugin}`" if finding.accepted else ""
    console.data("")
    console.data(f"{console.mark(_STYLES[label], f'{label}{by}:')} {finding.code}: {finding.what}")
    console.data(f"  why: {finding.why}")
    if not finding.accepted:
        console.data(f"  do:  {finding.way_forward}")
    for detail in finding.details if console.verbose else ():
        console.data(f"  - {detail}")
