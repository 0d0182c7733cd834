"""R6, R7: everybody at once on one home; and the meetings that are dangerous, one by one, made certain."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from typing import TYPE_CHECKING

import hammer
import kit
import pytest
import stands
import users
from meetings import NEXT_WEEK, Meeting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VERSIONS = 12
_MADE = re.compile(r"vpm_env\.write .*/overlays/[0-9a-f]{12}/([0-9a-f]{64})/\.lease")
_THROWN = re.compile(r"os\.rename .*/overlays/[0-9a-f]{12}/([0-9a-f]{64})")
_STORED = re.compile(r"os\.symlink ([0-9a-f]{32}-[^/]+)/lib")
_COLLECTED = re.compile(r"os\.rename .*/store/([0-9a-f]{32}-[^/]+)")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Make a hooked base, a set, and an engine's script."""
    folder = tmp_path_factory.mktemp("hammer")
    vpm_env = stands.small(folder)
    for version in map(str, range(VERSIONS)):
        for name in ("left", "right", "third"):
            value = f"VALUE = {version!r}\n"
            kit.wheel(folder / "links", name, version, files={f"{name}/__init__.py": value, f"{name}/late.py": value})
    vpm_env.config(config(folder / "links", left=0, right=0))
    vpm_env("build", "--offline", check=True)
    vpm_env("build", "--offline", "--profile", "other", check=True)
    vpm_env("build", "--offline", "--profile", "same0", check=True)
    vpm_env("hook", "install", check=True)
    (folder / "entry").mkdir()
    (folder / "entry" / "vllm").write_text("import sys\nwait = float(sys.argv[1])\n" + _reader_code())
    return vpm_env


def _reader_code() -> str:
    import reader

    return reader.CODE.replace("{wait}", "wait")


def config(links: Path, **versions: int) -> str:
    """Write a config with plugins of these versions."""
    entries = "".join(f"  - {{name: {name}, source: pypi, version: '{n}'}}\n" for name, n in versions.items())
    return f"find_links: {links}\nindex: http://127.0.0.1:9/none\nplugins:\n{entries}"


def test_everybody_at_once(
    home: kit.VpmEnv, tmp_path: Path, figure: Callable[..., None], scale: Callable[[int, int], int]
) -> None:
    plan = hammer.Plan(
        home=str(home.home),
        python=home.env["VPM_ENV_BASE"],
        links=str(home.folder.parent / "links"),
        work=str(tmp_path / "work"),
        said=str(tmp_path / "said"),
        env={**home.env, "VPM_ENV_LOCK_TIMEOUT": "90"},
        seconds=scale(60, 600),
        versions=VERSIONS,
    )
    (tmp_path / "said").mkdir()
    told = hammer.run(plan)

    made, thrown = Counter(_found(_MADE, told)), Counter(_found(_THROWN, told))
    stored, collected = Counter(_found(_STORED, told)), Counter(_found(_COLLECTED, told))
    published = sum(line.startswith("vpm_env.step package: published") for line in told.changes)
    wrong = list(told.violations)
    wrong += [f"overlay {key[:12]} was made {n} times" for key, n in made.items() if n > 1 + thrown[key]]
    wrong += [f"package {key} was made {n} times" for key, n in stored.items() if n > 1 + collected[key]]
    sound = home("verify", "--json").json
    wrong += [f"in the end: {damage}" for damage in sound["damage"]]
    calls = ", ".join(f"{count} {role}" for role, count in sorted(told.calls.items()))
    note = (
        f"{plan.seconds:.0f} s: {calls}; {sum(made.values())} overlays of {len(made)} digests and {published} packages "
        f"made, {sum(thrown.values())} and {sum(collected.values())} collected; slowest call {told.slowest:.1f} s"
    )
    print(note)
    figure(
        "R6",
        "calls by 8 builders, 4 switchers, 2 rollbackers, 2 gc, 1 verify, 16 readers at once",
        count=sum(told.calls.values()),
        wanted=scale(400, 4000),
        violations=wrong,
        note=note,
    )


