"""Meetings of two calls, made certain: one halts at a named place while the other goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import kit
import users

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kit.faults import Ended
    from users import Scene

NEXT_WEEK = 7 * 86400.0
DEADLINE = 60.0

LAGGING = """
import os, sys, time
event, part, gate = sys.argv[1:4]
seen = []
def halt(name, arguments):
    if name == event and not seen and any(part in str(each) for each in arguments):
        seen.append(name)
        open(gate + ".reached", "w").close()
        while not os.path.exists(gate):
            time.sleep(0.005)
"""
"""Let a process wait at an audit event, until its gate is there."""

READER = (
    LAGGING
    + """
sys.path.append(sys.argv[4])
sys.prefix = sys.exec_prefix = os.path.dirname(os.path.dirname(sys.executable))
sys.orig_argv = [sys.executable, sys.argv[5]]
sys.addaudithook(halt)
import _vpm_env_hook as hook
assert hook.state == "active", (hook.state, hook.reason)
__import__(sys.argv[6])
is_held = hook.lease is not None and os.path.samestat(os.fstat(hook.lease), os.stat(hook.overlay + "/.lease"))
print(hook.digest, is_held)
"""
)

LOOKER = (
    LAGGING
    + """
from envbuilder.cli import main
sys.addaudithook(halt)
sys.exit(main(sys.argv[4:]))
"""
)


@dataclass
class Held:
    """A call that waits at its gate; `let_go` lets it end."""

    gate: Path
    workshop: kit.Workshop
    pid: int
    ended: Ended | None = None

    def let_go(self) -> Ended:
        self.gate.touch()
        self.ended = self.workshop.finish(self.pid)
        return self.ended


@dataclass
class Meeting:
    """A scene, a workshop for the call that is halted, and another for who goes on; `wrong` is what should not be."""

    scene: Scene
    first: kit.Workshop
    second: kit.Workshop
    folder: Path
    wrong: list[str] = field(default_factory=list)

    def __call__(self, *words: str, wait: float = 30.0, later: float = 0.0) -> Ended:
        """Call a verb while another is halted; it waits `wait` seconds for locks."""
        return self.second.finish(self.start(*words, wait=wait, later=later))

    def start(self, *words: str, wait: float = 30.0, later: float = 0.0) -> int:
        vpm_env = self.scene.vpm_env
        env = {**vpm_env.env, "VPM_ENV_LOCK_TIMEOUT": str(wait)}
        return self.second.start(*words, env=env, cwd=vpm_env.folder, later=later)

    @contextmanager
    def halted(self, *words: str, at: str, times: int = 1, later: float = 0.0) -> Iterator[Held]:
        """Begin a verb, wait until it is at the event, and let it end in the end."""
        gate = self.folder / f"{len(list(self.folder.iterdir()))}.gate"
        vpm_env = self.scene.vpm_env
        fault = kit.Fault(kind="halt", event=at, at=times, gate=str(gate))
        pid = self.first.start(*words, env=vpm_env.env, cwd=vpm_env.folder, fault=fault, later=later)
        held = Held(gate, self.first, pid)
        try:
            wait_for(f"{gate}.reached", pid)
            yield held
        finally:
            ended = held.ended or held.let_go()
        self.expect(ended.code == 0, f"{words} ended with {ended.code}: {ended.stderr[-800:]}")

    def expect(self, is_so: bool, text: object) -> None:
        if not is_so:
            self.wrong.append(str(text))

    def after(self, number: int) -> None:
        """Say what must be after every meeting: a sound home, and that what is current can be imported."""
        scene = self.scene
        sound = scene.vpm_env("verify", "--json").json
        self.expect(not sound["damage"], sound)
        (current,) = scene.vpm_env.home.glob("profiles/default/*/current")
        self.expect(os.readlink(current) == f"generations/{number}", f"current is {os.readlink(current)}")
        name = ("one", "two", "three", "one")[number - 1]
        code = f"import _vpm_env_hook as h, {name}; assert h.state == 'active'"
        done = subprocess.run([scene.base, "-c", code], env=scene.plain, capture_output=True, text=True, check=False)
        self.expect(done.returncode == 0, done.stderr)

    def set_up(self) -> None:
        """Let three generations be there, of which gc would take the first."""
        home, kept = self.scene.vpm_env.home, self.scene.folder / "kept"
        if kept.exists():
            subprocess.run(["rm", "-rf", str(home)], check=True)
        subprocess.run(["cp", "-a", *map(str, (kept, home) if kept.exists() else (home, kept))], check=True)
        users.write_config(self.scene.vpm_env, "three")

    @contextmanager
    def lagging(self, program: str, event: str, part: str, *words: str | Path, env: dict[str, str]) -> Iterator[Any]:
        """Start a program that halts at an audit event; when this ends, it goes on, and `said` and `code` are there."""
        gate = self.folder / f"{len(list(self.folder.iterdir()))}.gate"
        python = sys.executable if program is LOOKER else str(self.scene.base)
        child = subprocess.Popen(
            [python, *([] if program is LOOKER else ["-S"]), "-c", program, event, part, gate, *map(str, words)],
            env=env,
            cwd=self.scene.vpm_env.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        found: dict[str, Any] = {"pid": child.pid}
        try:
            wait_for(f"{gate}.reached", child.pid)
            yield found
        except AssertionError:
            print(child.communicate(timeout=DEADLINE))
            raise
        finally:
            gate.touch()
            out, err = child.communicate(timeout=DEADLINE)
            found |= {"code": child.returncode, "out": out, "err": err}
            self.expect(child.returncode == 0, err)

    def reader(self, event: str, part: str, script: str, module: str) -> Any:
        """Start an interpreter whose start-up hook halts at an event, and which imports a module then."""
        (site,) = (self.scene.folder / "base" / "lib").glob("python*/site-packages")
        return self.lagging(READER, event, part, site, script, module, env=self.scene.plain)

    def looker(self, event: str, part: str, *words: str) -> Any:
        """Call a verb that changes nothing, and halts when it opens something."""
        env = {**self.scene.vpm_env.env, "PYTHONPATH": str(kit.ROOT)}
        return self.lagging(LOOKER, event, part, *words, env=env)

    def digest(self, number: int) -> str:
        (record,) = self.scene.vpm_env.home.glob(f"profiles/default/*/generations/{number}.json")
        return str(json.loads(record.read_text())["digest"])


def wait_for(path: str, pid: int) -> None:
    """Wait until a file is there; fail if the process that should make it is gone, or does not come to it."""
    until = time.monotonic() + DEADLINE
    while not os.path.exists(path):
        with open(f"/proc/{pid}/stat") as stream:
            assert stream.read().rpartition(")")[2].split()[0] != "Z", "it ended before it came to the event"
        assert time.monotonic() < until, "it does not come to the event"
        time.sleep(0.005)
