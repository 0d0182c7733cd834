"""What verbs that people wait for import: a module too many is paid at every call, so each has to be asked for here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import homes
import kit
import pytest
import stands

from envbuilder import fs

if TYPE_CHECKING:
    from pathlib import Path

_CALL = """
import sys
sys.path.insert(0, {root!r})
before = set(sys.modules)
from envbuilder.cli import main
code = main({words!r})
print(*sorted(set(sys.modules) - before))
sys.exit(code)
"""

ROOMS_OF_EVERY_VERB = {
    "arguments",
    "cli",
    "commands",
    "console",
    "contexts",
    "digest",
    "engines",
    "errors",
    "flocks",
    "fs",
    "interpreter",
    "notation",
    "notice",
    "paths",
    "plain_words",
    "profile",
    "protocol",
    "report",
    "scope",
    "tuples",
}
ROOMS_THAT_MAKE_AGAIN = {
    "again",
    "build_view",
    "commit",
    "farm",
    "manifest",
    "overlay",
    "package",
    "planning",
    "recipe",
    "recording",
    "registry",
    "store",
    "syncing",
    "unchanged",
    "verbs_make",
}
_LIBRARY_OF_EVERY_VERB = """
import _operator, errno, fcntl, sys
print(*sorted(sys.modules))
"""
"""The library that every verb may use, with whatever this Python's own modules bring in."""

EXPENSIVE = {
    "argparse",
    "collections",
    "contextlib",
    "ctypes",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "importlib.metadata",
    "inspect",
    "json",
    "packaging",
    "pathlib",
    "re",
    "rich",
    "shutil",
    "signal",
    "subprocess",
    "tempfile",
    "typing",
    "urllib.parse",
    "uv",
    "virtualenv",
    "yaml",
}


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Make a profile that can roll back, and whose build has nothing to do; its config says which engine it is for."""
    vpm_env = stands.small(tmp_path_factory.mktemp("imports"))
    for names in (["one"], ["one", "two"]):
        kit.wheel(vpm_env.folder.parent / "links", names[-1])
        entries = "".join(f"  - {{name: {name}, source: pypi}}\n" for name in names)
        vpm_env.config(f"find_links: ../links\nindex: http://127.0.0.1:9/none\nengine: vllm\nplugins:\n{entries}")
        vpm_env("build", "--offline", check=True)
    return vpm_env


@pytest.fixture
def two_generations(stand: kit.VpmEnv) -> kit.VpmEnv:
    """Give it with the second generation current, whatever another test did."""
    stand("switch", "2", check=True)
    return stand


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> kit.Base:
    """Make an environment with nothing in it: what vpm-env needs of others, a hot verb needs not."""
    return kit.base(tmp_path_factory.mktemp("bare"))


def imported(bare: kit.Base, vpm_env: kit.VpmEnv, *words: str) -> set[str]:
    """Run a verb in a bare interpreter and return what it imported."""
    code = _CALL.format(root=str(kit.ROOT), words=[*words, "--quiet"])
    done = bare.run("-I", "-c", code, env=vpm_env.env, cwd=vpm_env.folder)
    return set(done.stdout.splitlines()[-1].split())


def rooms(names: set[str]) -> set[str]:
    return {name.removeprefix("envbuilder.") for name in names if name.startswith("envbuilder.")}


@pytest.mark.parametrize(
    ("words", "own"),
    [
        (("rollback",), {"switching", "verbs_move"}),
        (("switch", "1"), {"switching", "verbs_move"}),
        (("build",), {"unchanged", "verbs_make"}),
    ],
)
def test_a_hot_verb_imports_what_it_needs_and_no_more(
    words: tuple[str, ...], own: set[str], two_generations: kit.VpmEnv, bare: kit.Base
) -> None:
    library = set(bare.run("-I", "-c", _LIBRARY_OF_EVERY_VERB).stdout.split())
    names = imported(bare, two_generations, *words)

    assert names & EXPENSIVE - library == set()
    assert rooms(names) <= ROOMS_OF_EVERY_VERB | own
    assert own <= rooms(names)
    assert {name for name in names - library if not name.startswith(("_", "envbuilder", "encodings."))} == set()


def test_a_verb_that_is_not_hot_would_be_seen(two_generations: kit.VpmEnv, bare: kit.Base) -> None:
    names = imported(bare, two_generations, "history")

    assert rooms(names) - ROOMS_OF_EVERY_VERB != set()


def test_a_set_made_before_is_made_again_without_parser_resolver_audit_and_probe(
    two_generations: kit.VpmEnv, bare: kit.Base
) -> None:
    for name in ("overlays", "profiles"):
        fs.remove_tree(two_generations.home / name)
    library = set(bare.run("-I", "-c", _LIBRARY_OF_EVERY_VERB).stdout.split())
    names = imported(bare, two_generations, "build")

    assert names & EXPENSIVE - library == set()
    assert rooms(names) == ROOMS_OF_EVERY_VERB | ROOMS_THAT_MAKE_AGAIN
    assert two_generations("history", "--json").json["current"] == 1


def test_the_hook_brings_nothing_into_a_plain_start(tmp_path: Path, base: kit.Base) -> None:
    kit.fake_vllm(base)
    bare = set(base.code("import sys; print(*sorted(sys.modules))").split())
    rig = homes.Rig.of(base, tmp_path / "hook-home")
    rig.generation(1, rig.overlay("one", "package"))
    rig.install()

    assert rig.ask()["state"] == "active"
    assert set(base.code("import sys; print(*sorted(sys.modules))").split()) - bare == {"_vpm_env_hook"}
