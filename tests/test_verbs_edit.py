"""What the verbs that change plugins.yaml print, whole, and what they leave of the file when a build fails."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import jsonschema
import kit
import pytest
import stands
from test_cli import on_terminal, piped

if TYPE_CHECKING:
    from pathlib import Path

GROUP = "vllm.general_plugins"
NONE = "there is no plugin `%s` in `/X/work/plugins.yaml`"
WHEELS = (("one", "1.0", ()), ("one", "2.0", ()), ("two", "1.0", ()), ("three", "1.0", ("vllm<0.1",)))
HINT = "\nhint: `vpm-env build` makes what the config asks for now\n"


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Make a base, and wheels of `one` 1.0 and 2.0, `two` and `three` of which `three` needs another engine."""
    folder = tmp_path_factory.mktemp("edit")
    for name, version, requires in WHEELS:
        files = {f"{name}/__init__.py": "def register(): ...\n"}
        points = {GROUP: {name: f"{name}:register"}}
        kit.wheel(folder / "links", name, version, files=files, entry_points=points, requires=requires)
    return stands.small(folder)


@pytest.fixture
def file(stand: kit.VpmEnv) -> Path:
    """Write the config that each test begins with."""
    return stand.config(
        "find_links: ../links\nindex: http://127.0.0.1:9/none\nplugins:  # ours\n"
        "  - name: one\n    source: pypi\n    version: '1.0'  # for now\n"
    )


def checked(stand: kit.VpmEnv, verb: str, *words: str) -> dict[str, object]:
    """Return a verb's JSON, which keeps to its schema."""
    record = stand(verb, *words, "--json", check=True).json
    jsonschema.validate(record, json.loads((kit.ROOT / "docs" / "schemas" / f"{verb}.json").read_text()))
    return dict(record)


def test_add_makes_the_config_that_init_would(stand: kit.VpmEnv, tmp_path: Path) -> None:
    fresh = ("--config", str(tmp_path / "a.yaml"))
    out, err = piped(stand, "add", "one>=1", *fresh)
    piped(stand, "init", "--config", str(tmp_path / "b.yaml"))

    assert out == ""
    assert err == f"wrote `{tmp_path}/a.yaml` for vllm\nadded `one`: >=1\n{HINT}"
    entry = 'plugins:\n  - name: one\n    source: pypi\n    version: ">=1"\n'
    assert (tmp_path / "a.yaml").read_text() == (tmp_path / "b.yaml").read_text().replace("plugins: []\n", entry)
    piped(stand, "remove", "one", *fresh)
    assert (tmp_path / "a.yaml").read_text() == (tmp_path / "b.yaml").read_text()


def test_each_change_is_a_line(stand: kit.VpmEnv, file: Path) -> None:
    before = file.read_text()

    out, err = piped(stand, "add", "two[a]", "git+https://${TOKEN}@git.example/x@v1", "one==2.0")
    assert out == ""
    assert err == (
        "added `two`: a\nadded `x`: https://${TOKEN}@git.example/x, v1\n"
        f"`one` is there already; changed version 1.0 → ==2.0\n{HINT}"
    )
    assert piped(stand, "disable", "two", "x") == ("", f"disabled `two`\ndisabled `x`\n{HINT}")
    assert piped(stand, "enable", "x", "one") == (
        "",
        f"enabled `x`\n`one` is there as it is asked for; nothing to change\n{HINT}",
    )
    assert piped(stand, "enable", "x") == ("", "`x` is there as it is asked for; nothing to change\n")
    assert piped(stand, "remove", "x", "two") == ("", f"removed `two`\nremoved `x`\n{HINT}")
    assert file.read_text() == before.replace("'1.0'", '"==2.0"')


def test_a_dry_run_shows_what_the_file_would_be(stand: kit.VpmEnv, file: Path) -> None:
    before = file.read_text()
    out, err = piped(stand, "add", "git+https://${TOKEN}@git.example/x", "--ref", "v1", "--dry-run")

    assert err == "nothing was written: this was a dry run\n"
    assert out == (
        "--- plugins.yaml\n+++ plugins.yaml\n@@ -5,2 +5,6 @@\n     source: pypi\n     version: '1.0'  # for now\n"
        '+  - name: x\n+    source: git\n+    url: "https://${TOKEN}@git.example/x"\n+    ref: v1\n'
    )
    assert file.read_text() == before
    assert piped(stand, "add", "one", "-n") == ("", "nothing would change\n")


