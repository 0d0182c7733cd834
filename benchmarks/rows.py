"""The rows: each makes what it needs in an empty folder and returns its lines of the table."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import homes
import kit
from engine_rows import engine_start
from measure import Command, Pairs, Row, Unavailable, own_blocks
from rig import Rig, publish, synthetic, with_real_packages

from envbuilder import base as bases
from envbuilder import lock, overlay, startup, store
from envbuilder.interpreter import Interpreter
from envbuilder.overlay import Part
from envbuilder.paths import Environment, Layout
from envbuilder.skeleton import skeleton

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = 60
FILES = 30_000
KIB = 1024
_MODULES = "import sys; print(*sorted(sys.modules))"


def hook(folder: Path, runs: int) -> Iterator[Row]:
    """What the start-up hook adds to a plain start of the base, in instructions; they hardly vary, so one run does."""
    python = kit.pythons().get("3.11")
    if python is None:
        raise Unavailable("there is no Python 3.11")
    base = homes.vllm_base(folder, python=python)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    start = Command(words=[base.python, "-c", "pass"], env=env, cwd=folder)
    bare, bare_modules = start.instructions(), set(base.code(_MODULES).split())
    for count in (1, PACKAGES):
        rig = homes.Rig.of(base, folder / f"home{count}")
        digest = rig.overlay("one", *(f"package{number}" for number in range(count)))
        rig.generation(1, digest)
        rig.install()
        assert rig.ask()["state"] == "active"
        added = start.instructions() - bare
        modules = sorted(set(base.code(_MODULES).split()) - bare_modules)
        startup.uninstall(rig.facts)
        path_line = base.purelib / "control.pth"
        path_line.write_text(f"{rig.site(digest)}\n")
        control = start.instructions() - bare
        path_line.unlink()
        detail = {"bare": bare, "imported": modules}
        yield Row(
            name=f"hook, {count} packages",
            what="instructions added to `python -c pass`, Python 3.11",
            value=added / 1e6,
            unit="M",
            limit=1.0,
            detail=detail,
        )
        yield Row(
            name=f"hook, {count} packages, beyond a path line",
            what="the same, less what a plain `.pth` with that folder adds",
            value=(added - control) / 1e6,
            unit="M",
            detail={"path line": control},
        )
        yield Row(
            name=f"hook, {count} packages, imports",
            what="modules loaded besides os, sys and the hook itself",
            value=len(set(modules) - {"os", "sys", "_vpm_env_hook"}),
            unit="",
            limit=0,
            detail=detail,
        )


def rollback(folder: Path, runs: int) -> Iterator[Row]:
    """`vpm-env rollback` against a bare start of its interpreter."""
    with synthetic(folder) as (rig, index):
        publish(index.folder, ["one", "two"])
        for packages in (["one"], ["one", "two"]):
            rig.config(*packages)
            rig.vpm_env("build").seconds()
        back = rig.vpm_env("rollback", prepare=lambda: _switch(rig))
        yield from _against_bare(rig, back, "rollback", limit=4, runs=runs)


def _switch(rig: Rig) -> None:
    rig.vpm_env("switch", "2").seconds()


def no_op_build(folder: Path, runs: int) -> Iterator[Row]:
    """`vpm-env build` with nothing to do, against a bare start of its interpreter."""
    with synthetic(folder) as (rig, index):
        publish(index.folder, ["one"])
        rig.config("one")
        rig.vpm_env("build").seconds()
        yield from _against_bare(rig, rig.vpm_env("build"), "no-op build", limit=8, runs=runs)


def _against_bare(rig: Rig, command: Command, name: str, *, limit: float, runs: int) -> Iterator[Row]:
    pairs = Pairs.of(rig.bare(), command, runs=runs)
    detail = pairs.detail("python -I -c pass", name)
    yield Row(name=name, what="time / bare start", value=pairs.ratio, unit="x", limit=limit, detail=detail)
    counts = {"python -I -c pass": rig.bare().instructions(), name: command.instructions()}
    ratio = counts[name] / counts["python -I -c pass"]
    what = "instructions / bare start"
    yield Row(name=f"{name}, counted", what=what, value=ratio, unit="x", limit=limit, detail=counts)


def warm_build(folder: Path, runs: int) -> Iterator[Row]:
    """A build on a home that knows the set and has all its packages, none with a plugin to probe: 60, 30,000 files.

    `reading` is the same without the recipe: config and lock are read, and the set is audited.
    """
    with synthetic(folder) as (rig, index):
        publish(index.folder, _names(), files=FILES // PACKAGES)
        rig.config(*_names())
        yield from _builds(rig, f"{PACKAGES} packages", limit=0.4, runs=max(3, runs // 3))


def real_build(folder: Path, runs: int) -> Iterator[Row]:
    """The same with pandas and scikit-learn over a base that has numpy."""
    rig = Rig(folder, network=True)
    with_real_packages(rig, "numpy")
    rig.config("pandas", "scikit-learn")
    yield from _builds(rig, "pandas, scikit-learn", limit=1.0, runs=max(3, runs // 3), thorough=True)


def _builds(rig: Rig, name: str, *, limit: float, runs: int, thorough: bool = False) -> Iterator[Row]:
    rig.vpm_env("build").seconds()
    requirements = rig.work / "requirements.txt"
    requirements.write_text("\n".join(rig.locked()) + "\n")
    # uv keeps what it asks of an index apart by the index's URL.
    rig.uv_sync(requirements, offline=False).seconds()
    by_uv = rig.uv_sync(requirements)
    cases: list[tuple[str, tuple[str, ...], float | None]] = [
        ("warm", ("overlays", "profiles"), limit),
        ("reading", ("overlays", "profiles", "cache/recipes"), None),
    ]
    if thorough:
        cases += [
            ("resolving", ("overlays", "profiles", "../work/pylock.plugins.toml"), None),
            ("store cold", ("overlays", "profiles", "store"), None),
        ]
    for label, forgotten, keep in cases:
        build = rig.vpm_env("build", prepare=lambda names=forgotten: rig.forget(*names))
        pairs = Pairs.of(by_uv, build, runs=runs if label in ("warm", "reading") else 3)
        yield Row(
            name=f"{label} build, {name}",
            what="time / (`uv venv` + `uv pip sync`, warm, hard links)",
            value=pairs.ratio,
            unit="x",
            limit=keep,
            detail=pairs.detail("uv", "vpm-env build"),
        )


def linking(folder: Path, runs: int) -> Iterator[Row]:
    """Making an overlay of 60 packages, in process; and what it takes on the disk once all its packages are shared."""
    with synthetic(folder) as (rig, index):
        publish(index.folder, _names(), files=FILES // PACKAGES)
        rig.config(*_names())
        rig.vpm_env("build").seconds()
        maker = _Maker(rig)
        times = [maker.make() for _ in range(runs + 1)][1:]
        linked, sealed = ([1000 * part for part in parts] for parts in zip(*times, strict=True))
        yield Row(
            name=f"overlay of {PACKAGES} packages",
            what="overlay.link + overlay.seal, in process",
            value=statistics.median(map(sum, zip(linked, sealed, strict=True))),
            unit="ms",
            limit=30,
            detail={"link, ms": round(statistics.median(linked), 2), "seal, ms": round(statistics.median(sealed), 2)},
        )
        yield _size(maker.path)


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
        from envbuilder import fs

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


def _size(path: Path) -> Row:
    size = own_blocks(path, without=lambda name: name.startswith("bin/"))
    record = json.loads((path / "overlay.json").read_text())
    return Row(
        name="size of an overlay that shares all its packages",
        what=f"blocks of its own, without scripts, {len(record['members'])} packages",
        value=size / KIB,
        unit="KiB",
        limit=64 + 5 * PACKAGES,
        detail={"bytes": size},
    )


def _names() -> list[str]:
    return [f"package-{number:02}" for number in range(PACKAGES)]


ROWS = {
    "hook": hook,
    "rollback": rollback,
    "no-op-build": no_op_build,
    "warm-build": warm_build,
    "real-build": real_build,
    "overlay": linking,
    "engine-start": engine_start,
}
