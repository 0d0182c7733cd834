"""On what kind of file system a path lies, as far as the kernel tells."""

from __future__ import annotations

import os
import re

from envbuilder.tuples import NamedTuple

_TABLE = "/proc/self/mountinfo"
_ESCAPED = re.compile(r"\\([0-7]{3})")
_REMOTE = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "gpfs", "lustre", "nfs", "nfs4", "orangefs", "panfs", "smb3", "virtiofs"}
)
_LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuse.ext4", "fuse.ntfs"})
_LOCAL_LOCKS = {"nolock", "local_lock=all", "local_lock=flock", "localflock"}
"""Mount options of NFS and Lustre under which a flock is not seen by other machines."""


class Mount(NamedTuple):
    """A mounted file system: where, of which kind (`ext4`, `nfs4`), and its options."""

    point: str
    kind: str
    options: frozenset[str]

    @property
    def is_remote(self) -> bool:
        """Tell whether other machines may see the same files."""
        return self.kind in _REMOTE or (self.kind.startswith("fuse.") and self.kind not in _LOCAL_FUSE)

    @property
    def locks_stay_here(self) -> bool:
        """Tell whether a flock holds on this machine only, though others see the files."""
        return self.is_remote and bool(self.options & _LOCAL_LOCKS)


def mount_of(path: str, *, table: str | None = None) -> Mount | None:
    """Return the mount that `path` lies on; None where there is no such table. `table` is the text of another one."""
    if table is None:
        try:
            with open(_TABLE, encoding="utf-8", errors="surrogateescape") as stream:
                table = stream.read()
        except OSError:
            return None
    real = os.path.realpath(path)
    found: Mount | None = None
    for line in table.splitlines():
        mount = _parsed(line)
        # Of two on one point, the later hides the earlier.
        if mount and _is_below(real, mount.point) and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def _parsed(line: str) -> Mount | None:
    head, _, tail = line.partition(" - ")
    own, kind = head.split(), tail.split()
    if len(own) < 6 or len(kind) < 2:
        return None
    options = {*own[5].split(","), *(kind[2].split(",") if len(kind) > 2 else ())}
    point = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), own[4])
    return Mount(point=point, kind=kind[0], options=frozenset(options))


def _is_below(path: str, point: str) -> bool:
    return point in ("/", path) or path.startswith(f"{point}/")
