"""The benchmarks' table, charts and sums: what they make of figures; nothing is measured here."""

from __future__ import annotations

import json
import math
import os
import sys
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import kit
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def table() -> ModuleType:
    import table

    return table


@pytest.fixture
def chart() -> ModuleType:
    import chart

    return chart


def row(**fields: Any) -> Any:
    from table import Row

    return Row(**{"name": "a row", "what": "time / another's", "value": 0.5, "unit": "x", **fields})


def run(*rows: Any, **fields: Any) -> Any:
    from table import Found

    return Found(rows=rows, **fields)


def svg(text: str) -> ET.Element:
    return ET.fromstring(text)


def of_class(picture: ET.Element, tag: str, *names: str) -> list[ET.Element]:
    return [each for each in picture.iter(SVG + tag) if set(names) & set(each.get("class", "").split())]


def texts(picture: ET.Element) -> list[str]:
    return ["".join(each.itertext()) for each in picture.iter(SVG + "text")]


@pytest.mark.parametrize(
    ("value", "limit", "verdict"),
    [(1.0, 1.0, "reached"), (1.01, 1.0, "missed"), (0, 0, "reached"), (1, 0, "missed"), (9.0, None, "")],
)
def test_a_limit_is_reached_up_to_itself(value: float, limit: float | None, verdict: str) -> None:
    assert row(value=value, limit=limit).verdict == verdict


@pytest.mark.parametrize(
    ("value", "least", "verdict"),
    [
        (0.1, 0.3, "reached"),
        (0.4, 0.2, "missed"),
        (0.4, 0.21, "out of reach"),
        (0.9, 0.21, "missed"),
        (0.4, None, "missed"),
    ],
)
def test_out_of_reach_is_what_the_physical_limit_does_not_keep(value: float, least: float, verdict: str) -> None:
    assert row(value=value, limit=0.2, least=least).verdict == verdict


def test_a_run_is_good_if_no_limit_is_missed_and_nothing_failed() -> None:
    assert run(row(limit=1.0), row(), skipped={"other": "no nix"}).is_good
    assert not run(row(limit=0.1)).is_good
    assert not run(row(limit=0.1), row(limit=0.1, least=0.2)).is_good
    assert run(row(limit=0.1, least=0.2)).is_good
    assert not run(row(limit=1.0), failed={"other": "Traceback"}).is_good


def test_the_table_says_what_was_measured_and_how_far_that_is_from_the_limits(table: ModuleType) -> None:
    near = row(limit=1.0, floor="a bare start", least=0.41, above=1.234)
    far = row(name="far", value=1234.5, unit="ms", limit=120)
    text = table.table(run(near, far, row(name="free"), skipped={"nix": "no nix"}, failed={"uv": "why\n"}), "a machine")
    times = "\N{MULTIPLICATION SIGN}"

    lines = text.splitlines()
    assert lines[0] == "a machine"
    assert (
        f"| a row | time / another's | 0.5 {times} | 1 {times} | reached | a bare start | 0.41 {times} | 1.23 {times} |"
        in lines
    )
    assert "| far | time / another's | 1234 ms | 120 ms | **missed** |  |  |  |" in lines
    assert f"| free | time / another's | 0.5 {times} |  |  |  |  |  |" in lines
    assert "1 reached, 1 missed, 0 out of reach, 1 without a limit, 1 skipped, 1 failed" in lines
    assert "skipped nix: no nix" in lines
    assert "failed uv:" in lines
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_the_record_has_every_number(table: ModuleType) -> None:
    grown = row(limit=1.0, points=((1.0, 2.0),), detail={"uv, ms": {"median": 1}})
    record = json.loads(json.dumps(table.record(run(grown, skipped={"nix": "no nix"}), "a machine", "now")))

    assert record["skipped"] == {"nix": "no nix"}
    assert record["rows"][0]["verdict"] == "reached"
    assert record["rows"][0]["points"] == [[1.0, 2.0]]
    assert record["rows"][0]["detail"] == {"uv, ms": {"median": 1}}


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.7])
def test_a_fit_finds_the_exponent(exponent: float) -> None:
    from fit import power

    found, factor = power((x, 3.0 * x**exponent) for x in (100.0, 1_000.0, 10_000.0))

    assert found == pytest.approx(exponent, abs=1e-9)
    assert factor == pytest.approx(3.0)


