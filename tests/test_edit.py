"""What `add`, `remove`, `enable` and `disable` make of a config: the text, spec by spec and style by style."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import kit
import pytest

from envbuilder import config, edit, wanted, written
from envbuilder.errors import ConfigError, UsageError
from envbuilder.paths import Environment
from envbuilder.wanted import Choices, Wanted
from envbuilder.written import Draft

if TYPE_CHECKING:
    from pathlib import Path

FILE = "/srv/plugins.yaml"
ENV = Environment(variables={"HOME": "/home/someone"})
COMMENTED = """\
# What we serve with.
plugins:
  # The filter; ask Kim before you touch it.
  - name: filter   # 2024
    source: pypi
    version: ">=1,<2"  # 2 breaks logging
    # extras: [fast]

  - {name: router, source: git, url: 'https://git.example/router', ref: main}  # ours

  # - name: old
  #   source: pypi

index: [https://index.example/simple]
"""
ROUTER = COMMENTED[COMMENTED.index("\n  - {") : COMMENTED.index("\n  # - ")]
ONE, TWO = "plugins:\n  - name: a\n    source: pypi\n{}", "  - name: b\n    source: pypi\n"


def add(text: str, *specs: str, **choices: object) -> str:
    options = Choices(folder="/srv", env=ENV, **choices)  # type: ignore[arg-type]
    read = tuple(wanted.read(spec, options) for spec in specs)
    return edit.add(text.encode(), read, file=FILE, env=ENV).after.decode()


def record(spec: str, **choices: object) -> dict[str, object]:
    return dict(wanted.read(spec, Choices(folder="/srv", env=ENV, **choices)).record)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("demo", {"name": "demo", "source": "pypi"}),
        ("demo==1.2", {"name": "demo", "source": "pypi", "version": "==1.2"}),
        ("Demo [b,a] (>= 1, <2)", {"name": "Demo", "source": "pypi", "version": ">=1,<2", "extras": ["a", "b"]}),
        ("https://h/team/demo.git", {"name": "demo", "source": "git", "url": "https://h/team/demo.git"}),
        ("git+https://h/demo@v1", {"name": "demo", "source": "git", "url": "https://h/demo", "ref": "v1"}),
        ("git@h:team/demo.git@a/b", {"name": "demo", "source": "git", "url": "git@h:team/demo.git", "ref": "a/b"}),
        ("git+/srv/demo@v1", {"name": "demo", "source": "git", "url": "file:///srv/demo", "ref": "v1"}),
        ("git+ssh://git@h:22/demo", {"name": "demo", "source": "git", "url": "ssh://git@h:22/demo"}),
        ("https://${T}@h/demo.git@1", {"name": "demo", "source": "git", "url": "https://${T}@h/demo.git", "ref": "1"}),
        (
            "git+https://h/x@v1#subdirectory=p/one&egg=demo",
            {"name": "demo", "source": "git", "url": "https://h/x", "ref": "v1", "subdirectory": "p/one"},
        ),
        (
            "demo[fast] @ git+https://h/x#subdirectory=p/one",
            {"name": "demo", "source": "git", "url": "https://h/x", "subdirectory": "p/one", "extras": ["fast"]},
        ),
    ],
)
def test_specs_become_entries(spec: str, expected: dict[str, object]) -> None:
    assert record(spec) == expected


def test_paths_count_from_the_config_and_name_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "plain_folder").mkdir(parents=True)
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "pyproject.toml").write_text('[project]\nname = "My.Demo"\n')
    links = tmp_path / "dist"
    wheel = kit.wheel(links, "two-words", "1.0")
    (links / "old-thing-1.0.tar.gz").write_bytes(b"")
    monkeypatch.chdir(tmp_path / "here")

    def read(spec: str, **choices: object) -> tuple[object, object]:
        found = dict(wanted.read(spec, Choices(folder=str(tmp_path), env=ENV, **choices)).record)  # type: ignore[arg-type]
        return found["name"], found["path"]

    assert read("../project") == ("My.Demo", "./project")
    assert read("./plain_folder") == ("plain-folder", "./here/plain_folder")
    assert read(f"../dist/{wheel.name}", name="x") == ("x", f"./dist/{wheel.name}")
    assert read(f"{links}/old-thing-1.0.tar.gz") == ("old-thing", f"{links}/old-thing-1.0.tar.gz")
    assert record("../project[fast]", editable=True)["extras"] == ["fast"]
    assert record("../project", editable=True)["editable"] is True


@pytest.mark.parametrize(
    ("spec", "choices", "said"),
    [
        ("demo@1.2", {}, "write `demo==1.2` for a version"),
        ("demo=1.2", {}, "write `demo==1.2` for a version"),
        ("demo; python_version<'3'", {}, "has a marker"),
        ("a b", {}, "`a b` is no plugin"),
        ("./nowhere", {}, "there is no file or folder `./nowhere`"),
        ("https://h/demo-1.0-py3-none-any.whl", {}, "no source for the URL of a file"),
        ("git+https://h/x#main", {}, "ends with `#main`"),
        ("demo", {"ref": "v1"}, "`demo` is a package, and `--ref` is for a git repository"),
        ("git+https://h/x", {"source_index": "https://i"}, "is a git repository, and `--index` is for a package"),
        ("demo", {"editable": True}, "`--editable` is for a folder or file"),
    ],
)
def test_what_is_no_plugin_is_told(spec: str, choices: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        record(spec, **choices)
    assert said in f"{caught.value.message}\n{caught.value.hint}"


@pytest.mark.parametrize(
    ("spec", "choices", "said"),
    [
        ("demo>=1", {"source_index": "nowhere"}, "`demo>=1`: `index` must be a URL"),
        ("demo", {"name": "a b"}, "`--name` gives the plugin a name"),
        ("git+ftp://h/x", {}, "a URL: `url` must begin with one of"),
    ],
)
def test_a_value_that_the_config_would_refuse_is_refused_before(
    spec: str, choices: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        add("plugins: []\n", spec, **choices)
    assert said in f"{caught.value.message}\n{caught.value.hint}"


def test_an_addition_looks_like_its_neighbours() -> None:
    assert add("plugins: []  # none yet\n# end", "demo==1") == (
        'plugins:  # none yet\n  - name: demo\n    source: pypi\n    version: "==1"\n# end'
    )
    flow = add(COMMENTED, "git+https://h/demo@v1", optional=True)
    entry = '\n  - {name: demo, source: git, url: "https://h/demo", ref: v1, optional: true}\n'
    assert flow == COMMENTED.replace("  # ours\n", f"  # ours\n{entry}")
    assert add("plugins:\n-   name: a\n    source: pypi", "b") == (
        "plugins:\n-   name: a\n    source: pypi\n-   name: b\n    source: pypi"
    )


def test_what_is_there_is_changed_where_it_stands() -> None:
    assert add(COMMENTED, "filter==2") == COMMENTED.replace('">=1,<2"', '"==2"')
    assert add(COMMENTED, "git+https://git.example/router@v2") == COMMENTED.replace("ref: main", "ref: v2")
    assert add(COMMENTED, "Filter", "router", "filter>=1,<2") == COMMENTED
    assert add(COMMENTED, "filter[a]", disabled=True) == COMMENTED.replace(
        "breaks logging\n", "breaks logging\n    extras: [a]\n    enabled: false\n"
    )


@pytest.mark.parametrize(
    ("text", "name", "left"),
    [
        (
            COMMENTED,
            "router",
            COMMENTED.replace(COMMENTED[COMMENTED.index("\n  - {") : COMMENTED.index("\n  # - ")], ""),
        ),
        (ONE.format("") + "\n  # about b\n\n" + TWO, "b", ONE.format("") + "\n  # about b\n\n"),
        (ONE.format("    # of a\n") + "\n" + TWO, "a", "plugins:\n" + TWO),
        (ONE.format("\n    # of a\n  # of b\n") + TWO, "a", "plugins:\n  # of b\n" + TWO),
        (ONE.format("") + "# of nobody\n", "a", "plugins: []\n# of nobody\n"),
    ],
)
def test_a_plugin_goes_with_what_is_its_own(text: str, name: str, left: str) -> None:
    assert edit.remove(text.encode(), (name,), file=FILE, env=ENV).after.decode() == left


def test_another_source_takes_the_keys_of_the_old_along() -> None:
    changed = add(COMMENTED, "router==3", "git+https://h/x", name=None)

    assert '{name: router, source: pypi, version: "==3"}  # ours' in changed
    assert changed.endswith(COMMENTED[COMMENTED.index("\n  # - name: old") :])


def test_an_addition_switches_on_what_was_off_and_adds_to_lists() -> None:
    text = "plugins:\n  - name: a\n    source: pypi\n    extras: [x]\n    enabled: false # why\n"

    assert add(text, "a[y]") == text.replace("[x]", "[x, y]").replace("false # why", "true # why")


def test_a_second_plugin_of_one_package_is_told_and_nothing_changes() -> None:
    text = (
        "plugins:\n  - {name: a, source: pypi, package: demo}\n  - {name: b, source: pypi, package: demo, enabled: no}"
    )
    text = text.replace("enabled: no", "enabled: false")

    with pytest.raises(ConfigError, match="`demo` is here twice") as caught:
        edit.enable(text.encode(), ("b",), enabled=True, file=FILE, env=ENV)
    assert caught.value.hint == "nothing was written"


def test_names_that_are_none_are_told_at_once() -> None:
    text = "plugins:\n  - {name: one, source: pypi, package: demo}\n"
    text += "  - {name: two, source: pypi, package: demo, enabled: false}"

    with pytest.raises(UsageError) as caught:
        edit.remove(text.encode(), ("onee", "demo", "zzz"), file=FILE, env=ENV)
    assert caught.value.message.splitlines() == [
        f"there is no plugin `onee` in `{FILE}`",
        "several plugins take the package `demo`: `one` and `two`",
        f"there is no plugin `zzz` in `{FILE}`",
    ]
    assert caught.value.hint == "did you mean `one`?\nwrite the name of the plugin\nthere is `one`, `two`"
    assert edit.remove(text.encode(), ("two", "ONE"), file=FILE, env=ENV).after == b"plugins: []"


def test_what_cannot_be_changed_alone_is_not_changed() -> None:
    text = "? plugins\n: - name: a # mine\n    source: pypi\n"

    with pytest.raises(ConfigError) as caught:
        edit.remove(text.encode(), ("a",), file=FILE, env=ENV)
    assert caught.value.message.startswith(f"{FILE}:2:5: `plugins[0]`: is written in a way")
    assert caught.value.hint == "nothing was written; change it in an editor"


def demo(content: bytes, file: str) -> edit.Edited:
    return edit.add(content, (Wanted("demo", {"name": "demo", "source": "pypi"}, False),), file=file, env=ENV)


def test_the_file_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "plugins.yaml"
    real.write_text("plugins: []\n")
    real.chmod(0o640)
    link.symlink_to("real.yaml")
    draft, edited = written.write(Draft(str(link)), demo)

    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert real.read_bytes() == edited.after
    assert sorted(os.listdir(tmp_path)) == ["home", "plugins.yaml", "real.yaml"]
    assert written.take_back(draft, edited)
    assert real.read_text() == "plugins: []\n"


def test_a_change_that_somebody_built_on_is_not_taken_back(tmp_path: Path) -> None:
    file = tmp_path / "plugins.yaml"
    file.write_text("plugins: []\n")
    draft, edited = written.write(Draft(str(file)), demo)
    file.write_bytes(edited.after + b"# more\n")

    assert not written.take_back(draft, edited)
    assert file.read_bytes().endswith(b"# more\n")


def test_a_new_file_is_taken_back_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "plugins.yaml"
    draft, edited = written.write(Draft(str(file), start=b"plugins: []\n", engine="vllm"), demo)

    assert config.read(str(file), env=ENV).plugins[0].name == "demo"
    assert written.take_back(draft, edited)
    assert not file.exists()


def test_changes_at_the_same_time_are_all_there(tmp_path: Path) -> None:
    file = tmp_path / "plugins.yaml"
    file.write_text("plugins: []\n")
    names = {f"plugin-{number}" for number in range(16)}
    together = Barrier(len(names))

    def add_one(name: str) -> None:
        together.wait()
        one = (Wanted(name, {"name": name, "source": "pypi"}, False),)
        written.write(Draft(str(file)), lambda content, path: edit.add(content, one, file=path, env=ENV))

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(add_one, names))
    assert {plugin.name for plugin in config.read(str(file), env=ENV).plugins} == names


def test_all_specs_that_are_none_are_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        wanted.read_all(("a b", "demo", "x=1"), Choices(folder="/srv", env=ENV))
    assert caught.value.message == "`a b` is no plugin\n`x=1` is no plugin"
    assert str(caught.value.hint).endswith("\nwrite `x==1` for a version")


def test_a_read_only_file_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "plugins.yaml"
    file.write_text("plugins: []\n")
    file.chmod(0o444)

    with pytest.raises(ConfigError, match="cannot be written: it is read-only") as caught:
        written.write(Draft(str(file)), demo)
    assert caught.value.hint
    assert file.read_text() == "plugins: []\n"
