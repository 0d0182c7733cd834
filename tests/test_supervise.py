"""`vpm-env run --health`: every way to die, signals and exit codes, and what becomes of the set."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING, Any

import kit
import pytest
from jsonschema import Draft202012Validator
from supervised import Stand

from envbuilder import events
from envbuilder.offspring import Offspring

if TYPE_CHECKING:
    from pathlib import Path

    from supervised import Ended, Run

pytestmark = pytest.mark.long
SCHEMA = json.loads((kit.ROOT / "docs" / "schemas" / "run-events.json").read_text(encoding="utf-8"))
BACK = ["bad", "rolled-back"]
FINE = ["started", "healthy", "good", "stopped"]


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory, uv_cache: Path) -> Stand:
    """Build the three sets once."""
    return Stand.make(tmp_path_factory.mktemp("supervised"), uv_cache)


@pytest.fixture(autouse=True)
def renewed(stand: Stand) -> None:
    """Begin with the third set current, and the first one known to be good."""
    stand.renew(good=[1])


def kinds(done: Ended | Run, generation: int) -> list[str]:
    run = done if hasattr(done, "events") else done.run
    return [event["event"] for event in run.events if event["generation"] == generation]


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("exit 3", "it ended with exit 3 after "),
        ("signal 9", "it ended with signal 9 after "),
        ("signal 15", "it ended with signal 15 after "),
        ("signal 11", "it ended with signal 11 after "),
        ("silent", "it did not get healthy within 0.5 s: connection refused"),
        ("ill", "it did not get healthy within 0.5 s: status 503"),
        ("stubborn", "it did not get healthy within 0.5 s: status 503"),
        ("dies 0.1", "it ended with exit 7 after "),
        ("killed 0.1", "it ended with signal 9 after "),
        ("hangs 0.1", "it was healthy, and then 3 times in a row was not: timed out"),
        ("freezes 0.1", "it was healthy, and then 3 times in a row was not: "),
        ("worker 0.1", "it was healthy, and then 3 times in a row was not: status 503"),
        ("exit 1 children", "it ended with exit 1 after "),
        ("dies 0.1 children", "it ended with exit 7 after "),
    ],
)
def test_an_untried_set_whose_server_dies_is_bad_and_the_last_good_one_serves(
    stand: Stand, tmp_path: Path, way: str, reason: str
) -> None:
    limits = {"health_timeout": 0.5} if way in ("silent", "ill", "stubborn") else {}

    done = stand.run(tmp_path / "run", {"3.0": [way], "1.0": ["stops 0.5"]}, rollback=True, good_after=0.3, **limits)

    assert done.code == 0
    assert kinds(done, 3)[-3:] == ["failed", *BACK]
    assert "good" not in kinds(done, 3)
    assert kinds(done, 1) == FINE
    assert stand.states() == {1: "good", 2: "untried", 3: "bad"}
    assert stand.current == 1
    assert stand.order()["held"]
    record = stand.record(3)
    assert record["why"].startswith(reason)
    assert record["judged"].endswith("+00:00")
    (failed,) = [event for event in done.run.events if event["event"] == "failed"]
    said = ["TOKEN is None"] if way.startswith("exit") else []
    assert sorted(failed["log"]) == [*said, f"this is 3.0, about to {way.split(maxsplit=1)[0]}"]
    assert f"failed: {reason}" in done.stderr
    assert "  this is 3.0, about to " in done.stderr
    for event in done.run.events:
        Draft202012Validator(SCHEMA).validate(event)


def test_every_kind_of_event_is_in_the_schema() -> None:
    assert set(SCHEMA["properties"]["event"]["enum"]) == set(events.KINDS)


def test_a_hundred_random_deaths_leave_one_family_at_a_time_and_no_orphan(stand: Stand, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    ways = (
        "exit 1",
        "exit 255",
        "signal 9",
        "signal 6",
        "dies 0.03",
        "killed 0.03",
        "exit 2 children",
        "killed 0.02 children",
    )
    ways += ("hangs 0.03", "stops 0.05")
    deaths = [chance.choice(ways) for _ in range(100)]
    # A clean end is the end of the supervisor: so it comes last.
    deaths = [way for way in deaths if way != "stops 0.05"]
    deaths += [chance.choice(ways[:6]) for _ in range(100 - len(deaths))] + ["stops 0.05"]
    stand.renew(good=[1, 2, 3])

    done = stand.run(tmp_path / "run", {"3.0": deaths}, rollback=True, retries=100, first_delay=0.0, grace=0.05)

    assert done.code == 0
    assert kinds(done, 3).count("failed") == kinds(done, 3).count("restarting") == 100
    assert done.run.lines("starts") == ["3.0"] * 101
    assert stand.states() == {1: "good", 2: "good", 3: "good"}
    assert stand.current == 3


def test_random_deaths_of_untried_sets_end_with_a_good_one(stand: Stand, tmp_path: Path) -> None:
    stand.renew()

    done = stand.run(tmp_path / "run", {"3.0": ["exit 1"], "2.0": ["dies 0.05"], "1.0": ["stops 0.4"]}, rollback=True)

    assert done.code == 0
    assert stand.states() == {1: "good", 2: "bad", 3: "bad"}
    assert stand.current == 1


def test_the_last_good_one_is_preferred_to_a_newer_that_nobody_tried(stand: Stand, tmp_path: Path) -> None:
    done = stand.run(tmp_path / "run", {"3.0": ["exit 1"], "1.0": ["stops 0.05"]}, rollback=True)

    assert done.run.lines("starts") == ["3.0", "1.0"]
    assert stand.states()[2] == "untried"
    assert stand.vpm_env("build", "--offline", "--auto", check=True).exit == 0
    assert stand.current == 1


def test_a_set_is_good_when_it_was_healthy_for_long_enough(stand: Stand, tmp_path: Path) -> None:
    done = stand.run(tmp_path / "run", {"3.0": ["stops 0.6"]}, good_after=0.2)

    assert done.code == 0
    assert kinds(done, 3) == FINE
    record = stand.record(3)
    assert (record["state"], record["why"]) == ("good", "its server was healthy for 0.2 s")
    assert "is good: it was healthy for 0.2 s" in done.stderr
    assert "good" in stand.vpm_env("history").stdout


def test_a_clean_end_before_that_says_nothing(stand: Stand, tmp_path: Path) -> None:
    done = stand.run(tmp_path / "run", {"3.0": ["exit 0"]}, rollback=True)

    assert done.code == 0
    assert kinds(done, 3) == ["started", "stopped"]
    assert stand.states()[3] == "untried"


def test_without_rollback_a_failure_is_told_and_nothing_is_moved(stand: Stand, tmp_path: Path) -> None:
    done = stand.run(tmp_path / "run", {"3.0": ["exit 3"]}, retries=2)

    assert done.code == 3
    assert kinds(done, 3) == ["started", "failed", "restarting"] * 2 + ["started", "failed", "gave-up"]
    assert stand.states()[3] == "untried"
    assert stand.current == 3


def test_a_good_set_whose_server_dies_is_started_again_and_never_bad(stand: Stand, tmp_path: Path) -> None:
    done = stand.run(tmp_path / "run", {"3.0": ["dies 0.4", "exit 1", "exit 1"]}, rollback=True, retries=2)

    assert done.code == 1
    assert kinds(done, 3) == [*FINE[:3], *["failed", "restarting", "started"] * 2, "failed", "gave-up"]
    assert stand.states()[3] == "good"
    assert stand.current == 3


def test_delays_grow_and_a_good_stretch_forgets_failures(stand: Stand, tmp_path: Path) -> None:
    plan = {"3.0": ["exit 1", "exit 1", "dies 0.4", "exit 1", "stops 0.01"]}
    stand.renew(good=[3])

    done = stand.run(tmp_path / "run", plan, retries=3, first_delay=0.02, good_after=0.2)

    delays = [event["delay"] for event in done.run.events if event["event"] == "restarting"]
    assert delays == [0.02, 0.04, 0.02, 0.04]
    assert done.code == 0


def test_where_there_is_nothing_to_go_back_to_it_is_told_once(stand: Stand, tmp_path: Path) -> None:
    stand.renew(current=1)
    order = stand.order()
    shutil.rmtree(stand.profile / "generations" / "none", ignore_errors=True)
    for number in (2, 3):
        for path in (stand.profile / "generations").glob(f"{number}*"):
            path.unlink()
    assert order["order"][-1] == 1

    done = stand.run(tmp_path / "run", {"1.0": ["exit 4"]}, rollback=True, retries=1)

    assert done.code == 4
    assert kinds(done, 1) == ["started", "failed", "unjudged", "restarting", "started", "failed", "gave-up"]
    assert "is not found bad: there is no other that could tell whether it is the set" in done.stderr
    assert stand.states() == {1: "untried"}
    assert stand.current == 1


@pytest.mark.parametrize("way", ["exit 2", "signal 9", "ill", "dies 0.1"])
def test_where_the_good_set_fails_in_the_same_way_it_is_not_the_set(stand: Stand, tmp_path: Path, way: str) -> None:
    limits = {"health_timeout": 0.5} if way == "ill" else {}

    done = stand.run(tmp_path / "run", {"3.0": [way], "1.0": [way]}, rollback=True, good_after=9, retries=1, **limits)

    assert [kind for kind in kinds(done, 3) if kind != "healthy"] == ["started", "failed", *BACK, "unjudged"]
    once = ["started", "failed"]
    assert [kind for kind in kinds(done, 1) if kind != "healthy"] == [*once, "restarting", *once, "gave-up"]
    assert stand.states() == {1: "good", 2: "untried", 3: "untried"}
    assert stand.current == 1
    assert stand.order()["held"]
    assert done.code == {"exit 2": 2, "signal 9": -9, "ill": 1, "dies 0.1": 7}[way]
    assert ", which is good, fails in the same way, so it is not the set; `vpm-env switch 3` takes it" in done.stderr
    assert ", which is good, fails in the same way" in stand.record(3)["why"]
    for event in done.run.events:
        Draft202012Validator(SCHEMA).validate(event)


def test_where_none_is_good_and_two_fail_in_the_same_way_all_is_as_it_was(stand: Stand, tmp_path: Path) -> None:
    stand.renew()

    done = stand.run(tmp_path / "run", dict.fromkeys(("3.0", "2.0", "1.0"), ["exit 2"]), rollback=True, retries=1)

    assert done.code == 2
    assert done.run.lines("starts") == ["3.0", "2.0", "3.0"]
    assert kinds(done, 2) == ["started", "failed"]
    assert kinds(done, 3)[-5:] == ["unjudged", "restarting", "started", "failed", "gave-up"]
    assert stand.states() == {1: "untried", 2: "untried", 3: "untried"}
    assert stand.current == 3
    assert not stand.order()["held"]
    assert "fails in the same way, so it is not the set; it is current again" in done.stderr


def test_a_good_set_that_fails_only_at_first_serves_and_the_other_is_not_judged(stand: Stand, tmp_path: Path) -> None:
    plan = {"3.0": ["exit 1"], "1.0": ["exit 1", "stops 0.4"]}

    done = stand.run(tmp_path / "run", plan, rollback=True, good_after=0.1, retries=1)

    assert done.code == 0
    assert stand.states() == {1: "good", 2: "untried", 3: "untried"}
    assert stand.current == 1


def test_a_set_that_blinks_is_bad_in_the_end(stand: Stand, tmp_path: Path) -> None:
    done = stand.run(tmp_path / "run", {"3.0": ["blinks"], "1.0": ["stops 0.5"]}, rollback=True, good_after=0.15)

    assert done.code == 0
    assert kinds(done, 3) == ["started", "healthy", "failed", *BACK]
    assert stand.record(3)["why"] == "it was healthy, but in 1.5 s never for 0.15 s without a break"


def test_a_damaged_good_set_is_made_again_before_it_is_gone_back_to(stand: Stand, tmp_path: Path) -> None:
    seal = (stand.profile / "generations" / "1").resolve() / "overlay.json"
    seal.write_text(seal.read_text()[:-9])

    done = stand.run(tmp_path / "run", {"3.0": ["exit 1"], "1.0": ["stops 0.4"]}, rollback=True, good_after=0.1)

    assert done.code == 0
    assert kinds(done, 1) == FINE
    assert "generation 1 is damaged; rebuilding it from its lock" in done.stderr


def test_the_server_of_a_shell_has_its_time_to_end(stand: Stand, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    script = f'python "{stand.folder}/server.py" "{folder}" "$PORT"; true'
    plan = {"3.0": ["lingers 6"]}

    with stand.running(folder, plan, command=("sh", "-c", script), rollback=True, good_after=9, grace=30) as run:
        run.until("healthy")
        run.process.terminate()
        run.ended()

    assert run.lines("signals") == ["tidy"]
    assert kinds(run, 3)[-1] == "stopped"


def test_a_reader_who_does_not_read_makes_nobody_deaf(stand: Stand, tmp_path: Path) -> None:
    code = "import os\nwhile True: os.write(2, b'x' * 4096)"
    with stand.running(tmp_path / "run", command=("python", "-c", code), rollback=True) as run:
        run.wait("full pipe", lambda: unread(run.process.stderr) > 57000)
        run.process.terminate()

        assert run.process.wait(30) == -signal.SIGTERM
        assert kinds(run, 3) == ["started", "stopped"]


def unread(stream: Any) -> int:
    return int.from_bytes(fcntl.ioctl(stream, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_events_for_nobody_are_refused_and_a_reader_may_leave(stand: Stand, tmp_path: Path) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)

    refused = stand.run(tmp_path / "none", words=("--events", fifo))
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with stand.running(tmp_path / "run", {"3.0": ["silent"]}, words=("--events", fifo)) as run:
        run.wait("start", lambda: run.lines("starts"))
        os.close(reader)
        run.process.terminate()
        done = run.ended()

    assert (refused.code, refused.stderr) == (2, f"error: `{fifo}` takes no events: No such device or address\n")
    assert done.code == -signal.SIGTERM


def test_more_descriptors_than_select_knows(stand: Stand, tmp_path: Path) -> None:
    code = "import os, resource, sys; hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]"
    code += "; resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))"
    code += "; [os.set_inheritable(os.dup(0), True) for _ in range(1100)]; os.execvp(sys.argv[1], sys.argv[1:])"

    assert stand.run(tmp_path / "run", {"3.0": ["exit 3"]}, prefix=(sys.executable, "-c", code)).code == 3


def test_ids_that_come_round_again_are_no_alibi() -> None:
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        own = Offspring.from_now_on()
        others = {(pid, started) for pid, started in own.before if pid != child.pid}
        started = next(started for pid, started in own.before if pid == child.pid)
        again = Offspring(os.getpid(), frozenset({*others, (child.pid, started - 1)}))

        assert child.pid not in own.living()
        assert child.pid in again.living()
    finally:
        child.kill()
        child.wait()


def test_what_a_person_marked_bad_stays_bad(stand: Stand, tmp_path: Path) -> None:
    with stand.running(tmp_path / "run", {"3.0": ["stops 3"]}, good_after=2) as run:
        run.until("started")
        stand.vpm_env("rollback", "--bad", check=True)
        done = run.ended()

    assert done.code == 0
    assert kinds(done, 3) == ["started", "healthy", "stopped"]
    assert stand.states()[3] == "bad"


def test_what_a_supervisor_found_bad_may_prove_itself(stand: Stand, tmp_path: Path) -> None:
    plan = {"3.0": ["exit 1", "stops 0.5"], "1.0": ["stops 0.01"]}
    with stand.running(tmp_path / "run", plan, rollback=True) as run:
        run.ended()
    stand.vpm_env("switch", "3", check=True)

    with stand.running(tmp_path / "run", plan, rollback=True, good_after=0.1) as run:
        run.ended()

    assert stand.states()[3] == "good"


def test_somebody_elses_switch_is_for_the_next_start_and_not_undone(stand: Stand, tmp_path: Path) -> None:
    with stand.running(
        tmp_path / "run", {"3.0": ["dies 1"], "2.0": ["stops 0.05"]}, rollback=True, good_after=9
    ) as run:
        run.until("healthy", 3)
        stand.vpm_env("switch", "2", check=True)
        done = run.ended()

    assert done.code == 0
    assert kinds(done, 3) == ["started", "healthy", "failed", "bad"]
    assert kinds(done, 2) == ["started", "healthy", "stopped"]
    assert stand.current == 2


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGTERM"])
def test_signals_are_passed_on_and_the_exit_code_comes_back(stand: Stand, tmp_path: Path, name: str) -> None:
    with stand.running(tmp_path / "run", {"3.0": ["reports 5"]}, rollback=True) as run:
        run.until("healthy")
        run.process.send_signal(getattr(signal, name))
        run.wait(name, lambda: name in run.lines("signals"))
        if name != "SIGTERM":
            run.process.terminate()
        done = run.ended()

    assert done.code == 5
    assert set(run.lines("signals")) == {name, "SIGTERM"}
    assert kinds(done, 3)[-1] == "stopped"
    assert stand.current == 3


@pytest.mark.parametrize(("way", "code"), [("exit 77", 77), ("signal 15", -15), ("signal 9", -9), ("signal 11", -11)])
def test_it_ends_as_its_server_did(stand: Stand, tmp_path: Path, way: str, code: int) -> None:
    assert stand.run(tmp_path / "run", {"3.0": [way]}).code == code


def test_a_stop_is_no_failure_however_the_server_ends(stand: Stand, tmp_path: Path) -> None:
    with stand.running(tmp_path / "run", {"3.0": ["silent"]}, rollback=True) as run:
        run.wait("start", lambda: run.lines("starts"))
        run.process.terminate()
        done = run.ended()

    assert done.code == -signal.SIGTERM
    assert kinds(done, 3) == ["started", "stopped"]
    assert stand.current == 3


def test_a_stop_between_two_servers_is_at_once(stand: Stand, tmp_path: Path) -> None:
    with stand.running(tmp_path / "run", {"3.0": ["exit 1"]}, retries=5, first_delay=60) as run:
        run.until("restarting")
        run.process.terminate()
        done = run.ended()

    assert done.code == -signal.SIGTERM
    assert run.lines("starts") == ["3.0"]


def test_whoever_listens_before_the_server_is_not_taken_for_it(stand: Stand, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:  # which gives no answer at all
        port = other.getsockname()[1]
        done = stand.run(tmp_path / "run", command=("true",), port=port, rollback=True, check=False)

    assert done.code == 1
    assert f"somebody listens at `http://127.0.0.1:{port}/health` already, before a server was st" in done.stderr
    assert done.run.events == []
    assert stand.states()[3] == "untried"


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.3, 0.45, 0.6])
def test_a_killed_supervisor_leaves_the_old_or_the_new_state_and_no_server(
    stand: Stand, tmp_path: Path, delay: float
) -> None:
    plan = {"3.0": ["exit 1"], "1.0": ["serve"]}
    with stand.running(tmp_path / "run", plan, rollback=True) as run:
        run.until("started")
        time.sleep(delay)  # not to win a race: any moment will do
        run.process.kill()
        run.process.wait()
        deadline = time.monotonic() + 20
        while run.orphans() and time.monotonic() < deadline:
            time.sleep(0.01)

        assert run.orphans() == []
    assert stand.current in (1, 3)
    assert stand.vpm_env("verify").exit == 0
    done = stand.run(tmp_path / "next", {**plan, "1.0": ["stops 0.05"]}, rollback=True)
    assert done.code == 0
    assert stand.current == 1
    assert stand.states()[3] == "bad"


def test_as_the_first_process_of_a_container(stand: Stand, tmp_path: Path) -> None:
    prefix = ("unshare", "--fork", "--pid", "--mount-proc", "--kill-child")
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("this user may make no namespace of processes")
    plan = {"3.0": ["exit 1 children"], "1.0": ["stops 0.3 children"]}

    done = stand.run(tmp_path / "run", plan, prefix=prefix, rollback=True, good_after=0.1)
    stand.renew(good=[1])
    dead = stand.run(tmp_path / "dead", {"3.0": ["signal 9"]}, prefix=prefix)

    assert done.code == 0
    assert kinds(done, 1) == FINE
    assert dead.code == 128 + 9


def test_what_was_there_before_is_not_the_servers(stand: Stand, tmp_path: Path) -> None:
    script = 'sleep 300 >&- 2>&- & echo $! >"$0"; setsid sleep 301 >&- 2>&- & echo $! >>"$0"; exec "$@"'
    left = tmp_path / "left"

    done = stand.run(tmp_path / "run", {"3.0": ["exit 1"]}, prefix=("sh", "-c", script, str(left)))
    pids = [int(line) for line in left.read_text().split()]
    alive = [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    for pid in alive:
        os.kill(pid, signal.SIGKILL)

    assert done.code == 1
    assert len(alive) == 2


def test_what_a_server_says_is_passed_on_as_it_is(stand: Stand, tmp_path: Path) -> None:
    code = "import os; os.write(1, bytes(range(256)) * 4096); os.write(2, b'\\xff no newline')"
    settings = ("--health", "http://127.0.0.1:9/health", "--quiet")
    words = [*stand.vpm_env.command, "run", *settings, "--", "python", "-c", code]

    done = subprocess.run(words, env=stand.vpm_env.env, cwd=stand.vpm_env.folder, capture_output=True, timeout=60)

    assert done.returncode == 0
    assert done.stdout == bytes(range(256)) * 4096
    assert done.stderr == b"\xff no newline"


def test_no_credential_is_told(stand: Stand, tmp_path: Path) -> None:
    code = "import os, sys; print('https://me:hidden-1@example', os.environ['API_TOKEN'], *sys.argv[1:]); sys.exit(1)"
    command = ("python", "-c", code, "--api-key", "hidden-3", "--hf-token=hidden-4")

    done = stand.run(tmp_path / "run", command=command, env={"API_TOKEN": "hidden-2"})

    assert "hidden" in done.stdout
    assert "hidden" not in done.stderr + json.dumps(done.run.events)
    assert "https://****@example **** --api-key ****" in done.stderr


def test_half_a_credential_is_none_that_may_be_told(stand: Stand, tmp_path: Path) -> None:
    token = "".join(f"{number:03}." for number in range(20))
    code = "import os, sys; print(os.environ['API_TOKEN'] + 'y' * 460); sys.exit(1)"

    done = stand.run(tmp_path / "run", command=("python", "-c", code), env={"API_TOKEN": token})

    (failed,) = [event for event in done.run.events if event["event"] == "failed"]
    assert failed["log"] == ["****" + "y" * 460]
    assert "019." not in done.stderr


def test_a_command_that_is_not_there_is_no_failure_of_the_set(stand: Stand, tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/health"
    done = stand.vpm_env("run", "--health", url, "--rollback", "--", "no-such-command")

    assert done.exit == 2
    assert done.stderr == "error: there is no command `no-such-command` in the set, in the base or on PATH\n"
    assert stand.states()[3] == "untried"


def test_the_verb_with_its_options(stand: Stand, tmp_path: Path) -> None:
    words = ("--rollback", "--health-timeout", "20s", "--health-interval", "1s", "--good-after", "1s", "--retries", "1")
    with stand.running(tmp_path / "run", {"3.0": ["exit 9"], "1.0": ["serve"]}, words=words) as run:
        run.until("good", 1)
        run.process.terminate()
        done = run.ended()

    assert done.code == 0
    assert "warning: vpm-env: generation 3 (" in done.stderr
    assert kinds(done, 1) == FINE
    assert done.stdout == "this is 3.0, about to exit\nthis is 1.0, about to serve\n"
    history = stand.vpm_env("history").stdout
    assert "failed: it ended with exit 9" in history
    assert "it ended with exit 9" in stand.vpm_env("show", "3").stdout


def test_events_on_standard_output(stand: Stand, tmp_path: Path) -> None:
    words = ("--events", "-", "--retries", "0")
    done = stand.run(tmp_path / "run", {"3.0": ["exit 9"]}, words=words)

    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines] == ["started", "failed", "gave-up"]


def test_a_home_in_which_nothing_can_be_marked_is_told_and_served_from(stand: Stand, tmp_path: Path) -> None:
    flocks = stand.vpm_env.home / "flocks"
    flocks.rename(tmp_path / "flocks")
    flocks.write_text("no folder")
    try:
        done = stand.run(tmp_path / "good", {"3.0": ["stops 0.5"]}, good_after=0.1)
        bad = stand.run(tmp_path / "bad", {"3.0": ["exit 4"]}, rollback=True, retries=1)
    finally:
        flocks.unlink()
        (tmp_path / "flocks").rename(flocks)

    assert done.code == 0
    assert "warning: generation 3 cannot be marked good: " in done.stderr
    assert bad.code == 4
    assert kinds(bad, 3) == ["started", "failed", "restarting", "started", "failed", "gave-up"]
    assert "warning: generation 3 stays current, and is not marked: " in bad.stderr


TERMINAL = """
import fcntl, os, pty, struct, sys, termios
pid, end = pty.fork()
if pid == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    os.execvp(sys.argv[1], sys.argv[1:])
said = b""
try:
    while chunk := os.read(end, 1000):
        said += chunk
except OSError:
    pass
os.waitpid(pid, 0)
sys.stdout.buffer.write(said)
"""


def test_a_terminal_is_one_for_the_server_too(stand: Stand, tmp_path: Path) -> None:
    code = "import os; print(os.isatty(1), os.isatty(2), *os.get_terminal_size())"
    done = stand.run(tmp_path / "run", command=("python", "-c", code), prefix=(sys.executable, "-c", TERMINAL))

    assert "True True 77 33\n" in done.stdout
