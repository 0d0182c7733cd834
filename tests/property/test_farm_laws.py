"""Laws of the link farm, for any packages."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from envbuilder.farm import Tree, link_text, plan

NAMES = st.sampled_from(["a", "b", "c", "deep", "mod.py", "other.py", "x-1.dist-info"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


def write(root: Path, paths: set[str], owner: str) -> None:
    for path in sorted(paths):
        file = root / path
        if any(parent.is_file() for parent in file.parents) or file.is_dir():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{owner}:{path}")


def files_below(root: Path) -> dict[str, str]:
    found = {}
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            path = Path(folder, name)
            found[str(path.relative_to(root))] = path.read_text()
    return found


def plant(home: Path, trees: list[Tree]) -> Path:
    farm = home / "farm"
    farm.mkdir()
    made = plan(trees)
    for folder in made.directories:
        (farm / folder).mkdir()
    for link in made.links:
        if link.hard:
            os.link(link.source, farm / link.path)
        else:
            os.symlink(link_text(link, depth=1), farm / link.path)
    return farm


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(PATHS, min_size=1, max_size=8), min_size=1, max_size=4), st.data())
def test_a_farm_shows_every_file_of_every_package(packages: list[set[str]], data: st.DataObject) -> None:
    """Where files do not clash, reading through the farm is reading all packages laid over one another."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        trees, expected = [], {}
        for number, paths in enumerate(packages):
            lib = home / "store" / str(number)
            lib.mkdir(parents=True)
            write(lib, paths, str(number))
            physical = data.draw(st.sets(st.sampled_from(["a", "b/c", "deep"]), max_size=2))
            trees.append(Tree(path=str(lib), target=f"store/{number}", physical=frozenset(physical)))
            for path, content in files_below(lib).items():
                expected.setdefault(path, content)
        clash = {path for path in expected if any(other.startswith(path + "/") for other in expected)}

        shown = files_below(plant(home, trees))

        if not clash:
            assert expected == shown


@settings(max_examples=60, deadline=None)
@given(st.sets(PATHS, min_size=1, max_size=8))
def test_one_package_alone_needs_one_link_for_each_top_level_name(paths: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lib = Path(folder, "lib")
        lib.mkdir()
        write(lib, paths, "only")
        top = {name for name in os.listdir(lib) if not name.endswith(".dist-info")}

        made = plan([Tree(path=str(lib), target="store/only")])

        linked = {link.path for link in made.links if "/" not in link.path}
        assert top == {name for name in linked if not name.endswith(".dist-info")}
