"""export and import: one set with all that it needs in one file, for machines that no network joins."""

from __future__ import annotations

from os.path import join, lexists
from typing import TYPE_CHECKING

from envbuilder import crate, fs
from envbuilder.bucket import Bucket, open_bucket
from envbuilder.classes import dataclass
from envbuilder.contexts import contextmanager
from envbuilder.depot import Depot
from envbuilder.digest import sha256_file
from envbuilder.errors import CacheError, UsageError
from envbuilder.loading import push
from envbuilder.waybill import is_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.depot import Trust
    from envbuilder.keys import SecretKey
    from envbuilder.report import Reporter
    from envbuilder.revision import Revision
    from envbuilder.scope import Scope
    from envbuilder.waybill import Waybill


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """A set in one file of so many bytes; `wheels` are the names of those that are with it, `sha256` of all of it."""

    digest: str
    bytes: int
    sha256: str
    wheels: tuple[str, ...]


def export(
    scope: Scope,
    found: Revision,
    path: str,
    key: SecretKey | None,
    trust: Trust,
    report: Reporter,
    *,
    with_wheels: bool,
) -> Exported:
    """Write a generation's set to the file `path`; raise as `push` does, and `CacheError` where that cannot be."""
    _require_free(path)
    layout = found.profile.layout
    with fs.staging(layout.tmp) as scratch:
        folder = join(scratch, "cache")
        fs.make_dirs(folder)
        depot = Depot(open_bucket(folder, env={}), trust)
        pushed = push(found, depot, key, report, wait=scope.lock_wait, doing="packing")
        wheels: tuple[str, ...] = ()
        if with_wheels:
            from envbuilder.provisions import provide  # few machines lack an index

            with report.stage("packing vpm-env"):
                wheels = provide(scope, found, join(folder, "wheelhouse"), join(scratch, "sources"), report)
        try:
            written = crate.write(folder, path)
        except OSError as error:
            raise CacheError(url=path, reason=f"it cannot be written: {(error.strerror or '').lower()}") from None
    return Exported(digest=pushed.digest, bytes=written, sha256=sha256_file(path), wheels=wheels)


def _require_free(path: str) -> None:
    """Raise `UsageError` where something is that no export has written: a key, for instance."""
    if not lexists(path):
        return
    try:
        with crate.opened(path):
            return
    except CacheError:
        text = f"`{path}` is there already, and no export"
        raise UsageError(text, hint="name another file, or take that one away") from None


@contextmanager
def opened(path: str, trust: Trust) -> Iterator[Depot]:
    """Open what an export wrote; raise `CacheError` for what is none."""
    with crate.opened(path) as found:
        yield Depot(Bucket(found), trust)


def sole_set(depot: Depot) -> Waybill:
    """Return the waybill of the one set in a file, all of whose parcels are whole; nothing is unpacked yet."""
    digests = [name.removesuffix(".json") for name in depot.bucket.names("overlays")]
    if len(digests) != 1 or not is_digest(digests[0]):
        raise CacheError(url=depot.shown, reason=f"it has {len(digests)} sets, and an export has one")
    waybill = depot.waybill(digests[0])
    for card in waybill.cards:
        if depot.bucket.measure(card.path) != card.parcel:
            raise CacheError(url=depot.shown, reason=f"`{card.path}` is not the file that the set names, or is damaged")
    return waybill
