"""The audit alone, of a set that was made: what reading finds wrong with it on the base as it is now."""

from __future__ import annotations

from os.path import join
from typing import TYPE_CHECKING

from envbuilder import overlay, store
from envbuilder.acceptance import accepting
from envbuilder.audit import audit
from envbuilder.base import describe
from envbuilder.classes import dataclass
from envbuilder.errors import ProfileError
from envbuilder.revision import manifest_of, revision
from envbuilder.scope import profile_of
from envbuilder.startup_code import ALLOWED
from envbuilder.status import drifted
from envbuilder.subject import Subject

if TYPE_CHECKING:
    from envbuilder.base import Base
    from envbuilder.errors import Finding
    from envbuilder.manifest import Manifest, Member
    from envbuilder.paths import Layout
    from envbuilder.profile import Generation
    from envbuilder.scope import Scope


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspected:
    """A generation, the base under it, what the audit finds, and which base facts `drifted` since it was built."""

    generation: Generation
    base: Base
    findings: tuple[Finding, ...]
    drifted: tuple[str, ...]


def inspect(found: Scope, name: str | None) -> Inspected:
    """Audit the generation that `name` names, or the current one; reads only.

    Raise `ProfileError` where its overlay or a package of it is not there.
    """
    base = describe(found.interpreter, found.layout, found.env, engine=found.engine)
    of = revision(profile_of(found, base), name)
    manifest = manifest_of(of)
    subjects = tuple(_subject(member, manifest, found.layout) for member in manifest.members)
    # That they may have start-up files, the config said when the set was built.
    allowed = {finding.package for finding in manifest.findings if finding.code == ALLOWED}
    variables = found.env.variables
    findings = audit(subjects, base, ignored=manifest.ignored, variables=variables, startup_allowed=allowed)
    return Inspected(
        generation=of.generation,
        base=base,
        findings=accepting(findings, manifest.accepts),
        drifted=drifted(manifest, base, of.generation.number),
    )


def _subject(member: Member, manifest: Manifest, layout: Layout) -> Subject:
    package = store.get(layout, member.key)
    if package is None:
        text = f"`{member.name} {member.version}` is missing in the store, or damaged"
        raise ProfileError(text, hint="`vpm-env verify` says what else is, `vpm-env verify --repair` has it again")
    part = overlay.part(package, override=member.override, selection=manifest.selection.get(member.name))
    lib = join(layout.package(member.key), "lib")
    return Subject(package=part.package, lib=lib, plugin=member.plugin, override=member.override)
