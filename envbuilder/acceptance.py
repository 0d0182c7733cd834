"""Findings that the config accepts, by code and for one plugin: shown as accepted, and no obstacle any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder.codes import CODES, ERROR, WARNING
from envbuilder.errors import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def accepting(findings: Sequence[Finding], accepts: Mapping[str, Sequence[str]]) -> tuple[Finding, ...]:
    """Mark the findings that are accepted, and tell what is accepted in vain; `accepts` is plugin → codes."""
    marked = tuple(
        finding._replace(accepted=True) if finding.code in accepts.get(finding.plugin, ()) else finding
        for finding in findings
    )
    return (*marked, *_idle(marked, accepts))


def refused(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the errors that nobody accepts."""
    return tuple(finding for finding in findings if finding.severity == ERROR and not finding.accepted)


def ways(findings: Sequence[Finding]) -> Iterator[str]:
    """Say how the errors among `findings` would be accepted: a sentence for each plugin, if that would let it pass."""
    wrong = refused(findings)
    for plugin in dict.fromkeys(finding.plugin for finding in wrong if finding.plugin):
        codes = dict.fromkeys(finding.code for finding in wrong if finding.plugin == plugin)
        if not any(CODES[code].refusal for code in codes):
            yield f"if you know that it does no harm: `accept: [{', '.join(codes)}]` on `{plugin}`"


def _idle(marked: Sequence[Finding], accepts: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    used = {(finding.plugin, finding.code) for finding in marked if finding.accepted}
    for plugin, codes in sorted(accepts.items()):
        for code in codes:
            if (plugin, code) not in used:
                yield Finding(
                    "accept-idle",
                    WARNING,
                    plugin,
                    plugin,
                    f"`{plugin}` says `accept: [{code}]`, and nothing of that kind is found",
                    "it would hide one that comes with a later release",
                    f"take `{code}` out of `accept:`",
                )
