"""What a build would come to: the set that a config asks for, as far as it is known without fetching it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder.assembly import answered, stored, without_failing
from envbuilder.classes import dataclass
from envbuilder.composition import describe, parts_of

if TYPE_CHECKING:
    from envbuilder.job import Job
    from envbuilder.lock import Lock
    from envbuilder.manifest import Manifest
    from envbuilder.package import Package


@dataclass(frozen=True, kw_only=True, slots=True)
class Foreseen:
    """A set that a build would make: its lock, and those of its packages that the store has already.

    `manifest` is None where one is not there yet: nobody knows its content.
    """

    lock: Lock
    packages: dict[str, Package]
    manifest: Manifest | None


def foresee(job: Job) -> Foreseen:
    """Find out which packages a build would take; sources are built, nothing else is fetched, linked or run.

    Optional plugins that fail are left out; raise the error of the first one that is not optional.
    """

    def attempt(left_out: dict[str, str]) -> Foreseen:
        lock, built = answered(job, left_out)
        packages = stored(job, [locked for locked in lock.packages if not locked.is_built])
        packages |= {package.name: package for package, _ in built.values()}
        is_known = len(packages) == len(lock.packages)
        manifest = describe(lock, parts_of(lock, packages, job.config), job.base) if is_known else None
        return Foreseen(lock=lock, packages=packages, manifest=manifest)

    return without_failing(job, attempt)
