"""What verbs that people wait for import: a module too many is paid at every call, so each has to be asked for here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import homes
import kit
import pytest

if TYPE_CHECKING:
    from pathlib import Path

_CALL = """
import sys
sys.path.insert(0, {root!r})
before = set(sys.modules)
from envbuilder.cli import main
code = main({words!r})
import json
print(json.dumps(sorted(set(sys.modules) - before - {{"json"}})), file=sys.stdout)
sys.exit(code)
"""

ROOMS_OF_EVERY_VERB = {
    "arguments",
    "cli",
    "commands",
    "console",
    "digest",
    "engines",
    "errors",
    "fs",
    "interpreter",
    "paths",
    "profile",
    "report",
    "scope",
    "tuples",
}
LIBRARY_OF_EVERY_VERB = {
    "argparse",
    "collections",
    "contextlib",
    "copyreg",
    "enum",
    "errno",
    "fcntl",
    "functools",
    "gettext",
    "itertools",
    "json",
    "keyword",
    "locale",
    "operator",
    "re",
    "reprlib",
    "types",
    "warnings",
}
"""`re` and `contextlib` bring most of these, `argparse` the others."""

EXPENSIVE = {
    "ctypes",
    "dataclasses",
    "hashlib",
    "importlib.metadata",
    "inspect",
    "packaging",
    "pathlib",
    "rich",
    "shutil",
    "subprocess",
    "tempfile",
    "typing",
    "urllib.parse",
    "uv",
    "virtualenv",
    "yaml",
}


@pytest.fixture
def two_generations(base: kit.Base, index: kit.Index, vpm_env: kit.VpmEnv) -> kit.VpmEnv:
    """Make a profile that can roll back, and whose build has nothing to do."""
    kit.fake_vllm(base)
    vpm_env.use(base)
    for names in (["one"], ["one", "two"]):
        kit.wheel(index.folder, names[-1])
        entries = "".join(f"  - {{name: {name}, source: pypi, package: {name}}}\n" for name in names)
        vpm_env.config(f"index: {index.url}\nplugins:\n{entries}")
        vpm_env("build", check=True)
    return vpm_env


def imported(vpm_env: kit.VpmEnv, *words: str) -> set[str]:
    """Run a verb in a bare interpreter and return what it imported."""
    code = _CALL.format(root=str(kit.ROOT), words=[*words, "--quiet"])
    called = kit.VpmEnv(home=vpm_env.home, folder=vpm_env.folder, env={**vpm_env.env, "PYTHONSAFEPATH": "1"})
    done = kit.describe(_bare(vpm_env)).run("-I", "-c", code, env=called.env, cwd=called.folder)
    return set(json.loads(done.stdout.splitlines()[-1]))


def _bare(vpm_env: kit.VpmEnv) -> Path:
    """Make an environment with nothing in it: what vpm-env needs of others, a hot verb needs not."""
    folder = vpm_env.folder.parent / "bare"
    return kit.base(folder).python if not folder.exists() else folder / "bin" / "python"


def public(names: set[str]) -> set[str]:
    """Leave out what C parts and packages bring in below what was asked for."""
    return {name for name in names if "." not in name and not name.startswith("_")} - {"envbuilder"}


def rooms(names: set[str]) -> set[str]:
    return {name.removeprefix("envbuilder.") for name in names if name.startswith("envbuilder.")}


@pytest.mark.parametrize(
    ("words", "own"), [(("rollback",), {"switching"}), (("switch", "1"), {"switching"}), (("build",), {"unchanged"})]
)
def test_a_hot_verb_imports_what_it_needs_and_no_more(
    words: tuple[str, ...], own: set[str], two_generations: kit.VpmEnv
) -> None:
    names = imported(two_generations, *words)

    assert names & EXPENSIVE == set()
    assert rooms(names) <= ROOMS_OF_EVERY_VERB | own
    assert own <= rooms(names)
    assert public(names) <= LIBRARY_OF_EVERY_VERB


def test_a_verb_that_is_not_hot_would_be_seen(two_generations: kit.VpmEnv) -> None:
    names = imported(two_generations, "history")

    assert rooms(names) - ROOMS_OF_EVERY_VERB != set()


def test_the_hook_brings_nothing_into_a_plain_start(tmp_path: Path, base: kit.Base) -> None:
    kit.fake_vllm(base)
    bare = set(base.code("import sys; print(*sorted(sys.modules))").split())
    rig = homes.Rig.of(base, tmp_path / "hook-home")
    rig.generation(1, rig.overlay("one", "package"))
    rig.install()

    assert rig.ask()["state"] == "active"
    assert set(base.code("import sys; print(*sorted(sys.modules))").split()) - bare == {"_vpm_env_hook"}
