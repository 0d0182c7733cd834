"""Data classes, for every room; a type checker sees those of `dataclasses`, as which these behave where they are used.

They have no ancestors, and nobody copies or pickles them. `dataclasses` brings `inspect`, which takes twice as long as
an interpreter's start, and compiles the methods of every class anew in every process: together a sixth of a `pull`,
and as much of a build that has little to do.
"""

from __future__ import annotations

from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass, field, replace
    from typing import Any
else:
    _NOTHING = object()
    _put = object.__setattr__

    class field:  # noqa: N801 (the name by which everybody knows it)
        """What a class says of a field of its own beyond its type."""

        __slots__ = ("compare", "default", "default_factory", "init", "repr")

        def __init__(
            self,
            *,
            default: Any = _NOTHING,
            default_factory: Callable[[], Any] | None = None,
            init: bool = True,
            repr: bool = True,  # noqa: A002 (the name by which everybody knows it)
            compare: bool = True,
        ) -> None:
            self.default, self.default_factory = default, default_factory
            self.init, self.repr, self.compare = init, repr, compare

    def dataclass(*, kw_only: bool, slots: bool, frozen: bool = False) -> Callable[[type], type]:
        """Make a class of one whose body lists its fields; each has a slot, and is given by its name."""
        if not (kw_only and slots):
            raise TypeError("there are no others here")

        def made(plain: type) -> type:
            body = dict(vars(plain))
            given = {name: body.pop(name, _NOTHING) for name in plain.__annotations__}
            fields = {name: one if isinstance(one, field) else field(default=one) for name, one in given.items()}
            for name in ("__dict__", "__weakref__"):
                body.pop(name, None)
            methods = _methods(fields, has_more="__post_init__" in body) | (_FROZEN if frozen else _OPEN)
            own = {"__slots__": tuple(fields), "__match_args__": (), "__qualname__": plain.__qualname__}
            return type(plain.__name__, plain.__bases__, {**methods, **body, **own})

        return made

    def _methods(fields: dict[str, field], *, has_more: bool) -> dict[str, Callable[..., Any]]:
        """Return how objects with these fields are made, shown, compared and copied."""
        names = {name for name, one in fields.items() if one.init}
        defaults = {name: one.default for name, one in fields.items() if one.default is not _NOTHING}
        factories = {name: one.default_factory for name, one in fields.items() if one.default_factory}
        shown = [name for name, one in fields.items() if one.repr]
        compared = [name for name, one in fields.items() if one.compare]

        def __init__(self: Any, /, **given: Any) -> None:  # noqa: N807 (a method)
            values = {**defaults, **given}
            for name, make in factories.items():
                if name not in given:
                    values[name] = make()
            if values.keys() != names:
                odd = ", ".join(sorted(values.keys() ^ names))
                raise TypeError(f"{type(self).__name__} takes {', '.join(sorted(names))}; wrong or lacking: {odd}")
            for name, value in values.items():
                _put(self, name, value)
            if has_more:
                self.__post_init__()

        def __repr__(self: Any) -> str:  # noqa: N807 (a method)
            told = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
            return f"{type(self).__qualname__}({told})"

        def _compared(self: Any) -> tuple[Any, ...]:
            return tuple([getattr(self, name) for name in compared])

        def __replace__(self: Any, /, **changed: Any) -> Any:  # noqa: N807 (a method)
            return type(self)(**{**{name: getattr(self, name) for name in names}, **changed})

        own = (__init__, __repr__, _compared, __replace__)
        return {**{method.__name__: method for method in own}, "__eq__": _is_equal}

    def _is_equal(self: Any, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self is other or self._compared() == other._compared()  # noqa: SLF001 (of the same class)

    def _hash(self: Any) -> int:
        return hash(self._compared())

    def _refuse(self: Any, name: str, *_: object) -> None:
        raise AttributeError(f"{name!r} of a frozen {type(self).__name__} cannot be changed")

    _FROZEN = {"__hash__": _hash, "__setattr__": _refuse, "__delattr__": _refuse}
    _OPEN = {"__hash__": None}

    def replace(it: Any, /, **changed: Any) -> Any:
        """Return a copy with other values in some fields."""
        return it.__replace__(**changed)


__all__ = ["dataclass", "field", "replace"]
