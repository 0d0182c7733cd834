"""Plugins are built before an engine starts: by its first process alone, and once for many replicas."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import kit
import pytest
import stands
from kit.indexes import serving
from test_startup import as_user

from envbuilder import _activate, _auto, _building, engines, hook_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stands import Stand

GROUP = "vllm.general_plugins"
VERSION = "{}.{}".format(*sys.version_info)
GUARDED = re.compile(r"vpm-env: (generation|overlay) [^:]*, \d+ plugins?\n")
SERVE = """
from vllm.cli import main
main()
"""


class Engine:
    """An engine whose hook builds, and a profile of its own: `serve` starts it."""

    def __init__(self, stand: Stand, profile: str) -> None:
        self.stand = stand
        self.env = {"VPM_ENV_PROFILE": profile, "HOME": str(stand.folder / profile)}
        self.config = Path(self.env["HOME"], ".config", "vllm", "plugins.yaml")
        self.config.parent.mkdir(parents=True)
        self.profile = stand.vpm_env.home / "profiles" / profile

    def wants(self, *names: str, extra: str = "") -> None:
        """Write the user's own config: `name` or `name==version`."""
        parts = [name.partition("==") for name in names]
        rows = [f'  - {{name: {name}, source: pypi, version: "{eq}{version}"}}\n' for name, eq, version in parts]
        entries = "plugins:\n" + "".join(rows) if rows else "plugins: []\n"
        self.config.write_text(f"index: {self.stand.index.url}\n{extra}{entries}")

    def asks(self, port: int) -> None:
        """Write a config with a plugin that is to be had from an index of ours alone."""
        self.config.write_text(f"index: http://127.0.0.1:{port}/\nplugins: [{{name: nowhere, source: pypi}}]\n")

    def start(self, *words: str, env: Mapping[str, str] | None = None, check: bool = True) -> Started:
        """Run the engine's script."""
        script = self.stand.base.scripts / "vllm"
        return Started(self.stand.run(script, *words, env={**self.env, **(env or {})}, check=check))

    def serve(self, **options: Any) -> Started:
        return self.start("serve", "m", **options)

    def vpm_env(self, *words: str) -> kit.Finished:
        return self.stand(*words, env={**self.env, "VPM_ENV_CONFIG": str(self.config)})

    @property
    def generations(self) -> list[int]:
        return sorted(int(path.stem) for path in self.profile.glob("*/generations/*.json"))


class Started:
    """An engine that ran: its exit code, what it told, and what vpm-env said before it loaded its plugins."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.said = GUARDED.sub("", done.stderr)
        self.told: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}

    @property
    def loaded(self) -> list[str]:
        return [name for name in self.told["loaded"] if name != engines.GUARD_ENTRY]

    @property
    def errors(self) -> list[str]:
        return [line.removeprefix("vpm-env: ERROR: ") for line in self.said.splitlines() if "ERROR" in line]


def publish(stand: Stand, name: str, *versions: str) -> None:
    for version in versions:
        files = {f"{name}.py": "def register(): pass\n"}
        stand.publish(name, version, files=files, entry_points={GROUP: {name: f"{name}:register"}})


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory, uv_cache: Path) -> Iterator[Stand]:
    """Give a base whose hook builds at an engine's start, and an index with plugins."""
    with stands.stand(tmp_path_factory.mktemp("auto"), uv_cache) as made:
        publish(made, "shout", "1.0", "2.0")
        publish(made, "quiet", "1.0")
        for module in ("openai/api_server.py", "cli/main.py", "__init__.py", "cli/__init__.py", "openai/__init__.py"):
            path = made.base.purelib / "vllm" / "entrypoints" / module
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("" if path.stem == "__init__" else SERVE)
        made("hook", "install", "--auto")
        yield made


@pytest.fixture
def engine(stand: Stand, request: pytest.FixtureRequest) -> Engine:
    """Give this test a profile, and a user, of its own."""
    return Engine(stand, re.sub(r"[^a-z0-9]", "-", request.node.name.lower())[-60:].strip("-"))