def test_selected_entry_points_are_listed_as_they_are_written(stand: kit.VpmEnv, file: Path) -> None:
    piped(stand, "add", "two", "--entry-point", "g:a")
    file.write_text(file.read_text().replace('["g:a"]', "{g: [a, b], h: c}"))
    _, err = piped(stand, "add", "two", "--entry-point", "i:d")
    again = stand("add", "two", "--entry-point", "g:a", "--json", check=True).json

    assert err == f"`two` is there already; changed entry_points g:a, g:b, h:c → i:d\n{HINT}"
    assert again["changes"][0]["keys"] == [{"key": "entry_points", "before": ["i:d"], "after": ["g:a"]}]


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (("git+https://u:secret@h.example/r.git",), "url"),
        (("git+https://secret@h.example/r.git",), "url"),
        (("ssh://u:secret@h.example/r.git",), "url"),
        (("two", "--index", "https://u:secret@h.example/simple"), "index"),
    ],
)
def test_a_credential_does_not_get_into_the_config(
    stand: kit.VpmEnv, file: Path, words: tuple[str, ...], key: str
) -> None:
    before = file.read_text()
    _, err = piped(stand, "add", *words, code=2)

    assert err.startswith(f"error: the `{key}` of ")
    assert " holds a credential, which would stand in the config for all to read\n\nhint: write `${NAME}`" in err
    assert "secret" not in err
    assert file.read_text() == before


def test_the_user_of_ssh_is_no_credential(stand: kit.VpmEnv, file: Path) -> None:
    piped(stand, "add", "ssh://git@h.example/r.git", "git+ssh://me@h.example/s.git")

    assert "ssh://me@h.example/s.git" in file.read_text()


@pytest.mark.parametrize("start", ["", "\n", "# ours\n", "# ours", "engine: vllm\n", "\ufeff", "---\n"])
def test_a_file_without_a_list_of_plugins_gets_one(stand: kit.VpmEnv, file: Path, start: str) -> None:
    file.write_text(start)
    _, err = piped(stand, "add", "two")
    break_ = "\n" if start[-1:] == "s" else ""

    assert err == f"added `two`\n{HINT}"
    assert file.read_text() == f"{start}{break_}plugins:\n  - name: two\n    source: pypi\n"


def test_json_stays_json(stand: kit.VpmEnv, file: Path) -> None:
    for start in ('{"plugins": []}', '{"plugins": [{"name": "one", "source": "pypi"}]}'):
        file.write_text(start)
        piped(stand, "add", "two[a]", "--optional")
        piped(stand, "disable", "two")
        piped(stand, "add", "one>=1", "--entry-point", "g:a")

        by_name = {plugin["name"]: plugin for plugin in json.loads(file.read_text())["plugins"]}
        assert by_name["two"]["extras"] == ["a"]
        assert (by_name["two"]["enabled"], by_name["two"]["optional"]) == (False, True)
        assert (by_name["one"]["version"], by_name["one"]["entry_points"]) == (">=1", ["g:a"])


def test_a_dry_run_on_a_terminal_is_coloured(stand: kit.VpmEnv, file: Path) -> None:
    shown = on_terminal(stand, "disable", "one", "-n")

    assert "\x1b[1;32m+    enabled: false\x1b[0m\n" in shown
    assert re.sub(r"\x1b\[[\d;]*m", "", shown) == (
        "--- plugins.yaml\n+++ plugins.yaml\n@@ -5,2 +5,3 @@\n     source: pypi\n     version: '1.0'  # for now\n"
        "+    enabled: false\nnothing was written: this was a dry run\n"
    )


