"""What a supervisor goes by: answers of a health page, verdicts on generations, and the words for what happens."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kit
import pytest
from jsonschema import Draft202012Validator
from kit.indexes import serving

from envbuilder import cli, events, recording, switching, verdict
from envbuilder import profile as profiles
from envbuilder.digest import sealed
from envbuilder.errors import ProfileError, UsageError
from envbuilder.events import Event, Journal
from envbuilder.heartbeat import Pace, Pulse, Target, illness, is_taken
from envbuilder.paths import Layout
from envbuilder.profile import Generation, Profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCHEMA = json.loads((kit.ROOT / "docs" / "schemas" / "run-events.json").read_text(encoding="utf-8"))


class Page(BaseHTTPRequestHandler):
    """Answers with the status that its path names; `/silent` with nothing."""

    def do_GET(self) -> None:
        if self.path == "/silent":
            self.server.over.wait(30)
            return
        self.send_response(int(self.path.strip("/?") or 200))
        self.send_header("Location", "/200")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@contextmanager
def page(server: Any = ThreadingHTTPServer, address: Any = ("127.0.0.1", 0)) -> Iterator[Any]:
    made = server(address, Page)
    made.over = threading.Event()
    with serving(made):
        try:
            yield made
        finally:
            made.over.set()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/200", ""),
        ("/204", ""),
        ("", ""),
        ("/302", "status 302"),
        ("/404", "status 404"),
        ("/503", "status 503"),
        ("/silent", "timed out"),
    ],
)
def test_only_a_good_answer_is_healthy(path: str, said: str) -> None:
    with page() as server:
        assert illness(Target.of(f"http://127.0.0.1:{server.server_port}{path}"), 0.3) == said


def test_nobody_who_listens_is_ill() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert illness(Target.of(f"http://127.0.0.1:{closed.getsockname()[1]}/"), 1.0) == "connection refused"


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Take one connection, read a question and give `answer`; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with listening.accept()[0] as connection, suppress(OSError):
                connection.recv(1000)
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(10)


def test_an_answer_that_drips_is_none() -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        for _ in range(100):
            connection.sendall(b"x")
            time.sleep(0.05)  # the point of it, not a race

    with answering(drip) as port:
        began = time.monotonic()
        assert illness(Target.of(f"http://127.0.0.1:{port}/"), 0.2) == "timed out"
        assert time.monotonic() < began + 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"220 mail.example ESMTP\x1b[31m\r\n\r\n", "what answers does not speak http"),
        (b"", "it closed the connection without an answer"),
        (b"HTTP/1.0 200\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", ""),
    ],
)
def test_what_is_no_answer_is_not_told_as_it_came(answer: bytes, said: str) -> None:
    with answering(lambda connection: connection.sendall(answer)) as port:
        assert illness(Target.of(f"http://127.0.0.1:{port}/"), 5.0) == said


def test_who_listens_is_there_whatever_the_answers_are() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        target = Target.of(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        assert is_taken(target, 1.0)
    assert not is_taken(target, 1.0)


class LocalServer(ThreadingHTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)

    def finish_request(self, request: Any, _address: Any) -> None:
        self.RequestHandlerClass(request, ("local", 0), self)


def test_a_socket_that_is_a_file_is_asked_too(tmp_path: Path) -> None:
    folder = os.path.relpath(tmp_path)  # short enough for a socket, wherever it is
    path = f"{folder}/s.sock"
    with page(LocalServer, path):
        url = f"http+unix://{path.replace('/', '%2F')}/200"
        assert illness(Target.of(url), 5.0) == ""
        assert illness(Target.of(url.replace("200", "500")), 5.0) == "status 500"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("127.0.0.1:8000/health", "is no URL that can be asked"),
        ("ftp://127.0.0.1/", "is no URL that can be asked"),
        ("http:///health", "is no URL that can be asked"),
        ("http://127.0.0.1:port/", "is no URL"),
        ("http://me:secret@127.0.0.1/", "takes no user and password"),
        ("http://127.0.0.1/a b", "is no URL that can be asked"),
        ("http://127.0.0.1/\n", "is no URL that can be asked"),
        ("http://127.0.0.1/ä", "is no URL that can be asked"),
    ],
)
def test_a_url_that_cannot_be_asked_is_refused(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        Target.of(url)

    assert "secret" not in str(raised.value)


def test_a_pulse_counts_misses_from_the_first_good_answer_on() -> None:
    woken = threading.Event()
    with page() as server:
        pulse = Pulse(Target.of(f"http://127.0.0.1:{server.server_port}/200"), Pace(0.001, 1.0), woken.set)
        pulse.start()
        assert woken.wait(10)
        assert pulse.healthy
        pulse.stop()
    missing = Pulse(Target.of(f"http://127.0.0.1:{server.server_port}/200"), Pace(0.001, 1.0), woken.set)
    woken.clear()
    missing.start()
    assert woken.wait(10)
    missing.stop()

    assert missing.healthy is None
    assert missing.missed >= 1
    assert missing.why == "connection refused"


def test_an_answer_that_never_comes_is_missed_too() -> None:
    pulse = Pulse(Target.of("http://127.0.0.1:9/"), Pace(0.001, 0.001), lambda: None)
    until = time.monotonic() + 10
    while not pulse.overdue:
        assert time.monotonic() < until


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    """Make generations 1 to 4, the last of which is current; 4 is the same set as 2."""
    made = Profile(layout=Layout(home=str(tmp_path)), name="default", base_key="0123456789ab")
    for digest in "1232":
        generation = Generation(
            number=0,
            digest=digest * 64,
            base_key=made.base_key,
            created="2026-01-01T00:00:00+00:00",
            state="untried",
            keep=False,
            config="/c/plugins.yaml",
            base={"label": "a base"},
            inputs={},
            packages=[],
            left_out={},
            reason="build",
        )
        added = recording.add(made, generation, config=b"plugins: []\n", lock="")
        profiles.switch(made, added.number, verb="build", hold=False)
    return made


def condemn(profile: Profile, number: int, *, lost: tuple[int, ...] = ()) -> verdict.Verdict:
    def rebuild(_profile: Profile, generation: Generation) -> None:
        if generation.number in lost:
            raise ProfileError("its sources are gone")
        seal(profile, generation)

    return verdict.condemn(profile, number, "it failed", wait=1.0, rebuild=rebuild)


def seal(profile: Profile, generation: Generation) -> None:
    path = Path(profile.layout.overlay(profile.base_key, generation.digest))
    path.mkdir(parents=True, exist_ok=True)
    (path / "overlay.json").write_text(json.dumps(sealed({"digest": generation.digest})))


def states(profile: Profile) -> list[str]:
    return [one.state for one in profiles.generations(profile)]


def test_a_bad_set_is_left_for_the_newest_before_it_that_is_another(profile: Profile) -> None:
    found = condemn(profile, 4)

    assert (found.kind, found.target and found.target.number) == (verdict.BACK, 3)
    assert states(profile) == ["untried", "bad", "untried", "bad"]
    assert profiles.current(profile) == 3
    assert profiles.order(profile).held
    assert profiles.order(profile).numbers == [1, 2, 3]
    assert profiles.read(profile, 4).why == "it failed"


def test_a_good_set_is_preferred_to_a_newer_one(profile: Profile) -> None:
    assert verdict.acquit(profile, 1, "it served", wait=1.0)

    assert condemn(profile, 4).target == profiles.read(profile, 1)
    assert profiles.order(profile).numbers == [1]


def test_what_cannot_be_made_again_is_passed(profile: Profile) -> None:
    verdict.acquit(profile, 3, "it served", wait=1.0)

    assert condemn(profile, 4, lost=(3,)).target == profiles.read(profile, 1)


def test_what_is_damaged_and_cannot_be_made_again_is_passed(profile: Profile) -> None:
    verdict.acquit(profile, 3, "it served", wait=1.0)
    for generation in profiles.generations(profile):
        seal(profile, generation)
    damaged = Path(profile.layout.overlay(profile.base_key, "3" * 64), "overlay.json")
    damaged.write_text(damaged.read_text()[:-5])

    assert condemn(profile, 4, lost=(3,)).target == profiles.read(profile, 1)


def test_a_verdict_is_taken_back_and_a_good_control_stays_current(profile: Profile) -> None:
    verdict.acquit(profile, 1, "it served", wait=1.0)
    found = condemn(profile, 4)

    assert verdict.clear(profile, found, "but generation 1 fails too", wait=1.0) == 1
    assert states(profile) == ["good", "untried", "untried", "untried"]
    assert profiles.read(profile, 4).why == "but generation 1 fails too"
    assert profiles.order(profile).held


def test_where_nothing_speaks_for_the_control_all_is_as_it_was(profile: Profile) -> None:
    seal(profile, profiles.read(profile, 4))
    found = condemn(profile, 4)

    assert verdict.clear(profile, found, "but generation 3 fails too", wait=1.0) == 4
    assert set(states(profile)) == {"untried"}
    assert profiles.current(profile) == 4
    assert not profiles.order(profile).held


def test_a_verdict_that_a_person_confirms_stays(profile: Profile) -> None:
    found = condemn(profile, 4)
    switching.mark(profile, 4, state="bad")

    verdict.clear(profile, found, "but", wait=1.0)

    assert states(profile) == ["untried", "bad", "untried", "bad"]


def test_one_that_is_alone_is_not_judged_if_so_asked(profile: Profile) -> None:
    for number in (1, 2, 3):
        switching.mark(profile, number, state="bad")
    switching.mark(profile, 4, state="untried")

    def rebuild(*_: object) -> None: ...

    alone = verdict.condemn(profile, 4, "it failed", wait=1.0, rebuild=rebuild, marks_alone=False)

    assert (alone.kind, states(profile)[3]) == (verdict.ALONE, "untried")


def test_a_set_that_was_found_good_meanwhile_is_spared(profile: Profile) -> None:
    verdict.acquit(profile, 2, "it served", wait=1.0)

    assert condemn(profile, 4).kind == verdict.SPARED
    assert profiles.current(profile) == 4


def test_where_another_is_current_by_now_nothing_is_moved(profile: Profile) -> None:
    profiles.switch(profile, 1, verb="switch", hold=True)

    assert condemn(profile, 4).kind == verdict.MOVED
    assert states(profile) == ["untried", "bad", "untried", "bad"]
    assert profiles.current(profile) == 1


def test_the_last_one_is_bad_and_stays(profile: Profile) -> None:
    kinds = [condemn(profile, number).kind for number in (4, 3, 1)]

    assert kinds == [verdict.BACK, verdict.BACK, verdict.ALONE]
    assert profiles.current(profile) == 1
    assert set(states(profile)) == {"bad"}


def test_serving_does_not_clear_what_a_person_marked(profile: Profile) -> None:
    switching.mark(profile, 3, state="bad")
    condemn(profile, 4)

    assert not verdict.acquit(profile, 3, "it served", wait=1.0)
    assert verdict.acquit(profile, 4, "it served", wait=1.0)
    assert states(profile) == ["untried", "good", "bad", "good"]
    assert condemn(profile, 3).kind == verdict.MOVED
    assert profiles.read(profile, 3).why == ""


DETAILS: dict[str, dict[str, Any]] = {
    events.STARTED: {"pid": 7},
    events.HEALTHY: {"seconds": 31.4},
    events.GOOD: {"seconds": 60.0},
    events.FAILED: {"code": -9, "reason": "it ended with signal 9 after 2.0 s", "log": ["one", "two"]},
    events.BAD: {},
    events.ROLLED_BACK: {"to": 2, "to_digest": "b" * 64},
    events.UNJUDGED: {"reason": "generation 2 fails in the same way; it is current again", "current": 3},
    events.RESTARTING: {"delay": 4.0, "attempt": 2, "retries": 3},
    events.STOPPED: {"code": 0},
    events.GAVE_UP: {"code": 1, "reason": "3 restarts did not help"},
}
SENTENCES = """\
starts as process 7
is healthy, 31.4 s after its start
is good: it was healthy for 60 s
! failed: it ended with signal 9 after 2.0 s; the last lines of its log:
  one
  two
