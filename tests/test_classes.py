"""The light data classes behave as those of `dataclasses`, which a type checker takes them for."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from envbuilder import classes

if TYPE_CHECKING:
    from collections.abc import Callable


def made(source: Any) -> tuple[Any, Any]:
    """Make a frozen class and an open one."""
    field = source.field

    @source.dataclass(frozen=True, kw_only=True, slots=True)
    class Firm:
        name: str
        count: int = 3
        words: tuple[str, ...] = ()
        seen: dict[str, int] = field(default_factory=dict, compare=False, repr=False)
        label: str = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "label", f"{self.name} {self.count}")

        @property
        def size(self) -> int:
            return len(self.words)

    @source.dataclass(kw_only=True, slots=True)
    class Open:
        name: str
        found: list[str] = field(default_factory=list)

    return Firm, Open


@pytest.fixture(params=[classes, dataclasses], ids=["ours", "Python's"])
def source(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def firm(source: Any) -> Any:
    return made(source)[0]


@pytest.fixture
def loose(source: Any) -> Any:
    return made(source)[1]


def test_values_defaults_and_what_follows_from_them(firm: Any) -> None:
    it = firm(name="a", words=("b", "c"))

    assert (it.name, it.count, it.words, it.seen, it.label, it.size) == ("a", 3, ("b", "c"), {}, "a 3", 2)
    assert firm(name="a").seen is not firm(name="a").seen
    assert repr(it) == f"{firm.__qualname__}(name='a', count=3, words=('b', 'c'), label='a 3')"
    assert firm.__slots__ == ("name", "count", "words", "seen", "label")
    assert not hasattr(it, "__dict__")


def test_equal_are_those_of_one_class_whose_values_are(firm: Any, loose: Any) -> None:
    assert firm(name="a", seen={"b": 1}) == firm(name="a")
    assert hash(firm(name="a", seen={"b": 1})) == hash(firm(name="a"))
    assert firm(name="a") != firm(name="b")
    assert firm(name="a") != loose(name="a") != ("a",)
    with pytest.raises(TypeError):
        hash(loose(name="a"))


def test_a_changed_copy_is_made_anew(source: Any, firm: Any) -> None:
    before = firm(name="a", seen={"b": 1})
    after = source.replace(before, count=4)

    assert (after.label, after.seen, before.count) == ("a 4", {"b": 1}, 3)


def test_an_open_one_changes(loose: Any) -> None:
    it = loose(name="a")
    it.name = "b"
    it.found.append("c")

    assert it == loose(name="b", found=["c"])


@pytest.mark.parametrize("name", ["count", "other"])
def test_a_frozen_one_does_not(firm: Any, name: str) -> None:
    it = firm(name="a")
    # Python's own class means another class by `super()` here than the one that it returns
    with pytest.raises((AttributeError, TypeError)):
        setattr(it, name, 1)
    with pytest.raises((AttributeError, TypeError)):
        delattr(it, name)
    assert it == firm(name="a")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda firm: firm(),
        lambda firm: firm("a"),
        lambda firm: firm(name="a", other=1),
        lambda firm: firm(name="a", label="b"),
    ],
)
def test_what_does_not_fit_is_a_type_error(firm: Any, wrong: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError):
        wrong(firm)


def test_others_are_refused() -> None:
    with pytest.raises(TypeError):
        classes.dataclass(kw_only=False, slots=True)  # type: ignore[call-overload]