def test_a_fit_leaves_out_what_has_no_logarithm() -> None:
    from fit import power

    assert power([(0.0, 5.0), (1.0, -1.0), (10.0, 10.0), (100.0, 100.0)])[0] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="two points"):
        power([(1.0, 1.0), (10.0, 0.0)])


def test_every_row_with_a_limit_is_drawn_and_no_other(chart: ModuleType) -> None:
    limited = [
        row(name="kept", limit=1.0),
        row(name="over", value=2.0, limit=1.0),
        row(name="none", value=0, limit=0, unit=""),
        row(name="some", value=3, limit=0, unit=""),
        row(name="less than nothing", value=-4.0, limit=80, unit="MiB"),
        row(name="a < b & c", value=1e9, limit=1.0),
    ]
    picture = svg(chart.bars([*limited, row(name="free")]))

    assert len(of_class(picture, "rect", "reached")) == 3
    assert len(of_class(picture, "rect", "missed")) == 3
    assert {each.name for each in limited} <= set(texts(picture))
    assert "free" not in texts(picture)
    assert sum("missed" in text for text in texts(picture)) == 3


def test_bars_end_at_the_limit_where_it_is_just_kept_and_never_leave_the_picture(chart: ModuleType) -> None:
    shares = [0.0, 1e-9, 0.25, 1.0, 1.5, 1e9]
    picture = svg(chart.bars([row(value=value, limit=1.0) for value in shares]))
    lengths = [float(each.get("width", "nan")) for each in of_class(picture, "rect", "reached", "missed")]
    (limit,) = of_class(picture, "line", "limit")

    assert lengths == sorted(lengths)
    assert lengths[0] > 0
    assert lengths[3] + chart._LEFT == pytest.approx(float(limit.get("x1", "nan")), abs=0.2)
    assert max(lengths) + chart._LEFT <= chart.WIDTH


def test_a_chart_of_nothing_is_a_picture_too(chart: ModuleType) -> None:
    assert svg(chart.bars([])).tag == svg(chart.growth([])).tag == f"{SVG}svg"


def test_charts_know_the_dark(chart: ModuleType) -> None:
    for text in (chart.bars([row(limit=1.0)]), chart.growth([])):
        assert "prefers-color-scheme: dark" in text
        assert "http" not in text.replace(SVG[1:-1], "")


def test_growth_is_drawn_with_its_exponent(chart: ModuleType) -> None:
    grown = row(name="gc", points=tuple((x, 0.002 * x**1.5) for x in (100.0, 1_000.0, 10_000.0)))
    picture = svg(chart.growth([grown, row(name="flat"), row(name="noise", points=((1.0, -1.0), (2.0, 1.0)))]))
    dots = [(float(each.get("cx", "nan")), float(each.get("cy", "nan"))) for each in of_class(picture, "circle", "one")]
    (line,) = of_class(picture, "line", "one")

    assert "gc: size to the power of 1.50" in texts(picture)
    assert len(dots) == 3
    assert dots[0] == (float(line.get("x1", "nan")), float(line.get("y1", "nan")))
    assert not any(text.startswith(("flat", "noise")) for text in texts(picture))


def test_ratios_are_taken_turn_by_turn() -> None:
    from measure import Turns

    turns = Turns(seconds={"ours": (1.0, 2.0, 9.0), "uv": (2.0, 1.0, 3.0), "least": (0.5, 1.0, 3.0)})
    made = turns.row("a", "b", ours="ours", peer="uv", floor="least", limit=2.0)

    assert turns.ratios("ours", "uv") == [0.5, 2.0, 3.0]
    assert (made.value, made.reached, made.floor, made.least, made.above) == (2.0, True, "least", 1.0, 2.0)
    assert turns.added("ours", "uv") == 1000.0
    assert made.detail["turns"] == 3


