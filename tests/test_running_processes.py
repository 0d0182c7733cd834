"""One set per process tree: a switch reaches what starts after it, and nothing that runs."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import stands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stands import Stand

ONE, TWO = ["1.0"] * 4, ["2.0"] * 4
METHODS = ("fork", "forkserver", "spawn", "subprocess", "os.fork")

FAMILY = '''
"""Wait for a switch, then look what this process and all kinds of its children import."""

import importlib.metadata as metadata
import json
import multiprocessing
import os
import subprocess
import sys

CODE = "import json; from plug import family; print(json.dumps(family.known()))"


def known():
    from plug import late
    import plug
    import other
    loaded = {point.load().__module__ for point in metadata.entry_points(group="vllm.general_plugins", name="plug")}
    assert loaded == {"plug"}
    return [plug.which, late.which, other.__version__, metadata.version("plug")]


def tell(queue):
    queue.put(known())


def process(method):
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    child = context.Process(target=tell, args=(queue,))
    child.start()
    told = queue.get()
    child.join()
    return told


def forked():
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, json.dumps(known()).encode())
        os._exit(0)
    os.wait()
    return json.loads(os.read(reading, 1000))


def grandchild():
    call = f"import subprocess, sys; print(subprocess.check_output([sys.executable, '-c', {CODE!r}], text=True))"
    return json.loads(subprocess.check_output([sys.executable, "-c", call]))


def main():
    print("started", flush=True)
    input()
    told = {method: process(method) for method in ("spawn", "forkserver", "fork")}
    told["os.fork"] = forked()
    told["subprocess"] = json.loads(subprocess.check_output([sys.executable, "-c", CODE]))
    told["grandchild"] = grandchild()
    told["itself"] = known()
    told["pin"] = os.environ.get("VPM_ENV_PIN")
    told["path"] = [path for path in sys.path if "/profiles/" in path]
    told["executable"] = sys.executable
    print(json.dumps(told), flush=True)
'''

ENGINE = """
import os

which = {version!r}


def register():
    if os.environ.pop("FAMILY", None):
        from plug import family

        family.main()
"""
PLAIN = "if __name__ == '__main__':\n    from plug import family\n    family.main()\n"
KNOWN = "import json; from plug import family; print(json.dumps(family.known()))"
SUPERVISOR = """
import subprocess, sys
print("started", flush=True)
input()
for command in (sys.argv[1:2], [sys.executable, "-c", sys.argv[2]]):
    subprocess.run(command, check=True)
