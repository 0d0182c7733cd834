"""Rows of an overlay that shares its packages: the time to make it in process, bytes and inodes."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

from build_rows import LINKS, synced
from disk import Taken, taken
from rig import FILES, PACKAGES, names, publish, synthetic
from table import Row

from envbuilder import base as bases
from envbuilder import fs, lock, overlay, store
from envbuilder.interpreter import Interpreter
from envbuilder.overlay import Part
from envbuilder.paths import Environment, Layout
from envbuilder.skeleton import skeleton

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rig import Rig

KIB = 1024
FOLDER = "a folder with two links a package"


def linking(folder: Path, runs: int) -> Iterator[Row]:
    """Making an overlay of 60 packages (30,000 files), and what it takes beside one that shares all of them."""
    with synthetic(folder) as (rig, index):
        publish(index, names(), files=FILES // PACKAGES)
        rig.config(*names())
        by_uv = synced(rig)
        by_uv.run()
        maker = _Maker(rig)
        times = [maker.make() for _ in range(runs + 1)][1:]
        linked, sealed = ([1000 * part for part in parts] for parts in zip(*times, strict=True))
        whole = statistics.median(map(sum, zip(linked, sealed, strict=True)))
        copying = statistics.median(rig.linked().seconds() for _ in range(runs))
        yield Row(
            name=f"overlay of {PACKAGES} packages",
            what="overlay.link + overlay.seal, in process",
            value=whole,
            unit="ms",
            limit=30,
            floor=LINKS,
            above=whole / (1000 * copying),
            detail={"link, ms": round(statistics.median(linked), 2), "seal, ms": round(statistics.median(sealed), 2)},
        )
        yield from _sizes(taken(maker.path, without="bin"), taken(rig.folder / "by-uv", without="bin"), folder)


def _sizes(ours: Taken, theirs: Taken, folder: Path) -> Iterator[Row]:
    floor = _least(folder / "least")
    detail = {"ours": ours._asdict(), "uv's hard-linked venv": theirs._asdict(), FOLDER: floor._asdict()}
    name = f"new overlay that shares its {PACKAGES} packages"
    yield Row(
        name=name,
        what="bytes on the disk, scripts apart",
        value=ours.bytes / KIB,
        unit="KiB",
        limit=64 + 5 * PACKAGES,
        floor=FOLDER,
        above=ours.bytes / floor.bytes,
        detail=detail,
    )
    for what, own, other, least in zip(Taken._fields, ours, theirs, floor, strict=True):
        yield Row(
            name=name,
            what=f"{what} / those of uv's hard-linked venv with the same packages",
            value=own / other,
            unit="x",
            floor=FOLDER,
            above=own / least,
            detail=detail,
        )


def _least(folder: Path) -> Taken:
    """Make what leads to all packages and their metadata, and nothing else."""
    folder.mkdir()
    for name in names():
        for link in (name, f"{name}-1.0.dist-info"):
            (folder / link).symlink_to(f"../store/{link}")
    return taken(folder)


class _Maker:
    """Make the set of a rig again and again, as the pipeline does."""

    def __init__(self, rig: Rig) -> None:
        self.layout = Layout(str(rig.home))
        env = Environment(variables=rig.env)
        base = bases.describe(Interpreter(str(rig.base.python), "benchmark"), self.layout, env)
        locked = lock.read(rig.work / "pylock.plugins.toml")
        assert locked is not None
        digest = next(digest for _, digest in overlay.all_overlays(self.layout))
        found = overlay.get(self.layout, base.key, digest)
        assert found is not None
        packages = [store.get(self.layout, member.key) for member in found.members]
        self.manifest, self.python_version = found, base.python_version
        self.parts = tuple(Part(package=package) for package in packages if package)
        assert len(self.parts) == PACKAGES
        self.skeleton = skeleton(base, self.layout, env)
        # Beside the first, whose files the store shares with it.
        self.path = Path(self.layout.overlay(base.key, "0" * 64))

    def make(self) -> tuple[float, float]:
        """Make it once; return the seconds for linking and for sealing."""
        fs.remove_tree(self.path)
        started = time.perf_counter()
        overlay.link(
            str(self.path),
            layout=self.layout,
            skeleton=self.skeleton,
            python_version=self.python_version,
            parts=self.parts,
        )
        linked = time.perf_counter()
        overlay.seal(str(self.path), self.manifest)
        return linked - started, time.perf_counter() - linked
