"""Everybody at once: processes that build, switch, roll back, collect, verify and read one home until time is up.

`run` starts this file as a program of its own, which has the rooms imported and forks for every role and every call;
readers are the base's Python, which runs `reader.py`. What happened is told in a file a role, a line a call.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import offspring

LONGEST = 100.0
"""Seconds after which a call hangs; there are 34 processes on perhaps two processors."""

SAID = (
    "has no earlier generation to roll back to",
    "nothing is current in the profile",
    "has no generation",
)
"""Why a switch or a rollback may be refused: others were faster."""


@dataclass(frozen=True)
class Plan:
    """What to hammer on: a home, a base's Python, folders, and for how many seconds."""

    home: str
    python: str
    links: str
    work: str
    said: str
    env: dict[str, str]
    seconds: float
    versions: int
    seed: int = 0
    builders: int = 4
    changers: int = 4
    switchers: int = 4
    rollbackers: int = 2
    collectors: int = 2
    readers: int = 16


@dataclass
class Told:
    """What all roles said: calls by role, and what was wrong."""

    calls: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    slowest: float = 0.0


def run(plan: Plan) -> Told:
    """Hammer, and say what came of it."""
    path = Path(plan.said) / "plan.json"
    path.write_text(json.dumps(asdict(plan)))
    done = subprocess.run(
        [sys.executable, str(Path(__file__)), str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=plan.seconds + 3 * LONGEST,
        check=False,
    )
    told = Told()
    if done.returncode:
        told.violations.append(f"the hammer ended with {done.returncode}")
    for said in sorted(Path(plan.said).glob("*.said")):
        for line in said.read_text().splitlines():
            _add(told, said.stem.split("-")[0], json.loads(line))
    told.changes = [line for trace in Path(plan.said).glob("*.trace") for line in trace.read_text().splitlines()]
    return told


def _add(told: Told, role: str, entry: dict[str, Any]) -> None:
    told.calls[role] = told.calls.get(role, 0) + int(entry.get("count", 1))
    told.slowest = max(told.slowest, entry.get("seconds", 0.0))
    told.violations += [f"{role}: {text}" for text in entry["wrong"]]


class _Role:
    """A loop of calls in a process of its own; each call is a fork of that."""

    def __init__(self, plan: Plan, name: str, number: int) -> None:
        self.plan = plan
        self.name = f"{name}-{number}"
        self.number = number
        self.parent = os.getppid()
        self.random = random.Random(f"{plan.seed} {self.name}")
        self.folder = Path(plan.work) / self.name
        self.folder.mkdir(parents=True)

    def __call__(self, until: float) -> None:
        while time.monotonic() < until and os.getppid() == self.parent:
            getattr(self, f"_{self.name.split('-')[0]}")()

    def _build(self) -> None:
        """Make what the other builders make at the same time; some seconds later it is another."""
        version = int(time.time() / 6) % self.plan.versions
        self._config({"left": version, "right": version})
        self._call("build", "--offline", "--profile", f"same{self.number}")
        time.sleep(0.2)

    def _change(self) -> None:
        version = self.random.randrange(self.plan.versions)
        names = self.random.choice((("left", "right"), ("left", "right", "third")))
        self._config(dict.fromkeys(names, version))
        flags = self.random.choice(((), (), ("--no-switch",), ("--force",)))
        self._call("build", "--offline", "--profile", self._profile(), *flags)

    def _switch(self) -> None:
        profile = self._profile()
        numbers = [path.stem for path in Path(self.plan.home).glob(f"profiles/{profile}/*/generations/*.json")]
        self._call("switch", self.random.choice(numbers or ["1"]), "--profile", profile, may_fail=True)
        time.sleep(self.random.random())

    def _rollback(self) -> None:
        self._call("rollback", "--profile", self._profile(), may_fail=True)
        time.sleep(2 * self.random.random())

    def _gc(self) -> None:
        self._call("gc")
        time.sleep(self.random.random())

    def _verify(self) -> None:
        self._call("verify")
        time.sleep(0.5)

    def _run(self) -> None:
        code = "import left, right; assert left.VALUE == right.VALUE, 'torn'"
        self._call("run", "--", "python", "-c", code)

    def _profile(self) -> str:
        return self.random.choice(("default", "default", "other", "same0"))

    def _config(self, versions: dict[str, int]) -> None:
        entries = "".join(f"  - {{name: {name}, source: pypi, version: '{n}'}}\n" for name, n in versions.items())
        text = f"find_links: {self.plan.links}\nindex: http://127.0.0.1:9/none\nplugins:\n{entries}"
        (self.folder / "plugins.yaml").write_text(text)

    def _call(self, *words: str, may_fail: bool = False) -> None:
        """Call a verb in a fork; one that takes too long is killed, and hangs as far as this test is concerned."""
        begun = time.monotonic()
        path = Path(self.plan.said) / self.name
        child = os.fork()
        if not child:
            self._be(words, path)
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() - begun < LONGEST:
            time.sleep(0.01)
        wrong = []
        if ended[0] == 0:
            os.kill(child, 9)
            os.waitpid(child, 0)
            wrong = [f"{' '.join(words)} hangs"]
        elif ended[1]:
            said = path.with_suffix(".err").read_text()
            if not (may_fail and any(text in said for text in SAID)):
                out = path.with_suffix(".out").read_text()
                wrong = [f"{' '.join(words)} ended with {ended[1]}: {said[-1500:]}{out[-500:]}"]
        _tell(path, {"seconds": time.monotonic() - begun, "wrong": wrong})

    def _be(self, words: tuple[str, ...], path: Path) -> None:
        from kit.faults import Fault, _run, install

        code = 70
        try:
            os.setsid()
            for descriptor, suffix in ((1, ".out"), (2, ".err")):
                os.dup2(os.open(path.with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
            os.environ.clear()
            os.environ.update(self.plan.env)
            os.chdir(self.folder)
            install(Fault(), str(path.with_suffix(".trace")))
            code = _run(list(words))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _tell(path: Path, entry: dict[str, Any]) -> None:
    with path.with_suffix(".said").open("a") as stream:
        stream.write(json.dumps(entry) + "\n")


def _shorten_the_day() -> None:
    """Let gc take what has not been current for two seconds, where nothing else speaks for it."""
    from envbuilder import gc, occupants

    gc.DAY = 2.0
    occupants._SLACK = (1.0, 10.0)


def _readers(plan: Plan) -> list[subprocess.Popen[bytes]]:
    """Start readers: loops that fork, each with the hook's module run anew, and ones that start an interpreter."""
    reader = str(Path(__file__).with_name("reader.py"))
    kinds = ["fork"] * (plan.readers - 4) + ["start", "start", "entry", "layer"]
    env = {name: value for name, value in plan.env.items() if name not in ("VPM_ENV_HOME", "VPM_ENV_BASE")}
    return [
        subprocess.Popen(
            [plan.python, "-S", reader, kind, str(number), plan.home, plan.said, str(plan.seconds)],
            env=env,
            start_new_session=True,
        )
        for number, kind in enumerate(kinds)
    ]


def _main(plan: Plan) -> int:
    import envbuilder.cli
    import envbuilder.pipeline
    import envbuilder.sweep  # noqa: F401 (a fork has them then)

    offspring.end_with_parent()
    _shorten_the_day()
    readers = _readers(plan)
    until = time.monotonic() + plan.seconds
    counts = {
        "build": plan.builders,
        "change": plan.changers,
        "switch": plan.switchers,
        "rollback": plan.rollbackers,
        "gc": plan.collectors,
        "verify": 1,
        "run": 1,
    }
    children = []
    for name, count in counts.items():
        for number in range(count):
            child = os.fork()
            if not child:
                _Role(plan, name, number)(until)
                os._exit(0)
            children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    codes += [reader.wait(LONGEST) for reader in readers]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(_main(Plan(**json.loads(Path(sys.argv[1]).read_text()))))
