"""A build whose inputs are those of a set made before: links from the store, and a commit; nobody is asked anything."""

from __future__ import annotations

from os.path import exists, isfile, join

from envbuilder import flocks, overlay, store
from envbuilder import profile as profiles
from envbuilder.commit import Draft, Outcome, commit, followed, planned
from envbuilder.recording import building
from envbuilder.scope import make_home
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from envbuilder.package import Package
    from envbuilder.profile import Profile
    from envbuilder.recipe import Recipe
    from envbuilder.report import Reporter
    from envbuilder.scope import Scope
    from envbuilder.unchanged import Seen


def build_again(found: Scope, seen: Seen, recipe: Recipe, *, switch: bool, report: Reporter) -> Outcome | None:
    """Make the set of `recipe` and commit it; None where store, skeleton or overlay need a whole build."""
    profile, manifest = seen.profile, recipe.manifest
    if not isfile(join(recipe.skeleton, "pyvenv.cfg")):
        return None
    make_home(found.layout)
    with building(profile, wait=found.lock_wait, on_wait=report.waiting):
        packages = store.get_all(found.layout, [member.key for member in manifest.members], soabi=manifest.soabi)
        if packages is None or not _have_overlay(found, profile, recipe, packages, report):
            return None
        with open(recipe.inputs["lock_file"], encoding="utf-8") as stream:
            lock = stream.read()
        draft = Draft(manifest, recipe.inputs, seen.config_file, recipe.config, lock)
        difference = planned(profile, {member.name: member.content for member in manifest.members}, manifest)
        with profiles.locked(profile, wait=found.lock_wait, on_wait=report.waiting):
            done = commit(profile, draft, switch=switch, force=False)
    ran = followed(profile, done, env=found.env, report=report)
    return Outcome.of(done, manifest, difference, notes=recipe.notes, ran=ran)


def _have_overlay(found: Scope, profile: Profile, recipe: Recipe, packages: list[Package], report: Reporter) -> bool:
    """Make the overlay if it is not there; False where a damaged one is in use."""
    layout, manifest, digest = found.layout, recipe.manifest, recipe.manifest.digest
    path = layout.overlay(profile.base_key, digest)
    lock = layout.overlay_lock(profile.base_key, digest)
    with flocks.locked(lock, wait=found.lock_wait, on_wait=report.waiting):
        if overlay.read(path) is not None:
            return True
        if exists(path):
            return False
        overlay.link(
            path,
            layout=layout,
            skeleton=recipe.skeleton,
            python_version=manifest.python_version,
            parts=tuple(
                overlay.part(package, override=member.override, selection=manifest.selection.get(member.name))
                for member, package in zip(manifest.members, packages, strict=True)
            ),
        )
        overlay.seal(path, manifest)
    return True
