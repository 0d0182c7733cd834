"""What a locked package is made from: two that can differ never have one name in the store."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from envbuilder.digest import sha256_of
from envbuilder.inputs import of_locked
from envbuilder.lock import LockedPackage

if TYPE_CHECKING:
    from envbuilder.base import Base

_ONE, _OTHER = "1" * 64, "2" * 64


def test_whatever_is_locked_otherwise_is_another_input(described: Base) -> None:
    def wheel(sha256: str) -> dict[str, object]:
        return {"name": "demo-1.0-py3-none-any.whl", "url": "https://index.example/demo", "hashes": {"sha256": sha256}}

    def git(commit: str, **more: str) -> dict[str, object]:
        return {"type": "git", "url": "https://git.example/demo", "commit-id": commit, **more}

    locked = [
        LockedPackage(name="demo", version="1.0", wheels=(wheel(_ONE),)),
        LockedPackage(name="demo", version="1.0", wheels=(wheel(_OTHER),)),
        LockedPackage(name="demo", version="1.0", sdist=wheel(_ONE)),
        LockedPackage(name="demo", version="1.0", archive=wheel(_ONE)),
        LockedPackage(name="demo", version="1.0", archive=wheel(_OTHER)),
        LockedPackage(name="demo", version="1.0", vcs=git("a" * 40)),
        LockedPackage(name="demo", version="1.0", vcs=git("b" * 40)),
        LockedPackage(name="demo", version="1.0", vcs=git("a" * 40, subdirectory="inner")),
        LockedPackage(name="demo", version="1.0", directory={"path": "/src/demo"}),
        LockedPackage(name="demo", version="1.0", directory={"path": "/src/other"}),
    ]

    digests = [sha256_of(of_locked(package, described, build_isolation=True)) for package in locked]

    assert all(one != other for one, other in combinations(digests, 2))