def test_the_first_start_has_its_plugins_and_the_second_has_nothing_to_do(engine: Engine) -> None:
    engine.wants("shout", "quiet")

    first, second = engine.serve(), engine.serve()

    assert sorted(first.loaded) == sorted(second.loaded) == ["quiet", "shout"]
    assert re.fullmatch(r"[0-9a-f]{12}:[0-9a-f]{64}", first.told["pin"])
    assert first.told["pin"] == second.told["pin"]
    assert "vpm-env: switched to generation 1 (" in first.said
    assert second.said == ""
    assert {line.startswith("vpm-env: ") for line in first.said.splitlines()} == {True}
    assert "\x1b" not in first.said
    assert "hint: " not in first.said


@pytest.mark.long
def test_a_start_asks_vpm_env_after_any_change_that_could_matter(engine: Engine) -> None:
    engine.wants("shout")
    engine.serve()
    (lock,) = engine.config.parent.glob("pylock.*.toml")
    (overlay,) = engine.stand.vpm_env.home.glob(f"overlays/*/{engine.serve().told['pin'].partition(':')[2]}")
    other = engine.config.with_name("other.yaml")
    other.write_bytes(engine.config.read_bytes())

    def change_lock() -> None:
        lock.write_text(lock.read_text() + "# mine\n")

    def change_base() -> None:
        kit.dist_info(engine.stand.base, "unrelated", "1.0")

    changes = (lambda: engine.wants("shout"), change_lock, change_base, (overlay / "overlay.json").touch)
    for change in changes:
        change()
        assert "generation 1" in engine.serve().said, change
        assert engine.serve().said == "", change
    assert "generation 1" in engine.serve(env={"VPM_ENV_CONFIG": str(other)}).said


@pytest.mark.long
def test_a_local_plugin_is_looked_at_at_every_start(engine: Engine) -> None:
    project = kit.project(engine.config.parent / "mine", "mine", files={"mine.py": "def register(): pass\n"})
    engine.config.write_text(f"plugins: [{{name: mine, source: local, path: {project}}}]\n")
    engine.serve()
    same = engine.serve()
    (project / "mine.py").write_text("def register(): print()\n")

    assert "nothing to do: generation 1" in same.said
    assert "switched to generation 2" in engine.serve(check=False).said


@pytest.mark.long
@pytest.mark.parametrize("version", [version for version in kit.VERSIONS if version != VERSION])
def test_the_first_start_on_other_pythons(tmp_path: Path, uv_cache: Path, version: str) -> None:
    if version not in kit.pythons():
        pytest.skip(f"no Python {version} here")
    with stands.stand(tmp_path, uv_cache, python=kit.pythons()[version]) as stand:
        publish(stand, "shout", "1.0")
        stand("hook", "install", "--auto")
        engine = Engine(stand, "default")
        engine.wants("shout")

        assert engine.serve().loaded == ["shout"]


def test_a_change_takes_effect_at_the_next_start(engine: Engine) -> None:
    seen = []
    for names in (["shout==1.0"], ["shout==2.0", "quiet"], ["quiet"], []):
        engine.wants(*names)
        seen.append(engine.serve())
    engine.config.write_text(engine.config.read_text().replace("[]", "[{name: quiet, source: pypi, enabled: false}]"))

    assert [sorted(started.loaded) for started in seen] == [["shout"], ["quiet", "shout"], ["quiet"], []]
    assert "shout: 1.0 → 2.0" in seen[1].said
    assert engine.serve().loaded == []
    assert engine.generations == [1, 2, 3, 4]


@pytest.mark.long
def test_a_profile_that_was_rolled_back_stays_where_it_was_put(engine: Engine) -> None:
    for name in ("shout", "quiet"):
        engine.wants(name)
        engine.serve()
    engine.vpm_env("rollback")

    held, again = engine.serve(), engine.serve()
    engine.wants("quiet", "shout")

    assert held.loaded == again.loaded == ["shout"]
    assert "generation 2 was rolled back, and generation 1 is current" in held.said
    assert sorted(engine.serve().loaded) == ["quiet", "shout"]


