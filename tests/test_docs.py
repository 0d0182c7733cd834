"""The documentation is of this version: what is made is current, links lead somewhere, every key and verb is there."""

from __future__ import annotations

import re
import runpy
import shlex
from typing import TYPE_CHECKING

import kit
import pytest

from envbuilder import cli
from envbuilder.commands import VERBS
from envbuilder.config import TOP_KEYS
from envbuilder.config_entry import PLUGIN_KEYS, SOURCE_KEYS

if TYPE_CHECKING:
    from pathlib import Path

DOCS = kit.ROOT / "docs"
KEYS = [*TOP_KEYS, *PLUGIN_KEYS, *sum(SOURCE_KEYS.values(), ())]
PAGES = [kit.ROOT / "README.md", kit.ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]


def anchors(text: str) -> set[str]:
    """Return what the headings of a page are called in links."""
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_page_of_commands_is_what_is_made_now() -> None:
    made = runpy.run_path(str(DOCS / "make_commands.py"))["page"]()

    assert made == (DOCS / "commands.md").read_text(encoding="utf-8"), "run `python docs/make_commands.py`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?://)([^)]+)\)", text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_the_config_is_described(key: str) -> None:
    assert f"| `{key}` |" in (DOCS / "configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_the_config_is_in_the_template(key: str) -> None:
    assert f"{key}: " in (kit.ROOT / "templates" / "plugins.yaml").read_text(encoding="utf-8").replace("`", "")


def test_readme_names_every_verb_and_stays_short() -> None:
    text = (kit.ROOT / "README.md").read_text(encoding="utf-8")

    assert [verb for verb in VERBS if not re.search(rf"`{verb}\b", text)] == []
    assert len(text.splitlines()) < 300


def test_what_is_to_be_typed_at_night_is_understood() -> None:
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    calls = re.findall(r"(?:`|\$ )(?:\w+=1 )?vpm-env ([a-z][^`\n]*)", text)

    assert len(calls) > 15
    for call in calls:
        cli.parse(shlex.split(re.sub(r"\bN\b|\bPID\b", "7", call)))


def test_pictures_are_small_and_shown() -> None:
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in DOCS.glob("*.svg"):
        assert picture.stat().st_size < 50_000, picture
        assert picture.name in shown
