"""The probe, in real interpreters, on plugins that do everything a plugin should not."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import kit
import pytest

from envbuilder.devices import ANY, CUDA, DEVICES, HPU, NEURON, NPU, ROCM, TPU, XPU, Device, missing_device
from envbuilder.manifest import Manifest, ProbeResult
from envbuilder.paths import Environment
from envbuilder.probe import Entry, probe

GROUP = "vllm.general_plugins"
ENGINE = {
    "__init__.py": "import os\nos.environ['OF_THE_BASE'] = 'yes'\nheavy = b'x' * 64_000_000\n",
    "core.py": """
import functools

def run(): ...
def stop(): ...
def slow(): ...
@functools.lru_cache
def version(): ...
limit = None
class Runner:
    def step(self): ...
    @property
    def name(self): ...
    def keep(self): ...
def settle():
    global limit, slow
    limit, slow = 3, functools.lru_cache(slow)
""",
    "old.py": "value = 1\nclass Interface: ...\n",
}
"""An engine that takes memory, sets a variable, and later changes a little of itself."""

DEFAULT = "{}.{}".format(*sys.version_info)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> kit.Base:
    """Make one venv that stands for an overlay, over a base with an engine; each test has modules of its own in it."""
    folder = tmp_path_factory.mktemp("overlay")
    made = kit.base(folder / "venv")
    for name, text in ENGINE.items():
        (folder / "base" / "engine" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "base" / "engine" / name).write_text(text)
    (made.purelib / "base.pth").write_text(f"{folder / 'base'}\n")
    return made


class Overlay:
    """Modules written into a venv, and the probe over them."""

    def __init__(self, venv: kit.Base, folder: Path) -> None:
        self.venv = venv
        self.cwd = folder / "cwd"
        self.cwd.mkdir()

    def module(self, name: str, code: str) -> None:
        (self.venv.purelib / f"{name}.py").write_text(code)

    def probe(
        self,
        *values: str,
        timeout: float = 60.0,
        returns: str | list[str] = "",
        derives: list[str] | None = None,
        engine: str = "engine",
        **variables: str,
    ) -> list[ProbeResult]:
        all_return = [returns] * len(values) if isinstance(returns, str) else returns
        entries = tuple(
            Entry(
                group=GROUP,
                name=f"name{number}",
                value=value,
                package=f"package{number}",
                plugin=f"plugin{number}",
                returns=all_return[number],
                derives=derives[number] if derives else "",
            )
            for number, value in enumerate(values)
        )
        env = Environment(variables={"PATH": os.defpath, **variables})
        python, cwd = str(self.venv.python), str(self.cwd)
        results = probe(python, entries, env=env, cwd=cwd, engine=engine, timeout=timeout)
        assert [result.value for result in results] == list(values)
        return list(results)

    def probe_code(self, code: str, *, timeout: float = 60.0, **variables: str) -> ProbeResult:
        """Probe a module between two that are fine, and return its result; the others must be `ok`."""
        self.module("fine", "def register(): pass\n")
        self.module("also_fine", "class Plugin:\n    @staticmethod\n    def register(): pass\n")
        self.module("trouble", code)
        values = ("fine:register", "trouble:register", "also_fine:Plugin.register")
        before, result, after = self.probe(*values, timeout=timeout, **variables)
        assert (before.status, before.error) == (after.status, after.error) == ("ok", "")
        return result


@pytest.fixture
def overlay(shared: kit.Base, tmp_path: Path) -> Overlay:
    for path in shared.purelib.glob("*.py"):
        path.unlink()
    return Overlay(shared, tmp_path)


def test_nothing_to_probe_starts_nothing(tmp_path: Path) -> None:
    assert probe("/nonexistent/python", (), env=Environment(variables={}), cwd=str(tmp_path)) == ()


def test_entry_points_that_load(overlay: Overlay) -> None:
    overlay.module("demo", "def register(): raise SystemExit('called')\n")

    first, second = overlay.probe("demo:register [extra]", "demo")

    assert first == ProbeResult(
        group=GROUP,
        name="name0",
        value="demo:register [extra]",
        package="package0",
        plugin="plugin0",
        status="ok",
        seconds=first.seconds,
        base_seconds=first.base_seconds,
        memory=first.memory,
        peak=first.peak,
    )
    assert 0 <= first.seconds < 60
    assert (second.status, second.package) == ("ok", "package1")


@pytest.mark.parametrize(("engine", "status"), [("", "ok"), ("demo", "failed")])
def test_a_class_may_be_spelled_without_a_colon_where_no_engine_reads_it(
    overlay: Overlay, engine: str, status: str
) -> None:
    overlay.module("demo", "class Files: ...\n")

    found, gone = overlay.probe("demo.Files", "demo.Gone", engine=engine)

    assert (found.status, gone.status) == (status, "failed")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("raise RuntimeError('vLLM >= 0.17\\n  is not supported')", "RuntimeError: vLLM >= 0.17 is not supported"),
        ("import gone_for_good", "ModuleNotFoundError: No module named 'gone_for_good'"),
        ("", "AttributeError: module 'trouble' has no attribute 'register'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import sys; sys.exit('no licence')", "SystemExit: no licence"),
        (
            "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd",
            "trouble.Odd: <exception str() failed>",
        ),
        ("raise ValueError('https://user:secret@index.example/x')", "ValueError: https://****@index.example/x"),
        ("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise OSError('outer') from e", "OSError: outer"),
    ],
)
def test_entry_points_that_raise(overlay: Overlay, code: str, error: str) -> None:
    result = overlay.probe_code(code)

    assert (result.status, result.error) == ("failed", error)


def test_a_syntax_error_says_where(overlay: Overlay) -> None:
    result = overlay.probe_code("x = 1\ny = = 2\n")

    assert result.status == "failed"
    assert result.error.startswith("SyntaxError: invalid syntax (")
    assert result.error.endswith("trouble.py, line 2)")


def test_an_endless_message_is_cut(overlay: Overlay) -> None:
    assert len(overlay.probe_code("raise ValueError('x' * 100_000)").error) == 500


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import os; os._exit(3)", "the process ended with exit code 3"),
        ("import os; os._exit(0)", "the process ended with exit code 0"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "the process was ended by SIGSEGV"),
        ("import os; os.abort()", "the process was ended by SIGABRT"),
        ("import os; os.closerange(3, 256)", "the process ended with exit code 1"),
        ("import os, signal; os.killpg(0, signal.SIGKILL)", "the process was ended by SIGKILL"),
        ("import os; os.write(2, b'a\\nno such chip\\n'); os._exit(4)", "exit code 4; its last words: no such chip"),
    ],
)
def test_a_process_that_dies_costs_one_entry_point(overlay: Overlay, code: str, error: str) -> None:
    result = overlay.probe_code(code)

    assert result.status == "failed"
    assert error in result.error


def test_two_deaths_in_a_row(overlay: Overlay) -> None:
    overlay.module("dead", "import os; os._exit(1)")
    overlay.module("fine", "f = 1")

    results = overlay.probe("dead:f", "dead:f", "fine:f", "dead:f")

    assert [result.status for result in results] == ["failed", "failed", "ok", "failed"]


def test_one_process_loads_them_all(overlay: Overlay) -> None:
    overlay.module("one", "import os\nmark = os.getpid()\n")
    overlay.module("two", "import os, one\nassert one.mark == os.getpid()\nf = 1\n")

    assert [result.status for result in overlay.probe("one:mark", "two:f")] == ["ok", "ok"]


@pytest.mark.parametrize("code", ["import time\nwhile True:\n    time.sleep(60)", "while True: pass"])
def test_a_hang_is_told_with_its_place(overlay: Overlay, code: str) -> None:
    result = overlay.probe_code(f"import threading\n\n{code}\n", timeout=0.5)

    assert result.status == "failed"
    assert result.error.startswith("it did not end within 0.5 s, at `")
    assert "trouble.py`, line " in result.error
    assert 0.4 < result.seconds < 30


RETURNED = [
    ("anything", "return 3", ""),
    ("anything", "raise RuntimeError('vLLM >= 0.17')", "RuntimeError: vLLM >= 0.17"),
    ("class", "return dict", ""),
    ("class", "return 3", "TypeError: it returned 3, not a class"),
    ("path", "return None", ""),
    ("path", "return 'gone.Processor'", ""),
    ("path", "return dict", "TypeError: it returned <class 'dict'>, neither the path of a class nor None"),
    ("platform", "return None", ""),
    ("platform", "return 'collections.abc.Sized'", ""),
    ("platform", "return 'gone.Platform'", "ModuleNotFoundError: No module named 'gone'"),
    ("platform", "return 'collections.Gone'", "AttributeError: module 'collections' has no attribute 'Gone'"),
]


def test_what_is_called_must_return_what_the_engine_takes(overlay: Overlay) -> None:
    bodies = [f"def register{at}():\n    {body}\n" for at, (_, body, _) in enumerate(RETURNED)]
    overlay.module("plugin", "".join(bodies))
    values = [f"plugin:register{at}" for at in range(len(RETURNED))]

    results = overlay.probe(*values, returns=[returns for returns, _, _ in RETURNED])

    assert [(result.error, result.called) for result in results] == [(error, True) for _, _, error in RETURNED]
    assert [result.status == "ok" for result in results] == [not error for _, _, error in RETURNED]


def test_a_coroutine_that_nobody_waits_for_has_not_registered_anything(overlay: Overlay) -> None:
    overlay.module("plugin", "async def register(): ...\n")

    (result,) = overlay.probe("plugin:register", returns="anything")
    assert result.wrong.startswith("fails when it is called: TypeError: it is an `async` function")


def test_a_call_that_never_returns_costs_one_entry_point(overlay: Overlay) -> None:
    overlay.module("plugin", "import os\ndef end(): os._exit(3)\ndef hang():\n    while True: pass\n")

    end, hang, fine = overlay.probe("plugin:end", "plugin:hang", "os:getpid", returns="anything", timeout=0.5)

    assert end.wrong == "fails when it is called: the process ended with exit code 3"
    assert hang.wrong.startswith("fails when it is called: it did not end within 0.5 s, at `")
    assert fine.status == "ok"


def test_what_cannot_be_imported_is_not_called(overlay: Overlay) -> None:
    overlay.module("plugin", "raise ImportError('no')")
    overlay.module("none", "register = 3")

    first, second = overlay.probe("plugin:register", "none:register", returns="anything")

    assert (first.called, first.wrong) == (False, "does not load: ImportError: no")
    assert second.wrong == "fails when it is called: TypeError: 'int' object is not callable"


EFFECTS = """
import atexit, os, signal, subprocess, sys, threading, time
import engine.core, engine.old

