"""`vpm-env new`: projects of plugins that install, pass their own test, and do in an engine what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import engine_parts
import kit
import pytest
from test_cli import on_terminal, piped

from envbuilder import config, project
from envbuilder.engines import engine_named
from envbuilder.errors import UsageError
from envbuilder.paths import Environment

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from pathlib import Path

KINDS = [kind.name for kind in project.KINDS]
TOLD = (
    "wrote `/X/work/acme-words`: a logits processor, for vllm\n"
    "\n"
    "hint: `python -m pytest ./acme-words` tests it, `vpm-env add ./acme-words --editable --build` tries it\n"
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder with nothing in it."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


@pytest.fixture
def stand(vpm_env: kit.VpmEnv, tmp_path: Path) -> kit.VpmEnv:
    """Run vpm-env where there is nothing."""
    vpm_env.env["COLUMNS"] = "80"
    return vpm_env


def begin(folder: Path, kind: str, name: str = "Acme_Words") -> Path:
    """Begin a project of a kind."""
    project.begin(name, kind=kind, engine=None, folder=str(folder / "acme"))
    return folder / "acme"


def test_a_new_project_is_told(stand: kit.VpmEnv) -> None:
    assert piped(stand, "new", "acme-words", "--kind", "logits-processor") == ("", TOLD)
    shutil.rmtree(stand.folder / "acme-words")
    written = on_terminal(stand, "new", "acme-words", "--kind", "logits-processor")
    assert re.sub(r"\x1b\[[\d;]*m", "", written) == TOLD


@pytest.mark.parametrize("kind", KINDS)
def test_a_project_has_its_name_in_each_spelling_and_says_what_it_is(tmp_path: Path, kind: str) -> None:
    folder = begin(tmp_path, kind)
    texts = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    described = tomllib.loads(texts["pyproject.toml"])
    ((group, points),) = described["project"]["entry-points"].items()
    engine = engine_named(next(known.engine for known in project.KINDS if known.name == kind))
    (plugin,) = config.read(str(folder / "plugins.yaml"), env=Environment({})).plugins

    assert {"README.md", "plugins.yaml", "src/acme_words/__init__.py", "tests/test_acme_words.py"} <= texts.keys()
    assert not re.search("my[-_]?plugin", " ".join([*texts, *texts.values()]), re.IGNORECASE)
    assert (described["project"]["name"], group in engine.groups) == ("acme-words", True)
    ((point, target),) = points.items()
    module, _, name = target.partition(":")
    file = f"src/{module.replace('.', '/')}"
    source = texts.get(f"{file}.py") or texts[f"{file}/__init__.py"]
    assert point == "acme-words"
    assert re.search(rf"^(def|class) {name}\(", source, re.MULTILINE)
    assert (plugin.name, plugin.source.path) == ("acme-words", str(folder))  # type: ignore[union-attr]
    for path, text in texts.items():
        assert not path.endswith(".py") or compile(text, path, "exec")


@pytest.mark.parametrize("kind", kit.mostly_long(KINDS, "logits-processor"))
def test_its_own_test_passes_where_there_is_no_engine(tmp_path: Path, kind: str) -> None:
    folder = begin(tmp_path, kind)
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", folder]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert "is not installed" in done.stdout


@pytest.mark.parametrize(
    ("name", "module"), [("a", "a"), ("Acme", "acme"), ("acme.words", "acme_words"), ("acme--w_1", "acme_w_1")]
)
def test_names_that_are_taken_as_they_are(tmp_path: Path, name: str, module: str) -> None:
    assert (begin(tmp_path, "model", name) / "src" / module / "__init__.py").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "is no name of a distribution"),
        ("-a", "is no name of a distribution"),
        ("a/b", "is no name of a distribution"),
        ("a b", "is no name of a distribution"),
        ("ä", "is no name of a distribution"),
        ("a" * 65, "is no name of a distribution"),
        ("3d", "`3d` is no name of a module"),
        ("class", "`class` is no name of a module"),
        ("json", "is a module of Python itself"),
        ("torch", "`torch` is a module of others"),
        ("Huggingface-Hub", "`huggingface_hub` is a module of others"),
        ("tests", "`tests` is a module of others"),
        ("vllm", "it is an engine's"),
        ("VLLM.cpu", "it is an engine's"),
        ("fastdeploy", "it is an engine's"),
    ],
)
def test_names_that_no_plugin_can_have(place: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        begin(place, "model", name)
    assert caught.value.hint
    assert list(place.iterdir()) == []


def test_a_kind_that_the_engine_has_not(place: Path) -> None:
    for kind, engine, hint in (
        ("model", "fastdeploy", "of fastdeploy there are `model-register`, `model-runner`"),
        ("model-runner", "vllm", "of vllm there are `model`, `logits-processor`, `stat-logger`"),
        ("model", "sglang", "it is one of vllm"),
    ):
        with pytest.raises(UsageError, match=f"{engine} has no plugins of the kind `{kind}`") as caught:
            project.begin("acme", kind=kind, engine=engine, folder=str(place / "acme"))
        assert caught.value.hint == hint
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("there", ["file", "link", "folder"])
def test_nothing_is_written_over(tmp_path: Path, there: str) -> None:
    target = tmp_path / "acme"
    if there == "file":
        target.write_text("mine")
    elif there == "link":
        (tmp_path / "elsewhere").mkdir()
        target.symlink_to("elsewhere")
    else:
        target.mkdir()
        (target / "mine").write_text("mine")
    before = kit.tree_hash(tmp_path)

    with pytest.raises(UsageError, match="is there already") as caught:
        begin(tmp_path, "model")
    assert caught.value.hint
    assert kit.tree_hash(tmp_path) == before


def test_an_empty_folder_is_filled_and_one_below_a_file_cannot_be(place: Path) -> None:
    (place / "acme").mkdir()
    assert (begin(place, "model") / "pyproject.toml").is_file()
    with pytest.raises(UsageError, match="cannot be made"):
        begin(place / "acme" / "pyproject.toml", "model")
    assert {path.name for path in place.iterdir()} == {"acme"}


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("acme", "--kind", "modle"), "there is no kind `modle`", "did you mean `model`?"),
        (("acme", "--kind", "x"), "there is no kind `x`", "there are model, logits-processor, stat-logger"),
        (("acme", "--kind", "model", "--engine", "vlm"), "there is no engine `vlm`", "did you mean `vllm`?"),
        (("acme",), "the following arguments are required: --kind", "see `vpm-env new --help`"),
    ],
)
def test_mistakes(stand: kit.VpmEnv, words: tuple[str, ...], message: str, hint: str) -> None:
    done = stand("new", *words)

    assert (done.exit, list(stand.folder.iterdir())) == (2, [])
    assert message in done.stderr
    assert hint in done.stderr


@pytest.mark.network
def test_what_is_begun_is_built_and_loaded_by_vllm(tmp_path: Path, vpm_env: kit.VpmEnv) -> None:
    vpm_env.use(engine_parts.with_vllm(kit.base(tmp_path / "base")))
    for kind in ("model", "logits-processor", "stat-logger"):
        vpm_env("new", f"acme-{kind}", "--kind", kind, check=True)
        vpm_env("add", f"./acme-{kind}", check=True)
    vpm_env("build", check=True)

    told = json.loads(vpm_env("run", "--", "vllm", "serve", check=True).stdout)
    assert "acme-model" in told["loaded"]
    probed = {point["name"] for point in vpm_env("plugins", "--json", check=True).json["entry_points"]}
    assert probed >= {"acme-model", "acme-logits-processor", "acme-stat-logger"}


@pytest.mark.network
def test_what_is_begun_is_built_and_loaded_by_fastdeploy(tmp_path: Path, vpm_env: kit.VpmEnv) -> None:
    vpm_env.use(engine_parts.with_fastdeploy(kit.base(tmp_path / "base")))
    for kind in ("model-register", "model-runner"):
        vpm_env("new", f"acme-{kind}", "--kind", kind, check=True)
        vpm_env("add", f"./acme-{kind}", "--editable", check=True)
    vpm_env("build", check=True)

    told = json.loads(vpm_env("run", "--", "python", "-m", "fastdeploy.worker", check=True).stdout)
    assert "acme-model-register" in told["model_register"]
    assert told["model_runner"] == "AcmeModelRunner"
