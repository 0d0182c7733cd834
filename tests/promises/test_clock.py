"""R11: the clock is wrong, or is set back in the middle; nothing in use or just made is swept, and order is order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import kit
import pytest
import stands

from envbuilder import profile as profiles
from envbuilder.paths import Layout
from envbuilder.profile import Profile

if TYPE_CHECKING:
    from conftest import Figures

GROUP = "vllm.general_plugins"
HOUR, DAY = 3600.0, 86400.0
YEAR = 365 * DAY
CLOCKS = {"right": 0.0, "a year behind": -YEAR, "ten years ahead": 10 * YEAR, "before 1980": -time.time() + YEAR}
"""Seconds that a machine's clock is ahead."""

LOOKS = ("status", "history", "list", "show 1", "diff 1 2", "verify", "gc --dry-run", "gc --why 1", "info")


class Times:
    """A home with sets that were made and switched to under whatever clocks."""

    def __init__(self, folder: Path, workshop: kit.Workshop) -> None:
        self.folder = folder
        self._workshop = workshop
        self.vpm_env = stands.small(folder)
        self.layout = Layout(str(self.vpm_env.home))

    def want(self, version: str) -> None:
        """Ask for a version of the plugin."""
        links = self.folder / "links"
        if not list(links.glob(f"*-{version}-*")):
            files = {"ash/__init__.py": f"VALUE = {version!r}\n\n\ndef register():\n    pass\n"}
            kit.wheel(links, "ash", version, files=files, entry_points={GROUP: {"ash": "ash:register"}})
        entry = f"  - {{name: ash, source: pypi, version: '{version}'}}\n"
        self.vpm_env.config(f"find_links: {links}\nindex: http://127.0.0.1:9/none\nplugins:\n{entry}")

    def __call__(self, words: str, ahead: float = 0.0, **variables: str) -> kit.Ended:
        env = {**self.vpm_env.env, **variables}
        return self._workshop(*words.split(), env=env, cwd=self.vpm_env.folder, later=ahead)

    def must(self, words: str, ahead: float = 0.0) -> kit.Ended:
        """Call a verb that has to succeed."""
        ended = self(words, ahead)
        assert ended.code == 0, f"{words}: {ended.stdout}{ended.stderr}"
        return ended

    def build(self, version: str, ahead: float = 0.0) -> int:
        """Build a set, and return the number that it got."""
        self.want(version)
        self.must("build --offline", ahead)
        return self.current

    def forget(self) -> None:
        """Take all sets away, but not the packages."""
        for folder in (self.layout.profiles, self.layout.overlays):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def profile(self) -> Profile:
        (path,) = Path(self.layout.profiles).glob("default/*")
        return Profile(self.layout, "default", path.name)

    @property
    def current(self) -> int:
        return profiles.current(self.profile) or 0

    def on_disk(self) -> list[int]:
        """Number the generations whose sets are there."""
        at = self.profile
        return [number for number in profiles.numbers(at) if profiles.is_on_disk(at, profiles.read(at, number))]


@pytest.fixture
def times(tmp_path: Path, workshop: kit.Workshop) -> Times:
    return Times(tmp_path, workshop)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, workshop: kit.Workshop) -> Times:
    """Make sets one after the other while the clock is anything, and go back and forth among them."""
    made = Times(tmp_path_factory.mktemp("mixed"), workshop)
    for number, ahead in enumerate((0.0, 10 * YEAR, -YEAR, 0.0), start=1):
        assert made.build(f"{number}.0", ahead) == number
    made.must("hook install")
    return made


def test_the_order_is_that_of_the_counter(mixed: Times, figure: Figures) -> None:
    wrong, count = [], 0
    for ahead in CLOCKS.values():
        for expected in (3, 2, 1):
            mixed.must("rollback", ahead)
            count += 2  # and the switch back
            wrong += [] if mixed.current == expected else [f"{mixed.current}, not {expected}"]
        for number in (2, 3, 4):
            mixed.must(f"switch {number}", -ahead)
    last = mixed.build("5.0", -YEAR)
    wrong += [] if last == 5 else [f"the fifth set is generation {last}"]

    figure("R11", "rollbacks and switches under four clocks", count=count, wanted=24, violations=wrong)


def test_no_word_is_strange(mixed: Times, figure: Figures) -> None:
    """Whatever the clock says, each verb ends well, and no age or duration is below zero."""
    wrong, count = [], 0
    for name, ahead in CLOCKS.items():
        for words in LOOKS:
            ended = mixed(words, ahead, TZ="America/New_York")
            count += 1
            if (
                ended.code
                or "Traceback" in ended.stderr
                or re.search(r"(?<![\w.-])-\d+(\.\d+)? ?[smhdy]\b", ended.stdout)
            ):
                wrong.append(f"{words}, {name}: {ended.code} {ended.stdout}{ended.stderr}")

    figure("R11", "looks under four clocks", count=count, wanted=30, violations=wrong)


def test_what_was_current_lately_stays(times: Times, figure: Figures) -> None:
    """A clock that was wrong meanwhile takes nothing away from gc's rule of 24 hours."""
    wrong = []
    orders = {
        "set back": (10 * YEAR, 10 * YEAR, 10 * YEAR, 0.0),
        "set back in the middle": (0.0, 10 * YEAR, 0.0, 0.0),
        "wrong at the last": (0.0, 0.0, -YEAR, 0.0),
        "behind at first": (-YEAR, 0.0, 0.0, 0.0),
    }
    for name, clocks in orders.items():
        times.forget()
        numbers = [times.build(f"{number}.0", ahead) for number, ahead in enumerate(clocks, start=1)]
        times.must("gc")
        # The first was current until the second was switched to, a moment ago: unless that, too, is long ago.
        lost = set(numbers[1:]) - set(times.on_disk())
        wrong += [f"{name}: lost {sorted(lost)}"] if lost else []

    figure("R11", "collections", count=len(orders), wanted=4, violations=wrong, note="after a clock was wrong")