@pytest.mark.parametrize(
    ("module", "words", "serves"),
    [
        ("", ["serve", "m", "--port", "1"], True),
        ("", ["run-batch", "-i", "x"], True),
        ("", ["--log-level=x", "serve", "m"], True),
        ("", [], False),
        ("", ["--help"], False),
        ("", ["--version"], False),
        ("", ["serve", "--help"], False),
        ("", ["serve", "m", "--help=ModelConfig"], False),
        ("", ["serve", "-h"], False),
        *[("", [word, "serve"], False) for word in ("bench", "chat", "complete", "collect-env", "download-kernels")],
        ("", ["launch", "render", "m"], True),
        ("", ["preload", "--model", "m"], True),
        ("", ["snapshot", "create", "m", "--snapshot-dir", "d"], True),
        ("", ["preload", "--help"], False),
        ("vllm.entrypoints.openai.api_server", ["--model", "m"], True),
        ("vllm.entrypoints.openai.api_server", ["--help"], False),
        ("vllm.entrypoints.cli.main", ["serve", "m"], True),
        ("vllm.entrypoints.cli.main", ["bench"], False),
    ],
)
def test_which_calls_serve(monkeypatch: pytest.MonkeyPatch, module: str, words: list[str], serves: bool) -> None:
    monkeypatch.setattr(_auto, "SERVING", engines.VLLM.serving)
    monkeypatch.setattr(_auto, "COMMAND_MODULES", engines.VLLM.command_modules)

    assert _auto.is_serving(module, words) is serves


def test_what_does_not_serve_builds_nothing(engine: Engine) -> None:
    engine.wants("shout")

    for words in (["--help"], ["bench", "serve"], ["serve", "--help"]):
        assert engine.start(*words).loaded == []
    engine.stand.run(engine.stand.base.python, "-c", "import vllm.plugins", env=engine.env)

    assert engine.generations == []


@pytest.mark.parametrize("words", [("openai.api_server",), ("cli.main", "serve", "m")])
def test_the_engines_modules_build_too(engine: Engine, words: tuple[str, ...]) -> None:
    engine.wants("shout")
    command = ("-m", f"vllm.entrypoints.{words[0]}", *words[1:])

    assert Started(engine.stand.run(engine.stand.base.python, *command, env=engine.env)).loaded == ["shout"]


@pytest.mark.long
def test_a_child_builds_nothing(engine: Engine) -> None:
    engine.wants("shout")
    pin = engine.serve().told["pin"]
    engine.wants("quiet")

    child = engine.serve(env={"VPM_ENV_PIN": pin})

    assert (child.loaded, child.told["pin"], child.said) == (["shout"], pin, "")
    assert engine.generations == [1]


@pytest.mark.long
def test_what_is_built_is_trusted_whatever_the_umask_is(engine: Engine) -> None:
    engine.wants("shout")
    by_hand = engine.stand.folder / "by-hand"
    before = os.umask(0)
    try:
        assert engine.serve().loaded == ["shout"]
        engine.vpm_env("build", "--home", str(by_hand))
    finally:
        os.umask(before)
    folders = [by_hand, *(path for path in by_hand.rglob("*") if path.is_dir() and not path.is_symlink())]
    assert [str(path) for path in folders if path.stat().st_mode & 0o002] == []


@pytest.mark.long
def test_a_pin_of_another_base_is_no_reason_not_to_build(engine: Engine) -> None:
    engine.wants("shout")

    started = engine.serve(env={"VPM_ENV_PIN": "0" * 12 + ":" + "f" * 64})

    assert started.loaded == ["shout"]
    assert not started.told["pin"].startswith("0" * 12)


@pytest.mark.long
@pytest.mark.parametrize("value", ["0", "1"])
def test_a_variable_decides_where_the_hook_does_not(engine: Engine, value: str) -> None:
    stand = engine.stand
    engine.wants("shout")
    stand("hook", "install", *(("--auto",) if value == "0" else ()))
    try:
        plain, told = engine.serve(env={"VPM_ENV_AUTO": value}), stand("hook", "status").stdout
    finally:
        stand("hook", "install", "--auto")

    assert plain.loaded == ([] if value == "0" else ["shout"])
    assert ("builds before an engine's start, and if that fails: last-good" in told) == (value == "0")


