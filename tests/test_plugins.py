"""What a host gets from `envbuilder.plugins`: real distributions on `sys.path`, real imports."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from envbuilder.plugins import load_plugins, load_plugins_by_group

if TYPE_CHECKING:
    from pathlib import Path

numbers = itertools.count()


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give a group of its own to each test: what was called in a process is not called again."""
    monkeypatch.syspath_prepend(tmp_path)
    return f"host{next(numbers)}.plugins"


def publish(folder: Path, group: str, name: str, *points: str, code: str = "") -> str:
    """Put a distribution with one module and entry points `name = function` into `folder`; return the module."""
    module = f"{name}_{group.partition('.')[0]}"
    (folder / f"{module}.py").write_text(f"calls = []\n{code}")
    dist_info = folder / f"{name}-1.0.dist-info"
    dist_info.mkdir()
    (dist_info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{point.replace('=', f'= {module}:')}\n" for point in points]
    (dist_info / "entry_points.txt").write_text(f"[{group}]\n" + "".join(lines))
    return module


REGISTER = "def register():\n    calls.append(1)\n    return len(calls)\n"


def test_loaded_by_name_and_not_called(tmp_path: Path, group: str) -> None:
    publish(tmp_path, group, "one", "a =register", "b =Model", code=REGISTER + "class Model: pass\n")

    loaded = load_plugins_by_group(group)

    assert sorted(loaded) == ["a", "b"]
    assert loaded["a"]() == 1
    assert loaded["b"].__name__ == "Model"


def test_no_plugins(group: str) -> None:
    assert load_plugins_by_group(group) == {}
    assert load_plugins(group) == {}


def test_allowed_are_entry_points_or_distributions(tmp_path: Path, group: str) -> None:
    publish(tmp_path, group, "one", "a =register", "b =register", code=REGISTER)
    publish(tmp_path, group, "two", "c =register", code=REGISTER)

    assert set(load_plugins_by_group(group, allowed=["b"])) == {"b"}
    assert set(load_plugins_by_group(group, allowed={"one"})) == {"a", "b"}
    assert load_plugins_by_group(group, allowed=()) == {}


def test_what_does_not_load_is_logged_and_left_out(
    tmp_path: Path, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path, group, "bad", "a =register", code="raise OSError('no device')\n")
    publish(tmp_path, group, "gone", "b =missing")
    publish(tmp_path, group, "text", "c =value", code="value = 'x'\n")
    publish(tmp_path, group, "good", "d =register", code=REGISTER)

    assert set(load_plugins_by_group(group)) == {"d"}
    assert sorted(record.getMessage().split()[2] for record in caplog.records) == ["a", "b", "c"]
    assert "no device" in caplog.text
    assert "not callable" in caplog.text


def test_the_first_of_two_names_is_used_and_told(
    tmp_path: Path, group: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = tmp_path / "behind"
    behind.mkdir()
    first = publish(tmp_path, group, "one", "a =register", code=REGISTER)
    second = publish(behind, group, "two", "a =register", code=REGISTER)
    monkeypatch.syspath_prepend(behind)
    monkeypatch.syspath_prepend(tmp_path)

    assert load_plugins_by_group(group)["a"].__module__ == first
    assert [record.getMessage() for record in caplog.records] == [
        f"group {group}: a = {first}:register (one) is used, a = {second}:register (two) is not"
    ]


def test_called_once_a_process(tmp_path: Path, group: str) -> None:
    publish(tmp_path, group, "one", "a =register", code=REGISTER)
    publish(tmp_path, group, "two", "b =register", code=REGISTER)

    assert load_plugins(group, allowed=["a"]) == {"a": 1}
    assert load_plugins(group) == {"a": 1, "b": 1}
    assert load_plugins(group) == {"a": 1, "b": 1}


def test_a_plugin_that_raises_is_logged_and_not_called_again(
    tmp_path: Path, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    code = "def register():\n    calls.append(1)\n    raise RuntimeError(f'call {len(calls)}')\n"
    publish(tmp_path, group, "bad", "a =register", code=code)
    publish(tmp_path, group, "good", "b =register", code=REGISTER)

    assert load_plugins(group) == {"b": 1}
    assert load_plugins(group) == {"b": 1}
    assert "call 1" in caplog.text
    assert "call 2" not in caplog.text
