"""Findings by code: the table of all of them, and what a config accepts for one plugin."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import kit
import pytest

from envbuilder.acceptance import accepting, refused, ways
from envbuilder.codes import CODES
from envbuilder.config import of_content
from envbuilder.errors import ConfigError, Finding
from envbuilder.paths import Environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.config import Config

ROOMS = sorted(path for path in (kit.ROOT / "envbuilder").glob("*.py") if path.stem != "codes")
MAKERS = {"finding": 0, "Finding": 0, "_Lack": 0, "_finding": 1, "_range": 1}
"""Functions that make findings, and which of their arguments is the code."""


def made() -> Iterator[str]:
    """Name the codes of all findings that are made anywhere."""
    for text in (path.read_text(encoding="utf-8") for path in ROOMS):
        for node in ast.walk(ast.parse(text)) if "Finding" in text else ():
            name = (
                getattr(node.func, "attr", None) or getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
            )
            if name in MAKERS and isinstance(node, ast.Call) and len(node.args) > MAKERS[name]:
                code = node.args[MAKERS[name]]
                values = [code.body, code.orelse] if isinstance(code, ast.IfExp) else [code]
                yield from (each.value for each in values if isinstance(each, ast.Constant) and "-" in str(each.value))


def test_the_table_has_exactly_the_codes_that_are_made() -> None:
    text = (kit.ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]
    told = {row[0].strip("`"): (tuple(row[1].split(", ")), row[4]) for row in rows}

    assert set(made()) == set(CODES)
    assert told == {code.name: (code.severities, "no" if code.refusal else "yes") for code in CODES.values()}
    assert [row[0].strip("`") for row in rows] == list(CODES)


def config(extra: str) -> Config:
    text = f"plugins:\n  - name: demo\n    source: pypi\n{extra}"
    return of_content(text.encode(), file="/nowhere/plugins.yaml", env=Environment(variables={}))


def test_codes_are_accepted_by_name_in_any_order_and_change_no_digest() -> None:
    accepting_two = config("    accept: [startup-code, file-in-base, startup-code]\n")

    assert accepting_two.plugins[0].accept == ("file-in-base", "startup-code")
    assert accepting_two.digest == config("    accept: library-missing\n").digest == config("").digest


@pytest.mark.parametrize(
    ("accept", "said"),
    [
        ("[start-up-code]", "`start-up-code` is none; did you mean `startup-code`?"),
        ("[all]", "`all` is none"),
        ("[entry-point-name]", "`entry-point-name` cannot be accepted: what shows it would obey them"),
        ("[requirement-unmet]", "cannot be accepted: `ignore` is the key for bounds on the base's packages"),
        ("[1]", "must be text"),
        ("{startup-code: true}", "must be a list"),
    ],
)
def test_what_cannot_be_accepted_is_an_error_of_the_config(accept: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        config(f"    accept: {accept}\n")


def finding(code: str, plugin: str, severity: str = "error") -> Finding:
    return Finding(code, severity, "package", plugin, "what", "why", "way")


def test_a_finding_is_accepted_for_one_plugin_and_by_its_own_code() -> None:
    findings = (finding("single-slot", "one"), finding("single-slot", "two"), finding("file-in-base", "one"))
    marked = accepting(findings, {"one": ["single-slot", "startup-code"]})

    assert [(each.code, each.plugin, each.accepted) for each in marked] == [
        ("single-slot", "one", True),
        ("single-slot", "two", False),
        ("file-in-base", "one", False),
        ("accept-idle", "one", False),
    ]
    assert marked[3].what == "`one` says `accept: [startup-code]`, and nothing of that kind is found"
    assert refused(marked) == marked[1:3]
    assert list(ways(marked)) == [
        "if you know that it does no harm: `accept: [single-slot]` on `two`",
        "if you know that it does no harm: `accept: [file-in-base]` on `one`",
    ]
    assert list(ways([finding("name-in-base", "one"), finding("single-slot", "")])) == []