def register():
    threading.Thread(target=time.sleep, args=(1000,), name="poller", daemon=True).start()
    ended = threading.Thread(target=int, name="ended")
    ended.start()
    ended.join()
    os.environ["SET"] = os.environ["CHANGED"] = "secret"
    del os.environ["GONE"]
    signal.signal(signal.SIGTERM, lambda *_: None)
    subprocess.Popen(["sleep", "1000"])
    subprocess.run(["true"])
    atexit.register(int)
    os.chdir("/")
    sys.modules["torch"] = type("torch", (), {"cuda": type("cuda", (), {"is_initialized": staticmethod(lambda: True)})})
    engine.core.run = lambda: None
    engine.core.version = register
    del engine.core.stop
    engine.core.Runner.step = register
    engine.core.Runner.name = property(register)
    engine.core.Runner.more = register
    engine.core.added = register
    engine.core.settle()
    sys.modules["engine.old"] = sys
"""


def test_what_a_plugin_leaves_behind_is_told(overlay: Overlay) -> None:
    overlay.module("trouble", EFFECTS)
    overlay.module("fine", "import engine.core, json\ndef register(): engine.core.limit = 4\n")

    first, second = overlay.probe("trouble:register", "fine:register", returns="anything", CHANGED="a", GONE="b")

    assert first.status == second.status == "ok"
    assert first.effects == {
        "threads": ["poller"],
        "processes": ["sleep"],
        "environment": ["CHANGED", "GONE", "SET"],
        "signals": ["SIGTERM"],
        "exits": 1,
        "cwd": "/",
        "cuda": True,
        "patched": [
            "engine.core.Runner.name",
            "engine.core.Runner.step",
            "engine.core.run",
            "engine.core.stop",
            "engine.core.version",
            "engine.old",
        ],
    }
    assert second.effects == {}


def test_memory_and_time_of_the_base_are_not_the_plugins(overlay: Overlay) -> None:
    overlay.module("light", "import engine\ndef register(): bytearray(48_000_000)\n")
    overlay.module("heavy", "import time\nkept = []\ndef register(): kept.append(b'x' * 32_000_000); time.sleep(0.1)\n")

    light, heavy = overlay.probe("light:register", "heavy:register", returns="anything")

    assert light.effects == {}
    assert light.memory < 16e6
    assert light.peak > 64e6
    assert light.base_seconds > light.seconds
    assert 30e6 < heavy.memory < 48e6
    assert heavy.peak >= heavy.memory
    assert heavy.call_seconds > 0.1 > heavy.seconds


def test_names_that_plugins_give_hold_no_credentials(overlay: Overlay) -> None:
    overlay.module(
        "named",
        "import threading as t, time\nt.Thread(target=time.sleep, args=[9], name='a://u:p@b', daemon=True).start()",
    )

    (result,) = overlay.probe("named")

    assert result.effects["threads"] == ["a://****@b"]


def test_results_of_an_older_version_are_read() -> None:
    manifest = Manifest(soabi="s", platform="p", python_version="3.11", base={}, members=(), facts={})
    old = {"group": "g", "name": "n", "value": "v", "package": "p", "plugin": "q", "status": "ok"}

    read = Manifest.from_dict({**manifest.to_dict(), "probe": [{**old, "error": "", "seconds": 0.1}]})

    assert read.probe == (ProbeResult(**old, seconds=0.1),)
    assert (read.probe[0].called, read.probe[0].effects) == (False, {})


def test_threads_and_exit_functions_of_plugins_hold_nothing_up(overlay: Overlay) -> None:
    code = """