! is marked bad
! is current no more: rolled back to generation 2, and the profile is held there
! is not found bad: generation 2 fails in the same way; it is current again
is started again in 4 s (restart 2 of 3)
has stopped (exit 0)
! is not started again: 3 restarts did not help
"""


def test_every_event_has_a_record_and_a_sentence() -> None:
    said: list[str] = []
    written: list[str] = []
    name = f"generation 3 ({'a' * 12}) "
    journal = Journal(
        "default",
        "0123456789ab",
        say=lambda text, is_loud: said.append(f"{'! ' if is_loud else ''}{text.removeprefix(name)}\n"),
        write=written.append,
    )

    for kind in events.KINDS:
        event = Event(kind, 3, "a" * 64, DETAILS[kind])
        journal.record(event)
        journal.tell(event)

    assert "".join(said) == SENTENCES
    for line, kind in zip(written, events.KINDS, strict=True):
        record = json.loads(line)
        Draft202012Validator(SCHEMA).validate(record)
        assert record["event"] == kind
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["time"])
    assert set(SCHEMA["properties"]["event"]["enum"]) == set(events.KINDS)


def test_a_full_disk_and_a_closed_terminal_stop_nobody() -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "no space left on device")

    journal = Journal("default", "0123456789ab", say=refuse, write=refuse)
    event = Event(events.STARTED, 3, "a" * 64, {"pid": 7})
    journal.record(event)
    journal.tell(event)


def test_an_event_between_what_a_server_says_begins_a_line() -> None:
    written: list[str] = []
    event = Event(events.STARTED, 3, "a" * 64, {"pid": 7})
    for is_beside_output in (True, False):
        journal = Journal(
            "default",
            "0123456789ab",
            say=lambda *_: None,
            write=written.append,
            is_beside_output=is_beside_output,
        )
        journal.record(event, is_mid_line=True)
        journal.record(event)

    assert [line[:2] for line in written] == ["\n{", '{"', '{"', '{"']


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rollback",), "`--rollback` is for a server that is watched"),
        (("--good-after", "1m"), "`--good-after` is for a server that is watched"),
        (("--events", "-"), "`--events` is for a server that is watched"),
        (("--health", "x"), "`x` is no URL that can be asked"),
        (("--health", "http://h", "--good-after", "soon"), "`soon` is no duration"),
        (("--health", "http://h", "--retries", "-1"), "`-1` is no number"),
        (("--health", "http://h", "--rollback", "--generation", "2"), "`--rollback` moves what is current"),
    ],
)
def test_words_that_do_not_fit_together(
    words: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VPM_ENV_HOME", str(tmp_path))

    assert cli.main(["run", *words, "true"]) == 2
    assert said in capsys.readouterr().err
