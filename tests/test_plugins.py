"""What a host gets from `envbuilder.plugins`: real distributions on `sys.path`, real imports."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import homes
import kit
import pytest
from homes import Rig

from envbuilder import plugins
from envbuilder.plugins import load_plugins, load_plugins_by_group

if TYPE_CHECKING:
    from pathlib import Path

numbers = itertools.count()


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give a group of its own to each test: what was called in a process is not called again."""
    monkeypatch.syspath_prepend(tmp_path)
    return f"host{next(numbers)}.plugins"


def publish(folder: Path, group: str, name: str, *points: str, code: str = "") -> str:
    """Put a distribution with one module and entry points `name = function` into `folder`; return the module."""
    module = f"{name}_{group.partition('.')[0]}"
    (folder / f"{module}.py").write_text(f"calls = []\n{code}")
    dist_info = folder / f"{name}-1.0.dist-info"
    dist_info.mkdir()
    (dist_info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{point.replace('=', f'= {module}:')}\n" for point in points]
    (dist_info / "entry_points.txt").write_text(f"[{group}]\n" + "".join(lines))
    return module


REGISTER = "def register():\n    calls.append(1)\n    return len(calls)\n"


def test_loaded_by_name_and_not_called(tmp_path: Path, group: str) -> None:
    publish(tmp_path, group, "one", "a =register", "b =Model", code=REGISTER + "class Model: pass\n")

    loaded = load_plugins_by_group(group)

    assert sorted(loaded) == ["a", "b"]
    assert loaded["a"]() == 1
    assert loaded["b"].__name__ == "Model"


def test_no_plugins(group: str) -> None:
    assert load_plugins_by_group(group) == {}
    assert load_plugins(group) == {}


def test_allowed_are_entry_points_or_distributions(tmp_path: Path, group: str) -> None:
    publish(tmp_path, group, "one", "a =register", "b =register", code=REGISTER)
    publish(tmp_path, group, "two", "c =register", code=REGISTER)

    assert set(load_plugins_by_group(group, allow=["b"])) == {"b"}
    assert set(load_plugins_by_group(group, allow={"one"})) == {"a", "b"}
    assert load_plugins_by_group(group, allow=()) == {}


def test_what_does_not_load_is_logged_and_left_out(
    tmp_path: Path, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path, group, "bad", "a =register", code="raise OSError('no device')\n")
    publish(tmp_path, group, "gone", "b =missing")
    publish(tmp_path, group, "text", "c =value", code="value = 'x'\n")
    publish(tmp_path, group, "good", "d =register", code=REGISTER)

    assert set(load_plugins_by_group(group)) == {"d"}
    assert sorted(record.getMessage().split()[2] for record in caplog.records) == ["a", "b", "c"]
    assert "no device" in caplog.text
    assert "not callable" in caplog.text


def test_the_first_of_two_names_is_used_and_told(
    tmp_path: Path, group: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = tmp_path / "behind"
    behind.mkdir()
    first = publish(tmp_path, group, "one", "a =register", code=REGISTER)
    second = publish(behind, group, "two", "a =register", code=REGISTER)
    monkeypatch.syspath_prepend(behind)
    monkeypatch.syspath_prepend(tmp_path)

    assert load_plugins_by_group(group)["a"].__module__ == first
    assert [record.getMessage() for record in caplog.records] == [
        f"group {group}: a = {first}:register (one) is used, a = {second}:register (two) is not"
    ]


def test_called_once_a_process(tmp_path: Path, group: str) -> None:
    publish(tmp_path, group, "one", "a =register", code=REGISTER)
    publish(tmp_path, group, "two", "b =register", code=REGISTER)

    assert load_plugins(group, allow=["a"]) == {"a": 1}
    assert load_plugins(group) == {"a": 1, "b": 1}
    assert load_plugins(group) == {"a": 1, "b": 1}


def test_a_plugin_that_raises_is_logged_and_not_called_again(
    tmp_path: Path, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    code = "def register():\n    calls.append(1)\n    raise RuntimeError(f'call {len(calls)}')\n"
    publish(tmp_path, group, "bad", "a =register", code=code)
    publish(tmp_path, group, "good", "b =register", code=REGISTER)

    assert load_plugins(group) == {"b": 1}
    assert load_plugins(group) == {"b": 1}
    assert "call 1" in caplog.text
    assert "call 2" not in caplog.text


def test_imported_once_a_process_and_timed(tmp_path: Path, group: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "vpm_env.plugins")
    publish(tmp_path, group, "slow", "a =register", code="import time\ntime.sleep(0.02)\n" + REGISTER)
    publish(tmp_path, group, "bad", "b =register", code="raise OSError('once')\n")

    first = load_plugins_by_group(group)
    again = load_plugins_by_group(group)

    assert first["a"] is again["a"]
    assert first.seconds == again.seconds
    assert first.seconds["a"] >= 0.02
    assert str(first.failed["b"]) == str(again.failed["b"]) == "once"
    assert sorted(record.levelname for record in caplog.records) == ["ERROR", "INFO"]


def test_a_list_may_be_text_and_spell_a_distribution_in_any_way(tmp_path: Path, group: str) -> None:
    publish(tmp_path, group, "my_plug", "a =register", code=REGISTER)
    publish(tmp_path, group, "two", "b =register", "c =register", code=REGISTER)

    assert set(load_plugins_by_group(group, allow=" b , My-Plug ")) == {"a", "b"}
    assert set(load_plugins_by_group(group, allow="")) == set()


def test_what_hides_another_depends_on_what_is_allowed(tmp_path: Path, group: str) -> None:
    one = publish(tmp_path, group, "one", "a =register", code=REGISTER)
    two = publish(tmp_path, group, "two", "a =register", code=REGISTER)

    for name, module in (("one", one), ("two", two)):
        assert load_plugins_by_group(group, allow=name)["a"].__module__ == module
    (hidden,) = load_plugins(group).duplicates
    assert hidden.startswith("a = ")


def test_a_plugin_may_ask_for_its_own_group(tmp_path: Path, group: str) -> None:
    code = (
        f"from envbuilder.plugins import load_plugins_by_group\nfound = load_plugins_by_group({group!r})\n" + REGISTER
    )
    publish(tmp_path, group, "curious", "a =register", code=code)
    publish(tmp_path, group, "other", "b =register", code=REGISTER)

    assert set(load_plugins_by_group(group)) == {"a", "b"}


@pytest.mark.parametrize(
    "code", ["import sys\ndef register(): sys.exit('no licence')\n", "raise SystemExit('no licence')\n"]
)
def test_a_plugin_that_exits_is_one_that_fails(
    tmp_path: Path, group: str, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    publish(tmp_path, group, "bad", "a =register", code=code)
    publish(tmp_path, group, "good", "b =register", code=REGISTER)

    first, second = load_plugins(group), load_plugins(group)

    assert first == second == {"b": 1}
    assert [str(loaded.failed["a"]) for loaded in (first, second)] == ["no licence"] * 2
    assert set(second.seconds) == {"a", "b"}
    assert "SystemExit: no licence" in caplog.text


def test_what_was_interrupted_is_done_by_whoever_asks_next(tmp_path: Path, group: str) -> None:
    code = (
        "def register():\n    calls.append(1)\n    if len(calls) == 1: raise KeyboardInterrupt\n    return len(calls)\n"
    )
    publish(tmp_path, group, "slow", "a =register", code=code)

    with pytest.raises(KeyboardInterrupt):
        load_plugins(group)

    assert load_plugins(group) == load_plugins(group) == {"a": 2}


def test_a_module_that_asks_for_calls_while_it_is_imported_is_called_later(tmp_path: Path, group: str) -> None:
    code = f"from envbuilder.plugins import load_plugins\nfound = load_plugins({group!r})\n" + REGISTER
    publish(tmp_path, group, "curious", "a =register", code=code)

    loaded = load_plugins_by_group(group)

    assert load_plugins(group) == {"a": 1}
    assert __import__(loaded["a"].__module__).found == {}


THREADS = """
import threading
from envbuilder.plugins import load_plugins, load_plugins_by_group
barrier = threading.Barrier(2, timeout=30)


def in_a_thread(*arguments):
    found = []
    thread = threading.Thread(target=lambda: found.append(load_plugins(*arguments)), daemon=True)
    thread.start()
    thread.join(30)
    return found
"""


def test_a_plugin_may_wait_for_a_thread_that_loads_others(tmp_path: Path, group: str) -> None:
    other = f"{group}.other"
    publish(tmp_path, group, "first", "a =register", code=f"{THREADS}def register(): return in_a_thread({other!r})\n")
    publish(tmp_path, other, "second", "b =register", code=REGISTER)

    assert load_plugins(group) == {"a": [{"b": 1}]}


def test_a_thread_waits_for_what_another_one_loads(tmp_path: Path, group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is let go on by the second's waiting: that the second asks for the plugin's end is what is seen."""
    begun, waited = threading.Event(), threading.Event()
    monkeypatch.setattr(plugins, "rendezvous", (begun, waited), raising=False)
    code = "from envbuilder.plugins import rendezvous\ndef register():\n    calls.append(1)\n"
    code += "    rendezvous[0].set()\n    return rendezvous[1].wait(30) and len(calls)\n"
    publish(tmp_path, group, "slow", "a =register", code=code)

    class Seen(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.set()
            return super().wait(timeout)

    monkeypatch.setattr(plugins, "threading", SimpleNamespace(Event=Seen, get_ident=threading.get_ident))
    found: list[dict[str, int]] = []
    first = threading.Thread(target=lambda: found.append(load_plugins(group)), daemon=True)
    first.start()
    assert begun.wait(30)
    found.append(load_plugins(group))
    first.join(30)

    assert found == [{"a": 1}, {"a": 1}]


def test_two_plugins_that_ask_for_each_other_in_two_threads_do_not_wait_for_ever(tmp_path: Path, group: str) -> None:
    beacon = f"beacon_{group.partition('.')[0]}"
    (tmp_path / f"{beacon}.py").write_text(THREADS)
    for name, other in (("one", "two"), ("two", "one")):
        code = f"from {beacon} import barrier, load_plugins\n"
        code += f"def register():\n    barrier.wait()\n    return load_plugins('{group}.{other}')\n"
        publish(tmp_path, f"{group}.{name}", name, f"{name} =register", code=code)
    found: list[dict[str, object]] = []
    names = [f"{group}.one", f"{group}.two"]
    threads = [
        threading.Thread(target=lambda name=name: found.append(load_plugins(name)), daemon=True) for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(map(str, found)) in (
        ["{'one': {'two': {}}}", "{'two': {}}"],
        ["{'one': {}}", "{'two': {'one': {}}}"],
    )


def test_many_threads_call_each_plugin_once(tmp_path: Path, group: str) -> None:
    for name in ("one", "two", "three"):
        publish(tmp_path, group, name, f"{name} =register", code=REGISTER)
    barrier = threading.Barrier(8, timeout=30)
    found = []

    def ask() -> None:
        barrier.wait()
        found.append(dict(load_plugins(group)))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert found == [{"one": 1, "two": 1, "three": 1}] * 8


FORK = """
import os
from envbuilder.plugins import load_plugins
print(load_plugins({group!r}, allow="quick"), flush=True)
child = os.fork()
print(load_plugins({group!r}, allow="quick"), flush=True)
child and os.waitpid(child, 0)
"""
FORK_MEANWHILE = """
import os, threading
from envbuilder.plugins import load_plugins
import beacon
threading.Thread(target=load_plugins, args=[{group!r}], kwargs=dict(allow="slow"), daemon=True).start()
beacon.loading.wait()
child = os.fork()
if not child:
    print(load_plugins({group!r}, allow="quick"), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


FORK_INSIDE = """
from envbuilder.plugins import load_plugins
print(load_plugins({group!r}, allow=["fork"]) and load_plugins({group!r}, allow=["quick"]), flush=True)
"""


@pytest.mark.parametrize(("code", "lines"), [(FORK, 3), (FORK_MEANWHILE, 1), (FORK_INSIDE, 2)])
def test_a_fork_neither_hangs_nor_calls_again(tmp_path: Path, group: str, code: str, lines: int) -> None:
    (tmp_path / "beacon.py").write_text("import threading\nloading = threading.Event()\n")
    publish(tmp_path, group, "quick", "quick =register", code=REGISTER)
    slow = "import beacon, threading\nbeacon.loading.set()\nthreading.Event().wait()\n"
    publish(tmp_path, group, "slow", "slow =register", code=slow)
    forks = (
        "import os\nfrom envbuilder.plugins import load_plugins\ndef register():\n    child = os.fork()\n"
        f"    if not child:\n        print(load_plugins({group!r}, allow=['fork', 'quick']), flush=True)\n"
        "        os._exit(0)\n    os.waitpid(child, 0)\n    return True\n"
    )
    publish(tmp_path, group, "fork", "fork =register", code=forks)
    env = {**os.environ, "PYTHONPATH": f"{kit.ROOT}{os.pathsep}{tmp_path}"}
    command = [sys.executable, "-W", "ignore", "-c", code.format(group=group)]

    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "{'quick': 1}\n" * lines


JOIN = """
import importlib.metadata as metadata, sys
assert not list(metadata.entry_points(group="host.plugins"))
from envbuilder.plugins import load_plugins_by_group
assert not load_plugins_by_group("host.plugins")
import envbuilder
{change}
found = envbuilder.activate()
print(bool(found), found.state, found.generation, found.digest)
print(sorted(load_plugins_by_group("host.plugins")))
import plug
print(plug.VALUE)
"""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """Give a base with a home, and no hook yet."""
    folder = tmp_path_factory.mktemp("join")
    return Rig.of(homes.vllm_base(folder, python=sys.executable), folder / "h")


def test_a_running_interpreter_joins(rig: Rig) -> None:
    """The set is made after the interpreter has started, and has looked for plugins."""
    digest = rig.overlay("one", "plug", entry_points={"plug": {"host.plugins": "p = plug:register"}})
    folder = rig.home / "profiles" / "default" / rig.facts.key
    rig.generation(3, digest, switch=False)
    rig.install()
    change = f"import os; os.symlink('generations/3', {str(folder / 'current')!r})"

    told = rig.start("-c", JOIN.format(change=change)).stdout.splitlines()
    assert told == [f"True active 3 {digest}", "['p']", "one"]
    code = "import envbuilder; print(envbuilder.activate() == envbuilder.activate(), __import__('plug').VALUE)"
    assert rig.start("-c", code).stdout == "True one\n"
    assert (
        "disabled"
        in rig.start("-c", "import envbuilder as e; print(e.activate())", env={"VPM_ENV_DISABLE": "1"}).stdout
    )


def test_it_joins_without_a_hook_where_vpm_env_is(rig: Rig, tmp_path: Path) -> None:
    homes.startup.uninstall(rig.facts)
    code = "import sys; sys.path += {path}\nimport envbuilder; print(*envbuilder.activate()[:3])\n"
    code += "import plug; print(plug.VALUE)"
    path = [str(kit.ROOT), *(entry for entry in sys.path if entry.endswith("site-packages"))]
    env = {"VPM_ENV_HOME": str(rig.home)}

    told = rig.start("-c", code.format(path=path), env=env).stdout.splitlines()
    (overlay,) = rig.home.glob("overlays/*/*")
    assert told == [f"active {overlay} 3", "one"]