@pytest.mark.parametrize("verb", ["remove", "enable", "disable"])
def test_on_a_terminal_a_change_is_a_line_too(stand: kit.VpmEnv, file: Path, verb: str) -> None:
    told = {"enable": "`one` is there as it is asked for; nothing to change\n"}

    assert on_terminal(stand, "add", "two", "-q") == ""
    shown = on_terminal(stand, verb, "one")
    assert re.sub(r"\x1b\[[\d;]*m", "", shown) == told.get(verb, f"{verb}d `one`\n{HINT}")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("add",), 2, "error: the following arguments are required: SPEC\n\nhint: see `vpm-env add --help`\n"),
        (("add", "one=2"), 2, "error: `one=2` is no plugin\n\nhint: write `one==2` for a version\n"),
        (("add", "./no"), 2, "error: there is no file or folder `./no`\n\nhint: write `name`, `name[extra]>=1.2`,"),
        (("add", "a", "b", "--name", "c"), 2, "error: `--name` is for one plugin, and there are several\n"),
        (
            ("remove", "oen"),
            2,
            f"error: {NONE % 'oen'}\n\nhint: did you mean `one`?\n",
        ),
        (("disable", "zz"), 2, f"error: {NONE % 'zz'}\n\nhint: there is `one`\n"),
        (
            ("enable", "a", "--config", "no.yaml"),
            1,
            "error: /X/work/no.yaml: there is no such file\n\nhint: `vpm-env",
        ),
        (
            ("upgrade", "oen", "--offline"),
            2,
            "error: there is no plugin or package `oen` to upgrade\n",
        ),
    ],
)
def test_mistakes(stand: kit.VpmEnv, file: Path, words: tuple[str, ...], code: int, said: str) -> None:
    out, err = piped(stand, *words, code=code)

    assert out == ""
    assert err.startswith(said)


def test_without_a_config_there_is_nothing_to_remove(stand: kit.VpmEnv, tmp_path: Path) -> None:
    done = stand("remove", "one", cwd=tmp_path)

    assert (done.exit, done.stdout) == (1, "")
    assert done.stderr.startswith("error: plugins.yaml: no config was found\n\nhint: `vpm-env add` and `vpm-env init`")


def test_json_keeps_to_its_schema(stand: kit.VpmEnv, file: Path) -> None:
    added = checked(stand, "add", "two[a]", "one")
    assert added["changes"] == [
        {
            "action": "added",
            "plugin": "two",
            "line": 7,
            "keys": [
                {"key": "source", "before": None, "after": "pypi"},
                {"key": "extras", "before": None, "after": ["a"]},
            ],
        },
        {"action": "kept", "plugin": "one", "line": 4, "keys": []},
    ]
    assert (added["config"], added["created"], added["written"], added["build"]) == (str(file), False, True, None)
    assert checked(stand, "disable", "two")["changes"] == [
        {"action": "disabled", "plugin": "two", "line": 7, "keys": []}
    ]
    assert checked(stand, "enable", "two", "-n")["written"] is False
    assert checked(stand, "remove", "two")["changes"] == [
        {"action": "removed", "plugin": "two", "line": None, "keys": []}
    ]


@pytest.mark.long
def test_a_build_follows_and_an_upgrade_takes_what_is_newer(stand: kit.VpmEnv, file: Path) -> None:
    build = ("--build", "--offline")
    out, err = piped(stand, "add", "two", *build)
    assert out == ""
    assert err.startswith("added `two`\n")
    assert "  two: ∅ → 1.0" in err
    assert "\nswitched to generation 1 (KEY), was none\n" in err

    removed = checked(stand, "remove", "two", *build)["build"]
    assert isinstance(removed, dict)
    assert [(change["name"], change["after"]) for change in removed["changes"]] == [("two", None)]
    piped(stand, "add", "one<2", *build)
    piped(stand, "add", "one>=1", *build)
    plan, err = piped(stand, "upgrade", "one", "--dry-run", "--offline")
    assert re.sub(r" \(.*\)", "", plan).startswith("one: 1.0 → 2.0")
    assert err.endswith("nothing was changed: this was a dry run\n")
    upgraded = checked(stand, "upgrade", "--offline")
    assert upgraded["result"] == "switched"
    plan, err = piped(stand, "add", "two", "--dry-run", *build)
    assert "+  - name: two\n" in plan
    assert "\ntwo: ∅ → 1.0" in plan
    assert "two" not in file.read_text()


def test_the_file_is_as_it_was_when_the_build_fails(stand: kit.VpmEnv, file: Path, tmp_path: Path) -> None:
    before = file.read_text()
    done = stand("add", "three", "--build", "--offline")

    assert done.exit == 1
    assert f"warning: `{file}` is as it was\nerror: `three` does not fit the base" in done.stderr
    assert file.read_text() == before
    fresh = tmp_path / "new.yaml"
    assert stand("add", "nothing-such", "--build", "--offline", "--config", fresh).exit == 1
    assert not fresh.exists()