@pytest.mark.long
def test_the_config_can_switch_it_off(engine: Engine) -> None:
    engine.wants("shout", extra="auto: false\n")
    off = engine.serve()
    engine.wants("shout", extra="# auto: false\n")

    assert (off.loaded, engine.serve().loaded) == ([], ["shout"])
    assert "ERROR" not in off.said


def test_without_a_config_nothing_happens(engine: Engine) -> None:
    working = engine.stand.folder / "plugins.yaml"
    working.write_text("plugins: [{name: shout, source: pypi}]\n")
    started = engine.serve(env={"XDG_CONFIG_HOME": "/nonexistent"})
    working.unlink()

    assert (started.loaded, started.errors) == ([], [])
    assert engine.generations == []


@pytest.mark.long
@pytest.mark.parametrize("variable", _auto.CONFIG_VARIABLES)
def test_variables_name_the_config(engine: Engine, variable: str) -> None:
    engine.wants("shout")
    named = engine.config.rename(engine.stand.folder / f"{variable}.yaml")
    engine.wants("quiet")

    assert engine.serve(env={variable: named.name}).loaded == ["shout"]
    assert engine.serve().loaded == ["shout"], "the config that the newest generation was built from counts"
    named.unlink()
    assert engine.serve().loaded == ["quiet"]


# Failures


def test_after_a_failure_the_set_that_is_current_starts(engine: Engine) -> None:
    engine.wants("shout")
    good = engine.serve()
    engine.wants("nowhere")

    started = engine.serve()

    assert (started.loaded, started.told["pin"]) == (["shout"], good.told["pin"])
    digest = good.told["pin"].partition(":")[2][:12]
    reason = "the plugins could not be built (exit 1): `nowhere` cannot be resolved"
    assert started.errors == [f"{reason}; starting with generation 1 ({digest})"]


@pytest.mark.long
@pytest.mark.parametrize("policy", ["last-good", "bare"])
def test_without_a_good_set_the_bare_engine_starts(engine: Engine, policy: str) -> None:
    if policy == "bare":
        engine.wants("shout")
        engine.serve()
    engine.wants("nowhere")

    started = engine.serve(env={"VPM_ENV_AUTO": policy})
    strict = engine.serve(env={"VPM_ENV_AUTO": policy, "VPM_ENV_STRICT": "1"}, check=False)

    assert started.loaded == []
    assert [error.rpartition("; ")[2] for error in started.errors] == ["starting without plugins"]
    assert "no plugin overlay is active (build-failed)" in started.said
    assert strict.code != 0


def test_the_children_of_a_bare_engine_are_bare(engine: Engine) -> None:
    engine.wants("nowhere")
    pin = engine.serve().told["pin"]
    engine.wants("shout")
    engine.serve()

    child = engine.serve(env={"VPM_ENV_PIN": pin})

    assert (child.loaded, child.told["pin"]) == ([], pin)


def test_the_engine_does_not_start_if_that_is_the_policy(engine: Engine) -> None:
    engine.wants("nowhere")

    started = engine.serve(env={"VPM_ENV_AUTO": "fail"}, check=False)

    assert (started.code, started.told) == (1, {})
    assert [error.rpartition("; ")[2] for error in started.errors] == ["the engine is not started"]
    assert "Traceback" not in started.said
    assert "Fatal" not in started.said


def test_a_config_that_is_named_and_not_there_is_a_failure(engine: Engine) -> None:
    engine.wants("shout")

    started = engine.serve(env={"VLLM_PLUGIN_CONFIG": "/nonexistent/plugins.yaml"})

    reason = "there is no file `/nonexistent/plugins.yaml`, which VLLM_PLUGIN_CONFIG names"
    assert started.errors == [f"{reason}; starting without plugins"]


