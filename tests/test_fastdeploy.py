"""FastDeploy: all plugins load by default, whatever its version does with FD_PLUGINS, in every process of a server."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kit
import pytest

from envbuilder import _allow
from envbuilder.engines import FASTDEPLOY, GENERIC, engine_among

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.long

MODELS, RUNNER = "fastdeploy.model_register_plugins", "fastdeploy.model_runner_plugins"
PLUGINS = (
    "from fastdeploy import plugins\ndef register(): ...\ndef get_runner(): return MyRunner\nclass MyRunner: ...\n"
)
CONFIG = "find_links: ../links\nindex: http://127.0.0.1:9/none\nplugins:\n"
EVERYTHING = "cot,fd_add_dummy_model,model_runner,theirs"


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build one set of a plugin as in FastDeploy's documentation, and one of another plugin, over a plugin of the base.

    Generation 1 is current.
    """
    folder = tmp_path_factory.mktemp("fastdeploy")
    base = kit.base(folder / "base", home=folder)
    kit.fake_fastdeploy(base)
    points = {MODELS: {"theirs": "their_module:register"}}
    files = {"their_module.py": "def register(): ...\n"}
    kit.install(base, kit.wheel(folder / "wheels", "base-plugin", files=files, entry_points=points))
    env = kit.clean_environment(folder)
    env |= {"VPM_ENV_HOME": str(folder / "home"), "UV_CACHE_DIR": str(folder / "uv")}
    (folder / "work").mkdir()
    points = {
        MODELS: {"fd_add_dummy_model": "fd_add_dummy_model:register"},
        RUNNER: {"model_runner": "fd_add_dummy_model:get_runner"},
        "fastdeploy.reasoning_parser_plugins": {"cot": "fd_add_dummy_model:register"},
    }
    kit.wheel(
        folder / "links", "fastdeploy-plugins", "0.1", files={"fd_add_dummy_model.py": PLUGINS}, entry_points=points
    )
    kit.wheel(
        folder / "links", "other", files={"other.py": PLUGINS}, entry_points={MODELS: {"other": "other:register"}}
    )
    kit.wheel(
        folder / "links", "second", files={"second.py": PLUGINS}, entry_points={RUNNER: {"s": "second:get_runner"}}
    )
    vpm_env = kit.VpmEnv(home=folder / "home", folder=folder / "work", env=env).use(base)
    for name in ("fastdeploy-plugins", "other"):
        vpm_env.config(f"{CONFIG}  - {{name: {name}, source: pypi}}\n")
        vpm_env("build", "--offline", check=True)
    vpm_env("rollback", check=True)
    vpm_env("hook", "install", check=True)
    return vpm_env


def base_of(stand: kit.VpmEnv) -> kit.Base:
    return kit.describe(Path(stand.env["VPM_ENV_BASE"]))


@pytest.fixture(params=["new", "old"])
def engine(request: pytest.FixtureRequest, stand: kit.VpmEnv) -> kit.VpmEnv:
    """Give the stand on a FastDeploy before and after November 2025."""
    kit.fake_fastdeploy(base_of(stand), loads_unlisted=request.param == "old")
    return stand