def _found(pattern: re.Pattern[str], told: hammer.Told) -> list[str]:
    return [match[1] for match in map(pattern.fullmatch, told.changes) if match]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> users.Scene:
    """Make a hooked base, and three generations."""
    return users.scene(tmp_path_factory.mktemp("meetings"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Workshop]:
    """Open a second workshop: one is busy with a call that is halted."""
    with kit.workshop(tmp_path_factory.mktemp("others")) as opened:
        yield opened


@pytest.fixture
def meeting(scene: users.Scene, workshop: kit.Workshop, other: kit.Workshop, tmp_path: Path) -> Meeting:
    """Set the stage: gc would take generation 1, and nothing else."""
    found = Meeting(scene, workshop, other, tmp_path)
    found.set_up()
    return found


def gc_between_look_and_lease(meeting: Meeting) -> int:
    """An engine has read which set is current; that is switched away and collected; then it wants the lease."""
    meeting("switch", "1")
    with meeting.reader("open", "/.lease", "/srv/bin/vllm", "three") as reader:
        for number in ("2", "3"):
            meeting("switch", number)
        meeting("gc", later=NEXT_WEEK)
        meeting.expect(not meeting.scene.used.exists(), "gc did not take it")
    meeting.expect(reader["code"] == 0, reader)
    meeting.expect(reader["out"].split() == [meeting.digest(3), "True"], reader)
    return 3


def gc_between_open_and_lock(meeting: Meeting) -> int:
    """An engine has opened the lease, and gc, which cannot see it, takes the set before the engine locks it."""
    meeting("switch", "1")
    with meeting.reader("fcntl.flock", "", "/srv/bin/vllm", "three") as reader:
        for number in ("2", "3"):
            meeting("switch", number)
        meeting.scene.before = ("unshare", "--pid", "--fork", "--mount", "--mount-proc")
        meeting.scene.collect()
        meeting.scene.before = ()
        meeting.expect(not meeting.scene.used.exists(), "gc did not take it")
    meeting.expect(reader["code"] == 0, reader)
    meeting.expect(reader["out"].split() == [meeting.digest(3), "True"], reader)
    return 3


def gc_and_a_rebuild_between_open_and_lock(meeting: Meeting) -> int:
    """As before, and then the set is made again: the lease that the engine has opened is not the one that is there."""
    meeting("switch", "1")
    with meeting.reader("fcntl.flock", "", "/srv/bin/vllm", "one") as reader:
        for number in ("2", "3"):
            meeting("switch", number)
        meeting.scene.before = ("unshare", "--pid", "--fork", "--mount", "--mount-proc")
        meeting.scene.collect()
        meeting.scene.before = ()
        meeting.expect(not meeting.scene.used.exists(), "gc did not take it")
        meeting("switch", "1")
    meeting.expect(reader["out"].split() == [meeting.digest(1), "True"], reader)
    return 1


def gc_between_look_and_import(meeting: Meeting) -> int:
    """A plain Python, which holds no lease, has read which set is current; that is switched away, and a day passes."""
    meeting("switch", "1")
    with meeting.reader("open", "/format", "/srv/script.py", "one") as reader:
        for number in ("2", "3"):
            meeting("switch", number)
        told = meeting.scene.collect()
        meeting.expect(meeting.scene.used.exists(), "gc took it")
        meeting.expect(any("started when it was current" in text for one in told["used"] for text in one["by"]), told)
    meeting.expect(reader["code"] == 0, reader)
    meeting.expect(reader["out"].split() == [meeting.digest(1), "False"], reader)
    return 3


def build_finishes_before_the_plan(meeting: Meeting) -> int:
    """A build of a set that gc would take begins and ends after gc was called, and before that looks."""
    users.write_config(meeting.scene.vpm_env, "one")
    with meeting.halted("gc", at="open", later=NEXT_WEEK):
        built = meeting("build", "--offline")
        meeting.expect(built.code == 0, built.stderr)
    meeting.expect(meeting.scene.used.is_dir(), "gc took what was built")
    return 4


def build_wants_what_gc_takes(meeting: Meeting) -> int:
    """A build of the very set that gc has thrown away in part waits for gc, and then makes it again."""
    users.write_config(meeting.scene.vpm_env, "one")
    with meeting.halted("gc", at="vpm_env.step gc: overlays thrown", later=NEXT_WEEK) as held:
        building = meeting.start("build", "--offline")
        held.let_go()
    built = meeting.second.finish(building)
    meeting.expect(built.code == 0, built.stderr)
    return 4


def gc_wants_what_a_build_found(meeting: Meeting) -> int:
    """A build has found a package that no other set needs, and goes on to link it; gc does not get at it."""
    users.write_config(meeting.scene.vpm_env, "one")
    shutil.rmtree(meeting.scene.used)
    with meeting.halted("build", "--offline", at="vpm_env.step overlay: linked") as held:
        meeting.expect(meeting("gc", wait=0.1, later=NEXT_WEEK).code == 1, "gc did not wait")
        held.let_go()
    return 4


def gc_meets_an_overlay_without_generation(meeting: Meeting) -> int:
    """A set is linked and sealed, and no generation points to it yet."""
    users.write_config(meeting.scene.vpm_env, "one", "two")
    with meeting.halted("build", "--offline", at="vpm_env.step overlay: sealed"):
        ended = meeting("gc", wait=0.1, later=NEXT_WEEK)
        meeting.expect(ended.code == 1 and "is held by process" in ended.stderr, ended)
    (current,) = meeting.scene.vpm_env.home.glob("profiles/default/*/current")
    meeting.expect(current.resolve().is_dir(), "gc took what was being built")
    return 4


def switch_to_what_gc_has_thrown(meeting: Meeting) -> int:
    """A switch to a set that is in the trash already waits, and makes it again."""
    with meeting.halted("gc", at="vpm_env.step gc: packages thrown", later=NEXT_WEEK) as held:
        switching = meeting.start("switch", "1")
        held.let_go()
    ended = meeting.second.finish(switching)
    meeting.expect(ended.code == 0 and "rebuilding it from its lock" in ended.stderr, ended)
    return 1


def rollback_to_what_gc_takes(meeting: Meeting) -> int:
    """A rollback to a generation that nothing points to any more, and that is not thrown away yet."""
    with meeting.halted("gc", at="vpm_env.step gc: unpointed", later=NEXT_WEEK) as held:
        rolling = meeting.start("rollback", "--to", "1")
        held.let_go()
    ended = meeting.second.finish(rolling)
    meeting.expect(ended.code == 0, ended)
    return 1


def two_profiles_want_what_gc_took(meeting: Meeting) -> int:
    """A switch has found a set gone, and while it has the packages another profile's makes it again and uses it."""
    scene = meeting.scene
    for name in ("one", "two", "three"):
        users.write_config(scene.vpm_env, name)
        meeting("build", "--offline", "--profile", "other")
    meeting("gc", "--grace", "0s", later=NEXT_WEEK)
    meeting.expect(not scene.used.exists(), "gc did not take it")
    with meeting.looker("open", "/flocks/overlay-", "switch", "1", "--profile", "other") as looker:
        meeting("switch", "1")
        mark = scene.used / "share" / "mark"
        mark.parent.mkdir(exist_ok=True)
        mark.touch()
    meeting.expect(looker["code"] == 0, looker)
    meeting.expect(mark.exists(), "what is current was thrown away and made once more")
    return 1


def gc_during_a_switch(meeting: Meeting) -> int:
    """A switch has recorded the order, and `current` is the old set still; gc would take the new one."""
    with meeting.halted("switch", "1", at="vpm_env.step switch: ordered"):
        ended = meeting("gc", wait=0.1, later=NEXT_WEEK)
        meeting.expect(ended.code == 1, ended)
    return 1


def two_gcs(meeting: Meeting) -> int:
    """A second gc waits for the first, takes nothing twice, and empties the trash with it."""
    with meeting.halted("gc", at="vpm_env.step gc: overlays thrown", later=NEXT_WEEK) as held:
        second = meeting.start("gc", "--json", later=NEXT_WEEK)
        held.let_go()
    ended = meeting.second.finish(second)
    meeting.expect(ended.code == 0 and json.loads(ended.stdout)["overlays"] == [], ended)
    meeting.expect(not list((meeting.scene.vpm_env.home / "trash").iterdir()), "something is left in the trash")
    return 3


def gc_during_verify(meeting: Meeting) -> int:
    """A verify that is in the middle of a package that gc would take: nothing is taken, nothing found damaged."""
    (package,) = meeting.scene.vpm_env.home.glob("store/*-one-1.0")
    with meeting.looker("open", f"{package.name}/", "verify", "--json") as looker:
        meeting.expect(meeting("gc", wait=0.1, later=NEXT_WEEK).code == 1, "gc did not wait")
    meeting.expect(looker["code"] == 0, looker)
    return 3


def run_begins_while_gc_takes(meeting: Meeting) -> int:
    """A process takes the lease of a set after gc chose it: it keeps it, and its packages, and the generation."""
    scene = meeting.scene
    command = (*scene.vpm_env.command, "run", "--generation", "1", "--", "python", "-c", users.SAY + "import one.late")
    env = {name: scene.vpm_env.env[name] for name in ("VPM_ENV_HOME", "VPM_ENV_BASE")}
    with meeting.halted("gc", "--json", at="vpm_env.step gc: unpointed", later=NEXT_WEEK) as held:
        with scene.living(*command, env=env):
            told = json.loads(held.let_go().stdout)
            meeting.expect(scene.used.is_dir() and scene.library.is_file(), "its packages went")
        meeting.expect(told["leased"] == [scene.used.name] and told["packages"] == [], told)
        meeting.expect(told["items"] == [] and told["bytes"] == 0, told)
    return 3


def run_comes_too_late(meeting: Meeting) -> int:
    """A process wants a set that gc has thrown away: it is told so."""
    with meeting.halted("gc", at="vpm_env.step gc: overlays thrown", later=NEXT_WEEK):
        ended = meeting.scene.vpm_env("run", "--generation", "1", "--", "true")
        meeting.expect(ended.exit == 1 and "was collected" in ended.stderr, ended.output)
    return 3


def gc_meets_a_set_without_generation(meeting: Meeting) -> int:
    """A set that lacks a plugin has no generation: it stays while it is made, and while a process uses it."""
    users.write_config(meeting.scene.vpm_env, "one", "two", "three")
    meeting("build", "--offline")
    with meeting.halted("path", "--without", "one", at="vpm_env.step overlay: sealed"):
        meeting.expect(meeting("gc", wait=0.1, later=NEXT_WEEK).code == 1, "gc did not wait")
    scene = meeting.scene
    code = users.SAY + "import two, three"
    command = (*scene.vpm_env.command, "run", "--without", "one", "--", "python", "-c", code)
    env = {name: scene.vpm_env.env[name] for name in ("VPM_ENV_HOME", "VPM_ENV_BASE")}
    with scene.living(*command, env=env):
        told = json.loads(meeting("gc", "--json", later=NEXT_WEEK).stdout)
        meeting.expect(any("holds its lease" in text for used in told["used"] for text in used["by"]), told)
    return 4


SCHEDULES = (
    gc_between_look_and_lease,
    gc_between_open_and_lock,
    gc_and_a_rebuild_between_open_and_lock,
    gc_between_look_and_import,
    build_finishes_before_the_plan,
    build_wants_what_gc_takes,
    gc_wants_what_a_build_found,
    gc_meets_an_overlay_without_generation,
    switch_to_what_gc_has_thrown,
    rollback_to_what_gc_takes,
    two_profiles_want_what_gc_took,
    gc_during_a_switch,
    two_gcs,
    gc_during_verify,
    run_begins_while_gc_takes,
    run_comes_too_late,
    gc_meets_a_set_without_generation,
)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.__name__.replace("_", " "))
def test_a_schedule(schedule: Callable[[Meeting], int], meeting: Meeting, figure: Callable[..., None]) -> None:
    is_elsewhere = schedule in (gc_between_open_and_lock, gc_and_a_rebuild_between_open_and_lock)
    if is_elsewhere and (os.geteuid() or not shutil.which("unshare")):
        pytest.skip("needs root and unshare")
    meeting.after(schedule(meeting))
    figure("R7", "named schedules", count=1, violations=meeting.wrong, note=schedule.__name__.replace("_", " "))
