"""What must hold before a set may become current: the audit reads it, the probe tries it in a fresh process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from envbuilder import fs, processors
from envbuilder.acceptance import accepting, refused, ways
from envbuilder.audit import audit, of_others
from envbuilder.bounds import bringers, needs_of
from envbuilder.classes import replace
from envbuilder.engines import SCRIPT_GROUPS, is_plugin_group
from envbuilder.errors import AuditError, ProbeError
from envbuilder.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from envbuilder.config import Config
    from envbuilder.errors import Finding
    from envbuilder.job import Job
    from envbuilder.lock import Lock
    from envbuilder.manifest import Manifest, ProbeResult
    from envbuilder.overlay import Part

_NOBODY: dict[str, str] = {}


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
        found = audit(
            subjects,
            job.base,
            ignored=lock.ignored,
            variables=job.env.variables,
            startup_allowed=job.config.startup_code,
        )
    findings = accepting(found, accepts(job.config, lock))
    refusing = {finding.package for finding in refused(findings)}
    if refusing:
        # whoever corrects a package wants to know all that is wrong with it
        told = tuple(finding for finding in findings if finding.package in refusing and not finding.accepted)
        raise AuditError(told, ways=tuple(ways(told)))
    return findings


def judging(
    job: Job, known: Sequence[Subject] = (), *, leading: Mapping[str, str] = _NOBODY
) -> Callable[[Sequence[Subject]], dict[str, AuditError]]:
    """Return what says of packages that were made which must not enter the store: package → what is wrong.

    They are judged by whose names they have, what else there is to find needs the whole set. `known` are the packages
    of the set that are there already: one of them may be why another is brought in, and its plugin accepts findings.
    `leading` is package → that plugin, where it is known.
    """

    def judge(made: Sequence[Subject]) -> dict[str, AuditError]:
        subjects = [
            replace(
                subject,
                plugin=leading.get(subject.name, subject.plugin),
                override=subject.name in job.config.override,
            )
            for subject in made
        ]
        found = of_others(subjects, job.base)
        if not found:
            return {}
        every = (*known, *subjects)
        plugins = bringers(every, needs_of(every, job.base))
        named = [finding._replace(plugin=plugins.get(finding.package, "")) for finding in found]
        accepted = {plugin.name: plugin.accept for plugin in job.config.enabled}
        return _errors(accepting(named, accepted))

    return judge


def _errors(findings: Sequence[Finding]) -> dict[str, AuditError]:
    """Return package → the error that tells all of its findings, where one of them is neither accepted nor harmless."""
    errors = {}
    for name in {finding.package for finding in refused(findings)}:
        told = tuple(finding for finding in findings if finding.package == name and not finding.accepted)
        errors[name] = AuditError(told, ways=tuple(ways(told)))
    return errors


def accepts(config: Config, lock: Lock) -> dict[str, list[str]]:
    """Return the plugins of a set that accept findings, with the codes."""
    inside = {locked.plugin for locked in lock.packages}
    return {plugin.name: list(plugin.accept) for plugin in config.enabled if plugin.accept and plugin.name in inside}


def probed(job: Job, manifest: Manifest, path: str) -> tuple[ProbeResult, ...]:
    """Try every plugin's entry points in a fresh process; raise `ProbeError` for those that do not work.

    A forced build takes them as they are, but for those of optional plugins: these are left out all the same.
    """
    wanted = _wanted(job, manifest)
    if not wanted:
        return ()
    from envbuilder.probe import Entry, probe  # a set of libraries has nothing to try

    plugins = {member.name: member.plugin for member in manifest.members}
    entries = [
        Entry(
            group=group,
            name=name,
            value=value,
            package=package,
            plugin=plugins.get(package, ""),
            returns=returns,
            derives=_derives(job, manifest, group, plugins.get(package, "")),
        )
        for (group, name), (value, package, returns) in wanted.items()
    ]
    with fs.staging(job.layout.tmp) as empty, job.report.stage("probing", total=len(entries)):
        python = os.path.join(path, "bin", "python")
        results = probe(python, entries, env=job.env, cwd=empty, engine=job.base.engine.import_name)
    optional = {plugin.name for plugin in job.config.enabled if plugin.optional}
    failed = tuple(
        (result.plugin or result.package, f"{result.group}: {result.name}", result.wrong)
        for result in results
        if result.status == "failed" and (result.plugin in optional or not job.request.force)
    )
    if failed:
        raise ProbeError(failed, working=_working(results, {plugin for plugin, _, _ in failed}))
    return results


def _working(results: Sequence[ProbeResult], plugins: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Name what works of each of `plugins`, as `entry_points:` takes it; those of which nothing does are left out."""
    failing = {(result.plugin, result.name) for result in results if result.status == "failed"}
    found: dict[str, tuple[str, ...]] = {}
    for result in results:
        if result.status != "failed" and result.plugin in plugins:
            is_clear = (result.plugin, result.name) not in failing
            name = result.name if is_clear else f'"{result.group}:{result.name}"'
            found[result.plugin] = (*found.get(result.plugin, ()), name)
    return found


def _derives(job: Job, manifest: Manifest, group: str, plugin: str) -> str:
    """Say what an entry point of `group` must be, as `probe.Entry.derives`.

    Who accepts the finding about logits processors starts the engine in such a way that it takes them.
    """
    demanded = job.base.engine.classes.get(group)
    if group == processors.GROUP and processors.CODE not in manifest.accepts.get(plugin, ()):
        names = [member.name for member in manifest.members]
        demanded = processors.interface(job.base, names, job.env.variables)
    return "" if demanded is None else demanded or "class"


def is_probed(job: Job, manifest: Manifest) -> bool:
    """Tell whether a set that is there already was tried as the config asks, and all that could be tried worked."""
    known = {(result.group, result.name): result for result in manifest.probe}
    return not manifest.failed and all(
        key in known and (known[key].called or known[key].status == "needs-device" or not returns)
        for key, (_, _, returns) in _wanted(job, manifest).items()
    )


def _wanted(job: Job, manifest: Manifest) -> dict[tuple[str, str], tuple[str, str, str]]:
    """Return what is to be tried: (group, name) → value, package, and what a call is to return ("" for no call)."""
    if job.config.probe == "none":
        return {}
    called = job.base.engine.called if job.config.probe == "call" else {}
    # What libraries have for programs that are not there (`pytest11`) is no plugin of a host that nobody knows.
    libraries = set() if job.base.engine.groups else {each.name for each in manifest.members if not each.plugin}
    return {
        (group, name): (value, package, called.get(group, ""))
        for group, named in sorted(manifest.entry_points.items())
        if group not in SCRIPT_GROUPS and is_plugin_group(group, job.base.engine)
        for name, (value, package) in sorted(named.items())
        if package not in libraries
    }
