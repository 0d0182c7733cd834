"""Named tuples and `TYPE_CHECKING` for the rooms that every verb enters; a type checker sees those of `typing`.

At run time `typing` costs a third of a bare interpreter start, and its `NamedTuple` compiles every annotation of every
class: together more than all the rest of `rollback`.
"""

from __future__ import annotations

try:
    from _operator import itemgetter  # what else `operator` brings costs as much as this whole room
except ImportError:
    from operator import itemgetter

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any, NamedTuple

    from typing_extensions import Self
else:

    class _Fields(type):
        """Make a tuple of a class whose body lists its fields; those with a value are optional."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
            fields = tuple(body.get("__annotations__", ()))
            defaults = {field: body.pop(field) for field in fields if field in body}
            getters = {field: property(itemgetter(at)) for at, field in enumerate(fields)}
            own = {"__slots__": (), "__match_args__": fields, "_fields": fields, "_field_defaults": defaults}
            return super().__new__(cls, name, bases, {**body, **getters, **own})

    class NamedTuple(tuple, metaclass=_Fields):
        """What `typing.NamedTuple` is, as far as it is used here."""

        __slots__ = ()

        def __new__(cls, *values: Any, **named: Any) -> Self:
            fields, count = cls._fields, len(values)
            if not named and count == len(fields):
                return tuple.__new__(cls, values)
            if count + len(named) == len(fields):  # so none is given twice if all others are named
                try:
                    return tuple.__new__(cls, values + tuple([named[field] for field in fields[count:]]))
                except KeyError:
                    pass
            placed = dict(zip(fields, values, strict=False))
            given = {**cls._field_defaults, **placed, **named}
            if len(placed) < len(values) or placed.keys() & named or len(given) != len(fields) or given.keys() - fields:
                raise TypeError(f"{cls.__name__} takes {', '.join(fields)}")
            return tuple.__new__(cls, map(given.__getitem__, fields))

        _make = classmethod(tuple.__new__)

        def __getnewargs__(self) -> tuple[Any, ...]:
            return tuple(self)

        def __repr__(self) -> str:
            return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._asdict().items())})"

        def _asdict(self) -> dict[str, Any]:
            return dict(zip(self._fields, self, strict=True))

        def _replace(self, **changed: Any) -> Self:
            return type(self)(**{**self._asdict(), **changed})


__all__ = ["TYPE_CHECKING", "NamedTuple"]