def test_a_wrong_value_of_the_variable_is_a_failure(engine: Engine) -> None:
    (error,) = engine.serve(env={"VPM_ENV_AUTO": "yes"}).errors

    assert error.startswith("VPM_ENV_AUTO is `yes`, which is neither 0 nor 1 nor last-good, bare, fail; ")


def test_a_vpm_env_that_is_gone_is_a_failure() -> None:
    before = signal.getsignal(signal.SIGTERM)

    assert _building.run(["/gone/python"], {}, print) == (
        "`/gone/python` cannot be started: No such file or directory",
        "",
    )
    assert signal.getsignal(signal.SIGTERM) == before


def host(home: Path, **values: Any) -> Any:
    """Give what `_auto` asks of the hook: for this home, its functions, and constants as they would be written."""
    names = ("require_home", "exists", "is_name", "InactiveError", "choose", "tell")
    functions = {name: getattr(_activate, name) for name in names}
    return SimpleNamespace(**{"HOME": str(home), "BASE_KEY": "0" * 12, "PROFILE": "default", **functions, **values})


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
@pytest.mark.parametrize(
    ("mode", "added", "answer"),
    [
        (0o755, "", False),
        (0o755, "# more", "nothing can be built: `{home}` cannot be written to by this user"),
        (0o755, "auto: false", False),
        (0o1777, "# more", True),
        (0o777, "# more", "untrusted"),
    ],
)
def test_a_home_of_somebody_else(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    mode: int,
    added: str,
    answer: bool | str,
) -> None:
    """Root built it, and this user reads it; or it is open to all, as an emptyDir, which is the root of a volume."""
    home = Path("/tmp") / f"vpm-env-{os.getpid()}"
    generations = home / "profiles" / "default" / ("0" * 12) / "generations"
    config = home / "plugins.yaml"
    try:
        generations.mkdir(parents=True)
        home.chmod(mode)
        (home / "format").write_text("1\n")
        config.write_text(f"plugins: []\n{added}")
        for number, text in ((2, "plugins: []\n"), (1, "older")):
            inputs = {"config_sha256": hashlib.sha256(text.encode()).hexdigest()}
            (generations / f"{number}.json").write_text(json.dumps({"inputs": inputs}))
        if mode != 0o755:
            for folder in (home / "profiles", generations.parent.parent, generations.parent, generations):
                os.chown(folder, 1000, 1000)
        for name, value in {"HOME": str(home), "OWNERS": (0,), "FORMAT": 1}.items():
            monkeypatch.setattr(_activate, name, value)

        told = json.loads(as_user(1000, lambda: asked(home, config)))
    finally:
        subprocess.run(["rm", "-rf", str(home)], check=True)

    assert told == (answer.format(home=home) if isinstance(answer, str) else answer)


def asked(home: Path, config: Path) -> str:
    """Ask whether a build may be, and return the answer, or why there is none."""
    try:
        answer: bool | str = _auto.may_build(host(home), "default", str(config))
    except (_activate.InactiveError, _auto.FailedError) as error:
        answer = error.args[0]
    return json.dumps(answer)


@pytest.mark.long
@pytest.mark.parametrize("spoilt", ["format", "mode", "profile", "gone"])
def test_the_policy_holds_whatever_keeps_the_set_away(engine: Engine, spoilt: str) -> None:
    """A newer home, one open to strangers, a name that is none, an interpreter whose folder was deleted."""
    engine.wants("shout")
    engine.serve()
    home, env = engine.stand.vpm_env.home, {}
    mode, form = home.stat().st_mode, (home / "format").read_text()
    try:
        if spoilt == "format":
            (home / "format").write_text("99\n")
        elif spoilt == "mode":
            home.chmod(0o777)
        else:
            env = {"VPM_ENV_PROFILE": "../x"} if spoilt == "profile" else {"VLLM_PLUGIN_CONFIG": "/gone/plugins.yaml"}
        bare = engine.serve(env={**env, "VPM_ENV_AUTO": "bare"})
        fails = engine.serve(env={**env, "VPM_ENV_AUTO": "fail"}, check=False)
    finally:
        home.chmod(mode)
        (home / "format").write_text(form)

    assert (bare.code, bare.loaded, len(bare.errors)) == (0, [], 1)
    assert (fails.code, fails.told, len(fails.errors)) == (1, {}, 1)