"""


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory, uv_cache: Path) -> Iterator[Stand]:
    """Give a hooked base and two sets, of which the first is current: generations 1 and 2."""
    with stands.stand(tmp_path_factory.mktemp("running"), uv_cache) as made:
        for version in ("1.0", "2.0"):
            files = {
                "plug/__init__.py": ENGINE.format(version=version),
                "plug/late.py": f"which = {version!r}\n",
                "plug/family.py": FAMILY,
            }
            points = {stands.GROUP: {"plug": "plug:register"}}
            made.publish("plug", version, files=files, entry_points=points)
            made.publish("other", version)
        made("hook", "install")
        made.build("plug", "other", extra=", version: ==1.0")
        made.build("plug", "other", extra=", version: ==2.0")
        made("rollback")
        yield made


@pytest.fixture
def first(stand: Stand) -> Iterator[Stand]:
    """Begin and end with generation 1."""
    stand("switch", "1")
    yield stand
    stand("switch", "1")


def around_a_switch(stand: Stand, *command: str | Path, **env: str) -> Any:
    """Start a process, switch while it waits, and return the last line that it said as JSON, and the one before."""
    with subprocess.Popen(
        list(map(str, command)),
        env={**stand.env, **env},
        cwd=stand.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        line = running.stdout.readline()
        if line != "started\n":
            running.kill()
            raise AssertionError(line + running.communicate()[1])
        stand("switch", "2")
        stdout, stderr = running.communicate("\n", timeout=100)
    assert running.returncode == 0, stdout + stderr
    return [json.loads(line) for line in stdout.splitlines()]


def agrees(told: dict[str, Any]) -> None:
    """Demand that a process and all its children know one set."""
    family = {name: value for name, value in told.items() if name not in ("pin", "path", "executable")}
    assert family == dict.fromkeys((*METHODS, "grandchild", "itself"), ONE)
    assert told["path"] == []


def test_an_engines_tree_keeps_its_set(first: Stand) -> None:
    told, engine = around_a_switch(first, first.base.scripts / "vllm", "serve", FAMILY="1")

    agrees(told)
    assert told["pin"] == engine["pin"]
    assert told["pin"].endswith(first.vpm_env("path", "1").stdout.strip().rsplit("/", 1)[1])
    assert json.loads(first.run(first.base.python, "-c", KNOWN).stdout) == TWO


def test_an_engines_module_is_an_entry_too(first: Stand) -> None:
    entry = first.base.purelib / "vllm" / "entrypoints"
    entry.mkdir(exist_ok=True)
    (entry / "api_server.py").write_text("if __name__ == '__main__':\n    from vllm.cli import main; main()\n")

    told, engine = around_a_switch(first, first.base.python, "-m", "vllm.entrypoints.api_server", FAMILY="1")

    agrees(told)
    assert engine["pin"] == told["pin"]


def test_a_running_process_keeps_its_set_and_a_supervisors_children_get_the_new_one(first: Stand) -> None:
    """A plain process is not pinned: what it imports itself, also late, is of one set; what it starts is new."""
    (first.folder / "service.py").write_text(PLAIN)

    (told,) = around_a_switch(first, first.base.python, first.folder / "service.py")

    assert told["itself"] == told["fork"] == told["os.fork"] == ONE
    assert told["subprocess"] == told["grandchild"] == TWO
    assert told["pin"] is None


def test_a_plain_supervisor_starts_engines_with_the_new_set(first: Stand) -> None:
    supervisor = first.folder / "supervisor.py"
    supervisor.write_text(SUPERVISOR)

    engine, child = around_a_switch(first, first.base.python, supervisor, first.base.scripts / "vllm", KNOWN)

    digest = first.vpm_env("path", "2").stdout.strip().rsplit("/", 1)[1]
    assert engine["pin"].endswith(digest)
    assert child == TWO


def test_the_way_through_current_is_taken_once(first: Stand) -> None:
    service = first.folder / "service.py"
    service.write_text(PLAIN)
    python = first.profile / "current" / "bin" / "python"

    (told,) = around_a_switch(first, python, service)

    agrees(told)
    assert told["executable"] == first.vpm_env("path", "1").stdout.strip() + "/bin/python"
    assert json.loads(first.run(python, "-c", KNOWN).stdout) == TWO


def test_scripts_through_current_are_taken_once_too(first: Stand) -> None:
    told, engine = around_a_switch(first, first.profile / "current" / "bin" / "vllm", "serve", FAMILY="1")

    agrees(told)
    assert engine["executable"] == told["executable"] == first.vpm_env("path", "1").stdout.strip() + "/bin/python"


@pytest.mark.parametrize("command", [("vllm", "serve"), ("python", "service.py")], ids=" ".join)
def test_what_run_starts_keeps_its_set(first: Stand, command: tuple[str, ...]) -> None:
    (first.folder / "service.py").write_text(PLAIN)
    env = {"FAMILY": "1"} if command[0] == "vllm" else {}
    own = {name: first.vpm_env.env[name] for name in ("VPM_ENV_HOME", "VPM_ENV_BASE")}

    told, *_ = around_a_switch(first, *first.vpm_env.command, "run", "--", *command, **own, **env)

    agrees(told)


def test_run_may_name_a_generation(first: Stand) -> None:
    done = first("run", "--generation", "2", "--", "python", "-c", KNOWN)

    assert json.loads(done.stdout) == TWO
    assert json.loads(first("run", "--", "python", "-c", KNOWN).stdout) == ONE
    assert json.loads(first("run", "--generation", "2", "--", first.base.python, "-c", KNOWN).stdout) == TWO
