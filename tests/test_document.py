"""YAML with places: what is read, what is refused, and what it may cost."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import kit
import pytest
import yaml

from envbuilder.document import MAX_BYTES, Document, Mapping, Scalar, Sequence, parse, shown
from envbuilder.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def read(text: str) -> Document:
    return parse(text.encode(), file="f")


def problems(content: str | bytes) -> list[str]:
    try:
        document = parse(content.encode() if isinstance(content, str) else content, file="f")
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return [str(problem) for problem in document.problems]


def test_every_value_has_its_place() -> None:
    root = read("a: 1\nbb:\n  - x\n  - {c: 'd'}\n").root

    assert isinstance(root, Mapping)
    assert root.keys["bb"][1:] == (2, 1)
    assert root.values["a"].place[1:] == (1, 4)
    items = root.values["bb"]
    assert isinstance(items, Sequence)
    assert [item.place[1:] for item in items.items] == [(3, 5), (4, 5)]


def test_a_byte_order_mark_moves_no_place() -> None:
    document = parse(b"\xef\xbb\xbfa: b\n", file="f")

    assert isinstance(document.root, Mapping)
    assert document.root.keys["a"][1:] == (1, 1)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("true", "boolean"),
        ("False", "boolean"),
        ("yes", "ambiguous"),
        ("Off", "ambiguous"),
        ("y", "text"),
        ("'yes'", "text"),
        ("1.10", "float"),
        (".5", "float"),
        ("1.2.3", "text"),
        (".", "text"),
        ("12", "integer"),
        ("0x1f", "integer"),
        ("1e5", "text"),
        ("08", "text"),
        ("~", "null"),
        ("", "null"),
        ('""', "text"),
        ("2026-01-02", "text"),
        ("|\n  12", "text"),
    ],
)
def test_kinds_are_those_of_pyyaml_and_spellings_stay(text: str, kind: str) -> None:
    root = read(f"a: {text}\n").root

    assert isinstance(root, Mapping)
    value = root.values["a"]
    assert isinstance(value, Scalar)
    assert kind == value.kind
    if kind in ("float", "integer"):
        assert text == value.text
        assert isinstance(yaml.safe_load(text), (int, float))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x 1\n", "f:1:4: `a`: anchors (`&name`) are not allowed"),
        ("a: [*x]\n", "f:1:5: `a[0]`: aliases (`*name`) are not allowed; write the value out"),
        ("<<: {}\n", "f:1:1: merge keys (`<<`) are not allowed; write the keys out"),
        ("a: !!str 1\n", "f:1:4: `a`: tags (`!name`) are not allowed; write text in quotes"),
        (
            "a: !!python/object/apply:os.system [x]\n",
            "f:1:4: `a`: tags (`!name`) are not allowed; write text in quotes",
        ),
        ("? [a]\n: b\n", "f:1:3: a key must be a single word"),
        ("a: 1\nb: 2\na: 3\n", "f:3:1: `a`: the key is here twice; the first is at line 1, column 1"),
        ("a: 1\n---\nb: 2\n", "f:2:1: a second document begins here; one is the limit"),
        ("a: 1\nb: [2\n", "f:3:1: not YAML: did not find expected ',' or ']' while parsing a flow sequence"),
        ("a: 1\n  b: 2\n", "f:2:4: not YAML: mapping values are not allowed in this context"),
    ],
)
def test_what_means_more_than_it_shows_is_refused_with_its_place(text: str, expected: str) -> None:
    assert [expected] == problems(text)


def test_a_tab_is_named() -> None:
    assert "; indent with spaces, not tabs" in problems("a:\n\t- b\n")[0]


def test_problems_are_gathered_up_to_the_one_that_stops_the_reading() -> None:
    assert [text.split(": ")[0] for text in problems("a: &x 1\na: 2\nb: [\n")] == ["f:1:4", "f:2:1", "f:4:1"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: b\nc: \xff\n", "f:2:4: the file is not UTF-8; save it as UTF-8"),
        (b"\xef\xbb\xbfa: \xff\n", "f:1:4: the file is not UTF-8; save it as UTF-8"),
        ("a: b\n".encode("utf-16"), "f:1:1: the file is UTF-16; save it as UTF-8"),
        (
            "a: b\n".encode("utf-16-le"),
            "f:1:2: the character U+0000 is not allowed in YAML; is the file UTF-16? save it as UTF-8",
        ),
        (b"a: b\x07\n", "f:1:5: the character U+0007 is not allowed in YAML"),
        (b"a" * (MAX_BYTES + 1), "f: the file is larger than 1 MiB"),
        (b"[" * 500_000, "f:1:21: the file is nested more than 20 levels deep"),
        (b"- " * 500_000, "f:1:41: the file is nested more than 20 levels deep"),
        (b"- a\n" * 30_000, "f:20000:3: the file holds more than 20000 keys and values"),
    ],
)
def test_limits_are_told_with_their_place(content: bytes, expected: str) -> None:
    assert [expected] == problems(content)


def test_the_deepest_allowed_tree_is_read() -> None:
    assert problems("[" * 20 + "]" * 20) == []


def test_credentials_and_long_or_hidden_text_are_not_shown() -> None:
    assert shown("https://me:secret@host/x") == "a URL"
    assert shown("git@host:secret") == "a URL"
    assert shown("a\x1b[31m\u202e") == "`a\\x1b[31m\\u202e`"
    assert len(shown("a" * 5000)) < 70
    assert "secret" not in "".join(problems("https://me:secret@h: &x 1\n"))


WORST = {
    "open brackets": "'[' * n",
    "open braces": "'{' * n",
    "items": "'[' + 'a,' * (n // 2 - 1) + ']'",
    "lines": "'- a\\n' * (n // 4)",
    "dashes": "'- ' * (n // 2)",
    "question marks": "'? ' * (n // 2)",
    "repeated keys": "'a: 1\\n' * (n // 5)",
    "long key": "'k' * (n - 4) + ': 1'",
    "long keys, deep": "'{' + ','.join('k' * 900 + str(i) + ': {' + 'l' * 900 + ': &a 1}' for i in range(570)) + '}'",
    "folded text": "'a: ' + 'a\\n ' * (n // 3 - 1)",
    "escapes": "'a: \"' + '\\\\x41' * (n // 4 - 2) + '\"'",
    "comments": "'#\\n' * (n // 2)",
    "unknown keys": "'{' + ','.join('pluginsx%d: 1' % i for i in range(9990)) + '}'",
    "plugins": (
        "'plugins:\\n' + ''.join("
        "'- {name: a%d, source: pypi, version: \"%s\"}\\n' % (i, ','.join(['>1'] * 16)) for i in range(2500))"
    ),
    "digits": "'plugins: ' + '9' * (n - 9)",
    "long name": "'plugins: [{source: pypi, name: ' + 'a-' * (n // 2 - 20) + '}]'",
}

MEASURE = """
import json, resource, sys, time
from envbuilder.config import read
from envbuilder.errors import ConfigError
from envbuilder.paths import Environment
n = 1 << 20
text = eval(sys.argv[2])
assert len(text) <= n
with open(sys.argv[1], "w") as stream:
    stream.write(text)
started = time.process_time()
try:
    read(sys.argv[1], env=Environment(variables={}))
    problems = 0
except ConfigError as error:
    problems = len(error.message.splitlines())
seconds = time.process_time() - started
if sys.platform == "darwin":
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
else:  # there, that figure has the parent's peak in it
    with open("/proc/self/status") as stream:
        peak = next(int(line.split()[1]) for line in stream if line.startswith("VmHWM")) * 1024
print(json.dumps([seconds, peak, problems]))
"""


@pytest.mark.long
@pytest.mark.parametrize("name", WORST)
def test_the_worst_file_costs_less_than_a_second_and_100_mb(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "plugins.yaml"), WORST[name]]
    done = subprocess.run(command, cwd=kit.ROOT, capture_output=True, text=True, check=True)
    seconds, peak, problems = json.loads(done.stdout)

    assert seconds < 1.0
    assert peak < 100_000_000
    assert bool(problems) == (name != "plugins")