def test_what_cannot_be_had_is_skipped_with_its_reason() -> None:
    from measure import Unavailable, or_skipped

    def make() -> Any:
        raise Unavailable("no nix")

    assert or_skipped("a", make).reason == "no nix"
    assert or_skipped("a", row).value == 0.5


def test_only_what_goes_with_a_folder_is_taken(tmp_path: Path) -> None:
    from disk import taken

    folder, inner = tmp_path / "overlay", tmp_path / "overlay" / "bin"
    inner.mkdir(parents=True)
    empty = taken(folder)
    (tmp_path / "store").write_text("x" * 10_000)
    os.link(tmp_path / "store", folder / "shared")
    assert taken(folder) == empty

    (folder / "own").write_text("x" * 10_000)
    os.link(folder / "own", folder / "again")
    (inner / "script").write_text("x" * 10_000)
    blocks = 512 * (folder / "own").stat().st_blocks
    assert taken(folder, without="bin").inodes == empty.inodes + 1
    assert taken(folder, without="bin").bytes >= empty.bytes + blocks
    assert taken(folder).inodes == empty.inodes + 2


def test_shares_of_a_limit(chart: ModuleType) -> None:
    assert chart.share(row(value=3.0, limit=2.0)) == 1.5
    assert chart.share(row(value=0, limit=0)) == 0.0
    assert chart.share(row(value=1, limit=0)) == math.inf


def test_a_row_that_fails_or_cannot_be_had_takes_no_other_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    import run as benchmarks
    from measure import Unavailable
    from table import Skipped

    def broken(folder: Path, runs: int) -> Iterator[Any]:
        yield row(name=f"{runs} runs", limit=1.0)
        yield Skipped(name="counted", reason="no valgrind")
        raise AssertionError("it broke")

    def lacking(folder: Path, runs: int) -> Iterator[Any]:
        yield row(name="before", value=folder.is_dir())
        raise Unavailable("no nix")

    monkeypatch.setattr(benchmarks, "ROWS", {"broken": broken, "lacking": lacking})
    made = benchmarks.measured(("broken", "lacking"), 7, tmp_path)
    benchmarks.save(tmp_path / "results", made, "a machine")

    assert [each.name for each in made.rows] == ["7 runs", "before"]
    assert made.skipped == {"counted": "no valgrind", "lacking": "no nix"}
    assert "it broke" in made.failed["broken"]
    ends = sorted(path.name[15:] for path in (tmp_path / "results").iterdir())
    assert ends == ["-growth.svg", ".json", ".md", ".svg"]
    assert not list(tmp_path.glob("vpm-env-benchmark-*"))
    assert "measuring broken" in capsys.readouterr().err


def test_what_a_run_wrote_is_what_the_page_shows(
    table: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(kit.ROOT / "docs"))
    import make_speed

    rows = [row(limit=0.6, floor="a floor", least=0.4, above=1.25, detail={"ms": [1, 2]}), row(name="another")]
    found = table.Found(rows=rows, skipped={"third": "no Nix here"}, failed={})
    (tmp_path / "run.json").write_text(json.dumps(table.record(found, "a machine", "2026-01-31T00:00:00+00:00")))
    (tmp_path / "speed.md").write_text(f"before\n{make_speed.BEGIN}\nold\n{make_speed.END}\nafter\n")
    monkeypatch.setattr(make_speed, "DOCS", tmp_path)

    make_speed.main(str(tmp_path / "run.json"))

    measured = table.table(found, "2026-01-31: a machine")
    page = (tmp_path / "speed.md").read_text()
    assert page == f"before\n{make_speed.BEGIN}\n{measured}{make_speed.END}\nafter\n"
    assert all(ET.parse(tmp_path / name).getroot().tag == f"{SVG}svg" for name in ("speed.svg", "growth.svg"))
