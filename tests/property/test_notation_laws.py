"""JSON by the interpreter's parts alone: what the package would read and write, in the same words."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

import kit
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuilder import digest, notation

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner), max_leaves=20
)
RECORDS = st.dictionaries(st.text(), VALUES)
TORN = st.text(alphabet='{}[],:"0123456789.eE+-\\ntrufalsNI \t\r\n\ufeffé', max_size=12)
"""What looks like JSON, and hardly ever is."""


def said(read: object, content: object) -> tuple[object, str]:
    try:
        return (type(None), repr(read(content)))  # type: ignore[operator]
    except ValueError as error:
        return type(error), str(error)


def read(content: bytes) -> dict[str, object] | None:
    """Read a sealed record from a file; None for what is none."""
    with tempfile.NamedTemporaryFile() as stream:
        stream.write(content)
        stream.flush()
        try:
            return digest.read_sealed(stream.name)
        except ValueError:
            return None


@given(VALUES)
def test_what_is_written_is_what_the_package_reads(value: object) -> None:
    plain = json.loads(json.dumps(value))

    for text in (notation.dumps(value), json.dumps(value)):
        assert repr(json.loads(text)) == repr(notation.loads(text)) == repr(plain)


@given(VALUES.filter(lambda value: "nan" not in repr(value) and "inf" not in repr(value)))
def test_there_is_one_spelling(value: object) -> None:
    wanted = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)

    assert notation.canonical(value) == wanted.encode()


@given(RECORDS)
def test_lines_are_the_same_record(record: dict[str, object]) -> None:
    text = notation.lined(record)

    assert repr(json.loads(text)) == repr(json.loads(json.dumps(record)))
    assert len(text.splitlines()) >= len(record) + 2 * bool(record)


@given(TORN | TORN.map(str.encode) | st.binary(max_size=8) | VALUES.map(json.dumps))
def test_it_reads_and_refuses_what_the_package_does(content: str | bytes) -> None:
    assert said(notation.loads, content) == said(json.loads, content)


@given(st.dictionaries(st.text(max_size=9), st.none() | st.integers() | st.text(max_size=9)))
def test_a_seal_over_the_bytes_is_the_seal_over_the_record(record: dict[str, object]) -> None:
    content = digest.spelled(record)
    whole = json.loads(content)

    assert whole == json.loads(notation.canonical(digest.sealed(record)))
    assert read(content) == read(json.dumps(whole, indent=1).encode()) == whole


def test_a_sealed_record_with_another_bit_is_refused_or_says_the_same() -> None:
    content = digest.spelled({"name": "größe", "parts": [], "size": 7})
    torn = [
        content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
        for at in range(len(content))
        for bit in range(8)
    ]

    said = [read(each) for each in torn]

    assert {repr(each) for each in said} <= {"None", repr(read(content))}
    assert said.count(None) > len(said) - 8


@pytest.mark.parametrize("wrong", [{1, 2}, object(), float("nan")])
def test_what_is_no_plain_data_has_no_canonical_form(wrong: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        notation.canonical([wrong])


def test_too_deep_is_told() -> None:
    with pytest.raises(RecursionError):
        notation.loads("[" * 200_000)


def test_without_the_parts_the_package_does_it() -> None:
    code = """
import sys
sys.modules["_json"] = None
from envbuilder import notation
value = {"b": [1, {"x": 2.5}], "a": "\u00e9"}
print(ascii((notation.canonical(value), notation.dumps(value), notation.lined(value), notation.loads(b" [1, null] "))))
"""
    value = {"b": [1, {"x": 2.5}], "a": "\u00e9"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(kit.ROOT)}, capture_output=True, text=True, check=True
    )

    wanted = (notation.canonical(value), notation.dumps(value), notation.lined(value), [1, None])
    assert done.stdout.strip() == ascii(wanted)
