"""Rows of a fleet: pulls, what moves, how fast all go back; with `crowd_rows` and `ray_rows` the index of them."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from typing import TYPE_CHECKING

import crowd_rows
import ray_rows
from fleet_rig import CHANNEL, Fleet, fleet_of, said, serving
from measure import Turns, spread
from rig import names, publish, synthetic
from table import Row
from unpacking import LITERAL, packages, unpacked

from envbuilder.bucket import open_bucket
from envbuilder.channels import move_back
from envbuilder.depot import Depot, Trust
from envbuilder.keys import parse_public, read_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from measure import Command
    from rows import Rows

FILES, PACKAGES = 5000, 10
PULL = "vpm-env pull"
AT_ONCE = "the same, a package at a time in four processes"


def pulling(folder: Path, runs: int) -> Iterator[Row]:
    """A pull of 5,000 files in ten packages from a web server, against what unpacks and compiles them alone."""
    with synthetic(folder) as (rig, index):
        publish(index, names(PACKAGES), files=FILES // PACKAGES)
        fleet = fleet_of(rig, index)
        digest = fleet.push(*names(PACKAGES))
        literal = _unpacked(fleet, folder / "whole", {"all": packages(rig.home / "store")})
        at_once = _unpacked(fleet, folder / "each", {name: [name] for name in packages(rig.home / "store")})
        with serving(fleet.cache, folder / "log") as web:
            for name, home, keeps in (("pull", fleet.node("warm"), True), ("first pull", fleet.node("cold"), False)):
                pull = rig.vpm_env("pull", web.url(), digest, prepare=_anew(fleet, home, keeps=keeps), home=home)
                turns = Turns.of({LITERAL: literal, AT_ONCE: at_once, PULL: pull}, runs=min(runs, 7))
                yield turns.row(
                    f"{name} of {FILES} files",
                    f"time / ({LITERAL}), local web server",
                    ours=PULL,
                    peer=LITERAL,
                    floor=AT_ONCE,
                    limit=1.5 if keeps else None,
                )


def _anew(fleet: Fleet, home: Path, *, keeps: bool) -> Callable[[], None]:
    """Return what leaves a node with nothing, or with what it knows of its base; nobody waits for another's writes."""

    def prepare() -> None:
        shutil.rmtree(home, ignore_errors=True)
        if keeps:
            fleet.known_to(home)
        os.sync()

    return prepare


def _unpacked(fleet: Fleet, folder: Path, archives: Mapping[str, Sequence[str]]) -> Command:
    rig = fleet.rig
    return unpacked(rig.home / "store", archives, folder, python=rig.base.python, env=rig.env)


def moving(folder: Path, runs: int) -> Iterator[Row]:
    """A set in which one plugin of ten is another: what moves, counted by the server."""
    del runs
    with synthetic(folder) as (rig, index):
        publish(index, names(PACKAGES), files=FILES // PACKAGES)
        publish(index, names(1), files=FILES // PACKAGES, version="2.0")
        fleet = fleet_of(rig, index)
        first = fleet.push(*names(PACKAGES), changed=names(1))
        there = set((fleet.cache / "packages").glob("*.tar.zst"))
        second = fleet.push(*names(PACKAGES), changed=names(1), version="2.0")
        (parcel,) = set((fleet.cache / "packages").glob("*.tar.zst")) - there
        home = fleet.node("one")
        with serving(fleet.cache, folder / "log") as web:
            rig.vpm_env("pull", web.url(), first, home=home).run()
            web.forget()
            rig.vpm_env("pull", web.url(), second, home=home).run()
            moved = sum(size for _, path, size in web.answers() if path.endswith(".tar.zst"))
            documents = sum(size for _, path, size in web.answers() if not path.endswith(".tar.zst"))
        size = parcel.stat().st_size
        yield Row(
            name=f"a pull of a set with one plugin of {PACKAGES} changed",
            what="bytes of parcels that move / bytes of that plugin's parcel",
            value=moved / size,
            unit="x",
            limit=1.0,
            floor="its parcel",
            least=1.0,
            above=(moved + documents) / size,
            detail={"parcels, bytes": moved, "documents, bytes": documents, "its parcel, bytes": size},
        )


def going_back(folder: Path, runs: int) -> Iterator[Row]:
    """A rollback of a channel, from its one write until a node that looks then has the set before current."""
    with synthetic(folder) as (rig, index):
        publish(index, names(PACKAGES))
        publish(index, names(1), version="2.0")
        fleet = fleet_of(rig, index)
        first = fleet.push(*names(PACKAGES), changed=names(1))
        fleet.move(first)
        second = fleet.push(*names(PACKAGES), changed=names(1), version="2.0")
        depot = Depot(open_bucket(str(fleet.cache), env={}), Trust(keys=(parse_public(fleet.public),)))
        secret, home = read_secret(str(fleet.key)), fleet.node("one")
        with serving(fleet.cache, folder / "log") as web:
            follow = rig.vpm_env("follow", web.url(), CHANNEL, home=home)
            follow.run()
            took = []
            for _ in range(runs):
                fleet.move(second)
                follow.run()
                started = time.perf_counter()
                move_back(depot, CHANNEL, secret)
                follow.run()
                took.append(time.perf_counter() - started)
                assert said(rig.vpm_env("list", "--json", home=home))["digest"] == first
        yield Row(
            name="rollback of a fleet by one write",
            what="seconds until `vpm-env follow` has the set before current, the slowest of all turns",
            value=max(took),
            unit="s",
            limit=2.0,
            floor="a bare start (`python -I -c pass`)",
            least=statistics.median(rig.bare().seconds() for _ in range(runs)),
            detail={"ms": spread([1000 * each for each in took])},
        )


ROWS: dict[str, Rows] = {
    "pull": pulling,
    "one-changed": moving,
    "clients": crowd_rows.clients,
    "pushes": crowd_rows.pushes,
    "looks": crowd_rows.looks,
    "fleet-rollback": going_back,
    "ray": ray_rows.on_ray,
}
