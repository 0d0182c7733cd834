"""What must hold before a set may become current: the audit reads it, the probe imports it in a fresh process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from envbuilder import fs
from envbuilder.audit import audit
from envbuilder.engines import SCRIPT_GROUPS, is_plugin_group
from envbuilder.errors import AuditError, ProbeError
from envbuilder.subject import Subject

if TYPE_CHECKING:
    from envbuilder.errors import Finding
    from envbuilder.job import Job
    from envbuilder.lock import Lock
    from envbuilder.manifest import Manifest, ProbeResult
    from envbuilder.overlay import Part


def audited(job: Job, lock: Lock, parts: tuple[Part, ...]) -> tuple[Finding, ...]:
    """Audit the set; raise `AuditError` for what forbids a switch, return the warnings."""
    plugins = {locked.name: locked.plugin for locked in lock.packages}
    subjects = tuple(
        Subject(
            package=part.package,
            lib=os.path.join(job.layout.package(part.package.key), "lib"),
            plugin=plugins[part.package.name],
            override=part.override,
        )
        for part in parts
    )
    with job.report.stage("auditing", minor=True):
        findings = audit(subjects, job.base, ignored=lock.ignored)
    refused = {finding.package for finding in findings if finding.severity == "error"}
    if refused:
        # whoever corrects a package wants to know all that is wrong with it
        raise AuditError(tuple(finding for finding in findings if finding.package in refused))
    return findings


def probed(job: Job, manifest: Manifest, path: str) -> tuple[ProbeResult, ...]:
    """Import every plugin's entry points in a fresh process; raise `ProbeError` for those that do not load."""
    plugins = {member.name: member.plugin for member in manifest.members}
    points = [
        (group, name, value, package)
        for group, named in sorted(manifest.entry_points.items())
        if group not in SCRIPT_GROUPS and is_plugin_group(group, job.base.engine)
        for name, (value, package) in sorted(named.items())
    ]
    if not points:
        return ()
    from envbuilder.probe import Entry, probe  # a set of libraries has nothing to import

    entries = [
        Entry(group=group, name=name, value=value, package=package, plugin=plugins.get(package, ""))
        for group, name, value, package in points
    ]
    with fs.staging(job.layout.tmp) as empty, job.report.stage("probing", total=len(entries)):
        python = os.path.join(path, "bin", "python")
        results = probe(python, entries, env=job.env, cwd=empty)
    failed = tuple(
        (result.plugin or result.package, f"{result.group}: {result.name}", result.error)
        for result in results
        if result.status == "failed"
    )
    if failed:
        raise ProbeError(failed)
    return results