@pytest.mark.long
def test_no_allow_list_leaves_strict_out(engine: Engine) -> None:
    engine.wants("shout")
    engine.serve()
    engine.wants("nowhere")
    strict = {"VPM_ENV_STRICT": "1", "VLLM_PLUGINS": "shout"}

    assert engine.serve(env={"VLLM_PLUGINS": "shout"}).loaded == ["shout"]
    assert engine.serve(env=strict, check=False).code == 1
    assert engine.start("--help", env=strict, check=False).code == 0


@pytest.mark.long
def test_a_config_that_is_gone_is_told(engine: Engine) -> None:
    engine.wants("shout")
    engine.serve()
    engine.config.unlink()

    started = engine.serve()

    gone = f"there is no `{engine.config}` any more, which the set was built from"
    assert started.loaded == ["shout"]
    assert started.said == f"vpm-env: WARNING: {gone}; the plugins stay as they were built\n"


@pytest.mark.long
def test_a_notebooks_set_is_not_the_one_of_a_server_that_it_starts(engine: Engine) -> None:
    """It loads plugins, as `LLM` does, and starts a server after the config has changed."""
    engine.wants("shout")
    engine.serve()
    engine.wants("quiet")
    script = str(engine.stand.base.scripts / "vllm")
    code = (
        "import os, subprocess, sys; from vllm.plugins import load_general_plugins; load_general_plugins();"
        "print(os.environ['VPM_ENV_PIN'], flush=True);"
        "subprocess.run([sys.executable, '-c', 'import os; print(os.environ[\"VPM_ENV_PIN\"])']);"
        f"subprocess.run([{script!r}, 'serve', 'm'])"
    )
    done = engine.stand.run(engine.stand.base.python, "-c", code, env=engine.env)
    own, child, server = done.stdout.splitlines()

    assert own == child
    assert json.loads(server)["loaded"] == ["vpm_env_guard", "quiet"]
    assert json.loads(server)["pin"] != own


# Several at once, and signals


