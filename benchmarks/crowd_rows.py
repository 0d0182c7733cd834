"""Rows of crowds: what many machines at the same moment make of one cache."""

from __future__ import annotations

import json
import logging
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet_rig import CHANNEL, Fleet, fleet_of, said, serving
from kit.caches import s3_cache
from measure import Command, spread
from rig import names, publish, synthetic
from table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleet_rig import Web

PACKAGES = 10
CLIENTS, PUSHES, LOOKERS = 64, 32, 1000
_PROCESSES = 4
"""That the lookers are spread over."""
EVERY = 30.0
"""Seconds in which each machine of a fleet looks once at its channel, as `docs/fleet.md` says."""


def clients(folder: Path, runs: int) -> Iterator[Row]:
    """Many machines that pull at the same moment, each with a home of its own, from one server."""
    del runs
    with synthetic(folder) as (rig, index):
        publish(index, names(PACKAGES))
        fleet = fleet_of(rig, index)
        digest = fleet.push(*names(PACKAGES))
        homes = [fleet.node(f"{number:02}") for number in range(CLIENTS)]
        for home in homes:
            fleet.known_to(home)
        with serving(fleet.cache, folder / "log") as web:
            pulls = [
                rig.vpm_env("pull", web.url(home.name), digest, "--no-generation", "--json", home=home)
                for home in homes
            ]
            seconds, outputs = _together(pulls)
            given = web.parcels()
        failures = [output for code, output in outputs if code]
        wrong = [count for count in given.values() if count != 1]
        lacking = CLIENTS * PACKAGES - len(given)
        detail = {"failures": failures[:3], "given more than once": len(wrong), "never given": lacking}
        yield Row(
            name=f"{CLIENTS} pulls at once",
            what="pulls that fail, and parcels that are not fetched exactly once by each",
            value=len(failures) + len(wrong) + lacking,
            unit="",
            limit=0,
            detail=detail,
        )
        yield Row(
            name=f"{CLIENTS} pulls at once",
            what=f"until the last has its {PACKAGES} packages, all on this one machine",
            value=seconds,
            unit="s",
        )


def _together(commands: list[Command], env: dict[str, str] | None = None) -> tuple[float, list[tuple[int, str]]]:
    """Run calls at once: seconds until the last has ended, and each one's exit code and what it said."""
    started = time.perf_counter()
    running = [
        subprocess.Popen(
            list(map(str, command.words)),
            env={**command.env, **(env or {})},
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    said_by = [each.communicate() for each in running]
    took = time.perf_counter() - started
    return took, [
        (each.returncode, out if each.returncode == 0 else err)
        for each, (out, err) in zip(running, said_by, strict=True)
    ]


def pushes(folder: Path, runs: int) -> Iterator[Row]:
    """Machines that push the same set into the same empty cache at the same moment: a folder, and a store of S3's."""
    del runs
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # the store tells of every request
    with synthetic(folder) as (rig, index), s3_cache() as store:
        publish(index, names(PACKAGES))
        fleet = fleet_of(rig, index)
        rig.config(*names(PACKAGES))
        digest = said(rig.vpm_env("build", "--json"))["digest"]
        yield _raced(fleet, digest, "a folder", str(fleet.cache), {})
        yield _raced(fleet, digest, "a store that speaks S3", store.url, store.env)


def _raced(fleet: Fleet, digest: str, kind: str, url: str, env: dict[str, str]) -> Row:
    push = fleet.rig.vpm_env("push", url, "--key", str(fleet.key), "--json")
    seconds, outputs = _together([push] * PUSHES, env)
    records = [json.loads(output) for code, output in outputs if code == 0]
    failures = [output for code, output in outputs if code]
    winners = sum(record["new"] for record in records)
    others = sum(record["digest"] != digest for record in records)
    pull = fleet.rig.vpm_env("pull", url, digest, "--json", home=fleet.node(kind))
    pulled = said(replace(pull, env={**pull.env, **env}))
    lacking = PACKAGES - pulled["packages"]["fetched"]
    return Row(
        name=f"{PUSHES} pushes at once into {kind}",
        what="pushes that fail or disagree, winners but for one, packages that a pull lacks afterwards",
        value=len(failures) + others + abs(winners - 1) + lacking,
        unit="",
        limit=0,
        detail={"seconds": round(seconds, 2), "failures": failures[:3], "winners": winners},
    )


def looks(folder: Path, runs: int) -> Iterator[Row]:
    """A thousand machines that look at a channel, as often as they are to, and all in the same moment."""
    with synthetic(folder) as (rig, index):
        publish(index, names(PACKAGES))
        fleet = fleet_of(rig, index)
        fleet.move(fleet.push(*names(PACKAGES)))
        with serving(fleet.cache, folder / "log") as web:
            for within, told in ((EVERY, f"each once in {EVERY:g} s"), (0.0, "all in the same moment")):
                turns = [_looked(fleet, web, within, seed) for seed in range(1 if within else min(runs, 5))]
                failures = [each for looks in turns for each in looks["failures"]]
                assert not failures, failures[:3]
                ranks = [1000 * _percentile(looks["seconds"], 99) for looks in turns]
                yield Row(
                    name=f"{LOOKERS} machines look at a channel",
                    what=f"99th percentile of channel and waybill, signatures checked; {told}",
                    value=statistics.median(ranks),
                    unit="ms",
                    limit=1000,
                    detail={
                        "99th percentile, ms": spread(ranks),
                        "ms": spread([1000 * each for looks in turns for each in looks["seconds"]]),
                    },
                )


def _looked(fleet: Fleet, web: Web, within: float, seed: int) -> dict[str, Any]:
    """Let all lookers look once, from some processes: what each look took, and what failed."""
    path = Path(__file__).with_name("looking.py")
    numbers = range(_PROCESSES)
    words = [sys.executable, str(path), web.url(), CHANNEL, fleet.public, str(LOOKERS // _PROCESSES), str(within)]
    running = [
        subprocess.Popen(
            [*words, str(seed * _PROCESSES + number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for number in numbers
    ]
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    moment = f"{time.time() + 1.0}\n"
    for each in running:
        assert each.stdin is not None
        each.stdin.write(moment)
        each.stdin.flush()
    found = [json.loads(each.communicate()[0]) for each in running]
    return {name: [value for looks in found for value in looks[name]] for name in ("seconds", "failures")}


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