import atexit, threading, time
atexit.register(time.sleep, 1000)
threading.Thread(target=time.sleep, args=(1000,)).start()
register = 1
"""
    started = time.monotonic()

    assert overlay.probe_code(code).status == "ok"
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("end", ["register = 1", "os._exit(1)"])
def test_processes_that_plugins_leave_running_are_ended(overlay: Overlay, tmp_path: Path, end: str) -> None:
    told = tmp_path / "pid"
    code = f"""
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
open({str(told)!r}, "w").write(str(child.pid))
{end}
"""
    overlay.probe_code(code)

    assert _ends(int(told.read_text()))


LEAVES = {
    "daemon": "pid = subprocess.Popen(command, start_new_session=True).pid",
    "twice": """
reading, writing = os.pipe()
if not os.fork():
    os.setsid()
    pid = os.fork()
    if pid:
        os.write(writing, str(pid).encode())
        os._exit(0)
    os.execv(command[0], command)
pid = int(os.read(reading, 20))
""",
}


@pytest.mark.parametrize("way", LEAVES)
def test_daemons_that_keep_the_outputs_open_are_not_waited_for_and_ended(
    overlay: Overlay, tmp_path: Path, way: str
) -> None:
    told = tmp_path / "pid"
    command = "command = [sys.executable, '-c', 'import time; time.sleep(1000)']"
    end = f"open({str(told)!r}, 'w').write(str(pid))\nregister = 1\n"
    started = time.monotonic()

    assert overlay.probe_code(f"import os, subprocess, sys\n{command}\n{LEAVES[way]}\n{end}").status == "ok"
    assert time.monotonic() - started < 50
    assert _ends(int(told.read_text()))


def test_a_plugin_that_stops_itself_is_not_waited_for(overlay: Overlay) -> None:
    result = overlay.probe_code("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")

    assert (result.status, result.error) == ("failed", "the process was ended by SIGSTOP")


def test_a_plugin_that_spawns_processes(overlay: Overlay) -> None:
    overlay.module("work", "def done(): return 7\n")
    overlay.module(
        "spawns",
        "import multiprocessing as m, work\ndef register():\n"
        "    with m.get_context('spawn').Pool(1) as pool: assert pool.apply(work.done) == 7\n",
    )

    (result,) = overlay.probe("spawns:register", returns="anything")
    assert (result.status, result.error) == ("ok", "")


def test_what_the_probe_needs_is_its_own(overlay: Overlay) -> None:
    code = """