def test_replicas_that_start_together_build_once(engine: Engine) -> None:
    stand = engine.stand
    publish(stand, "together", "1.0")
    engine.wants("together")
    reading, writing = os.pipe()
    command = ["/bin/sh", "-c", 'read _; exec "$0" serve m', str(stand.base.scripts / "vllm")]
    pipes: dict[str, Any] = {"stdin": reading, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    replicas = [subprocess.Popen(command, env={**stand.env, **engine.env}, **pipes) for _ in range(4)]
    os.close(reading)
    os.close(writing)  # this lets them go
    said = [replica.communicate(timeout=60) for replica in replicas]
    told = [json.loads(out) for out, _ in said]

    assert len({each["pin"] for each in told}) == 1
    assert {"together" in each["loaded"] for each in told} == {True}
    assert engine.generations == [1]
    served = stand.index.files_served.count("together-1.0-py3-none-any.whl")
    assert served == 2  # this index gives no pieces: once looked at, once fetched
    assert sum("switched to generation 1" in err for _, err in said) == 1
    assert [err for _, err in said if "ERROR" in err] == []


@pytest.mark.long
def test_replicas_that_wait_for_a_build_that_fails_fail_with_it(engine: Engine) -> None:
    stand = engine.stand
    engine.wants("shout")
    good = engine.serve().told["pin"]
    with blocked_index() as index:
        engine.asks(index.server_port)
        words, env = [str(stand.base.scripts / "vllm"), "serve", "m"], {**stand.env, **engine.env}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        first = subprocess.Popen(words, env=env, **pipes)
        assert index.asked.wait(30)
        others = [subprocess.Popen(words, env=env, **pipes) for _ in range(3)]
        for other in others:
            assert other.stderr is not None
            assert "waiting" in other.stderr.readline()
        asked = index.requests
        index.released.set()
        said = [(*each.communicate(timeout=60), each.returncode) for each in (first, *others)]

    assert {code for *_, code in said} == {0}
    assert {json.loads(out)["pin"] for out, *_ in said} == {good}
    errors = {line for _, err, _ in said for line in err.splitlines() if "ERROR" in line}
    assert len(errors) == 1
    assert index.requests - asked < 4


@pytest.mark.long
def test_a_start_gets_what_it_built_whoever_switches_meanwhile(engine: Engine) -> None:
    """Two configs share a profile; the second is built, and switched to, before the first start looks at `current`."""
    stand = engine.stand
    engine.wants("shout")
    other = Engine(stand, f"{engine.env['VPM_ENV_PROFILE'][:40]}-b")
    other.wants("quiet")
    gate = stand.folder / "gate.py"
    gate.write_text(
        "import os, subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-m', 'envbuilder', *sys.argv[1:]])\n"
        f"words = [{str(stand.vpm_env.python)!r}, '-m', 'envbuilder', 'build', '--config', {str(other.config)!r}]\n"
        f"words += ['--base', {str(stand.base.python)!r}, '--home', {str(stand.vpm_env.home)!r}]\n"
        f"words += ['--profile', {engine.env['VPM_ENV_PROFILE']!r}]\n"
        "subprocess.run(words, stdout=subprocess.DEVNULL)\n"
        "sys.exit(done.returncode)\n"
    )
    activate = stand.base.purelib / hook_files.ACTIVATE
    before = activate.read_text()
    command = re.search(r"^COMMAND = (.*)$", before, re.MULTILINE)
    assert command is not None
    try:
        rewrite(activate, before.replace(command[0], f"COMMAND = ({stand.vpm_env.python!r}, {str(gate)!r})"))
        started = engine.serve()
    finally:
        rewrite(activate, before)

    assert started.loaded == ["shout"]
    assert engine.serve(env={"VPM_ENV_AUTO": "0"}).loaded == ["quiet"]


def rewrite(path: Path, text: str) -> None:
    path.write_text(text)
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
        compiled.unlink()


@pytest.mark.long
def test_a_build_ends_with_the_engine_that_it_is_for(engine: Engine) -> None:
    stand = engine.stand
    with blocked_index() as index:
        engine.asks(index.server_port)
        words, env = [str(stand.base.scripts / "vllm"), "serve", "m"], {**stand.env, **engine.env}
        server = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert index.asked.wait(30)
        assert processes_about(engine.env["HOME"]) != []
        server.kill()
        server.wait()
        deadline = time.monotonic() + 20
        while processes_about(engine.env["HOME"]) and time.monotonic() < deadline:
            time.sleep(0.02)

        assert processes_about(engine.env["HOME"]) == []


class Blocked(BaseHTTPRequestHandler):
    """An index that takes a request and does not answer until it is let go."""

    server: Any

    def do_GET(self) -> None:
        self.server.requests += 1
        self.server.asked.set()
        self.server.released.wait(60)
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the server's word)
        pass


@contextmanager
def blocked_index() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Blocked)
    server.asked, server.released, server.requests = threading.Event(), threading.Event(), 0
    with serving(server):
        yield server
        server.released.set()


def hasten(stand: Stand) -> None:
    """Let the installed module say after a moment that it is still at work."""
    path = stand.base.purelib / hook_files.BUILDING
    path.write_text(path.read_text().replace("HEARTBEAT = 8.0", "HEARTBEAT = 0.3"))
    for compiled in path.parent.glob("__pycache__/building.*"):
        compiled.unlink()