def test_a_wrong_clock_keeps_nothing_for_ever(times: Times, figure: Figures) -> None:
    """What was current while the clock was ten years ahead goes as soon as that is a day ago."""
    for number in range(1, 5):
        times.build(f"{number}.0", 10 * YEAR if number < 4 else 0.0)
    wrong = []

    times.must("gc", 2 * DAY)

    if times.on_disk() != [3, 4]:
        wrong.append(f"{times.on_disk()} are there")
    figure("R11", "collections", count=1, violations=wrong, note="two days after it was right again")


def test_gc_under_a_wrong_clock(times: Times, figure: Figures) -> None:
    """What is current, what a rollback goes to, what is newest and what is in use stays under any clock."""
    wrong = []
    for name, ahead in CLOCKS.items():
        times.forget()
        for number in range(1, 6):
            times.build(f"{number}.0")
        used = Path(os.path.realpath(times.profile.pointer(1)))
        code = "print('here', flush=True); input()"
        with subprocess.Popen([used / "bin" / "python", "-c", code], **_PIPES) as user:
            assert user.stdout is not None
            user.stdout.readline()
            times.must("switch 4")
            times.must("gc --older-than 1h --grace 1h", ahead)
            there = set(times.on_disk())
            user.communicate("\n")
        lacking = {1, 3, 4, 5} - there if ahead <= 0 else {1, 4, 5} - there
        wrong += [f"{name}: {sorted(lacking)} are gone"] if lacking else []
        again = times("build --offline", ahead)
        wrong += [f"{name}: {again.stderr}"] if again.code else []

    figure("R11", "collections", count=len(CLOCKS), wanted=4, violations=wrong, note="under four clocks")


def test_the_clock_is_set_back_while_it_builds(times: Times, figure: Figures) -> None:
    """A gc under a clock of ten years ahead, while a build is halted, takes nothing from under it."""
    times.build("1.0")
    gate = times.folder / "gate"
    wrong = []
    for number, step in enumerate(("package: compiled", "package: durable", "overlay: linked"), start=2):
        times.want(f"{number}.0")
        fault = kit.Fault("halt", event=f"{kit.faults.STEP} {step}", gate=str(gate))
        env = {**times.vpm_env.env, "VPM_ENV_LOCK_TIMEOUT": "0.1"}
        building = times._workshop.start(
            "build", "--offline", env=env, cwd=times.vpm_env.folder, fault=fault, later=-YEAR
        )
        _wait_for(Path(f"{gate}.reached"))
        swept = times("gc", 10 * YEAR, VPM_ENV_LOCK_TIMEOUT="0.1")
        gate.touch()
        ended = times._workshop.finish(building)
        wrong += [f"{step}: {ended.stderr}"] if ended.code else []
        wrong += [f"{step}: gc said {swept.stderr}"] if "Traceback" in swept.stderr else []
        gate.unlink()
        Path(f"{gate}.reached").unlink()
        times.must("verify")

    figure("R11", "collections", count=3, wanted=3, violations=wrong, note="in the middle of a build, years apart")


def test_a_failure_of_the_future_is_no_news(times: Times, figure: Figures) -> None:
    """A build that failed while the clock was ahead, perhaps because of it, does not fail those after it."""
    times.want("1.0")
    (times.folder / "links").rename(times.folder / "away")
    failed = times("build --offline --auto", 10 * YEAR)
    (times.folder / "away").rename(times.folder / "links")

    again = times("build --offline --auto")

    wrong = [again.stderr] if again.code or not failed.code else []
    figure("R11", "builds after one that failed under a clock that was ahead", count=1, violations=wrong)


@pytest.mark.parametrize("moment", [0, 1, -(10**9), 4 * 10**9])
def test_sources_of_any_time(times: Times, figure: Figures, moment: int) -> None:
    """A zip holds no year before 1980; files of a local plugin may have any time."""
    project = kit.project(times.folder / "oak", "oak", files=_PLUGIN, entry_points=_POINTS)
    for path in [*project.rglob("*"), project]:
        os.utime(path, (moment, moment))
    times.vpm_env.config(f"plugins:\n  - {{name: oak, source: local, path: {project}}}\n")

    ended = times("build --offline --force")

    wrong = [] if ended.code == 0 else [ended.stderr]
    figure("R11", "local plugins whose files are of any time", count=1, violations=wrong)


def test_a_machine_without_the_time(times: Times, figure: Figures) -> None:
    """The whole program under libfaketime, its children too: built in 1990, looked at in 2040, and in between."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        pytest.skip("no libfaketime")
    wrong = []
    for number, moment in enumerate(("2040-01-01 00:00:00", "1990-03-25 01:59:59", "2026-10-25 02:59:59"), start=1):
        times.want(f"{number}.0")
        faked = {
            "LD_PRELOAD": str(library),
            "FAKETIME": f"@{moment}",
            "TZ": "Europe/Berlin",
            "FAKETIME_DONT_RESET": "1",
        }
        for words in ("build --offline", "list", "gc", "verify", "history"):
            done = times.vpm_env(*words.split(), env=faked)
            wrong += [f"{moment}, {words}: {done.output}"] if done.exit else []
        wrong += [] if times.current == number else [f"{moment}: {times.current} is current"]

    figure("R11", "calls under libfaketime", count=15, wanted=15, violations=wrong)


_PLUGIN = {"oak/__init__.py": "def register():\n    pass\n"}
_POINTS = {GROUP: {"oak": "oak:register"}}
_PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}


def _wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until, f"no {path}"
        time.sleep(0.005)
