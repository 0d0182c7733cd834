"""The light blocks behave as those of `contextlib`, which a type checker takes them for."""

from __future__ import annotations

import contextlib
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from envbuilder import contexts

if TYPE_CHECKING:
    from collections.abc import Iterator

BOTH = pytest.mark.parametrize("kind", [contexts, contextlib], ids=["ours", "theirs"])


def tell(kind: Any, body: Any, *, handled: type[BaseException] | tuple[()] = (), raised: Any = None) -> list[str]:
    """Run `body` in a block whose generator handles an error, or raises one at its end; return what happened."""
    told: list[str] = []

    @kind.contextmanager
    def block(name: str, *, size: int = 1) -> Iterator[str]:
        told.append("in")
        try:
            yield name * size
        except handled as error:
            told.append(f"handled {error!r}")
        finally:
            told.append("out")
        if raised is not None:
            raise raised

    try:
        with block("a", size=3) as given:
            told.append(given)
            body()
        told.append("after")
    except BaseException as error:  # noqa: BLE001 (whatever it is, it is told)
        place = traceback.extract_tb(error.__traceback__)[-1]
        told.append(f"{error!r} by {error.__cause__!r}, at {place.name}")
    return told


def fail(error: BaseException) -> Any:
    def body() -> None:
        raise error

    return body


@pytest.mark.parametrize(
    ("body", "handled", "raised"),
    [
        (lambda: None, (), None),
        (lambda: None, (), KeyError("late")),
        (fail(ValueError("v")), (), None),
        (fail(ValueError("v")), ValueError, None),
        (fail(ValueError("v")), KeyError, None),
        (fail(ValueError("v")), ValueError, OSError("other")),
        (fail(KeyboardInterrupt()), (), None),
        (fail(StopIteration("s")), (), None),
        (fail(StopIteration("s")), StopIteration, None),
        (fail(RuntimeError("r")), (), None),
        (fail(GeneratorExit()), (), None),
    ],
)
def test_a_block_of_a_generator(body: Any, handled: Any, raised: Any) -> None:
    ours, theirs = (tell(kind, body, handled=handled, raised=raised) for kind in (contexts, contextlib))

    assert ours == theirs
    assert ours[0] == "in"


@BOTH
def test_a_generator_that_does_not_yield_once_is_a_mistake(kind: Any) -> None:
    @kind.contextmanager
    def times(count: int) -> Iterator[int]:
        for at in range(count):
            try:
                yield at
            except ValueError:
                continue

    for count in (0, 2):
        with pytest.raises(RuntimeError), times(count):
            pass
    with pytest.raises(RuntimeError), times(2):
        raise ValueError


@BOTH
def test_some_kinds_of_errors_are_passed_over(kind: Any) -> None:
    with kind.suppress(KeyError, OSError):
        raise FileNotFoundError
    with kind.suppress():
        pass
    with pytest.raises(ValueError, match="other"), kind.suppress(KeyError):
        raise ValueError("other")


def test_what_a_block_is_made_of_can_be_asked() -> None:
    @contexts.contextmanager
    def named() -> Iterator[None]:
        """Say."""
        yield

    assert (named.__name__, named.__doc__) == ("named", "Say.")