import json, os, time
json.dumps = lambda *a, **k: "not json"
os.getpid = time.monotonic = lambda: 0
for number in range(3, 20):
    try:
        os.write(number, b"no JSON\\n[]\\n")
    except OSError:
        pass
os.write = None
register = 1
"""
    result = overlay.probe_code(code)
    assert (result.status, result.error) == ("ok", "")


CLASSES = [
    ("Own", "engine.old.Interface", ""),
    ("Own", "class", ""),
    ("Plain", "class", ""),
    ("Plain", "engine.gone.Interface", ""),
    ("Plain", "engine.old.Interface", "`Plain` is no subclass of `engine.old.Interface`, and the engine takes nothing"),
    ("three", "class", "TypeError: it is 3, not a class"),
    ("function", "engine.gone.Interface", "TypeError: it is <function function at"),
]


def test_what_must_be_a_class_is_one_that_the_engine_takes(overlay: Overlay) -> None:
    overlay.module(
        "classes",
        "import engine.old\nclass Own(engine.old.Interface): ...\nclass Plain: ...\nthree = 3\ndef function(): ...\n",
    )

    results = overlay.probe(*(f"classes:{name}" for name, _, _ in CLASSES), derives=[each for _, each, _ in CLASSES])

    assert [result.status for result in results] == ["failed" if error else "ok" for _, _, error in CLASSES]
    assert all(error in result.error for result, (_, _, error) in zip(results, CLASSES, strict=True))


def test_a_plugin_that_forks_is_probed_once(overlay: Overlay, tmp_path: Path) -> None:
    overlay.module("forks", "import os\nregister = os.fork()\nif register: os.waitpid(register, 0)\n")
    overlay.module("counts", f"open({str(tmp_path / 'count')!r}, 'a').write('x')\nregister = 1\n")

    assert [result.status for result in overlay.probe("forks:register", "counts:register")] == ["ok", "ok"]
    assert (tmp_path / "count").read_text() == "x"


def test_what_a_plugin_sees(overlay: Overlay) -> None:
    code = """
