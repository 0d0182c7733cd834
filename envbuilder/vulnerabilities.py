"""Known vulnerabilities of the current set: pip-audit asks for them, where it is installed and its service answers.

Only packages that came from an index are asked about: the names of others are nobody's business, and a package of
the same name elsewhere is another one.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from os.path import isfile, join
from typing import Any

from envbuilder import fs, process, store
from envbuilder.errors import PackageError
from envbuilder.health import ERROR, Answer, NotApplicable, Trouble
from envbuilder.planning import counted
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envbuilder.health import Situation
    from envbuilder.manifest import Manifest, Member
    from envbuilder.paths import Environment, Layout

_OPTIONS = ("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off", "--aliases", "on")
_SECONDS = 300.0
_FROM_INDEX = ("wheels", "sdist")
_STEERING = ("PIP_AUDIT_OUTPUT", "PIP_AUDIT_FORMAT", "PIP_AUDIT_DESC")
"""Variables that would change what pip-audit says, or where it says it."""


class Report(NamedTuple):
    """What pip-audit said: package → its vulnerabilities, and package → why it was not looked at."""

    vulnerable: dict[str, list[dict[str, Any]]]
    skipped: dict[str, str]


def check(situation: Situation) -> Answer:
    """Ask for known vulnerabilities of every package of the current set that came from an index."""
    if situation.offline:
        raise NotApplicable("it needs the network, and `--offline` was given")
    profile, _, manifest = situation.need_set()
    command = find_pip_audit(situation.env)
    public = [member for member in manifest.members if _is_from_index(profile.layout, member)]
    private = [member.name for member in manifest.members if member not in public]
    if not public:
        raise NotApplicable("no package of the current set came from an index")
    report = _report(_ask(command, public, situation))
    if len(report.skipped) == len(public):
        raise NotApplicable(f"the service knows no package of the set: {next(iter(report.skipped.values()))}")
    facts = [f"not asked about: {name} (git or local)" for name in private]
    facts += [f"not known: {name}: {why}" for name, why in sorted(report.skipped.items())]
    asked = counted(len(public) - len(report.skipped), "package")
    return Answer(said=_said(asked, report), troubles=tuple(_troubles(report, manifest)), facts=tuple(facts))


def find_pip_audit(env: Environment) -> tuple[str, ...]:
    """Return how to start pip-audit: beside vpm-env, else on PATH; raise `NotApplicable`, saying how to get it."""
    if find_spec("pip_audit"):
        return (sys.executable, "-m", "pip_audit")
    for folder in (env.get("PATH") or os.defpath).split(os.pathsep):
        path = join(folder, "pip-audit")
        if isfile(path) and os.access(path, os.X_OK):
            return (path,)
    raise NotApplicable("pip-audit is not installed; `pip install 'vpm-env[audit]'` where vpm-env is, brings it")


def _is_from_index(layout: Layout, member: Member) -> bool:
    package = store.get(layout, member.key)
    if package is None:
        problems = ("it is missing or damaged in the store",)
        raise PackageError(package=member.key, problems=problems, hint="see `vpm-env verify`")
    return any(package.source.get(name) for name in _FROM_INDEX)


def _ask(command: tuple[str, ...], members: list[Member], situation: Situation) -> dict[str, Any]:
    """Run pip-audit on pinned requirements alone; raise `NotApplicable` where it cannot say anything."""
    layout = situation.need_writable_home()
    fs.make_dirs(layout.tmp)
    with fs.staging(layout.tmp) as folder:
        wanted = join(folder, "requirements.txt")
        # A local version (`2.0+cu121`) is a build of the public one, and only that is known.
        lines = "".join(f"{member.name}=={member.version.partition('+')[0]}\n" for member in members)
        fs.write_plain(wanted, lines.encode())
        words = [*command, "--requirement", wanted, *_OPTIONS, "--cache-dir", join(layout.cache, "pip-audit")]
        result = process.run(words, env=_variables(situation.env), cwd=folder, timeout=_SECONDS)
    try:
        return dict(json.loads(result.stdout))
    except ValueError:
        raise NotApplicable(f"pip-audit came to no result: {_reason(result.stderr)}") from None


def _variables(env: Environment) -> dict[str, str]:
    kept = {name: value for name, value in env.variables.items() if not name.startswith("PYTHON")}
    return {**{name: value for name, value in kept.items() if name not in _STEERING}, "VPM_ENV_DISABLE": "1"}


def _reason(said: str) -> str:
    """Return the line of an error or traceback that says most: the first that pip-audit calls an error, or the last."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("WARNING:")]
    told = next((line.split(":", 2)[2] for line in lines if line.startswith("ERROR:") and line.count(":") > 1), None)
    return told or (lines[-1] if lines else "it said nothing")


def _report(said: Mapping[str, Any]) -> Report:
    entries = [entry for entry in said.get("dependencies", ()) if isinstance(entry, dict)]
    return Report(
        vulnerable={entry["name"]: entry["vulns"] for entry in entries if entry.get("vulns")},
        skipped={entry["name"]: str(entry["skip_reason"]) for entry in entries if "skip_reason" in entry},
    )


def _said(asked: str, report: Report) -> str:
    known = sum(map(len, report.vulnerable.values()))
    found = f"{known} known {'vulnerability' if known == 1 else 'vulnerabilities'}" if known else "nothing known"
    return f"{found} against {asked}"


def _troubles(report: Report, manifest: Manifest) -> Iterator[Trouble]:
    members = {member.name: member for member in manifest.members}
    for name, vulnerabilities in sorted(report.vulnerable.items()):
        for entry in vulnerabilities:
            names = [str(entry["id"]), *map(str, entry.get("aliases") or ())]
            fixed = [str(version) for version in entry.get("fix_versions") or ()]
            version = members[name].version if name in members else ""
            summary = str(entry.get("description") or "").strip().splitlines()
            yield Trouble(
                what=f"{name} {version}: {', '.join(sorted(set(names)))}",
                why=summary[0] if summary else "the service says no more about it",
                way_forward=f"fixed in {', '.join(fixed)}: `vpm-env upgrade {name}`"
                if fixed
                else "no version fixes it",
                severity=ERROR,
            )
