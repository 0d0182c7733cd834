"""Starts that fail again and again under a set that nobody found good: counted by the hook, and undone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import stands

from envbuilder import doctor_hook, flocks, startup
from envbuilder.classes import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stands import Stand

pytestmark = pytest.mark.long
PLUGIN = """
import os, signal, sys
VERSION = {version!r}
def register():
    print("plug", VERSION, flush=True)
    if "LISTENS" in os.environ:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if "WAIT" in os.environ:
        print("waits", flush=True)
        sys.stdin.read()
    if "ENDS" in os.environ:
        exec(os.environ["ENDS"])
    if VERSION in os.environ.get("DIES", "").split():
        raise RuntimeError("plug does not work here")
"""
DIES = {"DIES": "2.0 3.0"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, uv_cache: Path) -> Iterator[Stand]:
    """Build three sets, the first of which works."""
    with stands.stand(tmp_path_factory.mktemp("loop"), uv_cache) as stand:
        for version in ("1.0", "2.0", "3.0"):
            points = {stands.GROUP: {"plug": "plug:register"}}
            stand.publish("plug", version, files={"plug.py": PLUGIN.format(version=version)}, entry_points=points)
            stand.build("plug", extra=f", version: =={version}")
        yield stand


@pytest.fixture
def stand(made: Stand) -> Stand:
    """Begin with the third set current, and nothing known of any of them."""
    for path in (made.profile / "generations").glob("*.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "state": "untried", "why": "", "judged": ""}))
    for path in (made.profile / "attempts").glob("*"):
        path.unlink()
    for number in ("1", "2", "3"):
        made("switch", number)
    made("hook", "install", "--rollback-after", "2")
    return made


def serve(stand: Stand, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return stand.run(stand.base.scripts / "vllm", "serve", "m", *words, env=env, check=False)


@contextmanager
def serving(stand: Stand, **env: str) -> Iterator[subprocess.Popen[str]]:
    """Start an engine that waits when its plugin is there."""
    engine = subprocess.Popen(
        [str(stand.base.scripts / "vllm"), "serve", "m"],
        env={**stand.env, "WAIT": "1", **env},
        cwd=stand.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with engine:
        try:
            assert engine.stdout is not None
            assert engine.stdout.readline().startswith("plug")
            assert engine.stdout.readline() == "waits\n"
            yield engine
        finally:
            engine.kill()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def attempts(stand: Stand) -> list[str]:
    return sorted(path.name for path in (stand.profile / "attempts").glob("*"))


def states(stand: Stand) -> dict[int, str]:
    return {entry["number"]: entry["state"] for entry in stand("history", "--json").json["generations"]}


def current(stand: Stand) -> int:
    return int(os.readlink(stand.profile / "current").rpartition("/")[2])


def test_after_so_many_failed_starts_the_next_one_goes_back(stand: Stand) -> None:
    stand("rollback", "--to", "1")
    with serving(stand):
        pass
    stand("rollback", "--judge", "good", "1", "it ran for a day")
    stand("switch", "3")

    first, second, third, fourth = (serve(stand, **DIES) for _ in range(4))

    assert [done.returncode for done in (first, second, third, fourth)] == [1, 1, 0, 0]
    assert "warning" not in first.stderr + second.stderr + fourth.stderr
    (line,) = [line for line in third.stderr.splitlines() if "warning" in line]
    assert re.fullmatch(
        r"vpm-env: warning: generation 3 \([0-9a-f]{12}\) is marked bad: its engine ended 2 times in a row before it "
        r"had run for 600 s; rolled back to generation 1 \([0-9a-f]{12}\), and the profile is held there",
        line,
    )
    assert third.stdout.startswith("plug 1.0\n")
    assert third.stdout.count("plug 1.0\n") == 1
    assert states(stand) == {1: "good", 2: "untried", 3: "bad"}
    assert stand("status", "--json").json["held"]
    assert "its engine ended 2 times in a row" in stand("show", "3").stdout


def test_it_goes_back_as_far_as_it_must(stand: Stand) -> None:
    codes = [serve(stand, **DIES).returncode for _ in range(6)]

    assert codes == [1, 1, 1, 1, 0, 0]
    assert states(stand) == {1: "untried", 2: "bad", 3: "bad"}
    assert current(stand) == 1


def test_replicas_that_start_together_are_no_loop(stand: Stand) -> None:
    for _ in range(2):
        with ExitStack() as stack:
            engines = [stack.enter_context(serving(stand)) for _ in range(4)]
            assert {name.split("-")[1] for name in attempts(stand)} <= {"0", "1"}
            assert current(stand) == 3
            for engine in engines:
                engine.kill()  # and all of them die
    third = serve(stand, **DIES)

    assert len(third.stderr.splitlines()) >= 1
    assert "generation 3" in third.stderr
    assert "is marked bad: its engine ended 2 times in a row" in third.stderr


def test_one_that_lives_spares_the_set_what_failed_after_it(stand: Stand) -> None:
    with serving(stand):
        failed = [serve(stand, **DIES).stderr.count("is marked bad") for _ in range(4)]

    assert failed == [0, 0, 0, 0]
    assert current(stand) == 3


def test_one_that_lives_does_not_spare_what_failed_before_it(stand: Stand) -> None:
    stand("hook", "install", "--rollback-after", "3")
    for _ in range(2):
        serve(stand, **DIES)
    with serving(stand):
        stand("hook", "install", "--rollback-after", "2")
        told = serve(stand, **DIES).stderr

    assert "generation 3" in told
    assert "is marked bad: its engine ended 2 times in a row" in told


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ("pass", 0),
        ("sys.exit()", 0),
        ("sys.exit(2)", 2),
        ("sys.exit(143)", 143),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
        ("__import__('threading').Thread(target=sys.exit, args=(1,)).start()", 0),
        ("os.fork() or sys.exit(1); os.wait()", 0),
    ],
)
def test_a_wanted_end_is_no_failure(stand: Stand, ends: str, code: int) -> None:
    codes = [serve(stand, ENDS=ends).returncode for _ in range(4)]

    assert codes == [code] * 4
    assert attempts(stand) == []
    assert states(stand)[3] == "untried"


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ("sys.exit(1)", 1),
        ("sys.exit('no device')", 1),
        ("raise ValueError", 1),
        ("os._exit(0)", 0),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.fork() and os.abort()", -signal.SIGABRT),
    ],
)
def test_every_other_end_is_one(stand: Stand, ends: str, code: int) -> None:
    assert serve(stand, ENDS=ends).returncode == code
    assert [name.split("-")[:2] for name in attempts(stand)] == [["3", "0"]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_engine_that_ends_when_asked_to_has_not_failed(stand: Stand, number: signal.Signals) -> None:
    for _ in range(4):
        with serving(stand, LISTENS="1") as engine:
            engine.send_signal(number)
            assert engine.wait(30) in (0, -number)

    assert attempts(stand) == []
    assert current(stand) == 3


def test_each_command_is_counted_by_itself(stand: Stand) -> None:
    for words in ("--one", "--two", "--three", "--one"):
        assert "is marked bad" not in serve(stand, words, **DIES).stderr

    assert "is marked bad" in serve(stand, "--one", **DIES).stderr


def test_what_serves_after_all_is_good_again(stand: Stand) -> None:
    """A set that was found bad by a machine, not one that a person called bad."""
    for _ in range(3):
        serve(stand, **DIES)
    found = json.loads((stand.profile / "generations" / "3.json").read_text())
    assert (found["state"], bool(found["why"])) == ("bad", True)
    stand("hook", "install", "--rollback-after", "2", "--good-after", "1s")
    (stand.profile / "current").unlink()
    (stand.profile / "current").symlink_to("generations/3")  # as a restored copy of the home has it

    with serving(stand):
        wait_until(lambda: states(stand)[3] == "good")

    stand("rollback", "--bad")
    assert stand("switch", "3").stderr.endswith("note: generation 3 was marked bad; it is untried again\n")
    assert states(stand)[3] == "untried"


def test_a_switch_begins_anew(stand: Stand) -> None:
    serve(stand, **DIES)
    serve(stand, **DIES)
    stand("switch", "2")
    stand("switch", "3")

    assert "is marked bad" not in serve(stand, **DIES).stderr
    assert [name.split("-")[:2] for name in attempts(stand)] == [["3", "0"]]


def test_nothing_is_kept_of_starts_under_a_set_that_is_good(stand: Stand) -> None:
    serve(stand, **DIES)
    assert attempts(stand) != []
    stand("rollback", "--judge", "good", "3", "it ran for a day")

    serve(stand, **DIES)

    assert attempts(stand) == []


def test_a_rollback_waits_for_no_lock_for_ever_and_says_what_it_waits_for(stand: Stand) -> None:
    path = stand.base.purelib / "_vpm_env" / "loop.py"
    text = path.read_text()
    for compiled in path.parent.glob("__pycache__/loop.*"):
        compiled.unlink()
    path.write_text(text.replace("LOCK_PATIENCE = 60", "LOCK_PATIENCE = 2"))
    for _ in range(2):
        serve(stand, **DIES)

    with flocks.locked(str(stand.vpm_env.home / "flocks" / f"profile-default-{stand.profile.name}"), wait=0.0):
        third = serve(stand, **DIES)

    assert third.stdout == "plug 3.0\n"
    assert "vpm-env: error: " in third.stderr
    assert current(stand) == 3


def test_an_engine_that_stays_up_makes_its_set_good(stand: Stand) -> None:
    stand("hook", "install", "--rollback-after", "1", "--good-after", "1s")
    with serving(stand):
        wait_until(lambda: states(stand)[3] == "good")
        wait_until(lambda: attempts(stand) == [])

    codes = [serve(stand, DIES="3.0").returncode for _ in range(3)]

    assert codes == [1, 1, 1]
    assert current(stand) == 3
    record = json.loads((stand.profile / "generations" / "3.json").read_text())
    assert record["why"] == "its engine ran for 1 s"


def test_failures_of_long_ago_and_of_other_sets_are_forgotten(stand: Stand) -> None:
    serve(stand, **DIES)
    (name,) = attempts(stand)
    path = stand.profile / "attempts" / name
    os.utime(stand.profile / "current", (0, 0), follow_symlinks=False)
    os.utime(path, (time.time() - 3600,) * 2)
    other = path.with_name("2-7-01234567-0123456789abcdef")
    other.touch()
    strange = path.with_name("mine")
    strange.touch()

    serve(stand, **DIES)

    assert not path.exists()
    assert not other.exists()
    assert strange.exists()
    strange.unlink()
    assert [name.split("-")[:2] for name in attempts(stand)] == [["3", "0"]]


def test_only_what_serves_is_counted(stand: Stand) -> None:
    vllm = stand.base.scripts / "vllm"
    for words in (("--help",), ("bench", "serve"), ("serve", "--help")):
        stand.run(vllm, *words)
    stand.run(stand.base.python, "-c", "import vllm.plugins")
    stand.run(vllm, "serve", "m", env={"VPM_ENV_DISABLE": "1"})
    key, digest = stand.overlay.parts[-2:]
    stand.run(vllm, "serve", "m", env={"VPM_ENV_PIN": f"{key}:{digest}"})
    assert attempts(stand) == []
    stand.run(stand.base.python, "-E", vllm, "serve", "m", env=DIES, check=False)

    assert len(attempts(stand)) == 1


def test_where_nothing_can_be_noted_the_engine_starts_all_the_same(stand: Stand) -> None:
    folder = stand.profile / "attempts"
    if folder.exists():
        folder.rmdir()
    folder.write_text("no folder")
    try:
        done = [serve(stand, **DIES) for _ in range(4)]
    finally:
        folder.unlink()

    assert {one.returncode for one in done} == {1}
    assert {"marked", "ERROR"}.isdisjoint("".join(one.stderr for one in done).split())
    assert current(stand) == 3


def test_where_vpm_env_is_gone_it_is_told_and_the_engine_starts(stand: Stand) -> None:
    path = stand.base.purelib / "_vpm_env" / "activate.py"
    text = path.read_text()
    for compiled in path.parent.glob("__pycache__/activate.*"):
        compiled.unlink()
    path.write_text(re.sub(r"(?m)^COMMAND = .*$", "COMMAND = ('/nowhere/vpm-env',)", text))

    done = [serve(stand, **DIES) for _ in range(3)][-1]

    assert done.stdout == "plug 3.0\n"
    assert "vpm-env: ERROR: generation 3 cannot be marked bad: " in done.stderr


def test_without_the_option_nothing_is_counted_and_no_file_more_is_there(stand: Stand) -> None:
    plain = (stand.base.purelib / "_vpm_env_hook.py").read_bytes()
    stand("hook", "install")
    for _ in range(4):
        serve(stand, **DIES)

    assert attempts(stand) == []
    assert current(stand) == 3
    assert (stand.base.purelib / "_vpm_env_hook.py").read_bytes() == plain
    assert not (stand.base.purelib / "_vpm_env" / "loop.py").exists()


def test_what_the_hook_counts_is_shown(stand: Stand) -> None:
    said: Any = stand("hook", "status", "--json").json

    assert (said["rollback_after"], said["good_after"], said["intact"]) == (2, 600.0, True)
    assert "goes back after 2 failed starts, of less than 600 s" in stand("hook", "status").stdout
    assert stand("hook", "install", "--good-after", "1m", check=False).exit == 2


def test_what_a_new_hook_does_not_do_any_more_is_told(stand: Stand) -> None:
    stand("hook", "install", "--rollback-after", "2", "--good-after", "1m", "--auto")
    told = stand("hook", "install", "--auto").stderr

    assert told.endswith(
        "warning: what the hook had that was there is gone, as it was not named again: "
        "`--rollback-after 2`, `--good-after 60s`\n"
    )
    assert "warning" not in stand("hook", "install", "--auto").stderr


def test_the_doctor_names_all_that_a_hook_has(stand: Stand) -> None:
    stand("hook", "install", "--rollback-after", "2", "--good-after", "1m", "--auto", "--policy", "bare")
    (stand.base.purelib / "_vpm_env" / "guard.py").write_text("# changed\n")

    told = stand("doctor", "--offline", check=False).output

    assert "vpm-env hook install --auto --policy bare --rollback-after 2 --good-after 60s`" in " ".join(told.split())


def test_the_doctor_tells_where_nothing_can_be_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "profiles" / "default" / "abc"
    place.mkdir(parents=True)
    known = {"home": str(tmp_path), "profile": "default", "base_key": "abc", "rollback_after": 3}
    counting = startup.HookStatus(folder="/x", installed=True, **known)
    assert list(doctor_hook._uncounted(counting)) == []
    (place / "attempts").touch()

    (trouble,) = doctor_hook._uncounted(counting)
    assert trouble.what == f"the hook is to count failed starts in `{place}/attempts`, which is no folder"
    (place / "attempts").unlink()
    monkeypatch.setattr(os, "access", lambda *_: False)
    (trouble,) = doctor_hook._uncounted(counting)

    assert f"may not write to `{place}`" in trouble.what
    assert list(doctor_hook._uncounted(replace(counting, rollback_after=0))) == []


def test_hooks_that_are_written_again_go_on_counting(stand: Stand) -> None:
    (stand.base.purelib / "_vpm_env" / "guard.py").write_text("# changed\n")

    stand("doctor", "--fix", "--offline", check=False)

    said: Any = stand("hook", "status", "--json").json
    assert (said["rollback_after"], said["intact"]) == (2, True)