import os, sys
assert os.environ["PYTHONDONTWRITEBYTECODE"] == "1" and sys.dont_write_bytecode
assert os.environ["VPM_ENV_DISABLE"] == os.environ["VPM_ENV_PROBE"] == "1"
assert "VPM_ENV_PIN" not in os.environ and "PYTHONPATH" not in os.environ
assert os.environ["KEPT"] == "yes"
assert sys.stdin.read() == ""
assert not any(os.path.exists(os.path.join(path, "_probe.py")) for path in sys.path), sys.path
assert sys.argv == ["python"]
try:
    import manifest
except ImportError:
    pass
else:
    raise AssertionError("vpm-env's own modules are on the path")
print("noise")
print("noise", file=sys.stderr)
register = 1
"""
    result = overlay.probe_code(code, KEPT="yes", VPM_ENV_PIN="0:0", PYTHONPATH="/nowhere")

    assert (result.status, result.error) == ("ok", "")


def test_the_probe_leaves_nothing_behind(overlay: Overlay, capfd: pytest.CaptureFixture[str]) -> None:
    before = kit.tree_hash(overlay.venv.prefix)
    overlay.module("fine", "print('noise')\nf = 1\n")
    written = kit.tree_hash(overlay.venv.prefix)

    overlay.probe("fine:f")

    assert before != written == kit.tree_hash(overlay.venv.prefix)
    assert not list(overlay.venv.purelib.glob("__pycache__/fine.*"))
    assert list(overlay.cwd.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_python_that_does_not_start(overlay: Overlay, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no libpython here' >&2\nexit 127\n")
    broken.chmod(0o755)
    entries = tuple(Entry(group=GROUP, name=name, value="a:b", package="p", plugin="q") for name in "xy")

    for python, words in ((str(broken), "no libpython here"), ("/nonexistent/python", "No such file")):
        results = probe(python, entries, env=Environment(variables={}), cwd=str(overlay.cwd))
        assert [result.status for result in results] == ["failed", "failed"]
        assert all(words in result.error for result in results)


@pytest.mark.parametrize("version", kit.mostly_long(sorted(kit.pythons()), DEFAULT))
def test_every_supported_python(version: str, tmp_path: Path) -> None:
    overlay = Overlay(kit.base(tmp_path / "venv", python=kit.pythons()[version]), tmp_path)

    assert overlay.probe_code("raise ImportError('libcuda.so.1: cannot open shared object file')").status != "ok"
    assert "SIGABRT" in overlay.probe_code("import os; os.abort()").error
    assert "0.5 s, at" in overlay.probe_code("while True: pass", timeout=0.5).error


@pytest.mark.skipif(any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists(), reason="here is a device")
@pytest.mark.parametrize(
    "code",
    [
        "raise ImportError('libcuda.so.1: cannot open shared object file: No such file or directory')",
        "import ctypes; ctypes.CDLL('libcuda.so.1')",
        "try:\n    raise OSError('no such libcuda.so')\nexcept OSError as e:\n    raise ImportError('_C') from e",
        "try:\n    raise OSError('libcuda.so.1: cannot open')\nexcept OSError:\n    raise ImportError('_C')",
        "raise RuntimeError('Failed to import x because of:\\nlibcuda.so.1: cannot open')",
    ],
)
def test_an_error_that_speaks_of_a_device_that_is_not_here(overlay: Overlay, code: str) -> None:
    assert overlay.probe_code(code).status == "needs-device"


def test_a_device_in_the_source_alone_is_no_excuse(overlay: Overlay) -> None:
    code = "try:\n    raise OSError('no libcuda.so')\nexcept OSError:\n    raise ImportError('bug') from None"
    code += "  # libcuda.so.1: cannot open\n"

    assert overlay.probe_code(code).status == "failed"


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("ImportError: libcuda.so.1: cannot open shared object file: No such file or directory", CUDA),
        ("RuntimeError: No CUDA GPUs are available", CUDA),
        ("RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU", CUDA),
        ("RuntimeError: CUDA driver version is insufficient for CUDA runtime version", CUDA),
        ("RuntimeError: CUDA error: no CUDA-capable device is detected", CUDA),
        ("vllm.third_party.pynvml.NVMLError_LibraryNotFound: NVML Shared Library Not Found", CUDA),
        ("RuntimeError: 0 active drivers ([]). There should only be one.", CUDA),
        ("cupy_backends.cuda.api.runtime.CUDARuntimeError: cudaErrorNoDevice", CUDA),
        ("RuntimeError: No HIP GPUs are available", ROCM),
        ("Unable to open /dev/kfd read-write: No such file or directory", ROCM),
        ("ImportError: libascend_hal.so: cannot open shared object file", NPU),
        ("ImportError: libascendcl.so: cannot open shared object file", NPU),
        ("ImportError: libnpu_runtime.so: cannot open shared object file", NPU),
        ("RuntimeError: No XPU devices are available.", XPU),
        ("OSError: libze_loader.so.1: cannot open shared object file", XPU),
        ("ImportError: libhl_logger.so: cannot open shared object file", HPU),
        ("RuntimeError: synStatus=26 [Generic failure] Device acquire failed.", HPU),
        ("RuntimeError: Unable to load libtpu.so", TPU),
        ("OSError: libnrt.so.1: cannot open shared object file", NEURON),
        ("RuntimeError: Failed to infer device type, please set the environment variable", ANY),
        ("RuntimeError: Cannot access accelerator device when none is available.", ANY),
        ("AttributeError: 'NoneType' object has no attribute 'major'", ANY),
        ("RuntimeError: Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions", CUDA),
        ("RuntimeError: CUDA unknown error - this may be due to an incorrectly set up environment", CUDA),
        ("numba.cuda.cudadrv.error.CudaSupportError: CUDA driver library cannot be found.", CUDA),
        ("RuntimeError: no supported devices found for platform CUDA", CUDA),
        ("RuntimeError: The NVIDIA driver on your system is too old (found version 11040).", CUDA),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'nvidia-smi'", CUDA),
        ("AssertionError: libcuda.so cannot found!", CUDA),
        ("ValueError: config bug: tried to open libcuda.so wrapper of `demo`", None),
        ("ImportError: libcudart.so.12: cannot open shared object file", None),
        ("ModuleNotFoundError: No module named 'torch_npu'", None),
        ("AssertionError: Torch not compiled with CUDA enabled", None),
        ("RuntimeError: unsupported vLLM", None),
    ],
)
def test_what_code_says_that_misses_a_device(text: str, device: Device | None, tmp_path: Path) -> None:
    assert missing_device(text, root=str(tmp_path)) == device


@pytest.mark.parametrize(
    "device", [device for device in DEVICES if device is not ANY], ids=lambda device: str(device.name)
)
def test_the_same_words_are_a_failure_where_the_driver_is(device: Device, tmp_path: Path) -> None:
    libraries = {CUDA: "libcuda.so.1", NPU: "libascend_hal.so", XPU: "libze_loader.so.1"}
    libraries |= {HPU: "libSynapse.so", TPU: "libtpu.so", NEURON: "libnrt.so.1"}
    said = f"{libraries[device]}: cannot open" if device in libraries else "no HIP GPUs are available"
    assert missing_device(said, root=str(tmp_path)) == device
    for pattern in device.nodes:
        root = tmp_path / pattern.replace("/", "_").replace("*", "")
        node = root / pattern.replace("[0-9]*", "0").replace("*", "128")
        node.parent.mkdir(parents=True)
        node.touch()
        assert missing_device(said, root=str(root)) is None
        assert missing_device("failed to infer device type", root=str(root)) is None


def _ends(pid: int) -> bool:
    """Tell whether a process is gone, or a zombie that nobody has buried, within ten seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False
