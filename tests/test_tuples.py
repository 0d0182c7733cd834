"""The light named tuples behave as those of `typing`, which a type checker takes them for."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import pytest

from envbuilder.errors import Place

if TYPE_CHECKING:
    from collections.abc import Callable


def test_fields_by_place_by_name_and_by_default() -> None:
    place = Place("file", column=3)

    assert place == ("file", 0, 3) == Place(file="file", line=0, column=3)
    assert (place.file, place.line, place.column) == tuple(place)
    assert repr(place) == "Place(file='file', line=0, column=3)"


def test_a_changed_copy_and_a_dict() -> None:
    place = Place("file", 1, 2)

    assert place._replace(line=7) == ("file", 7, 2)
    assert place._asdict() == {"file": "file", "line": 1, "column": 2}
    assert copy.copy(place) == pickle.loads(pickle.dumps(place)) == place


@pytest.mark.parametrize(
    "wrong",
    [
        Place,
        lambda: Place("file", 1, 2, 3),
        lambda: Place("file", file="file"),
        lambda: Place("file", other=1),
        lambda: Place("file")._replace(other=1),
    ],
)
def test_what_does_not_fit_is_a_type_error(wrong: Callable[[], object]) -> None:
    with pytest.raises(TypeError):
        wrong()


@pytest.mark.parametrize("name", ["line", "other"])
def test_nothing_in_it_changes(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(Place("file"), name, 1)
