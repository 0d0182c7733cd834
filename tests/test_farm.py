"""The link farm: the fewest links, and never a wrong file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from envbuilder.farm import Tree, link_text, plan

if TYPE_CHECKING:
    from pathlib import Path


def tree(root: Path, name: str, *files: str, physical: tuple[str, ...] = ()) -> Tree:
    for file in files:
        path = root / name / "lib" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return Tree(path=str(root / name / "lib"), target=f"store/{name}", physical=frozenset(physical))


def links(*trees: Tree, sources: tuple[tuple[str, Tree], ...] = ()) -> dict[str, str]:
    return {link.path: link.target for link in plan(trees, sources=sources).links}


def test_a_directory_with_one_owner_is_one_link(tmp_path: Path) -> None:
    made = plan([tree(tmp_path, "a", "alpha/__init__.py", "alpha/deep/er/x.py")])

    assert made.directories == []
    assert [(link.path, link.target, link.hard) for link in made.links] == [("alpha", "store/a/alpha", False)]


def test_a_namespace_with_two_owners_is_a_real_directory(tmp_path: Path) -> None:
    made = plan([tree(tmp_path, "a", "space/one/__init__.py"), tree(tmp_path, "b", "space/two/__init__.py")])

    assert made.directories == ["space"]
    assert {link.path: link.target for link in made.links} == {
        "space/one": "store/a/space/one",
        "space/two": "store/b/space/two",
    }


def test_files_of_a_regular_package_that_two_share_are_hard_links(tmp_path: Path) -> None:
    made = plan([tree(tmp_path, "a", "pkg/__init__.py", "pkg/x.py"), tree(tmp_path, "b", "pkg/y.py")])

    assert {link.path for link in made.links} == {"pkg/__init__.py", "pkg/x.py", "pkg/y.py"}
    assert all(link.hard for link in made.links)


def test_dist_info_is_real_so_that_installers_list_it(tmp_path: Path) -> None:
    made = plan([tree(tmp_path, "a", "a-1.0.dist-info/METADATA", "a-1.0.dist-info/licenses/LICENSE")])

    assert made.directories == ["a-1.0.dist-info"]
    assert {link.path for link in made.links} == {"a-1.0.dist-info/METADATA", "a-1.0.dist-info/licenses"}


def test_a_physical_directory_and_its_parents_are_real(tmp_path: Path) -> None:
    found = tree(tmp_path, "a", "nv/fft/lib/x.so", "nv/fft/include/x.h", physical=("nv/fft/lib",))

    made = plan([found])

    assert made.directories == ["nv", "nv/fft", "nv/fft/lib"]
    assert {link.path: link.hard for link in made.links} == {"nv/fft/include": False, "nv/fft/lib/x.so": True}


def test_bytecode_of_single_modules_meets_in_one_real_directory(tmp_path: Path) -> None:
    one = tree(tmp_path, "a", "one.py", "__pycache__/one.cpython-311.pyc")
    two = tree(tmp_path, "b", "two.py", "__pycache__/two.cpython-311.pyc")

    assert set(links(one, two)) == {
        "one.py",
        "two.py",
        "__pycache__/one.cpython-311.pyc",
        "__pycache__/two.cpython-311.pyc",
    }


def test_an_editable_module_is_a_symlink_because_editors_replace_files(tmp_path: Path) -> None:
    source = tmp_path / "src" / "mine.py"
    source.parent.mkdir()
    source.write_text("")

    (link,) = plan([], sources=[("mine.py", Tree(path=str(source), target=str(source)))]).links

    assert (link.hard, link_text(link, depth=6)) == (False, str(source))


def test_link_texts_climb_from_where_the_link_lies(tmp_path: Path) -> None:
    first, second = tree(tmp_path, "a", "space/one/x.py"), tree(tmp_path, "b", "space/two/y.py", "top/z.py")

    texts = {link.path: link_text(link, depth=2) for link in plan([first, second]).links}

    assert texts == {
        "space/one": "../../../store/a/space/one",
        "space/two": "../../../store/b/space/two",
        "top": "../../store/b/top",
    }


def test_short_names_fit_into_an_inode() -> None:
    """A symlink of 60 bytes or more takes a block of its own on ext4."""
    text = "../" * 6 + "store/" + "0" * 12 + "/" + "x" * 22

    assert len(os.fsencode(text)) < 60
