"""Blocks for `with`, for every room; a type checker sees the functions of `contextlib`, as which these behave.

`contextlib` brings `collections` and `functools`: together a third of a bare interpreter start, and a sixth of all that
`rollback` did.
"""

from __future__ import annotations

from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import contextmanager, suppress
    from types import TracebackType
    from typing import Any
else:

    def contextmanager(function: Callable[..., Generator[Any]]) -> Callable[..., _Block]:
        """Make a block of a generator: what stands before its `yield`, then the body, then the rest."""

        def made(*values: Any, **named: Any) -> _Block:
            return _Block(function(*values, **named))

        made.__name__, made.__doc__, made.__wrapped__ = function.__name__, function.__doc__, function
        return made

    class _Block:
        __slots__ = ("_steps",)

        def __init__(self, steps: Generator[Any]) -> None:
            self._steps = steps

        def __enter__(self) -> Any:
            for given in self._steps:
                return given
            raise RuntimeError("the generator of a block did not yield")

        def __exit__(self, _: object, error: BaseException | None, trace: TracebackType | None) -> bool:
            try:
                if error is None:
                    next(self._steps)
                else:
                    self._steps.throw(error)
            except StopIteration as end:
                return end is not error
            except BaseException as raised:
                if not _is_same(raised, error):
                    raise
                error.__traceback__ = trace  # without the frames of the generator that only passed it on
                return False
            raise RuntimeError("the generator of a block yields twice")

    def _is_same(raised: BaseException, error: BaseException | None) -> bool:
        """Tell whether a generator only passed an error on; `StopIteration` comes out as a cause (PEP 479)."""
        return raised is error or (isinstance(error, StopIteration) and raised.__cause__ is error)

    class suppress:  # noqa: N801 (the name by which everybody knows it)
        """Pass over errors of some kinds in the body."""

        __slots__ = ("_kinds",)

        def __init__(self, *kinds: type[BaseException]) -> None:
            self._kinds = kinds

        def __enter__(self) -> None:
            return None

        def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool:
            return kind is not None and issubclass(kind, self._kinds)


__all__ = ["contextmanager", "suppress"]
