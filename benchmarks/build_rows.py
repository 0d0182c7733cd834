"""Rows of builds whose packages are here already: of one, ten and sixty, real ones, and with one plugin changed."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from change_rows import START
from least import least
from measure import Command, Turns
from peers import pip_install
from rig import FILES, PACKAGES, Rig, names, publish, synthetic, title, with_real_packages
from table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

UV = "uv venv + uv pip sync"
_MADE = f"time / (`{UV}`, warm, hard links)"
LINKS = "as many directories and links (`cp -al` of the overlay)"
LEAST = (
    "a start that loads vpm-env's own code, makes as many directories and links, "
    "and reads, writes and syncs as many records"
)
CALLS = "the same without that code"
RESOLVED = "a start that imports yaml and packaging, `uv pip compile` of the same, and as many links (`cp -al`)"
_LIBRARIES = "import packaging.requirements, packaging.specifiers, yaml"
OURS = "vpm-env build"
_LIMITS = {1: None, 10: 0.8, PACKAGES: 0.2}
_FORGOTTEN = {
    "warm": ("overlays", "profiles"),
    "reading": ("overlays", "profiles", "cache/recipes"),
    "resolving": ("overlays", "profiles", "../work/pylock.plugins.toml"),
}
"""What a home lacks, from the least on: the set; what the config came to the last time; the lock."""


def warm(folder: Path, runs: int) -> Iterator[Row]:
    """A build on a home that knows the set and has all its packages, of 500 files each, none with a plugin to probe."""
    for count, limit in _LIMITS.items():
        (folder / f"{count}").mkdir()
        with synthetic(folder / f"{count}") as (rig, index):
            publish(index, names(count), files=FILES // PACKAGES)
            rig.config(*names(count))
            by_uv = synced(rig)
            labels = tuple(_FORGOTTEN) if count == PACKAGES else ("warm",)
            for label in labels:
                yield _against_uv(rig, by_uv, label, count, limit, runs if label == "warm" else min(runs, 3))
            if count == 1:
                yield _above_a_start(rig, runs)
            yield _against_pip(rig, count, 1 if count == PACKAGES else min(runs, 3))


def real(folder: Path, runs: int) -> Iterator[Row]:
    """The same with pandas and scikit-learn over a base that has numpy."""
    rig = Rig(folder, network=True)
    with_real_packages(rig, "numpy")
    rig.config("pandas", "scikit-learn")
    by_uv = synced(rig)
    for label in _FORGOTTEN:
        turns = _turns(rig, {UV: by_uv}, label, min(runs, 5))
        name, limit = f"{label} build, pandas and scikit-learn", 1.0 if label == "warm" else None
        yield turns.row(name, _MADE, ours=OURS, peer=UV, floor=LINKS, limit=limit)


def synced(rig: Rig) -> Command:
    """Build once, and let uv make the same once; return that again, from its cache."""
    rig.vpm_env("build").run()
    requirements = rig.requirements()
    # uv keeps what it asks of an index apart by the index's URL.
    rig.uv_sync(requirements, offline=False).run()
    return rig.uv_sync(requirements)


def _turns(rig: Rig, peers: Mapping[str, Command], label: str, runs: int) -> Turns:
    build = rig.vpm_env("build", prepare=rig.forgetting(*_FORGOTTEN[label]))
    return Turns.of({**peers, OURS: build, LINKS: rig.linked()}, runs=runs)


def _against_uv(rig: Rig, by_uv: Command, label: str, count: int, limit: float | None, runs: int) -> Row:
    is_warm = label == "warm"
    turns = _turns(
        rig,
        {UV: by_uv, LEAST: least(rig, knows_how=True), CALLS: least(rig, knows_how=False)} if is_warm else {UV: by_uv},
        label,
        runs,
    )
    keep, floor = (limit, LEAST) if is_warm else (None, LINKS)
    return turns.row(f"{label} build, {title(count)}", _MADE, ours=OURS, peer=UV, floor=floor, limit=keep)


def _above_a_start(rig: Rig, runs: int) -> Row:
    turns = _turns(rig, {START: rig.bare()}, "warm", runs)
    return Row(
        name="warm build, 1 package",
        what="more than a bare start takes",
        value=turns.added(OURS, START),
        unit="ms",
        limit=120,
        floor=START,
        above=turns.ratio(OURS, START),
        detail=turns.detail(),
    )


def _against_pip(rig: Rig, count: int, runs: int) -> Row:
    by_pip = pip_install(rig.base.python, rig.folder / "by-pip", rig.env, str(rig.index), rig.requirements())
    turns = _turns(rig, {"venv + pip install": by_pip}, "warm", runs)
    name, what = f"warm build, {title(count)}", "time / (`python -m venv` + `pip install`, warm)"
    return turns.row(name, what, ours=OURS, peer="venv + pip install", floor=LINKS)


def changed(folder: Path, runs: int) -> Iterator[Row]:
    """One plugin of 60 in another version, which is here already: in uv's cache, and in the store.

    Ours finds out which packages that takes; uv is told. So what nobody can do without has a resolve in it.
    """
    with synthetic(folder) as (rig, index):
        publish(index, names(), files=FILES // PACKAGES)
        publish(index, names()[:1], files=FILES // PACKAGES, version="2.0")
        lists = {}
        for version in ("2.0", "1.0"):
            _ask_for(rig, version)
            synced(rig)
            lists[version] = rig.requirements(f"{version}.txt")

        def prepare() -> None:
            _ask_for(rig, "1.0")
            rig.vpm_env("build").run()
            now = rig.overlay
            rig.forget(
                *(str(path.relative_to(rig.home)) for path in (rig.home / "overlays").glob("*/*") if path != now)
            )
            _ask_for(rig, "2.0")

        back = rig.uv_again(lists["1.0"])
        in_place = "uv pip sync in place"
        commands = {
            UV: rig.uv_sync(lists["2.0"]),
            in_place: rig.uv_again(lists["2.0"], prepare=back.run),
            RESOLVED: _resolved_and_linked(rig, lists["2.0"]),
            OURS: rig.vpm_env("build", prepare=prepare),
        }
        turns = Turns.of(commands, runs=runs)
        name = f"one plugin of {PACKAGES} changed"
        yield turns.row(name, _MADE, ours=OURS, peer=UV, floor=RESOLVED, limit=0.2)
        what = f"time / `{in_place}`, whose old set is gone then"
        yield turns.row(name, what, ours=OURS, peer=in_place, floor=RESOLVED)


def _resolved_and_linked(rig: Rig, asked: Path) -> Command:
    """Return the parts of such a build that others do, and nothing between them."""
    linked = rig.linked()
    out = ("--format", "pylock.toml", "-o", rig.work / "pylock.least.toml")
    where = ("--offline", "--index-url", rig.index or "", "--python", rig.base.python)
    steps = (rig.python(_LIBRARIES).words, rig.uv("pip", "compile", *where, *out, asked), linked.words)
    return replace(linked, words=["/bin/sh", "-c", " && ".join(shlex.join(map(str, step)) for step in steps)])


def _ask_for(rig: Rig, version: str) -> None:
    rig.config(*names(), versions={names()[0]: version})
