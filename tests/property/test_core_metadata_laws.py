"""What a package says of itself is read here as `importlib.metadata` reads it, or with its help."""

from __future__ import annotations

import tempfile
from importlib.metadata import Distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import example, given
from hypothesis import strategies as st

from envbuilder.core_metadata import entry_points, headers

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS = st.sampled_from(
    [
        "Name",
        "name",
        "Version",
        "Requires-Dist",
        "demo",
        "1.0",
        "other>=2; extra == 'x'",
        "é",
        "Summary",
        "From ",
        "x y",
        "Content-Type",
        "multipart/x; boundary=y",
    ]
)
SIGNS = st.sampled_from(
    [": ", ":", "\n", "\n\n", "\r\n", "\r", " ", "\t", "\x0b", "\x85", "\u2028", "\x00", "\n ", " : "]
)
TEXTS = st.lists(WORDS | SIGNS | st.characters(codec="utf-8"), max_size=30).map("".join)
LINES = st.lists(
    st.tuples(st.sampled_from(["Name", "Version", "Requires-Dist", "Summary", "NAME"]), WORDS).map(": ".join),
    max_size=8,
).map(lambda lines: "\n".join(lines) + "\n")
POINTS = st.lists(
    st.sampled_from(
        ["[console_scripts]", "[a.b]", "[", "]", "a = b:c", "a=b", "=", "a", "# no", "", " ", "[x] y", "a = b = c"]
    )
    | st.text(max_size=5),
    max_size=10,
).flatmap(lambda lines: st.sampled_from(["\n", "\r\n", "\x0c"]).map(lambda end: end.join(lines)))


def had(read: Callable[[], Any]) -> Any:
    """Return what is read, or that it cannot be."""
    try:
        return read()
    except Exception:  # noqa: BLE001 (whatever it is: there is none that both can read)
        return "cannot be read"


@given(text=TEXTS | LINES, older=st.none() | st.just("old\n[extra]\nolder\n"), ends=st.binary(max_size=2))
@example(text="Name: a\nVersion: 1\nRequires-Dist: b\n  >2\n\nbody", older=None, ends=b"")
@example(text="Name: a\nName: b\nVersion: 1", older="old\n", ends=b"")
@example(text="\nName: a\n", older=None, ends=b"")
@example(text="Name: a\nVersion: 1\n", older=None, ends=b"\xff")
@example(text="Name: a\nVersion: 1\nContent-Type: multipart/x; boundary*=a\0b''c\n", older=None, ends=b"")
@example(text="Name: a\nContent-Type: multipart/mixed; boundary*9=x; boundary*a=1\n", older=None, ends=b"")
@example(text="Name: a\nContent-Type: multipart/mixed; boundary*0*=idna''x\n", older=None, ends=b"")
@example(text="Name: a\nVersion: 1\n" + "Content-Type: message/rfc822\n\n" * 2000, older=None, ends=b"")
def test_headers_are_those_that_python_reads(text: str, older: str | None, ends: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "demo-1.0.dist-info")
        place.mkdir()
        (place / "METADATA").write_bytes(text.encode() + ends)
        if older:
            (place / "requires.txt").write_text(older)

        def expected() -> tuple[Any, ...]:
            said = Distribution.at(place)
            return said.metadata["Name"], said.metadata["Version"], tuple(said.requires or ())

        assert had(lambda: tuple(headers(str(place)))) == had(expected)


@given(text=POINTS)
def test_entry_points_are_those_that_python_reads(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "demo-1.0.dist-info")
        place.mkdir()
        (place / "entry_points.txt").write_bytes(text.encode())

        def expected() -> list[tuple[str, str, str]]:
            return [(point.group, point.name, point.value) for point in Distribution.at(place).entry_points]

        assert had(lambda: entry_points(str(place))) == had(expected)
