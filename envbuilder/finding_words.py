"""How it is said what the audit found: in a line, as a warning, as accepted."""

from __future__ import annotations

from envbuilder.planning import counted
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from envbuilder.console import Console
    from envbuilder.errors import Finding


def finding_line(finding: Finding) -> str:
    """Say a finding in one line."""
    if finding.accepted:
        return f"{finding.code} of `{finding.plugin}`: {finding.what}"
    return f"{finding.code}: {finding.what}: {finding.why}; {finding.way_forward}"


def finding_rows(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """Label each finding with what it counts as: `error`, `warning` or `accepted`."""
    return [(label_of(finding), finding_line(finding)) for finding in findings]


def label_of(finding: Finding) -> str:
    """Say what a finding counts as: its severity, unless it is accepted."""
    return "accepted" if finding.accepted else finding.severity


def show_findings(findings: Iterable[Finding], console: Console) -> None:
    """Tell them beside what a verb shows: warnings as such, what is accepted as a note."""
    for finding in findings:
        if finding.accepted:
            console.say(f"note: accepted: {finding_line(finding)}")
        else:
            console.warn(finding_line(finding))


def numbered(findings: Sequence[Finding]) -> list[str]:
    """Count findings by what they count as: `1 error`, `2 warnings`, `1 accepted`."""
    labels = [label_of(finding) for finding in findings]
    words = [counted(labels.count(each), each) for each in ("error", "warning") if each in labels]
    return words + ([f"{labels.count('accepted')} accepted"] if "accepted" in labels else [])