def run(stand: kit.VpmEnv, *command: str | Path, env: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Run a command as a user of the base would, and return what its processes said of themselves."""
    variables = {name: value for name, value in stand.env.items() if not name.startswith("VPM_ENV_")}
    done = subprocess.run(
        list(map(str, command)), env={**variables, **(env or {})}, cwd=stand.folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def serve(stand: kit.VpmEnv, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Start a server in the hooked base, whose processes must agree, and return what each of them loaded."""
    parent, child = run(stand, base_of(stand).scripts / "fastdeploy", "serve", env=env)
    assert parent == child
    assert parent["pin"]
    return parent


def test_by_default_all_plugins_load_in_all_processes(engine: kit.VpmEnv) -> None:
    told = serve(engine)

    assert told["model_register"] == ["fd_add_dummy_model", "theirs", "vpm_env_guard"]
    assert told["reasoning_parser"] == ["cot"]
    assert told["model_runner"] == "MyRunner"
    assert told["input_processor"] == told["token_processor"] == "built-in"
    assert told["list"] == f"{EVERYTHING},vpm_env_guard"
    exported = engine("plugins", "--export", check=True).stdout
    assert shlex.split(exported) == ["export", f"FD_PLUGINS={told['list']}"]


@pytest.mark.parametrize(
    "theirs", ["fastdeploy-plugins", " FastDeploy_Plugins", "fd_add_dummy_model, model_runner,cot"]
)
def test_a_distribution_stands_for_its_plugins_and_blanks_for_nothing(engine: kit.VpmEnv, theirs: str) -> None:
    told = serve(engine, env={"FD_PLUGINS": theirs})

    assert told["model_register"] == ["fd_add_dummy_model", "vpm_env_guard"]
    assert (told["model_runner"], told["reasoning_parser"]) == ("MyRunner", ["cot"])


def test_what_is_not_listed_does_not_load(engine: kit.VpmEnv) -> None:
    told = serve(engine, env={"FD_PLUGINS": "theirs,unknown"})
    assert (told["model_register"], told["model_runner"]) == (["theirs", "vpm_env_guard"], "built-in")

    told = serve(engine, env={"FD_PLUGINS": ""})
    assert (told["model_register"], told["list"]) == ([], "")


def test_a_script_that_makes_an_llm_is_an_engine_too(stand: kit.VpmEnv) -> None:
    code = "from fastdeploy import entrypoints; entrypoints.main()"
    parent, child = run(stand, base_of(stand).python, "-c", code)

    assert parent["list"] == child["list"] == f"{EVERYTHING},vpm_env_guard"
    assert parent["pin"] == child["pin"] != ""
    assert run(stand, base_of(stand).python, "-m", "fastdeploy.entrypoints")[0]["model_runner"] == "MyRunner"


def test_a_python_that_is_no_engine_is_left_alone(stand: kit.VpmEnv) -> None:
    code = "import sys; names = [*sys.modules]; import json, os; print(json.dumps([os.getenv('FD_PLUGINS'), names]))"
    variable, modules = run(stand, base_of(stand).python, "-c", code)[0]

    assert variable is None
    assert {name for name in modules if name.startswith("_vpm")} == {"_vpm_env_hook", "_vpm_env_allow"}
    assert {"typing", "importlib.metadata", "__future__"}.isdisjoint(modules)


def test_what_is_ours_is_renewed_by_a_child_and_what_is_theirs_is_not(stand: kit.VpmEnv) -> None:
    """A supervisor that hands on what it was started with must not keep a set alive."""
    code = "import os, json, fastdeploy; print(json.dumps([os.environ['FD_PLUGINS'], os.environ['VPM_ENV_ALLOWED']]))"
    seen = {}
    for theirs in (None, "fastdeploy-plugins,theirs"):
        own = {} if theirs is None else {"FD_PLUGINS": theirs}
        seen[theirs] = run(stand, base_of(stand).python, "-c", code, env=own)[0]
    stand("switch", "2", check=True)
    try:
        for theirs, (ours, mark) in seen.items():
            inherited = {"FD_PLUGINS": ours, "VPM_ENV_ALLOWED": mark}
            renewed = serve(stand, env=inherited)["model_register"]
            assert renewed == (["other"] if theirs is None else []) + ["theirs", "vpm_env_guard"]
            assert serve(stand, env={**inherited, "FD_PLUGINS": "other"})["model_register"] == [
                "other",
                "vpm_env_guard",
            ]
    finally:
        stand("switch", "1", check=True)


def test_without_a_hook_the_set_loads_too(stand: kit.VpmEnv) -> None:
    stand("hook", "uninstall", check=True)
    try:
        done = stand("run", "--", "fastdeploy", "serve", check=True)
    finally:
        stand("hook", "install", check=True)
    parent, child = map(json.loads, done.stdout.splitlines())

    assert parent == child
    assert parent["model_register"] == ["fd_add_dummy_model", "theirs", "vpm_env_guard"]
    assert (parent["model_runner"], parent["list"]) == ("MyRunner", f"{EVERYTHING},vpm_env_guard")


def test_without_a_set_the_base_is_whole_and_strict_is_heard(engine: kit.VpmEnv) -> None:
    nothing = {"VPM_ENV_PROFILE": "none"}
    told = serve(engine, env=nothing)
    strict = subprocess.run(
        [base_of(engine).scripts / "fastdeploy", "serve"],
        env={**engine.env, **nothing, "VPM_ENV_STRICT": "1"},
        cwd=engine.folder,
        capture_output=True,
        text=True,
    )

    assert (told["model_register"], told["list"]) == (["theirs", "vpm_env_guard"], "theirs,vpm_env_guard")
    assert (strict.returncode, strict.stdout) == (1, "")
    assert "profile none has no current generation for base" in strict.stderr


def test_a_child_that_is_to_have_no_set_gets_the_list_that_was_there_before(engine: kit.VpmEnv) -> None:
    code = (
        "import fastdeploy, os, subprocess, sys; ask = 'import fastdeploy, os; print(os.environ.get(\"FD_PLUGINS\"))';"
        "subprocess.run([sys.executable, '-c', ask], env={**os.environ, 'VPM_ENV_DISABLE': '1'})"
    )
    variables = {name: value for name, value in engine.env.items() if not name.startswith("VPM_ENV_")}
    for theirs, seen in ((None, "None"), (" mine ", " mine ")):
        env = {**variables, **({"FD_PLUGINS": theirs} if theirs else {})}
        done = subprocess.run([base_of(engine).python, "-c", code], env=env, cwd=engine.folder, capture_output=True)

        assert done.stdout.decode().strip("\n") == seen


def test_two_plugins_for_one_slot_are_refused(stand: kit.VpmEnv) -> None:
    stand.config(f"{CONFIG}  - {{name: fastdeploy-plugins, source: pypi}}\n  - {{name: second, source: pypi}}\n")
    done = stand("build", "--offline")

    assert done.exit == 1
    assert f"`{RUNNER}` has room for one entry point, and there are 2" in done.stderr


def test_the_engine_goes_by_many_names_and_not_by_that_of_another_project(tmp_path: Path) -> None:
    """What is called `fastdeploy` on the index has nothing to do with it."""
    assert len(FASTDEPLOY.aliases) == len({*FASTDEPLOY.aliases}) == 9
    for name in FASTDEPLOY.aliases:
        assert engine_among(frozenset({name, "fastdeploy"})) == (FASTDEPLOY, name)
    assert engine_among(frozenset({"fastdeploy"})) == (GENERIC, "")


def test_nothing_takes_the_other_project_for_the_engine(stand: kit.VpmEnv, tmp_path: Path) -> None:
    """A plugin that requires `fastdeploy` means the engine in the base; it is never fetched, and no base without it."""
    links = stand.folder.parent / "links"
    kit.wheel(links, "fastdeploy", "3.1.1")
    kit.wheel(links, "careless", requires=["fastdeploy>=2"], entry_points={MODELS: {"careless": "careless"}})
    stand.config(f"{CONFIG}  - {{name: careless, source: pypi}}\n")
    done = stand("build", "--offline", "--dry-run", "--json", check=True)
    assert "3.1.1" not in done.stdout

    other = kit.base(tmp_path / "base")
    kit.dist_info(other, "fastdeploy", "3.1.1")
    assert stand("--base", other.python, "status", "--json").json["engine"] == {"name": "generic", "version": ""}
    done = stand("--base", kit.base(tmp_path / "bare").python, "build", "--offline", "--dry-run")
    assert (done.exit, "an engine comes with the base" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("present", "mark", "expected"),
    [
        (None, "", None),
        ("a", "", "a"),
        ("a,b", "a,b", None),
        ("a,b", "a,b=b", "b"),
        ("", "a,b", ""),
        ("c", "a,b=b", "c"),
    ],
)
def test_what_somebody_else_wrote_is_told_from_what_is_ours(
    present: str | None, mark: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_allow, "VARIABLE", "FD_PLUGINS")
    monkeypatch.setenv(_allow.MARK, mark)
    if present is not None:
        monkeypatch.setenv("FD_PLUGINS", present)

    assert _allow.before() == expected


SEED = {
    "fd_add_dummy_model/__init__.py": """\
from fastdeploy import worker
from my_custom_model import MyModel


def register():
    MyModel.name()
""",
    "fd_add_dummy_model_runner/__init__.py": """\
from .my_model_runner import MyModelRunner


def get_runner():
    return MyModelRunner
""",
    "fd_add_dummy_model_runner/my_model_runner.py": "class MyModelRunner: ...\n",
}
MISSING = {"my_custom_model/__init__.py": "class MyModel:\n    name = staticmethod(lambda: 'x')\n"}
"""What the documentation leaves to the reader."""


def seed(stand: kit.VpmEnv, folder: Path, runner: str, files: Mapping[str, str], *words: str) -> kit.Finished:
    """Build a project of the shape of FastDeploy's documentation."""
    points = {MODELS: {"fd_add_dummy_model": "fd_add_dummy_model:register"}, RUNNER: {"model_runner": runner}}
    kit.project(folder, "fastdeploy-plugins", "0.2", files=files, entry_points=points)
    stand.config(f"{CONFIG}  - {{name: fastdeploy-plugins, source: local, path: {folder}, editable: false}}\n")
    return stand("build", "--offline", *words)


def test_the_documentations_own_example_gets_the_findings_it_deserves(stand: kit.VpmEnv, tmp_path: Path) -> None:
    done = seed(stand, tmp_path / "seed", "fd_add_dummy_model:get_runner", SEED)
    told = " ".join(done.stderr.split())

    assert done.exit == 1
    assert "`fd_add_dummy_model:get_runner`, and `fd_add_dummy_model` has no `get_runner`" in told
    assert "(did you mean `fd_add_dummy_model_runner:get_runner`?)" in told
    assert (
        "`fd_add_dummy_model` of `fastdeploy-plugins 0.2` imports `my_custom_model`, which neither the set nor" in told
    )


def test_corrected_it_builds_and_loads(stand: kit.VpmEnv, tmp_path: Path) -> None:
    done = seed(stand, tmp_path / "seed", "fd_add_dummy_model_runner:get_runner", {**SEED, **MISSING})
    assert done.exit == 0, done.output
    try:
        told = serve(stand, env={"FD_PLUGINS": "fastdeploy-plugins"})
    finally:
        stand("switch", "1", check=True)

    assert told["model_register"] == ["fd_add_dummy_model", "vpm_env_guard"]
    assert told["model_runner"] == "MyModelRunner"


def test_what_is_copied_into_a_base_is_importable_on_every_python() -> None:
    for version, python in kit.pythons().items():
        code = (
            f"import sys; sys.path.insert(0, {str(kit.ROOT)!r}); from envbuilder import _allow, _guard, _join, plugins"
        )
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, env={"PATH": os.defpath})
        assert done.returncode == 0, (version, done.stderr)