def processes_about(text: str) -> list[str]:
    """List the command lines of processes that have `text` in theirs, or in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = [(process / name).read_bytes() for name in ("cmdline", "environ")]
        except OSError:
            continue
        if text.encode() in b"".join(told) and told[0]:
            found.append(told[0].replace(b"\0", b" ").decode())
    return found


@pytest.mark.parametrize(
    ("number", "ignored"),
    [
        (signal.SIGTERM, False),
        pytest.param(signal.SIGINT, False, marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, True, marks=pytest.mark.long),
    ],
)
def test_a_signal_ends_the_build_and_the_start(engine: Engine, number: int, ignored: bool) -> None:
    """An interrupt that is ignored, as in jobs in the background of a script, is ignored by the engine alone."""
    stand = engine.stand
    hasten(stand)
    try:
        with blocked_index() as index:
            engine.asks(index.server_port)
            script = "trap '' INT; " * ignored + f"exec {stand.base.scripts / 'vllm'} serve m"
            pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            server = subprocess.Popen(["/bin/sh", "-c", script], env={**stand.env, **engine.env}, **pipes)
            assert index.asked.wait(30)
            assert server.stderr is not None
            said = [server.stderr.readline(), server.stderr.readline()]
            if ignored:
                server.send_signal(signal.SIGINT)
                said.append(server.stderr.readline())
            server.send_signal(number)
            out, err = server.communicate(timeout=20)
            left = processes_about(engine.env["HOME"])
    finally:
        stand("hook", "install", "--auto")

    assert {bool(re.fullmatch(r"vpm-env: still building, \d+ s so far\n", line)) for line in said} == {True}
    assert (server.returncode, out) == (-number, "")
    assert err.endswith("vpm-env: interrupted; the engine is not started\n")
    assert left == []
    engine.wants("shout")
    assert engine.serve().loaded == ["shout"]


def test_it_is_said_every_10_seconds_that_a_build_is_at_work() -> None:
    assert _building.HEARTBEAT + _building.TICK < 10


# The hook


@pytest.mark.long
def test_an_engine_that_was_upgraded_gets_its_plugins_at_once(tmp_path: Path, uv_cache: Path) -> None:
    with stands.stand(tmp_path, uv_cache) as stand:
        publish(stand, "shout", "1.0")
        stand("hook", "install", "--auto", "--policy", "fail")
        engine = Engine(stand, "default")
        engine.wants("shout")
        old = engine.serve()
        change_engine(stand, "0.33.0", "0.34.0")
        new = engine.serve()
        change_engine(stand, "0.34.0", "0.33.0")
        back = engine.serve()
        status = stand("hook", "status", "--json").json

    assert [started.loaded for started in (old, new, back)] == [["shout"]] * 3
    assert old.told["pin"] == back.told["pin"] != new.told["pin"]
    assert "the base was upgraded: its hook was written again" in new.said
    assert (status["auto"], status["intact"]) == ("fail", True)


def change_engine(stand: Stand, old: str, new: str) -> None:
    subprocess.run(["rm", "-r", str(stand.base.purelib / f"vllm-{old}.dist-info")], check=True)
    kit.fake_vllm(stand.base, new)


@pytest.mark.long
def test_the_verb(stand: Stand) -> None:
    try:
        shown = stand("hook", "show", "--auto", "--policy", "bare").stdout
        stand("hook", "install", "--auto", "--policy", "bare")
        status = stand("hook", "status")
        stand("hook", "install")
        off = stand("hook", "status", "--json").json
        wrong = stand("hook", "install", "--policy", "bare", check=False)
        stand("hook", "uninstall")
        left = list(stand.base.purelib.glob("*vpm_env*"))
    finally:
        stand("hook", "install", "--auto")

    assert "AUTO = 'bare'" in shown
    assert f"# {stand.base.purelib / hook_files.AUTO}\n" in shown
    assert status.stdout.endswith("; builds before an engine's start, and if that fails: bare\n")
    assert off["auto"] == ""
    assert (wrong.exit, left) == (2, [])
    assert (
        wrong.stderr == "error: `--policy` says what to do if a build fails\n\nhint: with `--auto`, a build is tried\n"
    )


def test_a_base_without_an_engine_has_nothing_to_start(base: kit.Base, vpm_env: kit.VpmEnv) -> None:
    installed = vpm_env.use(base)("hook", "install", "--auto", check=True)

    assert "warning: no engine is known in this base: nothing will be built" in installed.stderr
    assert not (base.purelib / hook_files.AUTO).exists()
