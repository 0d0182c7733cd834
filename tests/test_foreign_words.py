"""What packages may say of themselves: nothing of it is obeyed by a shell or a terminal, and any encoding will do."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import kit
import pytest
import stands
from test_cli import on_terminal

from envbuilder.console import json_text, one_line, visible

pytestmark = pytest.mark.long

GROUP = "vllm.general_plugins"
SHELL = "x';touch PWNED;echo 'y"
COMMA = "a,b"
TITLE = "\\x1b]0;owned\\x07\\x9b31m\\u202e"
"""An escape for a terminal's title, one of eight bits, and one that turns the line around; as Python spells them."""
OWN = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build a set of a plugin with names that a shell would run, and of one that raises what a terminal obeys."""
    folder = tmp_path_factory.mktemp("foreign")
    vpm_env = stands.small(folder)
    links = folder / "links"
    files = {"odd/__init__.py": "def register(): ...\n"}
    kit.wheel(links, "odd", files=files, entry_points={GROUP: {SHELL: "odd:register", COMMA: "odd:register"}})
    bad = {"bad/__init__.py": f'raise RuntimeError("{TITLE} failed")\ndef register(): ...\n'}
    kit.wheel(links, "bad", files=bad, entry_points={GROUP: {"bad": "bad:register"}})
    keys = f"find_links: {links}\nindex: http://127.0.0.1:9/none\n"
    plugins = "  - {name: odd, source: pypi}\n  - {name: bad, source: pypi, optional: true}\n"
    vpm_env.config(f"{keys}plugins:\n{plugins}")
    built = vpm_env("build", "--offline", check=True)
    assert "\\x1b]0;owned\\x07\\x9b31m\\u202e failed" in built.stderr
    return vpm_env


def test_what_plugins_exports_is_one_word_to_a_shell(stand: kit.VpmEnv, tmp_path: Path) -> None:
    for words in (("plugins", "--export"), ("plugins",)):
        done = stand(*words, check=True)
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("export ")]
        script = f'eval {shlex.quote(line)}; printf %s "$VLLM_PLUGINS"'
        said = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

        assert SHELL in said.split(",")
        assert "a" not in said.split(",")
        assert "warning: `a,b` cannot be listed in VLLM_PLUGINS, because it holds a comma\n" in done.stderr
    assert not (tmp_path / "PWNED").exists()
    assert stand("plugins", "--json").json["unlistable"] == [COMMA]
    assert COMMA not in stand("status", "--json").json["allow_lists"]["VLLM_PLUGINS"]


def test_a_name_with_a_comma_is_told_by_the_build(stand: kit.VpmEnv) -> None:
    findings = stand("show", "--json").json["findings"]

    assert [(finding["code"], finding["severity"]) for finding in findings if finding["package"] == "odd"] == [
        ("unlistable-name", "warning")
    ]


@pytest.mark.parametrize("words", [("show",), ("status",), ("build",), ("history",), ("plugins",)], ids=" ".join)
def test_no_terminal_obeys_a_package(stand: kit.VpmEnv, words: tuple[str, ...]) -> None:
    done = stand(*words)
    drawn = OWN.sub("", on_terminal(stand, *words)).replace("\r", "")

    for text in (done.stdout + done.stderr, drawn):
        assert all(letter.isprintable() or letter == "\n" for letter in text)
    if words[0] in ("show", "status", "build"):
        for text in (done.stdout + done.stderr, drawn):
            assert "\\x1b]0;owned" in text
    assert "\x1b" not in done.stdout


def test_json_holds_it_and_shows_nothing_of_it(stand: kit.VpmEnv) -> None:
    done = stand("show", "--json", check=True)

    assert "\x1b]0;owned\x07\x9b31m\u202e failed" in done.json["left_out"]["bad"]
    assert all(letter.isprintable() or letter == "\n" for letter in done.stdout)


FEW_LETTERS = (
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
)


@pytest.mark.parametrize("env", FEW_LETTERS, ids=("latin-1", "ascii"))
def test_an_encoding_of_few_letters_is_no_traceback(stand: kit.VpmEnv, env: dict[str, str]) -> None:
    written = stand("history", env=env, check=True)
    outside = stand("tree", "odd", "--all", env=env, check=True)

    assert "odd: ? ? 1.0" in written.stdout
    assert outside.stdout.startswith("odd 1.0\n")
    assert json.loads(stand("history", "--json", env=env, check=True).stdout)["current"] == 1
    name = "".join(env)
    stand.env.update(env)
    try:
        assert "odd: ? ? 1.0" in OWN.sub("", on_terminal(stand, "history")), name
    finally:
        for variable in env:
            del stand.env[variable]


def test_a_path_is_written_byte_by_byte(stand: kit.VpmEnv, tmp_path: Path) -> None:
    home = tmp_path / "h\udcff\u00fc"
    subprocess.run(["cp", "-a", stand.home, home], check=True)
    command = [*stand.command, "path", "--home", str(home)]
    for env in ({}, *FEW_LETTERS):
        done = subprocess.run(command, env={**stand.env, **env}, cwd=stand.folder, capture_output=True, check=True)
        assert Path(done.stdout.decode("utf-8", "surrogateescape").rstrip("\n"), "pyvenv.cfg").is_file()


def test_what_is_escaped() -> None:
    assert visible("a\x1b[1mb\tc\n\u00a0\u3000d\x7f\u2028") == "a\\x1b[1mb\tc\n\u00a0\u3000d\\x7f\\u2028"
    assert one_line("a\nb") == "a\\nb"
    text = json_text({"a": "\x9b\u202e\x7f\u00fc"})
    assert json.loads(text) == {"a": "\x9b\u202e\x7f\u00fc"}
    assert text.replace("\n", "").isprintable()
